/*
 * The race of RFC 8305 section 5 over addresses that the verdict has already permitted: the address
 * judged is the address dialled. The first attempt runs in the caller's own io, so that the usual
 * case (the first address answers) registers its socket once; a later winner is moved there.
 * Whoever wins closes the others. Belongs to one worker.
 */
#include "proxy/net/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_first_ready(struct io *io);
static void on_later_ready(struct io *io);
static void start_next(struct dial *d);

static void stop_all(struct dial *d, bool keep_first)
{
    loop_timer_stop(d->loop, &d->limit);
    loop_timer_stop(d->loop, &d->stagger);
    loop_task_remove(&d->report);
    if (!keep_first)
        io_close(d->io);
    for (unsigned i = 1; d->attempts && i < d->n_started; i++)
        io_close(&d->attempts[i - 1].io);
    free(d->attempts);
    d->attempts = NULL;
}

static void finish(struct dial *d, enum dial_outcome outcome)
{
    stop_all(d, outcome == DIAL_CONNECTED);
    d->loop = NULL;
    d->done(d, outcome, d->winner);
}

void dial_cancel(struct dial *d)
{
    if (!d->loop)
        return;
    stop_all(d, false);
    d->loop = NULL;
}

/* A refusal says more than a silence, and a silence more than a missing route. */
static enum dial_outcome outcome_of(int error)
{
    if (error == ECONNREFUSED || error == ECONNRESET)
        return DIAL_REFUSED;
    if (error == ETIMEDOUT)
        return DIAL_TIMEOUT;
    if (error == EADDRNOTAVAIL || error == EMFILE || error == ENFILE || error == ENOMEM ||
        error == ENOBUFS || error == EAGAIN)
        return DIAL_NO_PORTS;
    return DIAL_UNREACHABLE;
}

static void note_failure(struct dial *d, int error)
{
    static const int rank[] = {
        [DIAL_UNREACHABLE] = 1, [DIAL_NO_PORTS] = 2, [DIAL_TIMEOUT] = 3, [DIAL_REFUSED] = 4};
    enum dial_outcome outcome = outcome_of(error);
    if (rank[outcome] > rank[d->worst])
        d->worst = outcome;
}

static int begin(struct dial *d, unsigned index)
{
    int fd = egress_socket(&d->egress, &d->to[index], SOCK_STREAM);
    if (fd < 0)
        return fd;
    struct io *io = index == 0 ? d->io : &d->attempts[index - 1].io;
    /* Connected before it is registered: the first edge then already tells the outcome. */
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&d->to[index], &ss);
    if (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return io_open(io, d->loop, fd, index == 0 ? on_first_ready : on_later_ready, d);
}

static void on_stagger(struct timer *t)
{
    start_next(list_entry(t, struct dial, stagger));
}

/* Starts attempts until one is under way; without any left and none running the dial has failed. */
static void start_next(struct dial *d)
{
    while (d->n_started < d->n_to) {
        unsigned index = d->n_started++;
        int rc = begin(d, index);
        if (rc == 0) {
            d->n_running++;
            if (d->n_started < d->n_to)
                loop_timer_start(d->loop, &d->stagger, DIAL_STAGGER_MS, on_stagger);
            return;
        }
        note_failure(d, -rc);
    }
    if (d->n_running == 0)
        loop_task_add(d->loop, &d->report);
}

static void on_report(struct loop_task *t)
{
    struct dial *d = list_entry(t, struct dial, report);
    finish(d, d->worst ? d->worst : DIAL_UNREACHABLE);
}

static void on_limit(struct timer *t)
{
    finish(list_entry(t, struct dial, limit), DIAL_TIMEOUT);
}

/* Writable alone means connected; with anything else the kernel is asked (an error shows as both).
 */
static int connect_result(struct io *io)
{
    if (io->is_writable && !io->is_readable)
        return 0;
    if (!io->is_writable)
        return -EINPROGRESS;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(io->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

static void attempt_ready(struct dial *d, struct io *io, unsigned index)
{
    int rc = connect_result(io);
    if (rc == -EINPROGRESS)
        return;
    if (rc < 0) {
        io_close(io);
        d->n_running--;
        note_failure(d, -rc);
        start_next(d);
        return;
    }
    if (index > 0) {
        bool is_readable = io->is_readable, is_peer_done = io->is_peer_done;
        io_close(d->io);
        if (io_move(io, d->io, on_first_ready, d) < 0) {
            finish(d, DIAL_NO_PORTS);
            return;
        }
        d->io->is_readable = is_readable;
        d->io->is_peer_done = is_peer_done;
        d->io->is_writable = true;
    }
    d->winner = index;
    finish(d, DIAL_CONNECTED);
}

static void on_first_ready(struct io *io)
{
    attempt_ready(io->owner, io, 0);
}

static void on_later_ready(struct io *io)
{
    struct dial_attempt *a = list_entry(io, struct dial_attempt, io);
    attempt_ready(a->dial, io, (unsigned)(a - a->dial->attempts) + 1);
}

int dial_start(struct dial *d, struct loop *loop, const struct egress *egress, struct io *io,
               const struct endpoint *to, unsigned n_to, uint64_t limit_ms, dial_done_fn done)
{
    *d = (struct dial){.loop = loop, .egress = *egress, .io = io, .done = done};
    d->n_to = n_to < DIAL_ADDRS_MAX ? n_to : DIAL_ADDRS_MAX;
    for (unsigned i = 0; i < d->n_to; i++)
        d->to[i] = to[i];
    if (d->n_to > 1) {
        d->attempts = calloc(d->n_to - 1, sizeof(*d->attempts));
        if (!d->attempts) {
            d->loop = NULL;
            return -ENOMEM;
        }
        for (unsigned i = 0; i + 1 < d->n_to; i++) {
            d->attempts[i].dial = d;
            d->attempts[i].io.watch.fd = -1;
        }
    }
    io->watch.fd = -1;
    loop_task_init(&d->report, on_report);
    loop_timer_start(loop, &d->limit, limit_ms, on_limit);
    start_next(d);
    return 0;
}

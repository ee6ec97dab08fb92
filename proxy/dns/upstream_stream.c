/*
 * A connection carries up to 512 questions, told apart by ids from getrandom(2) that are not used
 * again while they are in flight, and answered in any order (RFC 7766 section 6.2.1.1). An answer
 * must have an id and the question of that id; what has not is counted and ignored (section 7), and
 * a server with twenty of those is left. Cleartext never follows TLS: a peer with a name has TLS
 * from the first byte, or nothing is sent.
 *
 * Three clocks, one timer: set-up; silence, past which no new question is added and the connection
 * goes when nobody waits on it (so it does when very many answers never came); idle. The kernel
 * ends it when what we sent is not acknowledged for five seconds, else a lost mapping in a NAT
 * would take a quarter of an hour to notice. A step runs until nothing can be done; a callback in
 * it may end the connection, which is then freed behind the step. Belongs to one worker.
 */
#include "proxy/dns/upstream_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ASKS_MAX = 512,
    ASKS_FIRST = 8,
    UNSENT_MAX = 256 * 1024,
    ORPHANS_MAX = 128, /* answers that never came: the connection is worn out */
    WRONG_MAX = 20,
    SETUP_MS = 4000,
    SILENCE_MS = 3000,
    DISTRUST_MS = 500, /* a certificate does not mend itself that fast; handshakes cost */
    IDLE_MS = 15000,   /* shorter than the 20-30 s after which servers close */
    USER_TIMEOUT_MS = 5000,
    READ_BYTES = 2048,
    READS_A_STEP = 32, /* then others have their turn */
};

/* ---- the end ---- */

static void stream_free(struct upstream_stream *s)
{
    framing_fini(&s->in);
    framing_fini(&s->out);
    free(s->ids);
    free(s->asks);
    free(s);
}

/* Out of the peer, without socket; the memory stays. */
static void detach(struct upstream_stream *s, bool is_orderly)
{
    loop_timer_stop(s->env->loop, &s->timer);
    loop_task_remove(&s->write);
    s->tls = tls_free(s->tls, is_orderly);
    io_close(&s->io);
    list_remove(&s->node);
    s->peer->n_streams--;
    s->peer = NULL;
    s->state = UPSTREAM_STREAM_CLOSED;
}

void upstream_stream_close(struct upstream_stream *s)
{
    detach(s, s->state == UPSTREAM_STREAM_OPEN);
    s->n_asks = 0;
    if (!s->is_stepping)
        stream_free(s);
}

void upstream_stream_end(struct upstream_stream *s, enum upstream_outcome outcome)
{
    struct upstream_peer *peer = upstream_peer_ref(s->peer);
    bool was_open = s->state == UPSTREAM_STREAM_OPEN, had_answers = s->n_answers > 0;
    struct list lost;
    list_init(&lost);
    for (unsigned i = 0; i < s->n_asks; i++) {
        if (!s->asks[i])
            continue;
        s->asks[i]->stream = NULL;
        list_append(&lost, &s->asks[i]->node);
    }
    s->n_asks = 0;
    detach(s, false);
    if (!s->is_stepping)
        stream_free(s);
    for (struct list *pos; (pos = list_first(&lost));) {
        list_remove(pos); /* each may cancel others of them */
        upstream_peer_lost(list_entry(pos, struct upstream_peer_ask, node), outcome, was_open,
                           had_answers);
    }
    upstream_peer_unref(peer);
}

/* ---- clocks ---- */

/* Gets no new questions, and goes when nobody waits on it any more. */
static bool is_leaving(const struct upstream_stream *s)
{
    return s->is_silent || s->n_orphans >= ORPHANS_MAX;
}

static bool is_deserted(const struct upstream_stream *s)
{
    return is_leaving(s) && s->n_orphans == s->n_asks;
}

static void on_silent(struct timer *t)
{
    struct upstream_stream *s = list_entry(t, struct upstream_stream, timer);
    s->is_silent = true;
    if (is_deserted(s))
        upstream_stream_end(s, UPSTREAM_TIMEOUT);
}

static void on_idle(struct timer *t)
{
    upstream_stream_close(list_entry(t, struct upstream_stream, timer));
}

static void on_late(struct timer *t)
{
    upstream_stream_end(list_entry(t, struct upstream_stream, timer), UPSTREAM_TIMEOUT);
}

void upstream_stream_end_soon(struct upstream_stream *s)
{
    loop_timer_start(s->env->loop, &s->timer, 1, on_late);
}

/* Something came, or the first question went. */
static void restart_clock(struct upstream_stream *s)
{
    if (s->state != UPSTREAM_STREAM_OPEN)
        return;
    s->is_silent = false;
    if (is_deserted(s))
        upstream_stream_end_soon(s);
    else if (s->n_asks > 0)
        loop_timer_start(s->env->loop, &s->timer, SILENCE_MS, on_silent);
    else
        loop_timer_start(s->env->loop, &s->timer, IDLE_MS, on_idle);
}

/* ---- questions ---- */

bool upstream_stream_takes(const struct upstream_stream *s, size_t n_bytes)
{
    return s->state != UPSTREAM_STREAM_CLOSED && !is_leaving(s) && s->n_asks < ASKS_MAX &&
           framing_waiting(&s->out) + FRAMING_PREFIX_BYTES + n_bytes <= UNSENT_MAX;
}

/* The position of @id; n_asks: there is none. */
static unsigned find_id(const struct upstream_stream *s, unsigned id)
{
    unsigned i = 0;
    while (i < s->n_asks && s->ids[i] != id)
        i++;
    return i;
}

static void remove_at(struct upstream_stream *s, unsigned i)
{
    s->n_orphans -= s->asks[i] == NULL;
    s->n_asks--;
    s->ids[i] = s->ids[s->n_asks];
    s->asks[i] = s->asks[s->n_asks];
}

static int make_place(struct upstream_stream *s)
{
    if (s->n_asks < s->n_room)
        return 0;
    unsigned n = s->n_room ? s->n_room * 2 : ASKS_FIRST;
    uint16_t *ids = realloc(s->ids, n * sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    s->ids = ids;
    struct upstream_peer_ask **asks = realloc(s->asks, n * sizeof(struct upstream_peer_ask *));
    if (!asks)
        return -ENOMEM;
    s->asks = asks;
    s->n_room = n;
    return 0;
}

/* A raw query keeps its own, if that is free. */
static int draw_id(struct upstream_stream *s, struct wire_ask *ask)
{
    int rc = 0;
    ask->id = ask->raw ? wire_get16(ask->raw) : 0;
    for (bool may_stay = ask->raw; rc == 0 && (!may_stay || find_id(s, ask->id) < s->n_asks);) {
        rc = upstream_random(s->env, &ask->id, sizeof(ask->id));
        may_stay = true;
    }
    return rc;
}

static int put_query(struct upstream_stream *s, const struct wire_ask *ask)
{
    size_t n_room, len = wire_ask_write(ask, s->env->message);
    uint8_t *at = framing_room(&s->out, FRAMING_PREFIX_BYTES + len, &n_room);
    if (!at)
        return -ENOMEM;
    wire_put16(at, (unsigned)len);
    memcpy(at + FRAMING_PREFIX_BYTES, s->env->message, len);
    framing_grow(&s->out, FRAMING_PREFIX_BYTES + len);
    return 0;
}

int upstream_stream_add(struct upstream_stream *s, struct upstream_peer_ask *a)
{
    int rc = make_place(s);
    if (rc == 0)
        rc = draw_id(s, a->ask);
    if (rc == 0)
        rc = put_query(s, a->ask);
    if (rc < 0)
        return rc;
    s->ids[s->n_asks] = a->ask->id;
    s->asks[s->n_asks++] = a;
    a->stream = s;
    if (s->n_asks == 1)
        restart_clock(s);
    loop_task_add(s->env->loop, &s->write);
    return 0;
}

void upstream_stream_forget(struct upstream_stream *s, const struct upstream_peer_ask *a)
{
    unsigned i = 0;
    while (i < s->n_asks && s->asks[i] != a)
        i++;
    if (i == s->n_asks)
        return;
    s->asks[i] = NULL;
    s->n_orphans++;
    if (is_deserted(s)) /* and it may never answer: not worth keeping */
        upstream_stream_end_soon(s);
}

/* ---- answers ---- */

static void take_wrong(struct upstream_stream *s)
{
    s->env->counters.n_wrong++;
    if (++s->n_wrong >= WRONG_MAX)
        upstream_stream_end(s, UPSTREAM_BROKEN);
}

static void take_message(struct upstream_stream *s, const uint8_t *msg, size_t len)
{
    struct wire_reply *reply = &s->env->reply;
    unsigned i = find_id(s, wire_get16(msg));
    if (i == s->n_asks) {
        take_wrong(s);
        return;
    }
    struct upstream_peer_ask *a = s->asks[i];
    int rc = a ? wire_reply_check(msg, len, a->ask, false, reply) : 0;
    if (rc == WIRE_REPLY_WRONG) {
        take_wrong(s);
        return;
    }
    remove_at(s, i);
    s->n_answers++;
    restart_clock(s);
    if (!a)
        return;
    a->stream = NULL;
    if (rc != 0)
        s->env->counters.n_wrong++;
    bool is_good = rc == 0 && (!reply->is_truncated || a->ask->raw);
    a->done(a, is_good ? UPSTREAM_REPLY : UPSTREAM_BROKEN, is_good ? msg : NULL);
}

static void take_messages(struct upstream_stream *s)
{
    const uint8_t *msg;
    size_t len;
    while (s->state == UPSTREAM_STREAM_OPEN) {
        int rc = framing_next(&s->in, &msg, &len);
        if (rc == FRAMING_MORE)
            return;
        if (rc == FRAMING_BAD)
            upstream_stream_end(s, UPSTREAM_BROKEN);
        else
            take_message(s, msg, len);
    }
}

/* ---- bytes ---- */

/* What -EAGAIN said about the socket. */
static void note_blocked(struct upstream_stream *s, bool was_write)
{
    if (s->tls ? tls_wants_write(s->tls) : was_write)
        s->io.is_writable = false;
    else
        s->io.is_readable = false;
}

static ssize_t read_some(struct upstream_stream *s, uint8_t *into, size_t n)
{
    if (s->tls)
        return tls_read(s->tls, into, n);
    ssize_t got = recv(s->io.watch.fd, into, n, 0);
    return got < 0 ? -errno : got;
}

static ssize_t write_some(struct upstream_stream *s)
{
    const uint8_t *bytes = s->out.bytes + s->out.at;
    if (s->tls)
        return tls_write(s->tls, bytes, framing_waiting(&s->out));
    ssize_t n = send(s->io.watch.fd, bytes, framing_waiting(&s->out), MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static enum upstream_outcome outcome_of(ssize_t error)
{
    return error == -ETIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_BROKEN;
}

static void flush(struct upstream_stream *s)
{
    while (framing_waiting(&s->out) > 0 && s->io.is_writable) {
        ssize_t n = write_some(s);
        if (n == -EAGAIN) {
            note_blocked(s, true);
            return;
        }
        if (n < 0 && n != -EINTR) {
            upstream_stream_end(s, outcome_of(n));
            return;
        }
        if (n > 0)
            framing_drop(&s->out, (size_t)n);
    }
    if (framing_waiting(&s->out) == 0)
        framing_fini(&s->out);
}

/* Reads once, takes what is whole. Whether there may be more. */
static bool fill(struct upstream_stream *s)
{
    if (!s->io.is_readable)
        return false;
    size_t n_room;
    uint8_t *into = framing_room(&s->in, READ_BYTES, &n_room);
    ssize_t n = into ? read_some(s, into, n_room) : -ENOMEM;
    if (n == -EAGAIN) {
        note_blocked(s, false);
        return false;
    }
    if (n == -EINTR)
        return true;
    if (n <= 0) {
        upstream_stream_end(s, outcome_of(n));
        return false;
    }
    framing_grow(&s->in, (size_t)n);
    take_messages(s);
    return s->state == UPSTREAM_STREAM_OPEN;
}

static void exchange(struct upstream_stream *s)
{
    unsigned n = 0;
    flush(s);
    while (s->state == UPSTREAM_STREAM_OPEN && n < READS_A_STEP && fill(s))
        n++;
    if (s->state != UPSTREAM_STREAM_OPEN)
        return;
    if (n == READS_A_STEP)
        loop_task_add(s->env->loop, &s->write);
    if (framing_waiting(&s->in) == 0)
        framing_fini(&s->in);
}

/* ---- set-up ---- */

static void become_open(struct upstream_stream *s)
{
    s->state = UPSTREAM_STREAM_OPEN;
    restart_clock(s);
}

static void handshake(struct upstream_stream *s)
{
    int rc = tls_handshake(s->tls);
    if (rc == -EAGAIN) {
        note_blocked(s, false);
    } else if (rc != 0) {
        tls_trouble(s->tls, s->peer->trouble);
        s->peer->trusted_from_ms = loop_now_ms(s->env->loop) + DISTRUST_MS;
        upstream_stream_end(s, UPSTREAM_UNTRUSTED);
    } else {
        s->env->counters.n_resumed += tls_is_resumed(s->tls);
        become_open(s);
    }
}

static void connected(struct upstream_stream *s)
{
    if (!s->peer->tls_name) {
        become_open(s);
        return;
    }
    struct tls_client *client = upstream_env_tls(s->env);
    s->tls = client ? tls_client_open(client, s->io.watch.fd, s->peer->tls_name, &s->peer->ticket)
                    : NULL;
    if (s->tls)
        s->state = UPSTREAM_STREAM_HANDSHAKE;
    else
        upstream_stream_end(s, UPSTREAM_BROKEN);
}

static void check_connect(struct upstream_stream *s)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (!s->io.is_writable)
        return;
    if (getsockopt(s->io.watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0)
        connected(s);
    else
        upstream_stream_end(s, error == ETIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_REFUSED);
}

static void step(struct upstream_stream *s)
{
    s->is_stepping = true;
    if (s->state == UPSTREAM_STREAM_CONNECTING)
        check_connect(s);
    if (s->state == UPSTREAM_STREAM_HANDSHAKE)
        handshake(s);
    if (s->state == UPSTREAM_STREAM_OPEN)
        exchange(s);
    s->is_stepping = false;
    if (s->state == UPSTREAM_STREAM_CLOSED)
        stream_free(s);
}

static void on_ready(struct io *io)
{
    step(io->owner);
}

static void on_write(struct loop_task *t)
{
    step(list_entry(t, struct upstream_stream, write));
}

/* A connected or connecting socket: the fd · -errno. */
static int dial(const struct upstream_peer *p)
{
    int limit_ms = USER_TIMEOUT_MS;
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&p->server, &ss);
    int fd = egress_socket(&p->egress, &p->server, SOCK_STREAM);
    if (fd < 0)
        return fd;
    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms)) < 0 ||
        (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

int upstream_stream_open(struct upstream_peer *p, struct upstream_stream **ret_stream)
{
    struct loop *loop = p->env->loop;
    struct upstream_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    int fd = loop_now_ms(loop) < p->trusted_from_ms ? -EACCES : dial(p);
    int rc = fd < 0 ? fd : io_open(&s->io, loop, fd, on_ready, s);
    if (rc < 0) {
        free(s);
        return rc;
    }
    s->env = p->env;
    s->peer = p;
    loop_task_init(&s->write, on_write);
    loop_timer_start(loop, &s->timer, SETUP_MS, on_late);
    list_append(&p->streams, &s->node);
    p->n_streams++;
    p->env->counters.n_streams++;
    *ret_stream = s;
    return 0;
}

/*
 * The floor: the least that any tunnel through epoll and two sockets costs. It reads a CONNECT with
 * a literal IPv4 target, connects, says 200 and relays; no rules, names, timers, limits, log or
 * errors worth the name. Not a proxy for anything but its own namespace.
 *
 * So that the comparison is of features and not of scheduling, bulk is served in the order of
 * net/relay: who fills a chunk is queued, one tunnel of the queue is served 1 MiB between two
 * polls, and goes on until its quantum of 8 MiB is used. Bulk is copied, or with `splice` goes by
 * pipes of 1 MiB; small traffic is always copied.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 64 * 1024,
    PIPE_BYTES = 1024 * 1024,
    TURN_BYTES = 1024 * 1024,
    QUANTUM_BYTES = 8 * 1024 * 1024,
    SPARE_PIPES = 64,
    BATCH = 256
};

struct pipe {
    int out, in;
    size_t held;
};

struct leg {
    struct tunnel *tunnel;
    int fd;
    bool is_readable, is_writable, is_peer_done, is_eof, is_shut, is_broken;
    struct pipe pipe; /* in use while the other side blocks; fds -1: none */
    char *rest;       /* likewise, of a copy */
    size_t n_rest, rest_at;
};

enum state { STATE_HEAD, STATE_CONNECTING, STATE_RELAY, STATE_DEAD };

struct tunnel {
    enum state state;
    struct leg legs[2]; /* client, origin */
    struct tunnel *next_dead, *next_bulk, *prev_bulk;
    bool is_bulk, is_queued;
    size_t quantum_left;
};

struct relay {
    int poll, listener;
    bool uses_splice;
    struct pipe spare[SPARE_PIPES];
    unsigned n_spare;
    struct tunnel *dead;
    struct tunnel bulk; /* head of the ring */
    char chunk[CHUNK_BYTES];
};

static void bulk_remove(struct tunnel *t)
{
    if (!t->is_queued)
        return;
    t->prev_bulk->next_bulk = t->next_bulk;
    t->next_bulk->prev_bulk = t->prev_bulk;
    t->is_queued = false;
}

static void bulk_insert(struct tunnel *behind, struct tunnel *t)
{
    if (t->is_queued)
        return;
    t->prev_bulk = behind;
    t->next_bulk = behind->next_bulk;
    behind->next_bulk->prev_bulk = t;
    behind->next_bulk = t;
    t->is_queued = true;
}

static bool pipe_take(struct relay *r, struct pipe *p)
{
    int fds[2];
    if (r->n_spare > 0) {
        *p = r->spare[--r->n_spare];
        return true;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return false;
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
    *p = (struct pipe){.out = fds[0], .in = fds[1]};
    return true;
}

static void pipe_give(struct relay *r, struct pipe *p)
{
    if (p->out < 0)
        return;
    if (p->held == 0 && r->n_spare < SPARE_PIPES) {
        r->spare[r->n_spare++] = *p;
    } else {
        close(p->out);
        close(p->in);
    }
    *p = (struct pipe){.out = -1, .in = -1};
}

static void tunnel_end(struct relay *r, struct tunnel *t)
{
    for (unsigned i = 0; i < 2; i++) {
        if (t->legs[i].fd >= 0)
            close(t->legs[i].fd);
        pipe_give(r, &t->legs[i].pipe);
        free(t->legs[i].rest);
    }
    bulk_remove(t);
    t->state = STATE_DEAD;
    t->next_dead = r->dead; /* events of this round may still name it */
    r->dead = t;
}

static int leg_watch(struct relay *r, struct leg *l)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = l};
    return epoll_ctl(r->poll, EPOLL_CTL_ADD, l->fd, &e);
}

static void on_connections(struct relay *r)
{
    for (;;) {
        int fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct tunnel *t = calloc(1, sizeof(*t));
        if (!t) {
            close(fd);
            return;
        }
        for (unsigned i = 0; i < 2; i++)
            t->legs[i] = (struct leg){.tunnel = t, .fd = -1, .pipe = {-1, -1, 0}};
        t->legs[0].fd = fd;
        if (leg_watch(r, &t->legs[0]) < 0)
            tunnel_end(r, t);
    }
}

/* A write failed: it blocks, or nothing can be written any more. */
static void stop_writing(struct leg *to)
{
    to->is_writable = false;
    to->is_broken |= errno != EAGAIN;
}

/* Sends what waits for @to. Returns whether the way is free. */
static bool flush(struct relay *r, struct leg *from, struct leg *to)
{
    while (from->pipe.held > 0 && to->is_writable) {
        ssize_t n = splice(from->pipe.out, NULL, to->fd, NULL, from->pipe.held, SPLICE_F_NONBLOCK);
        if (n > 0)
            from->pipe.held -= (size_t)n;
        else
            stop_writing(to);
    }
    while (from->rest && to->is_writable) {
        ssize_t n =
            send(to->fd, from->rest + from->rest_at, from->n_rest - from->rest_at, MSG_NOSIGNAL);
        if (n < 0) {
            stop_writing(to);
            break;
        }
        from->rest_at += (size_t)n;
        if (from->rest_at == from->n_rest) {
            free(from->rest);
            from->rest = NULL;
        }
    }
    if (from->pipe.held == 0)
        pipe_give(r, &from->pipe);
    return from->pipe.held == 0 && !from->rest;
}

static void keep(struct leg *from, const char *bytes, size_t len)
{
    from->rest = malloc(len);
    if (!from->rest)
        abort();
    memcpy(from->rest, bytes, len);
    from->n_rest = len;
    from->rest_at = 0;
}

static ssize_t copy_once(struct relay *r, struct leg *from, struct leg *to)
{
    ssize_t n = recv(from->fd, r->chunk, CHUNK_BYTES, 0);
    if (n <= 0)
        return n;
    if (n < CHUNK_BYTES && !from->is_peer_done)
        from->is_readable = false;
    ssize_t done = 0;
    while (done < n && to->is_writable) {
        ssize_t sent = send(to->fd, r->chunk + done, (size_t)(n - done), MSG_NOSIGNAL);
        if (sent < 0)
            stop_writing(to);
        else
            done += sent;
    }
    if (done < n)
        keep(from, r->chunk + done, (size_t)(n - done));
    return n;
}

static ssize_t splice_once(struct relay *r, struct leg *from, struct leg *to)
{
    if (!pipe_take(r, &from->pipe))
        return copy_once(r, from, to);
    ssize_t n = splice(from->fd, NULL, from->pipe.in, NULL, PIPE_BYTES, SPLICE_F_NONBLOCK);
    if (n > 0)
        from->pipe.held = (size_t)n;
    int error = errno;
    flush(r, from, to);
    errno = error;
    return n;
}

/* Returns bytes moved; -1: broken. Leaves is_readable set when @budget ended it. */
static ssize_t pump(struct relay *r, struct leg *from, struct leg *to, size_t budget, bool is_bulk)
{
    size_t moved = 0;
    if (!flush(r, from, to))
        return 0;
    while (from->is_readable && !from->is_eof && moved < budget) {
        ssize_t n = is_bulk && r->uses_splice ? splice_once(r, from, to) : copy_once(r, from, to);
        if (n > 0)
            moved += (size_t)n;
        else if (n == 0)
            from->is_eof = true;
        else if (errno == EAGAIN)
            from->is_readable = false;
        else
            return -1;
        if (from->rest || from->pipe.held > 0)
            break;
    }
    if (from->is_eof && !to->is_shut && !from->rest && from->pipe.held == 0) {
        shutdown(to->fd, SHUT_WR);
        to->is_shut = true;
    }
    return (ssize_t)moved;
}

static bool wants_more(const struct leg *from, const struct leg *to)
{
    return from->is_readable && !from->is_eof && !from->rest && from->pipe.held == 0;
}

/* Both ways. Returns bytes moved, or -1 when the tunnel is over. */
static ssize_t relay(struct relay *r, struct tunnel *t, size_t budget)
{
    struct leg *c = &t->legs[0], *o = &t->legs[1];
    ssize_t up = pump(r, c, o, budget, t->is_bulk);
    ssize_t down = up < 0 ? -1 : pump(r, o, c, budget, t->is_bulk);
    if (down < 0 || (c->is_shut && o->is_shut) || c->is_broken || o->is_broken) {
        tunnel_end(r, t);
        return -1;
    }
    return up + down;
}

static void on_traffic(struct relay *r, struct tunnel *t)
{
    if (!t->is_bulk) {
        if (relay(r, t, CHUNK_BYTES) < 0)
            return;
        if (!wants_more(&t->legs[0], &t->legs[1]) && !wants_more(&t->legs[1], &t->legs[0]))
            return;
        t->is_bulk = true;
        t->quantum_left = QUANTUM_BYTES;
    }
    bulk_insert(r->bulk.prev_bulk, t);
}

static void on_bulk_turn(struct relay *r)
{
    struct tunnel *t = r->bulk.next_bulk;
    if (t == &r->bulk)
        return;
    bulk_remove(t);
    ssize_t moved = relay(r, t, TURN_BYTES);
    if (moved < 0)
        return;
    if (!wants_more(&t->legs[0], &t->legs[1]) && !wants_more(&t->legs[1], &t->legs[0])) {
        t->is_bulk = moved >= CHUNK_BYTES;
        t->quantum_left = QUANTUM_BYTES;
    } else if ((size_t)moved < t->quantum_left) {
        t->quantum_left -= (size_t)moved;
        bulk_insert(&r->bulk, t);
    } else {
        t->quantum_left = QUANTUM_BYTES;
        bulk_insert(r->bulk.prev_bulk, t);
    }
}

static bool start_connect(struct relay *r, struct tunnel *t)
{
    char head[4096], address[16];
    unsigned port;
    ssize_t n = recv(t->legs[0].fd, head, sizeof(head) - 1, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    head[n] = '\0';
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (!strstr(head, "\r\n\r\n") || sscanf(head, "CONNECT %15[0-9.]:%5u ", address, &port) != 2 ||
        inet_pton(AF_INET, address, &to.sin_addr) != 1)
        return false;
    to.sin_port = htons((uint16_t)port);
    struct leg *o = &t->legs[1];
    o->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (o->fd < 0)
        return false;
    if (connect(o->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        return false;
    t->state = STATE_CONNECTING;
    return leg_watch(r, o) == 0;
}

static bool finish_connect(struct tunnel *t)
{
    static const char answer[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    t->state = STATE_RELAY;
    t->legs[0].is_readable = false; /* the next bytes raise an edge: clients wait for the 200 */
    return send(t->legs[0].fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) == sizeof(answer) - 1;
}

static void on_event(struct relay *r, struct leg *l, uint32_t events)
{
    struct tunnel *t = l->tunnel;
    if (t->state == STATE_DEAD)
        return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        if (t->state != STATE_RELAY || (events & EPOLLERR)) {
            tunnel_end(r, t);
            return;
        }
    }
    l->is_readable |= (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    l->is_writable |= (events & EPOLLOUT) != 0;
    l->is_peer_done |= (events & EPOLLRDHUP) != 0;
    bool is_fine = true;
    if (t->state == STATE_HEAD && l->is_readable)
        is_fine = start_connect(r, t);
    else if (t->state == STATE_CONNECTING && l == &t->legs[1] && l->is_writable)
        is_fine = finish_connect(t);
    if (!is_fine)
        tunnel_end(r, t);
    else if (t->state == STATE_RELAY)
        on_traffic(r, t);
}

static void run(struct relay *r)
{
    struct epoll_event events[BATCH];
    for (;;) {
        bool may_wait = r->bulk.next_bulk == &r->bulk;
        int n = epoll_wait(r->poll, events, BATCH, may_wait ? -1 : 0);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                on_event(r, events[i].data.ptr, events[i].events);
            else
                on_connections(r);
        }
        on_bulk_turn(r);
        while (r->dead) {
            struct tunnel *t = r->dead;
            r->dead = t->next_dead;
            free(t);
        }
    }
}

int main(int argc, char **argv)
{
    static struct relay r;
    int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET};
    if (argc != 4 || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) {
        fprintf(stderr, "usage: %s copy|splice ADDRESS PORT\n", argv[0]);
        return 2;
    }
    r.uses_splice = strcmp(argv[1], "splice") == 0;
    at.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
    r.bulk.next_bulk = r.bulk.prev_bulk = &r.bulk;
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    r.poll = epoll_create1(EPOLL_CLOEXEC);
    setsockopt(r.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (bind(r.listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(r.listener, 4096) < 0 ||
        epoll_ctl(r.poll, EPOLL_CTL_ADD, r.listener, &e) < 0) {
        perror("floor");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    run(&r);
}

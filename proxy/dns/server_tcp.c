/*
 * DNS by TCP for the LAN (RFC 7766). A connection carries any number of queries; each is answered
 * when its answer is there, in any order, prefix and message in one write. Everything is bounded:
 * connections in all and a source, queries in flight and unsent bytes a connection (then it is not
 * read), and the time between two complete messages. Memory follows what has arrived, not what a
 * length prefix claims. A client that has sent its FIN still gets its answers. A step runs until
 * nothing can be done; only the step frees a connection, and nothing follows it. Belongs to one
 * worker.
 */
#include "proxy/dns/server_tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/loop/io.h"

enum {
    CONNS_MAX = 1024,
    CONNS_PRESSED = CONNS_MAX * 3 / 4,
    SOURCE_CONNS_MAX = 32,
    IN_FLIGHT_MAX = 64,
    SOURCE_WAITERS_MAX = 512, /* of all its connections; others need room too */
    UNSENT_MAX = 128 * 1024,
    IN_FIRST_BYTES = 512,
    OUT_FIRST_BYTES = 1024,
    IDLE_MS = 10000, /* RFC 7766 section 6.2.3: seconds */
    IDLE_PRESSED_MS = 2000,
    PREFIX_BYTES = 2,
    FILLS_A_STEP = 16, /* then others have their turn */
    REVIEWED_A_ROUND = 32,
};

struct buffer {
    uint8_t *bytes; /* owned */
    size_t size, at, end;
};

struct tcp_conn {
    struct list node;
    struct server_tcp_socket *socket;
    struct source *source;
    struct endpoint peer;
    struct io io;
    struct timer idle;
    struct loop_task again; /* there was more to read than one step's share */
    struct buffer in, out;
    struct list waiters;
    unsigned n_waiting;
    bool is_ended; /* no more queries: FIN, idle with answers still due, or we retire */
    bool is_broken;
};

struct tcp_waiter {
    struct resolver_ask ask;
    struct list node;
    struct tcp_conn *conn;
    struct wire_query query;
    size_t query_bytes;
    uint64_t since_ms;
};

static void conn_step(struct tcp_conn *c);

/* ---- buffers ---- */

/* Room for @n more bytes behind the end. */
static bool make_room(struct buffer *b, size_t n, size_t first)
{
    if (b->at > 0) {
        memmove(b->bytes, b->bytes + b->at, b->end - b->at);
        b->end -= b->at;
        b->at = 0;
    }
    size_t size = b->size ? b->size : first;
    while (size - b->end < n)
        size *= 2;
    if (size == b->size)
        return true;
    uint8_t *bytes = realloc(b->bytes, size);
    if (!bytes)
        return false;
    b->bytes = bytes;
    b->size = size;
    return true;
}

static void empty(struct buffer *b)
{
    free(b->bytes);
    *b = (struct buffer){.bytes = NULL};
}

/* ---- life ---- */

static void waiter_free(struct tcp_waiter *w)
{
    resolver_ask_cancel(&w->ask);
    list_remove(&w->node);
    w->conn->n_waiting--;
    w->conn->source->n_tcp_waiting--;
    free(w);
}

static void conn_free(struct tcp_conn *c)
{
    struct server_tcp *t = c->socket->tcp;
    while (!list_is_empty(&c->waiters))
        waiter_free(list_entry(c->waiters.next, struct tcp_waiter, node));
    loop_timer_stop(t->context->loop, &c->idle);
    loop_task_remove(&c->again);
    io_close(&c->io);
    empty(&c->in);
    empty(&c->out);
    if (c->socket->next == &c->node)
        c->socket->next = c->node.next;
    list_remove(&c->node);
    c->source->n_conns--;
    sources_put(c->source);
    t->n_conns--;
    if (c->socket->when_idle && list_is_empty(&c->socket->conns))
        loop_task_add(t->context->loop, c->socket->when_idle);
    free(c);
}

static void on_idle(struct timer *t)
{
    struct tcp_conn *c = list_entry(t, struct tcp_conn, idle);
    if (c->n_waiting > 0 && !c->is_ended) {
        c->is_ended = true; /* the answers that are due, then the end */
        loop_timer_start(c->socket->tcp->context->loop, &c->idle, IDLE_MS, on_idle);
        return;
    }
    conn_free(c);
}

static uint64_t idle_ms(const struct server_tcp *t)
{
    return t->n_conns > CONNS_PRESSED ? IDLE_PRESSED_MS : IDLE_MS;
}

static void restart_idle(struct tcp_conn *c)
{
    struct server_tcp *t = c->socket->tcp;
    loop_timer_start(t->context->loop, &c->idle, idle_ms(t), on_idle);
}

/* ---- out ---- */

static size_t unsent(const struct tcp_conn *c)
{
    return c->out.end - c->out.at;
}

/* How long we keep an idle connection, for who wants to know (RFC 7828 section 3.3). */
static void say_keepalive(const struct tcp_conn *c, struct wire_query *q)
{
    const struct server_tcp *t = c->socket->tcp;
    q->says_keepalive = q->has_keepalive;
    q->keepalive_ds = t->n_conns > CONNS_PRESSED ? 0 : (uint16_t)(IDLE_MS / 100);
}

/* For log-queries. */
static void record_reply(const struct tcp_conn *c, const struct tcp_waiter *w,
                         const struct serve_reply *reply, size_t n_reply)
{
    struct serve_asker asker = {.view = c->socket->view,
                                .source = c->peer,
                                .is_tcp = true,
                                .bytes = w->query_bytes,
                                .since_ms = w->since_ms};
    serve_record(c->socket->tcp->context, &asker, &w->query, reply, n_reply);
}

static void put_reply(struct tcp_conn *c, struct serve_reply *reply, struct tcp_waiter *w)
{
    const struct serve_context *context = c->socket->tcp->context;
    size_t room = PREFIX_BYTES + serve_reply_bytes(reply);
    serve_count(context, true, reply->result);
    if (!make_room(&c->out, room, OUT_FIRST_BYTES)) {
        answer_unref(reply->answer);
        c->is_broken = true;
        return;
    }
    uint8_t *at = c->out.bytes + c->out.end;
    say_keepalive(c, &w->query);
    size_t max = room - PREFIX_BYTES < WIRE_MESSAGE_MAX ? room - PREFIX_BYTES : WIRE_MESSAGE_MAX;
    size_t len = serve_reply_write(context, reply, &w->query, at + PREFIX_BYTES, max);
    wire_put16(at, (unsigned)len);
    c->out.end += PREFIX_BYTES + len;
    if (serve_records(context, c->socket->view))
        record_reply(c, w, reply, len);
}

static void flush_out(struct tcp_conn *c)
{
    while (unsent(c) > 0 && c->io.is_writable) {
        ssize_t n = send(c->io.watch.fd, c->out.bytes + c->out.at, unsent(c), MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            c->io.is_writable = false;
        } else if (n < 0 && errno != EINTR) {
            c->is_broken = true;
            return;
        } else if (n > 0) {
            c->out.at += (size_t)n;
        }
    }
    if (unsent(c) == 0)
        empty(&c->out);
}

static void on_waiter_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    struct tcp_waiter *w = list_entry(ask, struct tcp_waiter, ask);
    struct tcp_conn *c = w->conn;
    struct serve_reply reply = serve_reply_of(c->socket->view, &w->query, result);
    c->socket->tcp->context->counters->n_waited++;
    if (unsent(c) < UNSENT_MAX) {
        put_reply(c, &reply, w);
    } else { /* it asks and asks, and reads nothing */
        answer_unref(reply.answer);
        serve_count(c->socket->tcp->context, true, SERVE_DROPPED);
        c->is_broken = true;
    }
    waiter_free(w);
    conn_step(c);
}

/* ---- in ---- */

static void take_message(struct tcp_conn *c, const uint8_t *msg, size_t len)
{
    const struct serve_context *context = c->socket->tcp->context;
    struct serve_reply reply;
    struct tcp_waiter *w = calloc(1, sizeof(*w));
    /* The rules may have changed since the connection was accepted. */
    if (!w || len < WIRE_HEADER_BYTES || !serve_admits(c->socket->view, &c->peer.addr, true)) {
        c->is_broken = true;
        free(w);
        return;
    }
    restart_idle(c);
    context->counters->n_tcp++;
    w->query_bytes = len;
    w->since_ms = loop_now_ms(context->loop);
    bool may_wait = c->source->n_tcp_waiting < SOURCE_WAITERS_MAX;
    switch (serve_query(context, c->socket->view, &c->peer, msg, len, true, &w->query,
                        may_wait ? &w->ask : NULL, on_waiter_done, &reply)) {
    case SERVE_REPLY:
        put_reply(c, &reply, w);
        break;
    case SERVE_WAIT:
        w->conn = c;
        list_append(&c->waiters, &w->node);
        c->n_waiting++;
        c->source->n_tcp_waiting++;
        return;
    case SERVE_DROP:
        context->counters->n_dropped++;
        reply = (struct serve_reply){
            .rcode = WIRE_RCODE_SERVFAIL, .ede = WIRE_EDE_NONE, .result = SERVE_DROPPED};
        if (!may_wait && !(wire_get16(msg + 2) & WIRE_FLAG_QR)) {
            put_reply(c, &reply, w);
        } else {
            serve_count(context, true, SERVE_DROPPED);
            c->is_broken = true;
        }
        break;
    }
    free(w);
}

static bool may_take(const struct tcp_conn *c)
{
    return !c->is_broken && c->n_waiting < IN_FLIGHT_MAX && unsent(c) < UNSENT_MAX;
}

/* Whether a whole message was there, and was taken. */
static bool take_next(struct tcp_conn *c)
{
    struct buffer *in = &c->in;
    size_t have = in->end - in->at;
    if (!may_take(c) || have < PREFIX_BYTES)
        return false;
    size_t len = wire_get16(in->bytes + in->at);
    if (len < WIRE_HEADER_BYTES) {
        c->is_broken = true;
        return false;
    }
    if (have < PREFIX_BYTES + len)
        return false;
    take_message(c, in->bytes + in->at + PREFIX_BYTES, len);
    in->at += PREFIX_BYTES + len;
    return true;
}

/* Reads once. Whether anything came. */
static bool fill(struct tcp_conn *c)
{
    if (!may_take(c) || c->is_ended || !c->io.is_readable)
        return false;
    if (!make_room(&c->in, 1, IN_FIRST_BYTES)) {
        c->is_broken = true;
        return false;
    }
    ssize_t n = recv(c->io.watch.fd, c->in.bytes + c->in.end, c->in.size - c->in.end, 0);
    if (n < 0 && errno == EAGAIN)
        c->io.is_readable = false;
    else if (n < 0 && errno != EINTR)
        c->is_broken = true;
    else if (n == 0)
        c->is_ended = true;
    if (n <= 0)
        return n < 0 && errno == EINTR;
    c->in.end += (size_t)n;
    return true;
}

static void conn_step(struct tcp_conn *c)
{
    unsigned n_fills = 0;
    do {
        while (take_next(c))
            ;
        flush_out(c);
    } while (n_fills++ < FILLS_A_STEP && fill(c));
    if (n_fills > FILLS_A_STEP)
        loop_task_add(c->socket->tcp->context->loop, &c->again);
    if (c->in.at == c->in.end)
        empty(&c->in);
    if (c->socket->when_idle)
        c->is_ended = true;
    if (c->is_broken || (c->is_ended && c->n_waiting == 0 && unsent(c) == 0))
        conn_free(c);
}

/* The socket has retired: what has arrived, told or not, is taken once more. */
static void conn_last_step(struct tcp_conn *c)
{
    c->io.is_readable = true;
    conn_step(c);
}

static void on_again(struct loop_task *t)
{
    conn_step(list_entry(t, struct tcp_conn, again));
}

static void on_conn_ready(struct io *io)
{
    conn_step(io->owner);
}

/* ---- sockets ---- */

static void on_accepted(struct listener *l, int fd, const struct endpoint *peer)
{
    struct server_tcp_socket *s = l->owner;
    struct server_tcp *t = s->tcp;
    struct dns_server_counters *counters = t->context->counters;
    if (!serve_admit(t->context, s->view, peer, true, 0)) {
        serve_denied(t->context, s->view, peer, true);
        close(fd);
        return;
    }
    struct source *source = sources_get(t->sources, &peer->addr);
    struct tcp_conn *c = NULL;
    if (source && source->n_conns < SOURCE_CONNS_MAX && t->n_conns < CONNS_MAX)
        c = calloc(1, sizeof(*c));
    if (!c || io_open(&c->io, t->context->loop, fd, on_conn_ready, c) < 0) {
        counters->n_connections_refused++;
        if (!c)
            close(fd);
        free(c);
        sources_put(source);
        return;
    }
    c->socket = s;
    c->source = source;
    c->peer = *peer;
    list_init(&c->waiters);
    loop_task_init(&c->again, on_again);
    list_append(&s->conns, &c->node);
    source->n_conns++;
    t->n_conns++;
    counters->n_connections++;
    restart_idle(c);
}

static void on_review(struct loop_task *task)
{
    struct server_tcp_socket *s = list_entry(task, struct server_tcp_socket, review);
    for (unsigned i = 0; i < REVIEWED_A_ROUND && s->next != &s->conns; i++) {
        struct tcp_conn *c = list_entry(s->next, struct tcp_conn, node);
        s->next = s->next->next;
        if (serve_admits(s->view, &c->peer.addr, true))
            continue;
        serve_denied(s->tcp->context, s->view, &c->peer, true);
        conn_free(c);
    }
    if (s->next != &s->conns)
        loop_task_add(s->tcp->context->loop, task);
    else
        s->next = NULL;
}

void server_tcp_review(struct server_tcp_socket *s)
{
    if (s->view->snapshot->conf.on_reload != CONF_RELOAD_REVOKE)
        return;
    s->next = s->conns.next;
    loop_task_add(s->tcp->context->loop, &s->review);
}

int server_tcp_open(struct server_tcp_socket *s, struct server_tcp *t,
                    const struct serve_view *view, int fd)
{
    *s = (struct server_tcp_socket){.tcp = t, .view = view};
    list_init(&s->conns);
    loop_task_init(&s->review, on_review);
    return listener_open(&s->listener, t->context->loop, fd, on_accepted, s);
}

void server_tcp_retire(struct server_tcp_socket *s, struct loop_task *when_idle)
{
    listener_close(&s->listener);
    loop_task_remove(&s->review);
    s->next = NULL;
    s->when_idle = when_idle;
    list_for_each_safe (pos, tmp, &s->conns)
        conn_last_step(list_entry(pos, struct tcp_conn, node));
    if (server_tcp_is_idle(s))
        loop_task_add(s->tcp->context->loop, when_idle);
}

bool server_tcp_is_idle(const struct server_tcp_socket *s)
{
    return list_is_empty(&s->conns);
}

void server_tcp_close(struct server_tcp_socket *s)
{
    s->when_idle = NULL;
    listener_close(&s->listener);
    loop_task_remove(&s->review);
    while (!list_is_empty(&s->conns))
        conn_free(list_entry(s->conns.next, struct tcp_conn, node));
}

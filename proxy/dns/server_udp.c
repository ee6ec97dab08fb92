/*
 * Datagrams of the LAN. A batch is received at once, each query judged by [in] and answered in the
 * buffer it came in, and all answers leave at once; what has to wait keeps the little that an
 * answer needs, and leaves with the others of its round from the same buffers. The control data
 * that came with a query (IP_PKTINFO) is sent back with its answer, so it leaves from the address
 * and interface that was asked. Denied and unreadable datagrams cost a look-up and nothing else.
 * What waits is bounded in all and for each source; a source with very much of it gets no late
 * answers (DNSBomb, CVE-2024-33655). Belongs to one worker.
 */
#include "proxy/dns/server_udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 32,
    DATAGRAM_BYTES = 4096,                  /* RFC 5625 section 4.4.3 */
    BUFFER_BYTES = DATAGRAM_BYTES + 5 * 64, /* no two start in the same set of the cache */
    CONTROL_BYTES = CMSG_SPACE(sizeof(struct in6_pktinfo)),
    WAITERS_MAX = 8192,
    SOURCE_PROMPT_MAX = 128, /* waiting queries of a source that get their answer however late */
    SOURCE_WAITERS_MAX = 1024,
    LATE_MS = 1900,
    LAST_BATCHES_MAX = 8, /* of what arrived before it retired */
};

struct udp_waiter {
    struct resolver_ask ask;
    struct list in_socket, in_all;
    struct server_udp_socket *socket;
    struct source *source;
    struct wire_query query;
    struct sockaddr_in6 to; /* large enough for both families */
    socklen_t n_to;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
    size_t n_control;
    uint16_t query_bytes;
    uint64_t since_ms;
    bool is_prompt_only;
};

struct udp_batch {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_parts[BATCH], out_parts[BATCH];
    struct sockaddr_storage from[BATCH];
    _Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_BYTES];
    uint8_t bytes[BATCH][BUFFER_BYTES];
    unsigned n_out;
    struct server_udp_socket *late; /* whose late answers out[] holds; NULL: none */
    struct wire_query query;
};

static void on_flush(struct loop_task *t);

int server_udp_init(struct server_udp *u, const struct serve_context *context,
                    struct sources *sources)
{
    *u = (struct server_udp){
        .context = context, .sources = sources, .batch = calloc(1, sizeof(*u->batch))};
    list_init(&u->waiters);
    loop_task_init(&u->flush, on_flush);
    return u->batch ? 0 : -ENOMEM;
}

void server_udp_fini(struct server_udp *u)
{
    loop_task_remove(&u->flush);
    free(u->batch);
    free(u->spare);
    *u = (struct server_udp){.context = NULL};
}

/* ---- sending ---- */

static void send_batch(struct server_udp_socket *s)
{
    struct udp_batch *b = s->udp->batch;
    for (unsigned at = 0; at < b->n_out;) {
        int n = sendmmsg(s->fd, b->out + at, b->n_out - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* this one cannot be sent: a full queue or no way back */
            s->udp->context->counters->n_dropped++;
            n = 1;
        }
        at += (unsigned)n;
    }
    b->n_out = 0;
}

static void send_late(struct server_udp *u)
{
    if (u->batch->late)
        send_batch(u->batch->late);
    u->batch->late = NULL;
}

static void on_flush(struct loop_task *t)
{
    send_late(list_entry(t, struct server_udp, flush));
}

/* ---- waiting ---- */

static void waiter_free(struct udp_waiter *w)
{
    resolver_ask_cancel(&w->ask);
    list_remove(&w->in_socket);
    list_remove(&w->in_all);
    struct server_udp_socket *s = w->socket;
    s->udp->n_waiters--;
    w->source->n_waiting--;
    sources_put(w->source);
    free(w);
    if (s->when_idle && list_is_empty(&s->waiters))
        loop_task_add(s->udp->context->loop, s->when_idle);
}

static uint16_t limit_of(const struct wire_query *q)
{
    return q->udp_size < WIRE_UDP_BYTES ? q->udp_size : WIRE_UDP_BYTES;
}

/* For log-queries; @n_reply 0: not sent. */
static void record_late(const struct udp_waiter *w, const struct serve_reply *reply, size_t n_reply)
{
    const struct server_udp_socket *s = w->socket;
    if (!serve_records(s->udp->context, s->view))
        return;
    struct serve_asker asker = {.view = s->view, .bytes = w->query_bytes, .since_ms = w->since_ms};
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    memcpy(&from, &w->to, sizeof(w->to));
    if (endpoint_from_sockaddr(&from, &asker.source) == 0)
        serve_record(s->udp->context, &asker, &w->query, reply, n_reply);
}

/* The answer to @w leaves at the end of this round. */
static void queue_late(struct udp_waiter *w, struct serve_reply *reply)
{
    struct server_udp *u = w->socket->udp;
    struct udp_batch *b = u->batch;
    if (b->late != w->socket || b->n_out == BATCH)
        send_late(u);
    b->late = w->socket;
    unsigned i = b->n_out++;
    memcpy(&b->from[i], &w->to, sizeof(w->to));
    memcpy(b->control[i], w->control, w->n_control);
    b->out_parts[i].iov_base = b->bytes[i];
    b->out_parts[i].iov_len =
        serve_reply_write(u->context, reply, &w->query, b->bytes[i], limit_of(&w->query));
    b->out[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                        .msg_namelen = w->n_to,
                                        .msg_iov = &b->out_parts[i],
                                        .msg_iovlen = 1,
                                        .msg_control = w->n_control ? b->control[i] : NULL,
                                        .msg_controllen = w->n_control};
    record_late(w, reply, b->out_parts[i].iov_len);
    loop_task_add(u->context->loop, &u->flush);
}

static void on_waiter_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    struct udp_waiter *w = list_entry(ask, struct udp_waiter, ask);
    const struct serve_context *c = w->socket->udp->context;
    if (w->is_prompt_only && loop_now_ms(c->loop) - w->since_ms > LATE_MS) {
        c->counters->n_late++;
        serve_count(c, false, SERVE_DROPPED);
        record_late(w, &(struct serve_reply){.result = SERVE_DROPPED}, 0);
    } else {
        struct serve_reply reply = serve_reply_of(w->socket->view, &w->query, result);
        serve_count(c, false, reply.result);
        queue_late(w, &reply);
        c->counters->n_waited++;
    }
    waiter_free(w);
}

/* The spare has become the one that waits for @q's answer. */
static void keep_waiter(struct server_udp_socket *s, struct source *source, const struct mmsghdr *m)
{
    struct server_udp *u = s->udp;
    struct udp_waiter *w = u->spare;
    u->spare = NULL;
    w->socket = s;
    w->source = source;
    w->query = u->batch->query;
    w->n_to = m->msg_hdr.msg_namelen;
    memcpy(&w->to, m->msg_hdr.msg_name, w->n_to < sizeof(w->to) ? w->n_to : sizeof(w->to));
    w->n_control = m->msg_hdr.msg_controllen;
    memcpy(w->control, m->msg_hdr.msg_control, w->n_control);
    w->query_bytes = (uint16_t)m->msg_len;
    w->since_ms = loop_now_ms(u->context->loop);
    w->is_prompt_only = ++source->n_waiting > SOURCE_PROMPT_MAX;
    list_append(&s->waiters, &w->in_socket);
    list_append(&u->waiters, &w->in_all);
    if (++u->n_waiters <= WAITERS_MAX)
        return;
    serve_count(u->context, false, SERVE_DROPPED);
    u->context->counters->n_dropped++; /* the oldest has most likely given up */
    w = list_entry(u->waiters.next, struct udp_waiter, in_all);
    record_late(w, &(struct serve_reply){.result = SERVE_DROPPED}, 0);
    waiter_free(w);
}

/* ---- one datagram ---- */

/* The local address that was asked, if the kernel told. */
static bool find_asked(const struct msghdr *msg, struct addr *ret)
{
    struct msghdr *m = (struct msghdr *)(uintptr_t)msg;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            *ret = addr_from_ipv4(ntohl(info.ipi_addr.s_addr));
            return true;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            *ret = addr_from_in6(&info.ipi6_addr);
            return true;
        }
    }
    return false;
}

static bool is_multicast(const struct addr *a)
{
    return addr_is_ipv4(a) ? addr_ipv4(a) >> 28 == 14 || addr_ipv4(a) == UINT32_MAX
                           : a->bytes[0] == 0xff;
}

/* Port 0 cannot be answered; our own socket would answer itself for ever; and nobody asks by
 * multicast here. */
static bool is_loop(const struct server_udp_socket *s, const struct endpoint *peer,
                    const struct msghdr *msg)
{
    struct addr asked;
    if (peer->port == 0)
        return true;
    if (!find_asked(msg, &asked))
        return false;
    return is_multicast(&asked) ||
           (peer->port == s->port && addr_compare(&peer->addr, &asked) == 0);
}

/* The answer leaves from the buffer of the query, to where that came from. */
static size_t queue_reply(struct server_udp *u, unsigned i, struct serve_reply *reply)
{
    struct udp_batch *b = u->batch;
    struct mmsghdr *out = &b->out[b->n_out];
    b->out_parts[b->n_out] = (struct iovec){
        .iov_base = b->bytes[i],
        .iov_len =
            serve_reply_write(u->context, reply, &b->query, b->bytes[i], limit_of(&b->query)),
    };
    out->msg_hdr = b->in[i].msg_hdr;
    out->msg_hdr.msg_flags = 0;
    out->msg_hdr.msg_iov = &b->out_parts[b->n_out];
    return b->out_parts[b->n_out++].iov_len;
}

/* For log-queries: of what needed no waiting. */
static void record_now(const struct server_udp_socket *s, unsigned i, const struct endpoint *peer,
                       const struct serve_reply *reply, size_t n_reply)
{
    const struct serve_context *c = s->udp->context;
    struct serve_asker asker = {.view = s->view,
                                .source = *peer,
                                .bytes = s->udp->batch->in[i].msg_len,
                                .since_ms = loop_now_ms(c->loop)};
    serve_record(c, &asker, &s->udp->batch->query, reply, n_reply);
}

/* The resolver holds the spare waiter's ask. */
static void start_waiting(struct server_udp_socket *s, unsigned i, const struct endpoint *peer)
{
    struct server_udp *u = s->udp;
    struct source *source = sources_get(u->sources, &peer->addr);
    if (source) {
        keep_waiter(s, source, &u->batch->in[i]);
        return;
    }
    resolver_ask_cancel(&u->spare->ask);
    serve_count(u->context, false, SERVE_DROPPED);
    u->context->counters->n_dropped++;
}

/* Nobody has so much waiting that it takes the room of others. */
static bool may_wait(const struct server_udp *u, const struct endpoint *peer)
{
    if (u->n_waiters < SOURCE_WAITERS_MAX)
        return true;
    const struct source *source = sources_find(u->sources, &peer->addr);
    return !source || source->n_waiting < SOURCE_WAITERS_MAX;
}

static void take_query(struct server_udp_socket *s, unsigned i, const struct endpoint *peer)
{
    struct server_udp *u = s->udp;
    struct udp_batch *b = u->batch;
    struct serve_reply reply;
    size_t n_reply;
    if (!u->spare)
        u->spare = calloc(1, sizeof(*u->spare));
    if (!u->spare) {
        serve_count(u->context, false, SERVE_DROPPED);
        u->context->counters->n_dropped++;
        return;
    }
    u->context->counters->n_udp++;
    switch (serve_query(u->context, s->view, peer, b->bytes[i], b->in[i].msg_len, false, &b->query,
                        may_wait(u, peer) ? &u->spare->ask : NULL, on_waiter_done, &reply)) {
    case SERVE_REPLY:
        serve_count(u->context, false, reply.result);
        n_reply = queue_reply(u, i, &reply);
        if (serve_records(u->context, s->view))
            record_now(s, i, peer, &reply, n_reply);
        return;
    case SERVE_WAIT:
        start_waiting(s, i, peer);
        return;
    case SERVE_DROP:
        serve_count(u->context, false, SERVE_DROPPED);
        u->context->counters->n_dropped++;
        if (b->query.has_question && serve_records(u->context, s->view))
            record_now(s, i, peer, &(struct serve_reply){.result = SERVE_DROPPED}, 0);
        return;
    }
}

static void take_denied(struct server_udp_socket *s, unsigned i, const struct endpoint *peer)
{
    struct server_udp *u = s->udp;
    struct serve_reply reply;
    serve_denied(u->context, s->view, peer, false);
    if (s->view->snapshot && s->view->snapshot->conf.acl_dns_refused &&
        serve_refusal(u->batch->bytes[i], u->batch->in[i].msg_len, &u->batch->query, &reply) ==
            SERVE_REPLY)
        queue_reply(u, i, &reply);
}

static void take_datagram(struct server_udp_socket *s, unsigned i)
{
    struct mmsghdr *m = &s->udp->batch->in[i];
    struct endpoint peer;
    if (endpoint_from_sockaddr(&s->udp->batch->from[i], &peer) < 0 ||
        m->msg_hdr.msg_flags & MSG_TRUNC || is_loop(s, &peer, &m->msg_hdr)) {
        serve_count(s->udp->context, false, SERVE_DROPPED);
        s->udp->context->counters->n_dropped++;
        return;
    }
    if (serve_admit(s->udp->context, s->view, &peer, false, m->msg_len))
        take_query(s, i, &peer);
    else
        take_denied(s, i, &peer);
}

/* ---- batches ---- */

static int receive(struct server_udp_socket *s)
{
    struct udp_batch *b = s->udp->batch;
    for (unsigned i = 0; i < BATCH; i++) {
        b->in_parts[i] = (struct iovec){.iov_base = b->bytes[i], .iov_len = DATAGRAM_BYTES};
        b->in[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                           .msg_namelen = sizeof(b->from[i]),
                                           .msg_iov = &b->in_parts[i],
                                           .msg_iovlen = 1,
                                           .msg_control = b->control[i],
                                           .msg_controllen = CONTROL_BYTES};
    }
    return recvmmsg(s->fd, b->in, BATCH, MSG_DONTWAIT, NULL);
}

/* One batch, then others have their turn: the level brings us back. With four of them a tunnel
 * beside a flood waited 7 ms for each round trip, with one 1.7 ms, and as many queries are
 * answered. */
static int take_batch(struct server_udp_socket *s)
{
    send_late(s->udp); /* the buffers are wanted */
    int n = receive(s);
    for (int i = 0; i < n; i++)
        take_datagram(s, (unsigned)i);
    if (n > 0)
        send_batch(s);
    return n;
}

static void on_socket_readable(struct watch *w, uint32_t events)
{
    (void)events;
    take_batch(list_entry(w, struct server_udp_socket, watch));
}

/* ---- sockets ---- */

int server_udp_open(struct server_udp_socket *s, struct server_udp *u,
                    const struct serve_view *view, int fd)
{
    *s = (struct server_udp_socket){.udp = u, .view = view, .fd = fd, .watch.fd = -1};
    list_init(&s->waiters);
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct endpoint local;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
        endpoint_from_sockaddr(&ss, &local) == 0)
        s->port = local.port;
    int rc = watch_open(&u->context->loop->watches, &s->watch, fd, EPOLLIN, on_socket_readable);
    if (rc < 0)
        s->fd = -1;
    return rc;
}

void server_udp_retire(struct server_udp_socket *s, struct loop_task *when_idle)
{
    for (unsigned i = 0; i < LAST_BATCHES_MAX && take_batch(s) == BATCH; i++)
        ;
    watch_release(&s->watch);
    s->when_idle = when_idle;
    if (server_udp_is_idle(s))
        loop_task_add(s->udp->context->loop, when_idle);
}

bool server_udp_is_idle(const struct server_udp_socket *s)
{
    return list_is_empty(&s->waiters);
}

void server_udp_close(struct server_udp_socket *s)
{
    if (s->fd < 0)
        return;
    s->when_idle = NULL;
    while (!list_is_empty(&s->waiters))
        waiter_free(list_entry(s->waiters.next, struct udp_waiter, in_socket));
    if (s->udp->batch->late == s)
        send_late(s->udp);
    watch_release(&s->watch);
    close(s->fd);
    s->fd = -1;
}

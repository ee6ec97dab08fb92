/* dns_fake - a scripted name server on 127.0.0.1 in the loop of the test, UDP and TCP on one port.
 */
#ifndef TESTS_FLOW_DNS_FAKE_H
#define TESTS_FLOW_DNS_FAKE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/dns/wire.h"
#include "proxy/loop/loop.h"
#include "proxy/net/egress.h"

enum { FAKE_CONNS = 64, FAKE_ASKERS = 2048 };

struct fake;
/* One query as it came in; a script answers with fake_send() as often as it likes. */
struct fake_query {
    struct fake *fake;
    bool is_tcp;
    int fd;
    struct sockaddr_storage from;
    socklen_t n_from;
    uint8_t msg[WIRE_MESSAGE_MAX];
    size_t len;
    struct wire_query parsed;
    unsigned n; /* 1 for the first query this server got */
};
typedef void (*fake_script_fn)(struct fake_query *q);

struct fake_conn {
    struct fake *fake;
    int fd;
    struct event event;
    uint8_t in[2 + 4096];
    size_t n_in;
};

struct fake {
    struct loop *loop;
    struct endpoint at;
    int udp, tcp;
    struct event udp_event, tcp_event;
    struct fake_conn conns[FAKE_CONNS];
    fake_script_fn script;
    unsigned n_udp, n_tcp;
    uint16_t ports[FAKE_ASKERS]; /* source ports of the first queries */
    uint16_t ids[FAKE_ASKERS];
    struct fake_query query; /* the one at hand; also the last one */
};

static inline void fake_send(struct fake_query *q, const uint8_t *msg, size_t len)
{
    if (!q->is_tcp) {
        cr_assert_eq(sendto(q->fd, msg, len, 0, (struct sockaddr *)&q->from, q->n_from),
                     (ssize_t)len);
        return;
    }
    uint8_t *framed = malloc(len + 2);
    wire_put16(framed, (unsigned)len);
    memcpy(framed + 2, msg, len);
    cr_assert_eq(send(q->fd, framed, len + 2, MSG_NOSIGNAL), (ssize_t)(len + 2));
    free(framed);
}

static inline void fake_take(struct fake *f)
{
    struct fake_query *q = &f->query;
    cr_assert_eq(wire_query_parse(q->msg, q->len, &q->parsed), 0,
                 "the query sent upstream is not valid");
    q->fake = f;
    q->n = f->n_udp + f->n_tcp;
    if (f->script)
        f->script(q);
}

static inline void on_fake_udp(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct fake *f = arg;
    struct fake_query *q = &f->query;
    q->n_from = sizeof(q->from);
    ssize_t n = recvfrom(fd, q->msg, sizeof(q->msg), 0, (struct sockaddr *)&q->from, &q->n_from);
    if (n < 0)
        return;
    q->is_tcp = false;
    q->fd = fd;
    q->len = (size_t)n;
    if (f->n_udp < FAKE_ASKERS) {
        f->ports[f->n_udp] = ntohs(((struct sockaddr_in *)&q->from)->sin_port);
        f->ids[f->n_udp] = wire_get16(q->msg);
    }
    f->n_udp++;
    fake_take(f);
}

static inline void fake_conn_close(struct fake_conn *c)
{
    if (c->fd < 0)
        return;
    event_del(&c->event);
    close(c->fd);
    c->fd = -1;
}

static inline void on_fake_conn(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct fake_conn *c = arg;
    ssize_t n = recv(fd, c->in + c->n_in, sizeof(c->in) - c->n_in, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            fake_conn_close(c);
        return;
    }
    c->n_in += (size_t)n;
    while (c->fd >= 0 && c->n_in >= 2 && c->n_in >= 2u + wire_get16(c->in)) {
        struct fake_query *q = &c->fake->query;
        size_t len = wire_get16(c->in);
        memcpy(q->msg, c->in + 2, len);
        q->len = len;
        q->is_tcp = true;
        q->fd = c->fd;
        c->fake->n_tcp++;
        c->n_in -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->n_in);
        fake_take(c->fake);
    }
}

static inline void on_fake_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct fake *f = arg;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (unsigned i = 0; peer >= 0 && i < FAKE_CONNS; i++) {
        struct fake_conn *c = &f->conns[i];
        if (c->fd >= 0)
            continue;
        *c = (struct fake_conn){.fake = f, .fd = peer};
        event_assign(&c->event, f->loop->base, peer, EV_READ | EV_PERSIST, on_fake_conn, c);
        event_add(&c->event, NULL);
        return;
    }
    if (peer >= 0)
        close(peer);
}

/* From inside a script: the connection of the query at hand goes away. */
static inline void fake_hang_up(struct fake_query *q)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++) {
        if (q->fake->conns[i].fd == q->fd)
            fake_conn_close(&q->fake->conns[i]);
    }
}

static inline int fake_bind(int type, const struct endpoint *at)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(at, &ss);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&ss, len) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Some free port of 127.0.0.1, the same for both. */
static inline void fake_open(struct fake *f, struct loop *loop, fake_script_fn script)
{
    memset(f, 0, sizeof(*f));
    f->loop = loop;
    f->script = script;
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        f->conns[i].fd = -1;
    for (unsigned tries = 0; tries < 50; tries++) {
        f->at = (struct endpoint){.addr = addr_from_ipv4(0x7f000001)};
        f->udp = fake_bind(SOCK_DGRAM, &f->at);
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        cr_assert_eq(getsockname(f->udp, (struct sockaddr *)&ss, &len), 0);
        cr_assert_eq(endpoint_from_sockaddr(&ss, &f->at), 0);
        f->tcp = fake_bind(SOCK_STREAM, &f->at);
        if (f->tcp >= 0)
            break;
        close(f->udp);
    }
    cr_assert_geq(f->tcp, 0);
    event_assign(&f->udp_event, loop->base, f->udp, EV_READ | EV_PERSIST, on_fake_udp, f);
    event_assign(&f->tcp_event, loop->base, f->tcp, EV_READ | EV_PERSIST, on_fake_accept, f);
    event_add(&f->udp_event, NULL);
    event_add(&f->tcp_event, NULL);
}

static inline void fake_close(struct fake *f)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        fake_conn_close(&f->conns[i]);
    if (f->udp >= 0) {
        event_del(&f->udp_event);
        close(f->udp);
    }
    if (f->tcp >= 0) {
        event_del(&f->tcp_event);
        close(f->tcp);
    }
    f->udp = f->tcp = -1;
}

/* ---- replies ---- */

struct fake_reply {
    uint8_t msg[WIRE_MESSAGE_MAX];
    size_t len;
};

/* Header and question of @q. */
static inline void reply_begin(struct fake_reply *r, const struct fake_query *q, unsigned rcode)
{
    const struct wire_question *question = &q->parsed.question;
    memset(r->msg, 0, WIRE_HEADER_BYTES);
    wire_put16(r->msg, q->parsed.id);
    wire_put16(r->msg + 2, WIRE_FLAG_QR | WIRE_FLAG_RD | WIRE_FLAG_RA | rcode);
    wire_put16(r->msg + 4, 1);
    memcpy(r->msg + WIRE_HEADER_BYTES, question->name.bytes, question->name.len);
    r->len = WIRE_HEADER_BYTES + question->name.len;
    wire_put16(r->msg + r->len, question->type);
    wire_put16(r->msg + r->len + 2, question->class);
    r->len += 4;
}

/* @section: 0 answer, 1 authority, 2 additional. @owner NULL: the question's name. */
static inline void reply_add(struct fake_reply *r, unsigned section, const char *owner,
                             unsigned type, uint32_t ttl, const void *data, size_t n_data)
{
    uint8_t *count = r->msg + 6 + 2 * section;
    wire_put16(count, wire_get16(count) + 1u);
    if (owner) {
        struct wire_name name;
        cr_assert_eq(wire_name_from_text(owner, strlen(owner), &name), 0);
        memcpy(r->msg + r->len, name.bytes, name.len);
        r->len += name.len;
    } else {
        wire_put16(r->msg + r->len, 0xc00c);
        r->len += 2;
    }
    uint8_t *p = r->msg + r->len;
    wire_put16(p, type);
    wire_put16(p + 2, WIRE_CLASS_IN);
    wire_put32(p + 4, ttl);
    wire_put16(p + 8, (unsigned)n_data);
    memcpy(p + 10, data, n_data);
    r->len += 10 + n_data;
}

static inline void reply_add_a(struct fake_reply *r, uint32_t ttl, uint32_t address)
{
    uint8_t data[4];
    wire_put32(data, address);
    reply_add(r, 0, NULL, WIRE_TYPE_A, ttl, data, sizeof(data));
}

static inline void reply_add_aaaa(struct fake_reply *r, uint32_t ttl, uint8_t last)
{
    uint8_t data[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = last};
    reply_add(r, 0, NULL, WIRE_TYPE_AAAA, ttl, data, sizeof(data));
}

static inline void reply_add_name(struct fake_reply *r, unsigned section, const char *owner,
                                  unsigned type, uint32_t ttl, const char *target)
{
    struct wire_name name;
    cr_assert_eq(wire_name_from_text(target, strlen(target), &name), 0);
    reply_add(r, section, owner, type, ttl, name.bytes, name.len);
}

static inline void reply_add_soa(struct fake_reply *r, const char *owner, uint32_t ttl,
                                 uint32_t minimum)
{
    uint8_t data[2 + 20] = {0};
    wire_put32(data + 18, minimum);
    reply_add(r, 1, owner, WIRE_TYPE_SOA, ttl, data, sizeof(data));
}

static inline void reply_add_opt(struct fake_reply *r, unsigned extended_rcode, unsigned version)
{
    wire_put16(r->msg + 10, wire_get16(r->msg + 10) + 1u);
    uint8_t *p = r->msg + r->len;
    memset(p, 0, WIRE_OPT_BYTES);
    wire_put16(p + 1, WIRE_TYPE_OPT);
    wire_put16(p + 3, 4096);
    wire_put32(p + 5, extended_rcode << 24 | version << 16);
    r->len += WIRE_OPT_BYTES;
}

/* 192.0.2.1 or 2001:db8::1, TTL 300, whatever was asked; NODATA for other types. */
static inline void script_answers(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    if (q->parsed.question.type == WIRE_TYPE_A)
        reply_add_a(r, 300, 0xc0000201);
    else if (q->parsed.question.type == WIRE_TYPE_AAAA)
        reply_add_aaaa(r, 300, 1);
    else
        reply_add_soa(r, "example", 300, 60);
    if (q->parsed.has_opt)
        reply_add_opt(r, 0, 0);
    fake_send(q, r->msg, r->len);
    free(r);
}

static inline void script_code(struct fake_query *q, unsigned rcode)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, rcode);
    fake_send(q, r->msg, r->len);
    free(r);
}
static inline void script_servfail(struct fake_query *q)
{
    script_code(q, WIRE_RCODE_SERVFAIL);
}
static inline void script_refused(struct fake_query *q)
{
    script_code(q, WIRE_RCODE_REFUSED);
}
static inline void script_nxdomain(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, WIRE_RCODE_NXDOMAIN);
    reply_add_soa(r, "example", 300, 60);
    fake_send(q, r->msg, r->len);
    free(r);
}
static inline void script_silent(struct fake_query *q)
{
    (void)q;
}

/* ---- the loop ---- */

struct patience {
    struct timer timer;
    bool is_over;
};

static inline void on_patience_over(struct timer *t)
{
    list_entry(t, struct patience, timer)->is_over = true;
}

/* Rounds until *@flag, or @ms have passed. Returns *@flag. */
static inline bool run_until(struct loop *loop, const bool *flag, uint64_t ms)
{
    struct patience p = {.is_over = false};
    loop_timer_start(loop, &p.timer, ms, on_patience_over);
    while (!*flag && !p.is_over)
        loop_round(loop, true);
    loop_timer_stop(loop, &p.timer);
    return *flag;
}

/* Rounds for @ms. */
static inline void run_for(struct loop *loop, uint64_t ms)
{
    bool never = false;
    run_until(loop, &never, ms);
}

#endif

/*
 * The LAN side on a real loop: clients on 127.0.0.0/8, a scripted name server behind. Case ids are
 * those of the abuse list (D..) and of the DNS checklist (B..).
 */
#include "proxy/dns/server.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proxy/net/rates.h"
#include "proxy/net/listener.h"
#include "tests/flow/dns_fake.h"

enum { UDP_ID = 1, TCP_ID = 2, REPLY_MS = 2000, SILENCE_MS = 60 };

struct rig {
    struct loop loop;
    struct resolver resolver;
    struct dns_server *server;
    struct fake fake;
    struct snapshot *snapshot;
    struct endpoint udp, tcp; /* ours */
    int client;               /* UDP, connected to us, from 127.0.0.1 */
    uint8_t reply[WIRE_MESSAGE_MAX];
    size_t n_reply;
};

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static struct snapshot *load(const struct endpoint *name_server, const char *dns_lines,
                             const char *acl_lines, const char *in_lines)
{
    char dir[] = "/tmp/ukai-dns-XXXXXX", path[64], acl[64], text[1024], server[ENDPOINT_TEXT_MAX];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/ukai.conf", dir);
    snprintf(acl, sizeof(acl), "%s/acl.conf", dir);
    snprintf(text, sizeof(text),
             "[dns]\nlisten-network = 127.0.0.1\nname-server = %s\n%s\n[acl]\nfile = acl.conf\n%s\n"
             "[timeouts]\ndns = 1s\n",
             endpoint_text(name_server, server), dns_lines, acl_lines);
    write_file(path, text);
    write_file(acl, in_lines);
    struct findings findings = {0};
    struct snapshot *s = NULL;
    int rc = snapshot_load(path, &findings, &s);
    cr_assert_eq(rc, 0, "snapshot_load: %d, %zu findings: %s", rc, findings.n_items,
                 findings.n_items ? findings.items[0].text : "");
    findings_fini(&findings);
    unlink(path);
    unlink(acl);
    rmdir(dir);
    return s;
}

static struct endpoint local_of(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct endpoint e;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    cr_assert_eq(endpoint_from_sockaddr(&ss, &e), 0);
    return e;
}

static int client_socket(int type, uint32_t from, uint16_t port, const struct endpoint *to)
{
    struct endpoint local = {.addr = addr_from_ipv4(from), .port = port};
    struct sockaddr_storage ss;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = endpoint_to_sockaddr(&local, &ss);
    cr_assert_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
    len = endpoint_to_sockaddr(to, &ss);
    cr_assert(connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
    return fd;
}

static const char all_local[] = "[in]\nudp 53 = 127.0.0.1\ntcp 53 = 127.0.0.1\n";

static struct rig *rig_new_with(fake_script_fn script, const char *dns_lines, const char *acl_lines)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct addr any_local = addr_from_ipv4(0x7f000001);
    cr_assert_eq(loop_init(&r->loop), 0);
    cr_assert_eq(resolver_init(&r->resolver, &r->loop, 1 << 20), 0);
    fake_open(&r->fake, &r->loop, script);
    r->snapshot = load(&r->fake.at, dns_lines, acl_lines, all_local);
    r->server = dns_server_new(&r->loop, &r->resolver);
    int udp = listener_socket(SOCK_DGRAM, "", false, &any_local, 0);
    int tcp = listener_socket(SOCK_STREAM, "", false, &any_local, 0);
    r->udp = local_of(udp);
    r->tcp = local_of(tcp);
    cr_assert_eq(dns_server_add_udp(r->server, UDP_ID, udp), 0);
    cr_assert_eq(dns_server_add_tcp(r->server, TCP_ID, tcp), 0);
    cr_assert_eq(dns_server_set_view(r->server, UDP_ID, r->snapshot, &r->snapshot->conf.dns[0]), 0);
    cr_assert_eq(dns_server_set_view(r->server, TCP_ID, r->snapshot, &r->snapshot->conf.dns[0]), 0);
    r->client = client_socket(SOCK_DGRAM, 0x7f000001, 0, &r->udp);
    return r;
}

static struct rig *rig_new(fake_script_fn script)
{
    return rig_new_with(script, "", "");
}

static void rig_free(struct rig *r)
{
    close(r->client);
    dns_server_free(r->server);
    snapshot_unref(r->snapshot);
    resolver_fini(&r->resolver);
    fake_close(&r->fake);
    loop_fini(&r->loop);
    free(r);
}

/* Rounds that end when there is something on the client's @fd, or the patience is over. */
struct client_wait {
    struct loop *loop;
    struct patience patience;
    struct event event;
};

static void on_client_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* to end the round is all */
}

static void wait_begin(struct client_wait *w, struct rig *r, int fd, uint64_t ms)
{
    *w = (struct client_wait){.loop = &r->loop};
    loop_timer_start(&r->loop, &w->patience.timer, ms, on_patience_over);
    event_assign(&w->event, r->loop.base, fd, EV_READ | EV_ET | EV_PERSIST, on_client_event, w);
    cr_assert_eq(event_add(&w->event, NULL), 0);
}

/* false: there is no more patience. */
static bool wait_round(struct client_wait *w)
{
    if (!w->patience.is_over)
        loop_round(w->loop, true);
    return !w->patience.is_over;
}

static void wait_end(struct client_wait *w)
{
    loop_timer_stop(w->loop, &w->patience.timer);
    event_del(&w->event);
}

/* Whether something came on @fd within @ms; it is in r->reply. */
static bool await(struct rig *r, int fd, uint64_t ms)
{
    struct client_wait w;
    ssize_t n;
    wait_begin(&w, r, fd, ms);
    do {
        n = recv(fd, r->reply, sizeof(r->reply), 0);
    } while (n < 0 && errno == EAGAIN && wait_round(&w));
    wait_end(&w);
    r->n_reply = n < 0 ? 0 : (size_t)n;
    return n >= 0;
}

static void expect_silence(struct rig *r, int fd, const char *what)
{
    cr_assert(!await(r, fd, SILENCE_MS), "%s: answered", what);
}

static unsigned rcode_of(const struct rig *r)
{
    return wire_get16(r->reply + 2) & WIRE_RCODE_MASK;
}

struct query {
    uint8_t msg[WIRE_MESSAGE_MAX];
    size_t len;
};

static struct query *query_new(uint16_t id, const char *name, unsigned type)
{
    struct query *q = calloc(1, sizeof(*q));
    struct wire_question question = {.type = (uint16_t)type, .class = WIRE_CLASS_IN};
    cr_assert_eq(wire_name_from_text(name, strlen(name), &question.name), 0);
    struct wire_ask ask = {.question = &question, .id = id, .without_opt = true};
    q->len = wire_ask_write(&ask, q->msg);
    return q;
}

static void query_add_opt(struct query *q, unsigned size, unsigned version, const uint8_t *options,
                          size_t n_options)
{
    wire_put16(q->msg + 10, wire_get16(q->msg + 10) + 1u);
    uint8_t *p = q->msg + q->len;
    memset(p, 0, WIRE_OPT_BYTES);
    wire_put16(p + 1, WIRE_TYPE_OPT);
    wire_put16(p + 3, size);
    wire_put32(p + 5, version << 16);
    wire_put16(p + 9, (unsigned)n_options);
    if (n_options)
        memcpy(p + WIRE_OPT_BYTES, options, n_options);
    q->len += WIRE_OPT_BYTES + n_options;
}

/* Sends and frees. */
static void send_query(struct rig *r, struct query *q)
{
    cr_assert_eq(send(r->client, q->msg, q->len, 0), (ssize_t)q->len);
    free(q);
    (void)r;
}

static void ask(struct rig *r, struct query *q)
{
    send_query(r, q);
    cr_assert(await(r, r->client, REPLY_MS), "no answer");
    cr_assert_geq(r->n_reply, (size_t)WIRE_HEADER_BYTES);
}

static void expect_answer(struct rig *r, uint16_t id, unsigned n_answers)
{
    cr_assert_eq(wire_get16(r->reply), id, "id %u", wire_get16(r->reply));
    cr_assert_eq(rcode_of(r), 0, "rcode %u", rcode_of(r));
    cr_assert_eq(wire_get16(r->reply + 6), n_answers, "%u answers", wire_get16(r->reply + 6));
}

Test(dns_server, udp__answers__asked_and_cached)
{
    struct rig *r = rig_new(script_answers);
    ask(r, query_new(0x1111, "www.example", WIRE_TYPE_A));
    expect_answer(r, 0x1111, 1);
    ask(r, query_new(0x2222, "www.example", WIRE_TYPE_A));
    expect_answer(r, 0x2222, 1);
    cr_assert_eq(r->fake.n_udp, 1);
    cr_assert_eq(dns_server_counters(r->server)->n_hits, 1);
    cr_assert_eq(dns_server_counters(r->server)->n_waited, 1);
    rig_free(r);
}

/* B6, B7, D19: header bits, case, OPT only for those who sent one. */
Test(dns_server, udp__keeps_case_and_flags__for_each_asker)
{
    struct rig *r = rig_new(script_answers);
    for (unsigned i = 0; i < 2; i++) {
        const char *name = i ? "WWW.eXaMpLe" : "wWw.ExAmPlE";
        struct query *q = query_new(7, name, WIRE_TYPE_A);
        wire_put16(q->msg + 2, WIRE_FLAG_RD | (i ? WIRE_FLAG_CD : 0));
        if (i)
            query_add_opt(q, 1232, 0, NULL, 0);
        struct query copy = *q;
        ask(r, q);
        expect_answer(r, 7, 1);
        cr_assert_eq(memcmp(r->reply + 12, copy.msg + 12, 17), 0, "the question is not as asked");
        cr_assert_eq(wire_get16(r->reply + 2),
                     WIRE_FLAG_QR | WIRE_FLAG_RA | WIRE_FLAG_RD | (i ? WIRE_FLAG_CD : 0));
        cr_assert_eq(wire_get16(r->reply + 10), i, "%u additional", wire_get16(r->reply + 10));
    }
    rig_free(r);
}

/* D01, D02: never an answer. */
Test(dns_server, udp__is_silent__for_what_is_no_query)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    for (size_t len = 0; len < 12; len++) {
        cr_assert_eq(send(r->client, q->msg, len, 0), (ssize_t)len);
        expect_silence(r, r->client, "short datagram");
    }
    wire_put16(q->msg + 2, WIRE_FLAG_QR | WIRE_FLAG_RD);
    send_query(r, q);
    expect_silence(r, r->client, "QR=1");
    cr_assert_eq(dns_server_counters(r->server)->n_dropped, 13);
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* D13: from port 53 a query is a query. */
Test(dns_server, udp__drops_its_own_address__and_answers_port_53)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(9, "www.example", WIRE_TYPE_A);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_storage ss;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t len = endpoint_to_sockaddr(&r->udp, &ss);
    cr_assert_eq(bind(fd, (struct sockaddr *)&ss, len), 0); /* as if we sent it */
    sendto(fd, q->msg, q->len, 0, (struct sockaddr *)&ss, len);
    close(fd);
    run_for(&r->loop, SILENCE_MS);
    cr_assert_eq(r->fake.n_udp, 0);
    int from_53 = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct endpoint port_53 = {.addr = addr_from_ipv4(0x7f000001), .port = 53};
    struct sockaddr_storage ss53;
    socklen_t len53 = endpoint_to_sockaddr(&port_53, &ss53);
    if (bind(from_53, (struct sockaddr *)&ss53, len53) == 0) {
        cr_assert_gt(sendto(from_53, q->msg, q->len, 0, (struct sockaddr *)&ss, len), 0);
        cr_assert(await(r, from_53, REPLY_MS));
        expect_answer(r, 9, 1);
    }
    close(from_53);
    free(q);
    rig_free(r);
}

/* D03 */
Test(dns_server, udp__says_notimp__to_other_opcodes)
{
    struct rig *r = rig_new(script_answers);
    for (unsigned opcode = 1; opcode < 16; opcode++) {
        struct query *q = query_new((uint16_t)(100 + opcode), "www.example", WIRE_TYPE_A);
        wire_put16(q->msg + 2, opcode << 11);
        ask(r, q);
        cr_assert_eq(rcode_of(r), WIRE_RCODE_NOTIMP);
        cr_assert_eq(wire_get16(r->reply), 100 + opcode);
        cr_assert_eq(wire_get16(r->reply + 2) & WIRE_OPCODE_MASK, opcode << 11);
        cr_assert_eq(r->n_reply, 12u, "reflects %zu bytes", r->n_reply);
    }
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* D04, D05 */
Test(dns_server, udp__says_formerr__when_counts_lie)
{
    static const struct {
        unsigned at, count;
    } rows[] = {{4, 0}, {4, 2}, {4, 65535}, {6, 1}, {6, 65535}, {8, 65535}, {10, 1}, {10, 65535}};
    struct rig *r = rig_new(script_answers);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query *q = query_new((uint16_t)i, "www.example", WIRE_TYPE_A);
        wire_put16(q->msg + rows[i].at, rows[i].count);
        ask(r, q);
        cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR, "row %zu: rcode %u", i, rcode_of(r));
        cr_assert_eq(wire_get16(r->reply), i);
    }
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* D06, D07: question names that are none. */
Test(dns_server, udp__says_formerr__to_bad_question_names)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x40"
         "a\0\0\x01\0\x01",
         7},
        {"\x80"
         "a\0\0\x01\0\x01",
         7},
        {"\xc0\x0c\0\x01\0\x01", 6},
        {"\xc0\x00\0\x01\0\x01", 6},
        {"\xc0\xff\0\x01\0\x01", 6},
        {"\x01"
         "a\xc0\x0c\0\x01\0\x01",
         8},
        {"\x03www", 4},
        {"\x01"
         "a\0\0\x01\0",
         6},
        {"", 0},
    };
    struct rig *r = rig_new(script_answers);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query *q = query_new((uint16_t)i, "x", WIRE_TYPE_A);
        memcpy(q->msg + 12, rows[i].bytes, rows[i].len);
        q->len = 12 + rows[i].len;
        ask(r, q);
        cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR, "row %zu: rcode %u", i, rcode_of(r));
    }
    struct query *q = query_new(77, "x", WIRE_TYPE_A);
    for (unsigned i = 0; i < 64; i++) /* 256 bytes of labels */
        memcpy(q->msg + 12 + 4 * i,
               "\x03"
               "abc",
               4);
    memcpy(q->msg + 12 + 256, "\0\0\x01\0\x01", 5);
    q->len = 12 + 256 + 5;
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR);
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* D08: stripped. */
Test(dns_server, udp__strips__trailing_bytes)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(8, "www.example", WIRE_TYPE_A);
    memcpy(q->msg + q->len, "smuggled", 8);
    q->len += 8;
    ask(r, q);
    expect_answer(r, 8, 1);
    cr_assert_null(memmem(r->fake.query.msg, r->fake.query.len, "smuggled", 8));
    cr_assert_null(memmem(r->reply, r->n_reply, "smuggled", 8));
    rig_free(r);
}

/* D09, B8 to B10 */
Test(dns_server, udp__judges_opt__to_the_letter)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, NULL, 0);
    query_add_opt(q, 1232, 0, NULL, 0);
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR, "two OPT: %u", rcode_of(r));
    cr_assert_eq(wire_get16(r->reply + 10), 1, "FORMERR without OPT");

    q = query_new(2, "www.example", WIRE_TYPE_A);
    size_t at = q->len;
    query_add_opt(q, 1232, 0, NULL, 0);
    memmove(q->msg + at + 2, q->msg + at, WIRE_OPT_BYTES);
    memcpy(q->msg + at, "\x01x", 2);
    q->len += 2;
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR, "owner not root: %u", rcode_of(r));

    q = query_new(3, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 1, NULL, 0);
    ask(r, q);
    cr_assert_eq(rcode_of(r), 0, "BADVERS has no low bits");
    const uint8_t *opt = r->reply + r->n_reply - WIRE_OPT_BYTES;
    cr_assert_eq(wire_get32(opt + 5), 1u << 24, "extended code 1, version 0: %08x",
                 wire_get32(opt + 5));

    static uint8_t options[500 * 4];
    for (unsigned i = 0; i < 500; i++)
        wire_put16(options + 4 * i, 65001);
    q = query_new(4, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, options, sizeof(options));
    ask(r, q);
    expect_answer(r, 4, 1);
    opt = r->reply + r->n_reply - WIRE_OPT_BYTES;
    cr_assert_eq(wire_get16(opt + 9), 0, "options were echoed");

    q = query_new(5, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0,
                  (const uint8_t *)"\xfd\xe9\0\x05"
                                   "abcd",
                  8); /* says 5, has 4 */
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_FORMERR, "option past the end: %u", rcode_of(r));
    cr_assert_eq(r->fake.n_udp, 1);
    rig_free(r);
}

static void script_big_txt(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    uint8_t text[256];
    memset(text, 'x', sizeof(text));
    text[0] = 255;
    if (!q->is_tcp) { /* as a real server would */
        reply_begin(r, q, 0);
        wire_put16(r->msg + 2, wire_get16(r->msg + 2) | WIRE_FLAG_TC);
    } else {
        reply_begin(r, q, 0);
        for (unsigned i = 0; i < 6; i++)
            reply_add(r, 0, NULL, WIRE_TYPE_TXT, 300, text, sizeof(text));
    }
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_txt_of_900(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    uint8_t text[256];
    memset(text, 'x', sizeof(text));
    text[0] = 255;
    reply_begin(r, q, 0);
    for (unsigned i = 0; i < 3; i++)
        reply_add(r, 0, NULL, WIRE_TYPE_TXT, 300, text, sizeof(text));
    fake_send(q, r->msg, r->len);
    free(r);
}

/* D10, B11 */
Test(dns_server, udp__fits_or_truncates__by_the_askers_size)
{
    static const struct {
        int size; /* -1: no OPT */
        bool is_cut;
    } rows[] = {{-1, true},  {0, true},     {511, true},   {512, true},
                {800, true}, {1232, false}, {65535, false}};
    struct rig *r = rig_new(script_txt_of_900);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query *q = query_new((uint16_t)i, "big.example", WIRE_TYPE_TXT);
        if (rows[i].size >= 0)
            query_add_opt(q, (unsigned)rows[i].size, 0, NULL, 0);
        ask(r, q);
        bool is_cut = wire_get16(r->reply + 2) & WIRE_FLAG_TC;
        size_t limit = rows[i].size < 512 ? 512 : rows[i].size > 1232 ? 1232 : (size_t)rows[i].size;
        cr_assert_eq(is_cut, rows[i].is_cut, "size %d", rows[i].size);
        cr_assert_leq(r->n_reply, limit, "size %d: %zu bytes", rows[i].size, r->n_reply);
        cr_assert_eq(wire_get16(r->reply + 6), is_cut ? 0 : 3);
        cr_assert_eq(wire_get16(r->reply + 10), rows[i].size >= 0);
    }
    rig_free(r);
}

/* D11: what does not fit costs its asker little. */
Test(dns_server, udp__truncates__whatever_the_upstream_had)
{
    struct rig *r = rig_new(script_big_txt);
    struct query *q = query_new(1, "big.example", WIRE_TYPE_TXT);
    query_add_opt(q, 65535, 0, NULL, 0);
    ask(r, q);
    cr_assert(wire_get16(r->reply + 2) & WIRE_FLAG_TC);
    cr_assert_leq(r->n_reply, 64u);
    cr_assert_eq(r->fake.n_tcp, 1, "fetched whole by TCP");
    rig_free(r);
}

/* B13, B14, D14, D15 */
Test(dns_server, udp__refuses_or_forwards__by_type)
{
    static const struct {
        const char *name;
        unsigned type, class, rcode, n_upstream;
    } rows[] = {
        {"example", WIRE_TYPE_AXFR, WIRE_CLASS_IN, WIRE_RCODE_REFUSED, 0},
        {"example", WIRE_TYPE_IXFR, WIRE_CLASS_IN, WIRE_RCODE_REFUSED, 0},
        {"version.bind", WIRE_TYPE_TXT, WIRE_CLASS_CH, WIRE_RCODE_REFUSED, 0},
        {"ID.Server", WIRE_TYPE_TXT, WIRE_CLASS_CH, WIRE_RCODE_REFUSED, 0},
        {"other.bind", WIRE_TYPE_TXT, WIRE_CLASS_CH, 0, 1},
        {"t.example", 65280, WIRE_CLASS_IN, 0, 1},
        {"s.example", 65, WIRE_CLASS_IN, 0, 1},
        {"any.example", WIRE_TYPE_ANY, WIRE_CLASS_IN, 0, 1},
        {"c.example", WIRE_TYPE_A, WIRE_CLASS_ANY, 0, 1},
        {"o.example", WIRE_TYPE_OPT, WIRE_CLASS_IN, WIRE_RCODE_FORMERR, 0},
    };
    struct rig *r = rig_new(script_answers);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query *q = query_new((uint16_t)i, rows[i].name, rows[i].type);
        wire_put16(q->msg + q->len - 2, rows[i].class);
        unsigned before = r->fake.n_udp;
        ask(r, q);
        cr_assert_eq(rcode_of(r), rows[i].rcode, "%s: rcode %u", rows[i].name, rcode_of(r));
        cr_assert_eq(r->fake.n_udp - before, rows[i].n_upstream, "%s", rows[i].name);
    }
    rig_free(r);
}

static void script_signs(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 9); /* NOTAUTH, as for a key that it does not know */
    reply_add(r, 2, "key", WIRE_TYPE_TSIG, 0, "theirs", 6);
    fake_send(q, r->msg, r->len);
    free(r);
}

/* B1 §4.5: byte by byte, in both directions, and never from the cache. */
Test(dns_server, udp__passes_signed_queries__as_they_are)
{
    struct rig *r = rig_new(script_signs);
    for (unsigned i = 1; i <= 2; i++) {
        struct query *q = query_new(99, "tsig.example", WIRE_TYPE_A);
        reply_add((struct fake_reply *)(void *)q, 2, "key", WIRE_TYPE_TSIG, 0, "ours", 4);
        uint8_t sent[512];
        size_t n_sent = q->len;
        memcpy(sent, q->msg, n_sent);
        ask(r, q);
        cr_assert_eq(r->fake.n_udp, i);
        cr_assert_eq(r->fake.query.len, n_sent);
        cr_assert_arr_eq(r->fake.query.msg + 2, sent + 2, n_sent - 2);
        cr_assert_eq(rcode_of(r), 9, "rcode %u", rcode_of(r));
        cr_assert_not_null(memmem(r->reply, r->n_reply, "theirs", 6));
        cr_assert_eq(wire_get16(r->reply), 99);
    }
    rig_free(r);
}

Test(dns_server, udp__says_its_version_and_hinfo__when_configured)
{
    struct rig *r =
        rig_new_with(script_answers, "version-answer = none of yours\nany-queries = minimal", "");
    struct query *q = query_new(1, "version.bind", WIRE_TYPE_TXT);
    wire_put16(q->msg + q->len - 2, WIRE_CLASS_CH);
    ask(r, q);
    expect_answer(r, 1, 1);
    cr_assert_not_null(memmem(r->reply, r->n_reply, "none of yours", 13));
    ask(r, query_new(2, "www.example", WIRE_TYPE_ANY));
    expect_answer(r, 2, 1);
    cr_assert_not_null(memmem(r->reply, r->n_reply, "RFC8482", 7));
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* Contract section 3, B19: the name rules of [out] hold for queries. */
Test(dns_server, udp__refuses__what_name_rules_forbid)
{
    static const struct {
        const char *name;
        bool is_refused;
    } rows[] = {{"www.evil.example", true}, {"WWW.EVIL.example", true},   {"good.example", false},
                {"other.example", true},    {"www\\.evil.example", true}, {"x.good.example", true}};
    struct rig *r = rig_new(script_answers);
    struct snapshot *s =
        load(&r->fake.at, "", "",
             "[in]\nudp 53 = 127.0.0.1\n[out]\ndeny = *.evil.example\nallow = good.example\n");
    cr_assert_eq(dns_server_set_view(r->server, UDP_ID, s, &s->conf.dns[0]), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query *q = query_new((uint16_t)i, rows[i].name, WIRE_TYPE_A);
        query_add_opt(q, 1232, 0, NULL, 0);
        ask(r, q);
        cr_assert_eq(rcode_of(r), rows[i].is_refused ? WIRE_RCODE_REFUSED : 0, "%s: %u",
                     rows[i].name, rcode_of(r));
        if (rows[i].is_refused)
            cr_assert_eq(wire_get16(r->reply + r->n_reply - 2), 15, "%s: EDE", rows[i].name);
    }
    cr_assert_eq(r->fake.n_udp, 1);
    s->conf.dns[0].apply_out = false;
    ask(r, query_new(99, "other.example", WIRE_TYPE_A));
    expect_answer(r, 99, 1);
    snapshot_unref(s);
    rig_free(r);
}

/* B5 */
Test(dns_server, udp__refuses__without_recursion_and_cache)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    wire_put16(q->msg + 2, 0);
    query_add_opt(q, 1232, 0, NULL, 0);
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_REFUSED);
    const uint8_t *ede = r->reply + r->n_reply - WIRE_EDE_BYTES;
    cr_assert_eq(wire_get16(ede), 15);
    cr_assert_eq(wire_get16(ede + 4), 20);
    cr_assert_eq(r->fake.n_udp, 0);
    rig_free(r);
}

/* B4: odd header bits do not matter. */
Test(dns_server, udp__answers__with_odd_header_bits)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(4, "www.example", WIRE_TYPE_A);
    wire_put16(q->msg + 2,
               WIRE_FLAG_RD | WIRE_FLAG_TC | WIRE_FLAG_AA | WIRE_FLAG_RA | 0x0040 | 0x000f);
    ask(r, q);
    expect_answer(r, 4, 1);
    cr_assert_eq(wire_get16(r->reply + 2), WIRE_FLAG_QR | WIRE_FLAG_RA | WIRE_FLAG_RD);
    rig_free(r);
}

/* B17 */
Test(dns_server, udp__is_silent__to_other_sources)
{
    struct rig *r = rig_new(script_answers);
    int other = client_socket(SOCK_DGRAM, 0x7f000002, 0, &r->udp);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    cr_assert_gt(send(other, q->msg, q->len, 0), 0);
    expect_silence(r, other, "127.0.0.2");
    cr_assert_eq(dns_server_counters(r->server)->n_denied, 1);
    cr_assert_eq(r->fake.n_udp, 0);
    close(other);
    free(q);
    rig_free(r);
}

Test(dns_server, udp__refuses__other_sources_when_told_so)
{
    struct rig *r = rig_new_with(script_answers, "", "deny-answer-dns = refused");
    int other = client_socket(SOCK_DGRAM, 0x7f000002, 0, &r->udp);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, NULL, 0);
    cr_assert_gt(send(other, q->msg, q->len, 0), 0);
    cr_assert(await(r, other, REPLY_MS));
    cr_assert_eq(rcode_of(r), WIRE_RCODE_REFUSED);
    cr_assert_eq(wire_get16(r->reply + r->n_reply - 2), 18);
    wire_put16(q->msg + 2, WIRE_FLAG_QR);
    cr_assert_gt(send(other, q->msg, q->len, 0), 0);
    expect_silence(r, other, "an answer");
    close(other);
    free(q);
    rig_free(r);
}

/* A reload takes the source away: the next query is not answered; then it gives it back. */
Test(dns_server, set_view__holds__from_the_next_query_on)
{
    struct rig *r = rig_new(script_answers);
    struct snapshot *narrow =
        load(&r->fake.at, "", "", "[in]\nudp 53 = 127.0.0.9\ntcp 53 = 127.0.0.9\n");
    ask(r, query_new(1, "www.example", WIRE_TYPE_A));
    send_query(r, query_new(2, "slow.example", WIRE_TYPE_A));
    cr_assert_eq(dns_server_set_view(r->server, UDP_ID, narrow, &narrow->conf.dns[0]), 0);
    expect_silence(r, r->client, "denied by the new rules");
    cr_assert_eq(r->resolver.last_group, 1, "an equal group was made anew");
    cr_assert_eq(dns_server_set_view(r->server, UDP_ID, r->snapshot, &r->snapshot->conf.dns[0]), 0);
    snapshot_unref(narrow);
    ask(r, query_new(3, "www.example", WIRE_TYPE_A));
    expect_answer(r, 3, 1);
    cr_assert_eq(r->fake.n_udp, 1);
    rig_free(r);
}

/* D16: same question, different ids. */
Test(dns_server, udp__asks_once__when_many_ask)
{
    enum { N = 100 };
    struct rig *r = rig_new(script_answers);
    static bool seen[N];
    for (unsigned i = 0; i < N; i++)
        send_query(r, query_new((uint16_t)i, "www.example", WIRE_TYPE_A));
    for (unsigned i = 0; i < N; i++) {
        cr_assert(await(r, r->client, REPLY_MS), "%u answers", i);
        seen[wire_get16(r->reply)] = true;
    }
    for (unsigned i = 0; i < N; i++)
        cr_assert(seen[i], "%u was not answered", i);
    cr_assert_eq(r->fake.n_udp, 1);
    rig_free(r);
}

/* D20: any byte in a label passes and comes back. */
Test(dns_server, udp__keeps_bytes__in_odd_labels)
{
    struct rig *r = rig_new(script_answers);
    struct query *q = query_new(1, "a\\000b\\.c\\255\\013\\010.example", WIRE_TYPE_A);
    struct query copy = *q;
    ask(r, q);
    expect_answer(r, 1, 1);
    cr_assert_eq(memcmp(r->reply + 12, copy.msg + 12, copy.len - 12), 0);
    ask(r, query_new(2, "a\\000b.c\\255\\013\\010.example", WIRE_TYPE_A));
    cr_assert_eq(r->fake.n_udp, 2, "a dot in a label is no label end");
    rig_free(r);
}

/* SERVFAIL at the dns timeout, B21. */
Test(dns_server, udp__says_servfail__when_upstream_is_silent)
{
    struct rig *r = rig_new(script_silent);
    ask(r, query_new(1, "www.example", WIRE_TYPE_A));
    cr_assert_eq(rcode_of(r), WIRE_RCODE_SERVFAIL);
    rig_free(r);
}

Test(dns_server, remove__is_clean__with_queries_waiting)
{
    struct rig *r = rig_new(script_silent);
    send_query(r, query_new(1, "www.example", WIRE_TYPE_A));
    run_for(&r->loop, 30);
    cr_assert_eq(r->fake.n_udp, 1);
    dns_server_remove(r->server, UDP_ID);
    dns_server_remove(r->server, UDP_ID);
    run_for(&r->loop, 1100);
    rig_free(r);
}

/* B20: the answer comes from the address that was asked, though the socket is bound to all. */
Test(dns_server, udp__answers_from__the_address_asked)
{
    struct rig *r = rig_new(script_answers);
    struct addr any = addr_from_ipv4(0), second = addr_from_ipv4(0x7f000005);
    int fd = listener_socket(SOCK_DGRAM, "", false, &any, 0);
    struct endpoint at = {.addr = second, .port = local_of(fd).port};
    cr_assert_eq(dns_server_add_udp(r->server, 3, fd), 0);
    cr_assert_eq(dns_server_set_view(r->server, 3, r->snapshot, &r->snapshot->conf.dns[0]), 0);
    int client = client_socket(SOCK_DGRAM, 0x7f000001, 0,
                               &at);   /* connected: takes answers from there only */
    for (unsigned i = 0; i < 2; i++) { /* one that waits, one at once */
        struct query *q = query_new(5, "www.example", WIRE_TYPE_A);
        cr_assert_gt(send(client, q->msg, q->len, 0), 0);
        free(q);
        cr_assert(await(r, client, REPLY_MS), "no answer from 127.0.0.5");
        expect_answer(r, 5, 1);
    }
    close(client);
    rig_free(r);
}

Test(dns_server, udp__answers__by_ipv6)
{
    struct rig *r = rig_new(script_answers);
    struct addr loopback;
    cr_assert_eq(addr_parse("::1", 3, &loopback), 0);
    int fd = listener_socket(SOCK_DGRAM, "", true, &loopback, 0);
    if (fd < 0) {
        rig_free(r);
        cr_skip_test("no IPv6 here");
    }
    struct endpoint at = local_of(fd);
    struct snapshot *s = load(&r->fake.at, "", "", "[in]\nudp 53 = ::1\n");
    cr_assert_eq(dns_server_add_udp(r->server, 3, fd), 0);
    cr_assert_eq(dns_server_set_view(r->server, 3, s, &s->conf.dns[0]), 0);
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&at, &ss);
    int client = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(connect(client, (struct sockaddr *)&ss, len), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct query *q = query_new(6, "www.example", WIRE_TYPE_A);
        cr_assert_gt(send(client, q->msg, q->len, 0), 0);
        free(q);
        cr_assert(await(r, client, REPLY_MS));
        expect_answer(r, 6, 1);
    }
    close(client);
    snapshot_unref(s);
    rig_free(r);
}

/* ---- TCP ---- */

static int tcp_client(struct rig *r)
{
    int fd = client_socket(SOCK_STREAM, 0x7f000001, 0, &r->tcp);
    run_for(&r->loop, 5);
    return fd;
}

static void tcp_send(int fd, const uint8_t *msg, size_t len)
{
    uint8_t *framed = malloc(len + 2);
    wire_put16(framed, (unsigned)len);
    memcpy(framed + 2, msg, len);
    cr_assert_eq(send(fd, framed, len + 2, MSG_NOSIGNAL), (ssize_t)(len + 2));
    free(framed);
}

/* One message into r->reply, without its prefix. false: the connection ended or nothing came. */
static bool tcp_receive(struct rig *r, int fd, uint64_t ms)
{
    struct client_wait w;
    uint8_t prefix[2];
    bool is_whole = false;
    ssize_t n;
    wait_begin(&w, r, fd, ms);
    do {
        n = recv(fd, prefix, 2, MSG_PEEK);
        is_whole =
            n == 2 && recv(fd, r->reply, sizeof(r->reply), MSG_PEEK) >= 2 + wire_get16(prefix);
    } while (!is_whole && n != 0 && (n > 0 || errno == EAGAIN) && wait_round(&w));
    wait_end(&w);
    if (!is_whole)
        return false;
    cr_assert_eq(recv(fd, prefix, 2, 0), 2);
    r->n_reply = wire_get16(prefix);
    cr_assert_eq(recv(fd, r->reply, r->n_reply, 0), (ssize_t)r->n_reply);
    return true;
}

static bool tcp_is_closed(struct rig *r, int fd, uint64_t ms)
{
    struct client_wait w;
    char byte;
    ssize_t n;
    wait_begin(&w, r, fd, ms);
    do {
        n = recv(fd, &byte, 1, 0);
    } while (n < 0 && errno == EAGAIN && wait_round(&w));
    wait_end(&w);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* RFC 5625 section 4.4.1: asked by TCP, asks by TCP; and whole. */
Test(dns_server, tcp__answers_whole__what_udp_truncates)
{
    struct rig *r = rig_new(script_big_txt);
    int fd = tcp_client(r);
    struct query *q = query_new(1, "big.example", WIRE_TYPE_TXT);
    tcp_send(fd, q->msg, q->len);
    free(q);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    expect_answer(r, 1, 6);
    cr_assert_eq(r->fake.n_udp, 0);
    cr_assert_eq(r->fake.n_tcp, 1);
    close(fd);
    rig_free(r);
}

/* D18, B22: one byte at a time. */
Test(dns_server, tcp__answers__one_byte_at_a_time)
{
    struct rig *r = rig_new(script_answers);
    int fd = tcp_client(r);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    uint8_t framed[300];
    wire_put16(framed, (unsigned)q->len);
    memcpy(framed + 2, q->msg, q->len);
    for (size_t i = 0; i < q->len + 2; i++) {
        cr_assert_eq(send(fd, framed + i, 1, MSG_NOSIGNAL), 1);
        loop_round(&r->loop, false);
        loop_round(&r->loop, false);
    }
    free(q);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    expect_answer(r, 1, 1);
    close(fd);
    rig_free(r);
}

/* D18, B23: 100 pipelined, half of them cached, and a half-close behind them. */
Test(dns_server, tcp__answers_all__pipelined_and_half_closed)
{
    enum { N = 100 };
    struct rig *r = rig_new(script_answers);
    int fd = tcp_client(r);
    static bool seen[N];
    for (unsigned i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%u.example", i % 50);
        struct query *q = query_new((uint16_t)i, name, WIRE_TYPE_A);
        tcp_send(fd, q->msg, q->len);
        free(q);
    }
    shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < N; i++) {
        cr_assert(tcp_receive(r, fd, REPLY_MS), "%u answers", i);
        cr_assert_eq(rcode_of(r), 0);
        seen[wire_get16(r->reply)] = true;
    }
    for (unsigned i = 0; i < N; i++)
        cr_assert(seen[i], "%u was not answered", i);
    cr_assert(tcp_is_closed(r, fd, 500), "stays open behind the half-close");
    close(fd);
    rig_free(r);
}

static void script_slow_is_silent(struct fake_query *q)
{
    if (q->parsed.question.name.bytes[1] != 's')
        script_answers(q);
}

/* No head of line: a slow one does not hold up the next. */
Test(dns_server, tcp__answers_out_of_order__when_one_is_slow)
{
    struct rig *r = rig_new(script_slow_is_silent);
    int fd = tcp_client(r);
    struct query *slow = query_new(1, "slow.example", WIRE_TYPE_A),
                 *fast = query_new(2, "fast.example", WIRE_TYPE_A);
    tcp_send(fd, slow->msg, slow->len);
    tcp_send(fd, fast->msg, fast->len);
    free(slow);
    free(fast);
    cr_assert(tcp_receive(r, fd, 500));
    expect_answer(r, 2, 1);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    cr_assert_eq(wire_get16(r->reply), 1);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_SERVFAIL);
    close(fd);
    rig_free(r);
}

/* D18, B28 */
Test(dns_server, tcp__closes__on_impossible_lengths_and_answers)
{
    struct rig *r = rig_new(script_answers);
    static const uint8_t rows[][14] = {
        {0, 0}, {0, 11}, {0, 12, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, /* QR=1 */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fd = tcp_client(r);
        cr_assert_eq(send(fd, rows[i], 14, MSG_NOSIGNAL), 14);
        cr_assert(tcp_is_closed(r, fd, 500), "row %zu stays open", i);
        close(fd);
    }
    rig_free(r);
}

/* D18, B25, B26: 65,535 announced and nothing sent; idle ones; the cap of one source. */
Test(dns_server, tcp__bounds_connections__of_one_source)
{
    enum { N = 40 };
    struct rig *r = rig_new(script_answers);
    int fds[N];
    for (unsigned i = 0; i < N; i++)
        fds[i] = tcp_client(r);
    run_for(&r->loop, 50);
    unsigned n_closed = 0;
    for (unsigned i = 0; i < N; i++)
        n_closed += tcp_is_closed(r, fds[i], 2);
    cr_assert_eq(n_closed, N - 32, "%u of %u closed", n_closed, N);
    cr_assert_eq(dns_server_counters(r->server)->n_connections_refused, N - 32);
    for (unsigned i = 0; i < N; i++)
        close(fds[i]);
    run_for(&r->loop, 50);
    int fd = tcp_client(r); /* and there is room again */
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    tcp_send(fd, q->msg, q->len);
    free(q);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    close(fd);
    rig_free(r);
}

Test(dns_server, tcp__closes_after_ten_seconds__without_a_message)
{
    struct rig *r = rig_new(script_answers);
    int idle = tcp_client(r), claims = tcp_client(r);
    cr_assert_eq(send(claims, "\xff\xff", 2, MSG_NOSIGNAL), 2);
    run_for(&r->loop, 9500);
    cr_assert_eq(send(claims, "x", 1, MSG_NOSIGNAL), 1); /* a byte is no message */
    cr_assert(!tcp_is_closed(r, idle, 10));
    cr_assert(tcp_is_closed(r, idle, 1000));
    cr_assert(tcp_is_closed(r, claims, 100));
    close(idle);
    close(claims);
    rig_free(r);
}

Test(dns_server, tcp__closes__other_sources_at_once)
{
    struct rig *r = rig_new_with(script_answers, "", "deny-answer-dns = refused");
    int fd = client_socket(SOCK_STREAM, 0x7f000002, 0, &r->tcp);
    cr_assert(tcp_is_closed(r, fd, 500));
    cr_assert_eq(dns_server_counters(r->server)->n_denied, 1);
    close(fd);
    rig_free(r);
}

/* B27: gone before the answer. */
Test(dns_server, tcp__is_clean__when_the_client_leaves)
{
    struct rig *r = rig_new(script_silent);
    int fd = tcp_client(r);
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    tcp_send(fd, q->msg, q->len);
    run_for(&r->loop, 20);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    run_for(&r->loop, 20);
    fd = tcp_client(r);
    tcp_send(fd, q->msg, q->len);
    run_for(&r->loop, 20);
    dns_server_remove(r->server, TCP_ID); /* and we leave before the answer */
    cr_assert(tcp_is_closed(r, fd, 100));
    close(fd);
    free(q);
    rig_free(r);
}

/* A client that sends and does not read is not answered without end. */
Test(dns_server, tcp__stops_reading__when_answers_are_not_taken)
{
    struct rig *r = rig_new(script_big_txt);
    int fd = tcp_client(r), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct query *q = query_new(1, "big.example", WIRE_TYPE_TXT);
    uint8_t framed[300];
    wire_put16(framed, (unsigned)q->len);
    memcpy(framed + 2, q->msg, q->len);
    size_t n_sent = 0;
    for (unsigned i = 0; i < 40000; i++) {
        if (send(fd, framed, q->len + 2, MSG_NOSIGNAL) != (ssize_t)(q->len + 2))
            break;
        n_sent++;
        if (i % 50 == 0)
            loop_round(&r->loop, false);
    }
    run_for(&r->loop, 100);
    const struct dns_server_counters *counters = dns_server_counters(r->server);
    cr_assert_lt(counters->n_tcp, n_sent, "took all %zu queries though nothing was read", n_sent);
    close(fd);
    free(q);
    rig_free(r);
}

/* RFC 7828: said to who asks, by TCP, also with an error. */
Test(dns_server, tcp__says_keepalive__to_who_asks)
{
    static const uint8_t wish[] = {0, 11, 0, 0};
    struct rig *r = rig_new(script_answers);
    int fd = tcp_client(r);
    for (unsigned i = 0; i < 3; i++) {
        struct query *q = query_new(1, "www.example", i == 2 ? WIRE_TYPE_AXFR : WIRE_TYPE_A);
        query_add_opt(q, 1232, 0, wish, i ? sizeof(wish) : 0);
        tcp_send(fd, q->msg, q->len);
        free(q);
        cr_assert(tcp_receive(r, fd, REPLY_MS));
        const uint8_t *end = r->reply + r->n_reply;
        cr_assert_eq(wire_get32(end - 6) == 0x000b0002, i > 0, "row %u", i);
        cr_assert(i == 0 || wire_get16(end - 2) == 100, "%u tenths", wire_get16(end - 2));
        cr_assert(i != 2 || rcode_of(r) == WIRE_RCODE_REFUSED);
    }
    close(fd);
    struct query *q = query_new(2, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, wish, sizeof(wish));
    ask(r, q);
    cr_assert_eq(wire_get16(r->reply + r->n_reply - 2), 0, "options by UDP");
    rig_free(r);
}

/* What a query with the keepalive option is told, in tenths of a second. */
static unsigned keepalive_of(struct rig *r, int fd)
{
    static const uint8_t wish[] = {0, 11, 0, 0};
    struct query *q = query_new(1, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, wish, sizeof(wish));
    tcp_send(fd, q->msg, q->len);
    free(q);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    const uint8_t *end = r->reply + r->n_reply;
    cr_assert_eq(wire_get32(end - 6), 0x000b0002);
    return wire_get16(end - 2);
}

static void may_open(unsigned n)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur >= n)
        return;
    limit.rlim_cur = limit.rlim_max < n ? limit.rlim_max : n;
    if (limit.rlim_max < n || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        cr_skip_test("no %u descriptors here", n);
}

/* B25, B26, B29: 1,024 connections of 32 sources and no more; past three quarters of them the idle
 * time of a connection that begins is 2 s instead of 10, and a client that asks is told 0. */
Test(dns_server, tcp__is_short_with_the_idle__when_connections_are_many)
{
    enum { MAX = 1024, PRESSED = 768, A_SOURCE = 32 };
    static int fds[MAX];
    may_open(2 * MAX + 100);
    struct rig *r = rig_new(script_answers);
    struct snapshot *s = load(&r->fake.at, "", "", "[in]\ntcp 53 = 127.0.0.0/8\n");
    cr_assert_eq(dns_server_set_view(r->server, TCP_ID, s, &s->conf.dns[0]), 0);
    const struct dns_server_counters *counters = dns_server_counters(r->server);
    for (unsigned i = 0; i < MAX; i++) {
        fds[i] = client_socket(SOCK_STREAM, 0x7f000101 + i / A_SOURCE, 0, &r->tcp);
        while (counters->n_connections + counters->n_connections_refused <= i)
            loop_round(&r->loop, true);
        if (i + 1 == PRESSED)
            cr_assert_eq(keepalive_of(r, fds[i]), 100, "short at %u", i + 1);
        if (i == PRESSED)
            cr_assert_eq(keepalive_of(r, fds[i]), 0, "generous at %u", i + 1);
    }
    cr_assert_eq(counters->n_connections_refused, 0);
    int surplus = client_socket(SOCK_STREAM, 0x7f000201, 0, &r->tcp);
    cr_assert(tcp_is_closed(r, surplus, REPLY_MS), "1,025 connections");
    close(surplus);
    cr_assert_eq(counters->n_connections_refused, 1);

    cr_assert_eq(keepalive_of(r, fds[0]), 0); /* its clock begins anew, and is the short one */
    run_for(&r->loop, 2500);
    unsigned n_early = 0, n_late = 0;
    for (unsigned i = 0; i < MAX; i++) {
        char byte;
        bool is_closed = recv(fds[i], &byte, 1, 0) == 0;
        n_early += i > 0 && i < PRESSED && is_closed;
        n_late += (i == 0 || i >= PRESSED) && is_closed;
    }
    cr_assert_eq(n_early, 0, "%u from before the pressure were closed", n_early);
    cr_assert_eq(n_late, MAX - PRESSED + 1, "%u under pressure were closed", n_late);
    cr_assert_eq(keepalive_of(r, fds[1]), 100, "still short");
    for (unsigned i = 0; i < MAX; i++)
        close(fds[i]);
    snapshot_unref(s);
    rig_free(r);
}

/* ---- the end ---- */

struct retired {
    bool is_told;
    unsigned n;
};

static void on_retired(void *owner)
{
    struct retired *retired = owner;
    retired->is_told = true;
    retired->n++;
}

/* What arrived before it is answered, read or not; nothing is read after it. */
Test(dns_server, retire__answers__all_that_has_arrived)
{
    struct rig *r = rig_new(script_silent);
    struct retired retired = {0};
    int fd = tcp_client(r), idle = tcp_client(r);
    struct query *q = query_new(2, "tcp.example", WIRE_TYPE_A);
    tcp_send(fd, q->msg, q->len);
    free(q);
    send_query(r, query_new(1, "www.example", WIRE_TYPE_A));
    run_for(&r->loop, 30);
    send_query(r, query_new(3, "late.example", WIRE_TYPE_A));
    q = query_new(4, "late.example", WIRE_TYPE_A);
    tcp_send(fd, q->msg, q->len);
    free(q);
    dns_server_retire(r->server, on_retired, &retired);
    send_query(r, query_new(5, "after.example", WIRE_TYPE_A));
    cr_assert(tcp_is_closed(r, idle, 500), "an idle connection stays");
    cr_assert_eq(retired.n, 0);
    cr_assert(!dns_server_is_retired(r->server));
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(await(r, r->client, REPLY_MS), "%u answers by UDP", i);
        cr_assert(wire_get16(r->reply) == 1 || wire_get16(r->reply) == 3);
        cr_assert_eq(rcode_of(r), WIRE_RCODE_SERVFAIL);
    }
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(tcp_receive(r, fd, REPLY_MS), "%u answers by TCP", i);
        cr_assert(wire_get16(r->reply) == 2 || wire_get16(r->reply) == 4);
    }
    cr_assert(tcp_is_closed(r, fd, 500));
    cr_assert(run_until(&r->loop, &retired.is_told, 500));
    cr_assert(dns_server_is_retired(r->server));
    run_for(&r->loop, SILENCE_MS);
    cr_assert_eq(retired.n, 1, "told %u times", retired.n);
    cr_assert_eq(dns_server_counters(r->server)->n_udp, 2);
    close(fd);
    close(idle);
    rig_free(r);
}

Test(dns_server, retire__is_told_later__when_nothing_waits)
{
    struct rig *r = rig_new(script_answers);
    struct retired retired = {0};
    dns_server_retire(r->server, on_retired, &retired);
    dns_server_retire(r->server, on_retired, &retired);
    cr_assert_eq(retired.n, 0);
    cr_assert(run_until(&r->loop, &retired.is_told, 500));
    cr_assert_eq(retired.n, 1);
    rig_free(r);
}

Test(dns_server, retire__gives_way__to_close_all)
{
    struct rig *r = rig_new(script_silent);
    struct retired retired = {0};
    send_query(r, query_new(1, "www.example", WIRE_TYPE_A));
    run_for(&r->loop, 30);
    dns_server_retire(r->server, on_retired, &retired);
    dns_server_close_all(r->server);
    cr_assert(dns_server_is_retired(r->server));
    expect_silence(r, r->client, "forgotten");
    rig_free(r);
}

/* B18: by UDP "come back by TCP", where there is an allowance of its own; then REFUSED. */
Test(dns_server, rate__truncates_udp__and_refuses_tcp)
{
    struct rig *r = rig_new_with(script_answers, "per-client-rate = 3", "");
    struct rates *rates = rates_new();
    dns_server_use_rates(r->server, rates);
    for (unsigned i = 0; i < 5; i++) {
        ask(r, query_new((uint16_t)i, "www.example", WIRE_TYPE_A));
        unsigned flags = wire_get16(r->reply + 2);
        cr_assert_eq(rcode_of(r), 0);
        cr_assert_eq(!!(flags & WIRE_FLAG_TC), i >= 3, "query %u: %04x", i, flags);
        cr_assert_eq(wire_get16(r->reply + 6), i < 3);
        cr_assert(i < 3 || r->n_reply == 12 + 17, "%zu bytes", r->n_reply);
    }
    int fd = tcp_client(r);
    for (unsigned i = 0; i < 4; i++) {
        struct query *q = query_new((uint16_t)i, "www.example", WIRE_TYPE_A);
        query_add_opt(q, 1232, 0, NULL, 0);
        tcp_send(fd, q->msg, q->len);
        free(q);
        cr_assert(tcp_receive(r, fd, REPLY_MS));
        cr_assert_eq(rcode_of(r), i < 3 ? 0 : WIRE_RCODE_REFUSED);
    }
    cr_assert_eq(wire_get16(r->reply + r->n_reply - 2), WIRE_EDE_PROHIBITED);
    cr_assert_eq(dns_server_counters(r->server)->n_limited, 3);
    close(fd);
    rig_free(r);
    rates_free(rates);
}

Test(dns_server, rate__refuses__when_told_so)
{
    struct rig *r = rig_new_with(script_answers, "per-client-rate = 1\nover-limit = refuse", "");
    struct rates *rates = rates_new();
    dns_server_use_rates(r->server, rates);
    ask(r, query_new(1, "www.example", WIRE_TYPE_A));
    expect_answer(r, 1, 1);
    struct query *q = query_new(2, "www.example", WIRE_TYPE_A);
    query_add_opt(q, 1232, 0, NULL, 0);
    ask(r, q);
    cr_assert_eq(rcode_of(r), WIRE_RCODE_REFUSED);
    cr_assert_eq(wire_get16(r->reply + r->n_reply - 2), WIRE_EDE_PROHIBITED);
    cr_assert_eq(r->fake.n_udp, 1);
    rig_free(r);
    rates_free(rates);
}

struct noted {
    unsigned n;
    char results[16];
    struct dns_server_note last;
};

static void on_noted(void *owner, const struct dns_server_note *note)
{
    struct noted *n = owner;
    cr_assert_lt(n->n, sizeof(n->results));
    n->results[n->n++] = note->result[0];
    n->last = *note;
    n->last.question = NULL;
}

/* log-queries: one note each, and what it was. */
Test(dns_server, note__tells_of_each_query__when_wanted)
{
    struct noted noted = {.n = 0};
    struct rig *r =
        rig_new_with(script_answers, "", "[log]\nlog-queries = yes\naccess = stderr\n[limits]");
    dns_server_on_query(r->server, on_noted, &noted);
    ask(r, query_new(1, "www.example", WIRE_TYPE_A));    /* miss */
    ask(r, query_new(2, "www.example", WIRE_TYPE_A));    /* hit */
    ask(r, query_new(3, "localhost", WIRE_TYPE_A));      /* local */
    ask(r, query_new(4, "www.example", WIRE_TYPE_AXFR)); /* own */
    cr_assert_eq(noted.last.rcode, WIRE_RCODE_REFUSED);
    int fd = tcp_client(r);
    struct query *q = query_new(5, "other.example", WIRE_TYPE_A);
    tcp_send(fd, q->msg, q->len); /* miss */
    size_t len = q->len;
    free(q);
    cr_assert(tcp_receive(r, fd, REPLY_MS));
    cr_assert_eq(noted.n, 5);
    cr_assert_eq(memcmp(noted.results, "mhlom", 5), 0, "%.5s", noted.results);
    cr_assert(noted.last.is_tcp);
    cr_assert_eq(noted.last.query_bytes, len);
    cr_assert_eq(noted.last.reply_bytes, r->n_reply);
    cr_assert_not_null(noted.last.rule);
    cr_assert_eq(noted.last.rule->place.line, 3);
    close(fd);
    rig_free(r);
}

/* B18, B26: ten connections of one source have less waiting than half of all room; the rest is told
 * so at once. */
Test(dns_server, tcp__bounds_waiting__of_one_source)
{
    enum { CONNS = 10, QUERIES = 60, WAITING = 512 };
    struct rig *r = rig_new(script_silent);
    int fds[CONNS];
    char name[32];
    for (unsigned i = 0; i < CONNS; i++) {
        fds[i] = tcp_client(r);
        for (unsigned j = 0; j < QUERIES; j++) {
            snprintf(name, sizeof(name), "n%u-%u.example", i, j);
            struct query *q = query_new((uint16_t)j, name, WIRE_TYPE_A);
            tcp_send(fds[i], q->msg, q->len);
            free(q);
        }
        run_for(&r->loop, 10);
    }
    unsigned n_refused = 0;
    while (tcp_receive(r, fds[CONNS - 1], 100) && rcode_of(r) == WIRE_RCODE_SERVFAIL)
        n_refused++;
    cr_assert_eq(r->resolver.counters.n_started, WAITING, "%llu asked",
                 (unsigned long long)r->resolver.counters.n_started);
    cr_assert_eq(n_refused, QUERIES, "%u refused", n_refused);
    struct query *tkey = query_new(7, "key.example", WIRE_TYPE_TKEY); /* what goes up as it is */
    tcp_send(fds[CONNS - 1], tkey->msg, tkey->len);
    free(tkey);
    cr_assert(tcp_receive(r, fds[CONNS - 1], 100) && rcode_of(r) == WIRE_RCODE_SERVFAIL);
    cr_assert_eq(r->resolver.counters.n_started, WAITING);
    for (unsigned i = 0; i < CONNS; i++)
        close(fds[i]);
    rig_free(r);
}

/* The same by UDP, where who waits too much already is dropped; a signed query too. */
Test(dns_server, udp__bounds_waiting__of_one_source)
{
    enum { WAITING = 1024 };
    struct rig *r = rig_new(script_silent);
    char name[32];
    for (unsigned i = 0; i < WAITING; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        send_query(r, query_new((uint16_t)i, name, WIRE_TYPE_A));
        if (i % 32 == 0)
            run_for(&r->loop, 1);
    }
    run_for(&r->loop, 20);
    cr_assert_eq(r->resolver.counters.n_started, WAITING);
    for (unsigned i = 0; i < 3; i++) {
        send_query(r, query_new(9, "key.example", WIRE_TYPE_TKEY));
        send_query(r, query_new(9, "other.example", WIRE_TYPE_A));
    }
    run_for(&r->loop, 20);
    cr_assert_eq(r->resolver.counters.n_started, WAITING);
    cr_assert_eq(dns_server_counters(r->server)->n_dropped, 6);
    rig_free(r);
}

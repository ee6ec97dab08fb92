/*
 * One exchange with one name server that lies in every way the abuse list knows (U..). The scripted
 * server answers wrongly first and rightly afterwards: the wrong answers must not count, the right
 * one must.
 */
#include "proxy/dns/upstream.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>

#include "tests/flow/dns_fake.h"

enum { LIMIT_MS = 600 };

struct rig {
    struct loop loop;
    struct upstream_env *env;
    struct fake fake;
    struct egress egress;
    struct upstream_peer *peer; /* the fake, once it is open */
    uint64_t limit_ms;          /* 0: LIMIT_MS */
    struct upstream x;
    bool is_done;
    unsigned n_calls;
    enum upstream_outcome outcome;
    unsigned rcode;
    struct addr addr;
    int n_addrs;
    size_t n_kept, n_ttls;
    unsigned n_additional;
};

static void on_done(struct upstream *x, enum upstream_outcome outcome,
                    const struct wire_reply *reply, const uint8_t *msg)
{
    struct rig *r = list_entry(x, struct rig, x);
    r->is_done = true;
    r->n_calls++;
    r->outcome = outcome;
    if (outcome != UPSTREAM_REPLY)
        return;
    r->rcode = reply->rcode;
    r->n_kept = reply->len;
    r->n_ttls = reply->n_ttls;
    r->n_additional = reply->n_additional;
    r->n_addrs = wire_addresses(msg, reply->len, reply->n_answer, WIRE_TYPE_A, &r->addr, 1);
}

static struct rig *rig_new(fake_script_fn script)
{
    struct rig *r = calloc(1, sizeof(*r));
    cr_assert_eq(loop_init(&r->loop), 0);
    r->env = upstream_env_new(&r->loop);
    fake_open(&r->fake, &r->loop, script);
    r->peer = upstream_peer_get(r->env, &r->fake.at, NULL, &r->egress);
    return r;
}

static void rig_free(struct rig *r)
{
    upstream_peer_unref(r->peer);
    upstream_env_free(r->env);
    fake_close(&r->fake);
    loop_fini(&r->loop);
    free(r);
}

static int start(struct rig *r, bool by_tcp, bool random_case)
{
    struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    cr_assert_eq(wire_name_from_text("wWw.example", 11, &question.name), 0);
    struct upstream_request request = {.peer = r->peer,
                                       .question = &question,
                                       .by_tcp = by_tcp,
                                       .random_case = random_case,
                                       .limit_ms = r->limit_ms ? r->limit_ms : LIMIT_MS};
    r->is_done = false;
    return upstream_start(&r->x, r->env, &request, on_done);
}

static void run(struct rig *r, bool by_tcp)
{
    cr_assert_eq(start(r, by_tcp, false), 0);
    cr_assert(!r->is_done);
    cr_assert(run_until(&r->loop, &r->is_done, 3 * LIMIT_MS + r->limit_ms), "never done");
    run_for(&r->loop, 10);
    cr_assert_eq(r->n_calls, 1);
}

static void expect_address(struct rig *r, uint32_t ipv4)
{
    cr_assert_eq(r->outcome, UPSTREAM_REPLY, "outcome %d", (int)r->outcome);
    cr_assert_eq(r->n_addrs, 1);
    struct addr want = addr_from_ipv4(ipv4);
    cr_assert_eq(addr_compare(&r->addr, &want), 0);
}

/* A forged answer with 6.6.6.6, bent by the row, then the right one. */
enum bend {
    BEND_ID,
    BEND_QR,
    BEND_OPCODE,
    BEND_TYPE,
    BEND_CLASS,
    BEND_NAME,
    BEND_SHORTER_NAME,
    BEND_NO_QUESTION,
    BEND_TWO_QUESTIONS,
    BEND_CUT,
    BEND_SHORT,
    BEND_EMPTY,
    BEND_COUNT,
    BEND_RDLENGTH,
    BEND_A_OF_3,
    BEND_A_OF_5,
    BEND_NAME_LOOP,
    BEND_POINTER_FORWARD,
    BEND_TWO_OPT,
    BEND_OPT_IN_ANSWER,
    BEND_MAX,
};

static void forge(struct fake_query *q, enum bend bend, struct fake_reply *r)
{
    reply_begin(r, q, 0);
    size_t question_end = r->len;
    reply_add_a(r, 300, 0x06060606);
    switch (bend) {
    case BEND_ID:
        wire_put16(r->msg, q->parsed.id ^ 1);
        break;
    case BEND_QR:
        wire_put16(r->msg + 2, 0);
        break;
    case BEND_OPCODE:
        wire_put16(r->msg + 2, WIRE_FLAG_QR | 5 << 11);
        break;
    case BEND_TYPE:
        wire_put16(r->msg + question_end - 4, WIRE_TYPE_AAAA);
        break;
    case BEND_CLASS:
        wire_put16(r->msg + question_end - 2, WIRE_CLASS_CH);
        break;
    case BEND_NAME:
        r->msg[13] ^= 1;
        break;
    case BEND_SHORTER_NAME:
        r->msg[12] = 0;
        break;
    case BEND_NO_QUESTION:
        wire_put16(r->msg + 4, 0);
        r->len = 12;
        break;
    case BEND_TWO_QUESTIONS:
        wire_put16(r->msg + 4, 2);
        break;
    case BEND_CUT:
        r->len -= 2;
        break;
    case BEND_SHORT:
        r->len = 11;
        break;
    case BEND_EMPTY:
        r->len = 0;
        break;
    case BEND_COUNT:
        wire_put16(r->msg + 6, 65535);
        break;
    case BEND_RDLENGTH:
        wire_put16(r->msg + r->len - 6, 500);
        break;
    case BEND_A_OF_3:
        wire_put16(r->msg + r->len - 6, 3);
        r->len -= 1;
        break;
    case BEND_A_OF_5:
        wire_put16(r->msg + r->len - 6, 5);
        r->msg[r->len++] = 6;
        break;
    case BEND_NAME_LOOP:
        wire_put16(r->msg + question_end, 0xc000u | (unsigned)question_end);
        break;
    case BEND_POINTER_FORWARD:
        wire_put16(r->msg + question_end, 0xc000u | (unsigned)(r->len - 4));
        break;
    case BEND_TWO_OPT:
        reply_add_opt(r, 0, 0);
        reply_add_opt(r, 0, 0);
        break;
    case BEND_OPT_IN_ANSWER:
        wire_put16(r->msg + 6, 2);
        reply_add_opt(r, 0, 0);
        wire_put16(r->msg + 10, 0);
        break;
    case BEND_MAX:
        break;
    }
}

static enum bend bend_now(enum bend set)
{
    static enum bend bend; /* of this test's process: scripts are told nothing else */
    if (set != BEND_MAX)
        bend = set;
    return bend;
}

static void script_forged_then_right(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    forge(q, bend_now(BEND_MAX), r);
    fake_send(q, r->msg, r->len);
    free(r);
    script_answers(q);
}

ParameterizedTestParameters(dns_upstream, start__ignores_wrong_answers__and_takes_the_right_one)
{
    static unsigned numbers[BEND_MAX];
    for (unsigned i = 0; i < BEND_MAX; i++)
        numbers[i] = i;
    return cr_make_param_array(unsigned, numbers, BEND_MAX);
}

/* U01, U05, U11, TuDoor */
ParameterizedTest(unsigned *bend, dns_upstream,
                  start__ignores_wrong_answers__and_takes_the_right_one)
{
    struct rig *r = rig_new(script_forged_then_right);
    bend_now((enum bend) * bend);
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->fake.n_udp, 1, "bend %u: %u queries", *bend, r->fake.n_udp);
    cr_assert_eq(r->fake.n_tcp, 0);
    cr_assert_eq(r->env->counters.n_wrong, 1, "bend %u: %lu wrong", *bend,
                 (unsigned long)r->env->counters.n_wrong);
    rig_free(r);
}

/* The same by TCP: what does not belong to a question is ignored there too; a malformed answer to
 * it is the server's own, and the end (B43). */
ParameterizedTestParameters(dns_upstream, start__ignores_wrong_answers__on_tcp_too)
{
    static unsigned numbers[BEND_MAX];
    for (unsigned i = 0; i < BEND_MAX; i++)
        numbers[i] = i;
    return cr_make_param_array(unsigned, numbers, BEND_MAX);
}

ParameterizedTest(unsigned *bend, dns_upstream, start__ignores_wrong_answers__on_tcp_too)
{
    struct rig *r = rig_new(script_forged_then_right);
    bool is_ours = *bend >= BEND_CUT && *bend != BEND_SHORT && *bend != BEND_EMPTY;
    bend_now((enum bend) * bend);
    run(r, true);
    if (*bend == BEND_SHORT || *bend == BEND_EMPTY || is_ours)
        cr_assert_eq(r->outcome, UPSTREAM_BROKEN, "bend %u: outcome %d", *bend, (int)r->outcome);
    else
        expect_address(r, 0xc0000201);
    rig_free(r);
}

static int socket_from(uint32_t ipv4, uint16_t port)
{
    struct endpoint e = {.addr = addr_from_ipv4(ipv4), .port = port};
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&e, &ss);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    cr_assert_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void send_forged_from(struct fake_query *q, uint32_t ipv4, uint16_t port)
{
    struct fake_reply *r = malloc(sizeof(*r));
    struct fake_query from = {.fd = socket_from(ipv4, port), .from = q->from, .n_from = q->n_from};
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0x06060606);
    fake_send(&from, r->msg, r->len);
    close(from.fd);
    free(r);
}

static void script_from_elsewhere(struct fake_query *q)
{
    send_forged_from(q, 0x7f000063, q->fake->at.port); /* right port, other address */
    send_forged_from(q, 0x7f000001, 0);                /* right address, other port */
    script_answers(q);
}

/* U02, U03: the connected socket does not even show them. */
Test(dns_upstream, start__ignores__answers_from_elsewhere)
{
    struct rig *r = rig_new(script_from_elsewhere);
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->env->counters.n_wrong, 0);
    rig_free(r);
}

/* U05, B45: case counts only when 0x20 is on; then a server that does not keep it is asked by TCP.
 */
static void script_lower_case(struct fake_query *q)
{
    wire_name_lower(&q->parsed.question.name);
    script_answers(q);
}

Test(dns_upstream, start__ignores_case__when_it_was_not_random)
{
    struct rig *r = rig_new(script_lower_case);
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->fake.n_tcp, 0);
    rig_free(r);
}

/* B5-45: and not by TCP, which such a server may not have. */
Test(dns_upstream, start__asks_in_one_case__when_random_case_is_lost)
{
    struct rig *r = rig_new(script_lower_case);
    for (unsigned i = 0; i < 10; i++) {
        r->n_calls = 0;
        cr_assert_eq(start(r, false, true), 0);
        cr_assert(run_until(&r->loop, &r->is_done, 2 * LIMIT_MS));
        expect_address(r, 0xc0000201);
    }
    cr_assert_eq(r->fake.n_tcp, 0);
    cr_assert_gt(r->env->counters.n_case, 5);
    cr_assert_eq(r->fake.n_udp, 10 + r->env->counters.n_case);
    r->fake.script = script_answers; /* keeps the case */
    unsigned n_udp = r->fake.n_udp;
    cr_assert_eq(start(r, false, true), 0);
    cr_assert(run_until(&r->loop, &r->is_done, 2 * LIMIT_MS));
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->fake.n_udp, n_udp + 1);
    rig_free(r);
}

static void script_flood(struct fake_query *q)
{
    if (q->is_tcp) {
        script_answers(q);
        return;
    }
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0x06060606);
    for (unsigned i = 1; i < 65536; i++) { /* every id but the right one */
        wire_put16(r->msg, q->parsed.id ^ i);
        if (sendto(q->fd, r->msg, r->len, MSG_DONTWAIT, (struct sockaddr *)&q->from, q->n_from) <
                0 &&
            errno != EAGAIN && errno != ENOBUFS)
            break;
    }
    free(r);
}

/* U07, B44 */
Test(dns_upstream, start__goes_to_tcp__when_somebody_guesses)
{
    struct rig *r = rig_new(script_flood);
    r->limit_ms = 10000; /* the flood itself takes its time */
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->fake.n_tcp, 1);
    cr_assert_eq(r->env->counters.n_suspicious, 1);
    cr_assert_eq(r->env->counters.n_wrong, UPSTREAM_WRONG_MAX);
    rig_free(r);
}

static void send_truncated(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    wire_put16(r->msg + 2, wire_get16(r->msg + 2) | WIRE_FLAG_TC);
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_truncates_udp(struct fake_query *q)
{
    if (q->is_tcp)
        script_answers(q);
    else
        send_truncated(q);
}

/* U08, B36 */
Test(dns_upstream, start__asks_by_tcp__when_truncated)
{
    struct rig *r = rig_new(script_truncates_udp);
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->fake.n_udp, 1);
    cr_assert_eq(r->fake.n_tcp, 1);
    rig_free(r);
}

Test(dns_upstream, start__is_broken__when_truncated_by_tcp_too)
{
    struct rig *r = rig_new(send_truncated);
    run(r, false);
    cr_assert_eq(r->outcome, UPSTREAM_BROKEN);
    cr_assert_eq(r->fake.n_tcp, 1);
    rig_free(r);
}

/* Two answers: the first counts, the second finds nobody (U19 too: nothing is touched after the
 * end). */
static void script_twice(struct fake_query *q)
{
    script_answers(q);
    send_forged_from(q, 0x7f000001, 0);
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0x06060606);
    fake_send(q, r->msg, r->len);
    free(r);
}

Test(dns_upstream, start__takes_the_first__of_two_answers)
{
    struct rig *r = rig_new(script_twice);
    run(r, false);
    expect_address(r, 0xc0000201);
    rig_free(r);
}

/* B46, CVE-2018-14663 */
static void script_smuggles(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0xc0000201);
    reply_add_opt(r, 0, 0);
    reply_add_name(r, 2, "evil.example", WIRE_TYPE_NS, 300, "evil.example"); /* behind OPT */
    memset(r->msg + r->len, 0x41, 40);
    r->len += 40;
    fake_send(q, r->msg, r->len);
    free(r);
}

Test(dns_upstream, start__cuts_off__what_stands_behind)
{
    struct rig *r = rig_new(script_smuggles);
    run(r, false);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->n_kept, 12u + 13 + 4 + 16, "%zu bytes kept", r->n_kept);
    cr_assert_eq(r->n_ttls, 1u);
    cr_assert_eq(r->n_additional, 0);
    rig_free(r);
}

Test(dns_upstream, start__is_refused_at_once__when_nobody_listens)
{
    struct rig *r = rig_new(script_answers);
    fake_close(&r->fake);
    for (unsigned by_tcp = 0; by_tcp < 2; by_tcp++) {
        uint64_t before = loop_now_ms(&r->loop);
        r->n_calls = 0;
        int rc = start(r, by_tcp, false);
        if (rc == 0)
            cr_assert(run_until(&r->loop, &r->is_done, 2 * LIMIT_MS));
        cr_assert(rc == -ECONNREFUSED || r->outcome == UPSTREAM_REFUSED, "tcp %u: rc %d", by_tcp,
                  rc);
        cr_assert_lt(loop_now_ms(&r->loop) - before, 100);
    }
    rig_free(r);
}

Test(dns_upstream, start__times_out__when_nobody_answers)
{
    struct rig *r = rig_new(script_silent);
    for (unsigned by_tcp = 0; by_tcp < 2; by_tcp++) {
        uint64_t before = loop_now_ms(&r->loop);
        r->n_calls = 0;
        run(r, by_tcp);
        cr_assert_eq(r->outcome, UPSTREAM_TIMEOUT);
        cr_assert_geq(loop_now_ms(&r->loop) - before, LIMIT_MS - 5);
    }
    cr_assert_eq(r->fake.n_udp, 1);
    rig_free(r);
}

Test(dns_upstream, cancel__is_silent__at_each_stage)
{
    struct rig *r = rig_new(script_answers);
    for (unsigned by_tcp = 0; by_tcp < 2; by_tcp++) {
        for (unsigned n_rounds = 0; n_rounds < 6; n_rounds++) {
            cr_assert_eq(start(r, by_tcp, false), 0);
            for (unsigned i = 0; i < n_rounds && !r->is_done; i++)
                loop_round(&r->loop, false);
            unsigned n_before = r->n_calls;
            upstream_cancel(&r->x);
            upstream_cancel(&r->x);
            run_for(&r->loop, 20);
            cr_assert_eq(r->n_calls, n_before);
        }
    }
    rig_free(r);
}

/* ---- what a question leaves behind ---- */

static unsigned n_open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* RFC 5452 section 9.2: a port that is new each time, of a socket that is not. */
Test(dns_upstream, start__draws_a_new_port__for_the_same_socket)
{
    struct rig *r = rig_new(script_answers);
    unsigned n_before = n_open_fds();
    enum { N = 64 };
    for (unsigned i = 0; i < N; i++) {
        r->n_calls = 0;
        run(r, false);
    }
    cr_assert_eq(n_open_fds(), n_before + 1);
    unsigned n_same = 0;
    for (unsigned i = 0; i < N; i++) {
        for (unsigned j = 0; j < i; j++)
            n_same += r->fake.ports[i] == r->fake.ports[j];
    }
    cr_assert_leq(n_same, 3, "%u pairs of %d questions share a port", n_same, N);
    rig_free(r);
}

Test(dns_upstream, start__closes_its_port__with_the_answer)
{
    struct rig *r = rig_new(script_answers);
    run(r, false);
    int late = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(connect(late, (struct sockaddr *)&r->fake.query.from, r->fake.query.n_from), 0);
    cr_assert_eq(send(late, "x", 1, 0), 1);
    char byte;
    cr_assert(recv(late, &byte, 1, 0) < 0);
    cr_assert_eq(errno, ECONNREFUSED, "the port is still open: %s", strerror(errno));
    close(late);
    rig_free(r);
}

/* Answers the first question twice; the second time with what the second one will ask. */
static void script_answers_ahead(struct fake_query *q)
{
    script_answers(q);
    if (q->n > 1)
        return;
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    wire_put16(r->msg, 0x4242);
    reply_add_a(r, 300, 0x06060606);
    fake_send(q, r->msg, r->len);
    free(r);
}

static void on_done_ask_again(struct upstream *x, enum upstream_outcome outcome,
                              const struct wire_reply *reply, const uint8_t *msg)
{
    struct rig *r = list_entry(x, struct rig, x);
    on_done(x, outcome, reply, msg);
    cr_assert_eq(start(r, false, false), 0);
}

/* At once, so that nothing has looked into the socket meanwhile. */
Test(dns_upstream, start__does_not_see__what_came_for_an_earlier_question)
{
    struct rig *r = rig_new(script_answers_ahead);
    cr_assert_eq(start(r, false, false), 0);
    r->x.done = on_done_ask_again;
    memset(r->env->random, 0x42, sizeof(r->env->random));
    r->env->n_random = sizeof(r->env->random);
    for (unsigned i = 0; i < 100 && r->n_calls < 2; i++)
        run_for(&r->loop, 10);
    expect_address(r, 0xc0000201);
    cr_assert_eq(r->n_calls, 2);
    cr_assert_eq(r->fake.ids[1], 0x4242);
    rig_free(r);
}

Test(dns_upstream, peer__closes_idle_sockets__that_nobody_used)
{
    struct rig *r = rig_new(script_silent);
    unsigned n_before = n_open_fds();
    struct upstream *many = calloc(40, sizeof(*many));
    struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    cr_assert_eq(wire_name_from_text("www.example", 11, &question.name), 0);
    struct upstream_request request = {
        .peer = r->peer, .question = &question, .limit_ms = LIMIT_MS};
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(upstream_start(&many[i], r->env, &request, on_done), 0);
    for (unsigned i = 0; i < 40; i++)
        upstream_cancel(&many[i]);
    cr_assert_eq(n_open_fds(), n_before + 40);
    cr_assert_eq(r->peer->n_idle_udp, 40);
    bool is_closed = false;
    for (unsigned i = 0; i < 100 && !is_closed; i++) {
        run_for(&r->loop, 100);
        is_closed = n_open_fds() == n_before;
    }
    cr_assert(is_closed, "%u sockets are still open", n_open_fds() - n_before);
    free(many);
    rig_free(r);
}

/* What no port should bring any more. */
Test(dns_upstream, peer__survives__an_event_of_an_idle_socket)
{
    struct rig *r = rig_new(script_silent);
    unsigned n_before = n_open_fds();
    struct upstream many[8];
    struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    cr_assert_eq(wire_name_from_text("www.example", 11, &question.name), 0);
    struct upstream_request request = {
        .peer = r->peer, .question = &question, .limit_ms = LIMIT_MS};
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(upstream_start(&many[i], r->env, &request, on_done), 0);
    for (unsigned i = 0; i < 8; i++)
        upstream_cancel(&many[i]);
    for (unsigned i = 0; i < 100 && r->peer->n_unused_udp == 0; i++)
        run_for(&r->loop, 20);
    cr_assert_eq(r->peer->n_unused_udp, 8);
    struct upstream_udp *u = list_entry(list_first(&r->peer->idle_udp), struct upstream_udp, node);
    u->watch.on_ready(&u->watch, EPOLLERR);
    cr_assert_eq(r->peer->n_idle_udp, 7);
    cr_assert_eq(r->peer->n_unused_udp, 7, "the timer would close one that is not there");
    for (unsigned i = 0; i < 100 && r->peer->n_idle_udp > 0; i++)
        run_for(&r->loop, 20);
    cr_assert_eq(n_open_fds(), n_before);
    rig_free(r);
}

/* ---- TCP, byte by byte ---- */

static void script_hangs_up(struct fake_query *q)
{
    fake_hang_up(q);
}

Test(dns_upstream, start__is_broken__when_tcp_closes_without_answer)
{
    struct rig *r = rig_new(script_hangs_up);
    run(r, true);
    cr_assert_eq(r->outcome, UPSTREAM_BROKEN);
    rig_free(r);
}

/* The reply in pieces of @n bytes, each in an event of its own; after @cut bytes the end (0:
 * never). */
struct pieces {
    struct rig *rig;
    struct timer timer;
    int fd;
    uint8_t bytes[600];
    size_t len, at, step, cut;
};

static struct pieces *pieces_of(struct pieces *set)
{
    static struct pieces *p; /* of this test's process */
    if (set)
        p = set;
    return p;
}

static void on_next_piece(struct timer *t)
{
    struct pieces *p = list_entry(t, struct pieces, timer);
    size_t n = p->step < p->len - p->at ? p->step : p->len - p->at;
    if (p->cut && p->at + n >= p->cut) {
        n = p->cut - p->at;
        send(p->fd, p->bytes + p->at, n, MSG_NOSIGNAL);
        shutdown(p->fd, SHUT_WR);
        return;
    }
    send(p->fd, p->bytes + p->at, n, MSG_NOSIGNAL);
    p->at += n;
    if (p->at < p->len)
        loop_timer_start(&p->rig->loop, &p->timer, 1, on_next_piece);
}

static void script_in_pieces(struct fake_query *q)
{
    struct pieces *p = pieces_of(NULL);
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0xc0000201);
    wire_put16(p->bytes, (unsigned)r->len);
    memcpy(p->bytes + 2, r->msg, r->len);
    p->len = r->len + 2;
    free(r);
    p->at = 0;
    p->fd = q->fd;
    on_next_piece(&p->timer);
}

Test(dns_upstream, start__takes_tcp_answers__in_any_split)
{
    struct rig *r = rig_new(script_in_pieces);
    struct pieces p = {.rig = r};
    pieces_of(&p);
    for (p.step = 1; p.step < 50; p.step += p.step < 4 ? 1 : 11) {
        r->n_calls = 0;
        run(r, true);
        expect_address(r, 0xc0000201);
    }
    rig_free(r);
}

/* U10 by TCP: cut at every byte. */
Test(dns_upstream, start__is_broken__when_tcp_ends_at_any_byte)
{
    struct rig *r = rig_new(script_in_pieces);
    struct pieces p = {.rig = r, .step = 600};
    pieces_of(&p);
    for (p.cut = 1; p.cut < 2 + 12 + 13 + 4 + 16; p.cut++) {
        r->n_calls = 0;
        run(r, true);
        cr_assert_eq(r->outcome, UPSTREAM_BROKEN, "cut at %zu: outcome %d", p.cut, (int)r->outcome);
    }
    rig_free(r);
}

/* U15 */
static void script_huge(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    static uint8_t text[60000];
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0xc0000201);
    reply_add(r, 2, "x.example", WIRE_TYPE_TXT, 300, text, sizeof(text));
    fake_send(q, r->msg, r->len);
    free(r);
}

Test(dns_upstream, start__takes__a_huge_answer)
{
    struct rig *r = rig_new(script_huge);
    for (unsigned by_tcp = 0; by_tcp < 2; by_tcp++) {
        r->n_calls = 0;
        run(r, by_tcp);
        expect_address(r, 0xc0000201);
        cr_assert_gt(r->n_kept, 60000u);
    }
    rig_free(r);
}

Test(dns_upstream, random__is_used_once__across_refills)
{
    struct rig *r = rig_new(script_answers);
    static bool seen[65536];
    unsigned n_new = 0;
    for (unsigned i = 0; i < 2000; i++) {
        uint16_t id;
        cr_assert_eq(upstream_random(r->env, &id, sizeof(id)), 0);
        n_new += !seen[id];
        seen[id] = true;
    }
    cr_assert_gt(n_new, 1900);
    rig_free(r);
}

/*
 * The resolver and the look-up on a real loop, against scripted name servers on 127.0.0.1. Case ids
 * are those of the abuse list (U..) and of the DNS checklist (B..). The clock is the real one; all
 * limits are short.
 */
#include "proxy/dns/resolver.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <sys/resource.h>

#include "proxy/dns/cache.h"
#include "proxy/dns/lookup.h"
#include "proxy/dns/resolver_group.h"
#include "proxy/dns/upstream.h"
#include "tests/flow/dns_fake.h"

enum { CACHE_BYTES = 1 << 20, LIMIT_MS = 1500 };

/* One resolver, a group of up to three scripted servers. */
struct rig {
    struct loop loop;
    struct resolver resolver;
    struct resolver_group *group;
    struct fake fakes[3];
    unsigned n_fakes;
};

static void rig_open(struct rig *rig, const fake_script_fn *scripts, unsigned n)
{
    struct conf_name_server items[3] = {0};
    struct conf_name_servers servers = {.items = items, .n_items = n};
    struct egress egress = {0};
    cr_assert_eq(loop_init(&rig->loop), 0);
    cr_assert_eq(resolver_init(&rig->resolver, &rig->loop, CACHE_BYTES), 0);
    rig->n_fakes = n;
    for (unsigned i = 0; i < n; i++) {
        fake_open(&rig->fakes[i], &rig->loop, scripts[i]);
        items[i].endpoint = rig->fakes[i].at;
    }
    rig->group = resolver_group_new(&rig->resolver, &servers, &egress);
    cr_assert_not_null(rig->group);
}

static struct rig *rig_new(fake_script_fn first, fake_script_fn second)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    rig_open(rig, (fake_script_fn[]){first, second}, second ? 2 : 1);
    return rig;
}

static void rig_free(struct rig *rig)
{
    resolver_group_unref(rig->group);
    resolver_fini(&rig->resolver);
    for (unsigned i = 0; i < rig->n_fakes; i++)
        fake_close(&rig->fakes[i]);
    loop_fini(&rig->loop);
    free(rig);
}

/* Rows are handed over by number: a test runs in a process of its own, where pointers of this one
 * mean nothing. */
static struct criterion_test_params row_numbers(size_t n)
{
    static unsigned numbers[64];
    cr_assert_leq(n, 64);
    for (unsigned i = 0; i < n; i++)
        numbers[i] = i;
    return cr_make_param_array(unsigned, numbers, n);
}

/* One asker and what it was told. */
struct asker {
    struct resolver_ask ask;
    bool is_done;
    unsigned n_calls;
    enum resolver_outcome outcome;
    unsigned rcode;
    struct addr addrs[8];
    int n_addrs;
    uint8_t reply[512];
    size_t n_reply;
};

static void note(struct asker *a, const struct resolver_result *result)
{
    a->is_done = true;
    a->n_calls++;
    a->outcome = result->outcome;
    a->rcode = result->rcode;
    if (result->answer)
        a->n_addrs = answer_addresses(result->answer, a->addrs, 8);
}

static void on_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    note(list_entry(ask, struct asker, ask), result);
}

static struct resolver_request request_of(const char *name, unsigned type)
{
    struct resolver_request request = {.budget = RESOLVER_FOR_LAN, .limit_ms = LIMIT_MS};
    cr_assert_eq(wire_name_from_text(name, strlen(name), &request.question.name), 0);
    request.question.type = (uint16_t)type;
    request.question.class = WIRE_CLASS_IN;
    return request;
}

/* Returns what resolver_ask_start() did; a result that is there at once is noted. */
static int start(struct rig *rig, struct asker *a, const struct resolver_request *request)
{
    struct resolver_result result;
    *a = (struct asker){.is_done = false};
    int rc = resolver_ask_start(&a->ask, &rig->resolver, rig->group, request, on_done, &result);
    cr_assert(!a->is_done, "called back before resolver_ask_start() returned");
    if (rc == RESOLVER_DONE)
        note(a, &result);
    return rc;
}

static void ask_and_wait(struct rig *rig, struct asker *a, const char *name, unsigned type)
{
    struct resolver_request request = request_of(name, type);
    if (start(rig, a, &request) == 0)
        cr_assert(run_until(&rig->loop, &a->is_done, 4000), "no result for %s", name);
}

static void expect_address(const struct asker *a, uint32_t ipv4)
{
    cr_assert_eq(a->outcome, RESOLVER_ANSWER, "outcome %d", (int)a->outcome);
    cr_assert_eq(a->n_addrs, 1, "%d addresses", a->n_addrs);
    struct addr want = addr_from_ipv4(ipv4);
    cr_assert_eq(addr_compare(&a->addrs[0], &want), 0);
}

Test(dns_resolver, ask_start__gives_the_address__when_asked_a)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* B32, B33: what goes out. */
Test(dns_resolver, ask_start__sends_own_opt_and_rd__always)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "WwW.eXample", WIRE_TYPE_A);
    const struct fake_query *q = &rig->fakes[0].query;
    cr_assert(q->parsed.has_opt);
    cr_assert_eq(q->parsed.udp_size, 1232);
    cr_assert(q->parsed.flags & WIRE_FLAG_RD);
    cr_assert_eq(q->parsed.flags & (WIRE_FLAG_AD | WIRE_FLAG_CD | WIRE_FLAG_TC), 0);
    cr_assert(!q->parsed.wants_dnssec);
    rig_free(rig);
}

Test(dns_resolver, ask_start__is_done_at_once__when_cached)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    struct resolver_request request = request_of("WWW.EXAMPLE", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    expect_address(&a, 0xc0000201);
    cr_assert_eq(rig->fakes[0].n_udp, 1);
    rig_free(rig);
}

/* B9: the key holds DO and CD. */
Test(dns_resolver, ask_start__asks_again__when_do_or_cd_differ)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    for (unsigned i = 0; i < 4; i++) {
        struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
        request.wants_dnssec = i & 1;
        request.checking_disabled = i & 2;
        cr_assert_eq(start(rig, &a, &request), 0);
        cr_assert(run_until(&rig->loop, &a.is_done, 2000));
        cr_assert_eq(rig->fakes[0].query.parsed.wants_dnssec, i & 1);
        cr_assert_eq(!!(rig->fakes[0].query.parsed.flags & WIRE_FLAG_CD), !!(i & 2));
    }
    cr_assert_eq(rig->fakes[0].n_udp, 4);
    rig_free(rig);
}

/* B33: an answer that was asked without AD is none for who is told it, and nobody else asks twice.
 */
Test(dns_resolver, ask_start__asks_again__for_who_is_told_ad)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    for (unsigned i = 0; i < 4; i++) {
        struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
        request.authentic_data = i > 0;
        request.tells_authentic = i > 1;
        if (start(rig, &a, &request) == 0)
            cr_assert(run_until(&rig->loop, &a.is_done, 2000));
        cr_assert_eq(rig->fakes[0].n_udp, i < 2 ? 1 : 2, "asker %u", i);
    }
    cr_assert(rig->fakes[0].query.parsed.flags & WIRE_FLAG_AD);
    rig_free(rig);
}

/* D16, CVE-2020-25686: identical questions leave once, each asker is told once. */
Test(dns_resolver, ask_start__joins__when_same_question_in_flight)
{
    enum { N = 100 };
    struct rig *rig = rig_new(script_answers, NULL);
    static struct asker askers[N];
    for (unsigned i = 0; i < N; i++) {
        struct resolver_request request =
            request_of(i % 2 ? "www.example" : "Www.Example", WIRE_TYPE_A);
        cr_assert_eq(start(rig, &askers[i], &request), 0);
    }
    cr_assert(run_until(&rig->loop, &askers[N - 1].is_done, 2000));
    run_for(&rig->loop, 20);
    for (unsigned i = 0; i < N; i++)
        cr_assert_eq(askers[i].n_calls, 1, "asker %u was told %u times", i, askers[i].n_calls);
    cr_assert_eq(rig->fakes[0].n_udp, 1);
    rig_free(rig);
}

Test(dns_resolver, ask_cancel__is_silent__in_flight)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a, b;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    cr_assert_eq(start(rig, &b, &request), 0);
    resolver_ask_cancel(&a.ask);
    resolver_ask_cancel(&a.ask);
    cr_assert(run_until(&rig->loop, &b.is_done, 2000));
    cr_assert_eq(a.n_calls, 0);
    expect_address(&b, 0xc0000201);
    rig_free(rig);
}

/* Nobody waits any more, the answer still goes to the cache (B27). */
Test(dns_resolver, ask_cancel__leaves_the_question_running__for_the_cache)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    resolver_ask_cancel(&a.ask);
    run_for(&rig->loop, 50);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    rig_free(rig);
}

struct canceller {
    struct asker first, second;
    struct rig *rig;
};

static void on_first_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    struct asker *a = list_entry(ask, struct asker, ask);
    struct canceller *c = list_entry(a, struct canceller, first);
    note(a, result);
    resolver_ask_cancel(&c->second.ask);
    struct resolver_request request = request_of("other.example", WIRE_TYPE_A);
    struct resolver_result again;
    cr_assert_eq(
        resolver_ask_start(&a->ask, &c->rig->resolver, c->rig->group, &request, on_done, &again),
        0);
    a->is_done = false;
}

Test(dns_resolver, done__may_cancel_others_and_ask_again__in_it)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct canceller c = {.rig = rig};
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    struct resolver_result result;
    cr_assert_eq(resolver_ask_start(&c.first.ask, &rig->resolver, rig->group, &request,
                                    on_first_done, &result),
                 0);
    cr_assert_eq(
        resolver_ask_start(&c.second.ask, &rig->resolver, rig->group, &request, on_done, &result),
        0);
    run_for(&rig->loop, 100);
    cr_assert_eq(c.first.n_calls, 2);
    cr_assert_eq(c.second.n_calls, 0);
    rig_free(rig);
}

Test(dns_resolver, fini__is_clean__with_questions_in_flight)
{
    struct rig *rig = rig_new(script_silent, NULL);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    run_for(&rig->loop, 20);
    rig_free(rig);
    cr_assert_eq(a.n_calls, 0);
}

/* ---- codes and failover: B6, U09, U18, U22 ---- */

static void script_formerr_to_opt(struct fake_query *q)
{
    if (q->parsed.has_opt)
        script_code(q, WIRE_RCODE_FORMERR);
    else
        script_answers(q);
}

static void script_badvers_to_opt(struct fake_query *q)
{
    if (!q->parsed.has_opt) {
        script_answers(q);
        return;
    }
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_opt(r, 1, 0);
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_formerr(struct fake_query *q)
{
    script_code(q, WIRE_RCODE_FORMERR);
}

static void script_lame(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    wire_put16(r->msg + 2, WIRE_FLAG_QR | WIRE_FLAG_RD);
    reply_add_name(r, 1, "example", WIRE_TYPE_NS, 300, "ns.example");
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_nodata(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_soa(r, "example", 300, 60);
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_cname_loop(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_name(r, 0, NULL, WIRE_TYPE_CNAME, 300, "loop.example");
    reply_add_name(r, 0, "loop.example", WIRE_TYPE_CNAME, 300, "www.example");
    fake_send(q, r->msg, r->len);
    free(r);
}

struct failover_row {
    const char *name;
    fake_script_fn first, second;
    enum resolver_outcome outcome;
    unsigned rcode;
    int n_addrs;
    unsigned n_first, n_second; /* queries each server sees */
};

static const struct failover_row failover_rows[] = {
    {"servfail then good", script_servfail, script_answers, RESOLVER_ANSWER, 0, 1, 1, 1},
    {"refused then good", script_refused, script_answers, RESOLVER_ANSWER, 0, 1, 1, 1},
    {"lame then good", script_lame, script_answers, RESOLVER_ANSWER, 0, 1, 1, 1},
    {"cname loop then good", script_cname_loop, script_answers, RESOLVER_ANSWER, 0, 1, 1, 1},
    {"nxdomain is final", script_nxdomain, script_answers, RESOLVER_ANSWER, 3, 0, 1, 0},
    {"nodata is final", script_nodata, script_answers, RESOLVER_ANSWER, 0, 0, 1, 0},
    {"both servfail", script_servfail, script_servfail, RESOLVER_FAILED, 2, 0, 1, 1},
    {"both refused", script_refused, script_refused, RESOLVER_FAILED, 5, 0, 1, 1},
    {"refused and servfail", script_refused, script_servfail, RESOLVER_FAILED, 2, 0, 1, 1},
    {"formerr to opt", script_formerr_to_opt, script_answers, RESOLVER_ANSWER, 0, 1, 2, 0},
    {"badvers to opt", script_badvers_to_opt, script_answers, RESOLVER_ANSWER, 0, 1, 2, 0},
    {"formerr always", script_formerr, script_answers, RESOLVER_ANSWER, 0, 1, 2, 1},
    {"silent then good", script_silent, script_answers, RESOLVER_ANSWER, 0, 1, 1, 1},
};

ParameterizedTestParameters(dns_resolver, ask_start__moves_on__as_the_servers_say)
{
    return row_numbers(sizeof(failover_rows) / sizeof(failover_rows[0]));
}

ParameterizedTest(unsigned *number, dns_resolver, ask_start__moves_on__as_the_servers_say)
{
    const struct failover_row *row = &failover_rows[*number];
    struct rig *rig = rig_new(row->first, row->second);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    cr_assert_eq(a.outcome, row->outcome, "%s: outcome %d", row->name, (int)a.outcome);
    cr_assert_eq(a.rcode, row->rcode, "%s: rcode %u", row->name, a.rcode);
    cr_assert_eq(a.n_addrs, row->n_addrs, "%s: %d addresses", row->name, a.n_addrs);
    cr_assert_eq(rig->fakes[0].n_udp, row->n_first, "%s: first saw %u", row->name,
                 rig->fakes[0].n_udp);
    cr_assert_eq(rig->fakes[1].n_udp, row->n_second, "%s: second saw %u", row->name,
                 rig->fakes[1].n_udp);
    rig_free(rig);
}

/* B37: never without OPT when DO is needed. */
Test(dns_resolver, ask_start__keeps_opt__when_dnssec_is_wanted)
{
    struct rig *rig = rig_new(script_formerr_to_opt, script_answers);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    request.wants_dnssec = true;
    cr_assert_eq(start(rig, &a, &request), 0);
    cr_assert(run_until(&rig->loop, &a.is_done, 2000));
    expect_address(&a, 0xc0000201);
    cr_assert_eq(rig->fakes[0].n_udp, 1);
    cr_assert_eq(rig->fakes[1].n_udp, 1);
    rig_free(rig);
}

Test(dns_resolver, ask_start__remembers_no_opt__for_the_next_question)
{
    struct rig *rig = rig_new(script_formerr_to_opt, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "one.example", WIRE_TYPE_A);
    ask_and_wait(rig, &a, "two.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    cr_assert_eq(rig->fakes[0].n_udp, 3);
    rig_free(rig);
}

/* U18: nobody listens there. */
Test(dns_resolver, ask_start__fails_over_at_once__when_port_is_closed)
{
    struct rig *rig = rig_new(script_answers, script_answers);
    fake_close(&rig->fakes[0]);
    struct asker a;
    uint64_t before = loop_now_ms(&rig->loop);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    cr_assert_lt(loop_now_ms(&rig->loop) - before, 150);
    rig_free(rig);
}

/* Two servers: the first is silent, and known to be. */
static struct rig *rig_with_first_down(void)
{
    struct rig *rig = rig_new(script_silent, script_answers);
    struct asker a;
    char name[32];
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        ask_and_wait(rig, &a, name, WIRE_TYPE_A);
        expect_address(&a, 0xc0000201);
    }
    cr_assert(rig->group->servers[0].is_down);
    return rig;
}

/* U18: a dead first server costs a few questions, then nobody anything; and it is back within two
 * seconds. */
Test(dns_resolver, group__puts_a_silent_server_last__and_takes_it_back)
{
    struct rig *rig = rig_with_first_down();
    struct asker a;
    uint64_t before = loop_now_ms(&rig->loop);
    ask_and_wait(rig, &a, "fast.example", WIRE_TYPE_A);
    cr_assert_lt(loop_now_ms(&rig->loop) - before, 50, "still waits for the dead one");
    cr_assert(rig->group->servers[0].is_down);
    rig->fakes[0].script = script_answers;
    run_for(&rig->loop, 1050);
    ask_and_wait(rig, &a, "probe.example", WIRE_TYPE_A);
    run_for(&rig->loop, 50);
    cr_assert(!rig->group->servers[0].is_down, "the revived server is still down");
    unsigned n = rig->fakes[1].n_udp;
    ask_and_wait(rig, &a, "again.example", WIRE_TYPE_A);
    cr_assert_eq(rig->fakes[1].n_udp, n);
    rig_free(rig);
}

/* U12: for whatever type, but for who wants the alias itself. */
Test(dns_resolver, ask_start__fails__when_a_chain_never_ends)
{
    struct rig *rig = rig_new(script_cname_loop, NULL);
    static const struct {
        unsigned type;
        enum resolver_outcome outcome;
    } rows[] = {{WIRE_TYPE_A, RESOLVER_FAILED},
                {WIRE_TYPE_AAAA, RESOLVER_FAILED},
                {WIRE_TYPE_TXT, RESOLVER_FAILED},
                {65, RESOLVER_FAILED},
                {WIRE_TYPE_CNAME, RESOLVER_ANSWER}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct asker a;
        ask_and_wait(rig, &a, "www.example", rows[i].type);
        cr_assert_eq(a.outcome, rows[i].outcome, "type %u", rows[i].type);
    }
    rig_free(rig);
}

/* A probe outlives its question, so a message that is borrowed from there is not sent in one. */
Test(dns_resolver, probe__is_not_made__of_a_signed_message)
{
    struct rig *rig = rig_with_first_down();
    struct asker a;
    run_for(&rig->loop, 1050);
    unsigned n = rig->fakes[0].n_udp;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_TKEY);
    uint8_t raw[WIRE_ASK_MAX];
    struct wire_ask ask = {.question = &request.question, .id = 1};
    request.raw = raw;
    request.n_raw = wire_ask_write(&ask, raw);
    cr_assert_eq(start(rig, &a, &request), 0);
    cr_assert(run_until(&rig->loop, &a.is_done, 2000));
    run_for(&rig->loop, 20);
    cr_assert_eq(rig->fakes[0].n_udp, n, "the server that is down was asked");
    ask_and_wait(rig, &a, "probe.example", WIRE_TYPE_A);
    run_for(&rig->loop, 20);
    cr_assert_eq(rig->fakes[0].n_udp, n + 1, "the next one is a probe");
    rig_free(rig);
}

Test(dns_resolver, ask_start__times_out__when_all_are_silent)
{
    struct rig *rig = rig_new(script_silent, NULL);
    struct asker a;
    uint64_t before = loop_now_ms(&rig->loop);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    cr_assert_eq(a.outcome, RESOLVER_TIMEOUT);
    cr_assert_geq(loop_now_ms(&rig->loop) - before, LIMIT_MS - 5);
    cr_assert_leq(rig->fakes[0].n_udp, 3); /* B34 */
    cr_assert_geq(rig->fakes[0].n_udp, 2);
    rig_free(rig);
}

/* U22, B35: the failure is kept for a second, and not for long. */
Test(dns_resolver, ask_start__keeps_a_failure__for_a_second)
{
    struct rig *rig = rig_new(script_servfail, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    cr_assert_eq(a.outcome, RESOLVER_FAILED);
    rig->fakes[0].script = script_answers;
    run_for(&rig->loop, 1050);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* B55: a failure never takes the place of an answer. */
Test(dns_resolver, ask_start__keeps_the_answer__when_another_question_fails)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    rig->fakes[0].script = script_servfail;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_TXT);
    cr_assert_eq(a.outcome, RESOLVER_FAILED);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* B54: NXDOMAIN holds for all types. */
Test(dns_resolver, ask_start__knows_nxdomain__for_other_types)
{
    struct rig *rig = rig_new(script_nxdomain, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    struct resolver_request request = request_of("www.example", WIRE_TYPE_AAAA);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    cr_assert_eq(a.rcode, WIRE_RCODE_NXDOMAIN);
    rig_free(rig);
}

static void script_ttl_zero(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    reply_add_a(r, 0, 0xc0000201);
    fake_send(q, r->msg, r->len);
    free(r);
}

static void script_nxdomain_without_soa(struct fake_query *q)
{
    script_code(q, WIRE_RCODE_NXDOMAIN);
}

/* U14, B52, B54 */
Test(dns_resolver, ask_start__does_not_keep__ttl_zero_or_missing_soa)
{
    struct rig *rig = rig_new(script_ttl_zero, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    cr_assert_eq(rig->fakes[0].n_udp, 2);
    rig->fakes[0].script = script_nxdomain_without_soa;
    ask_and_wait(rig, &a, "nx.example", WIRE_TYPE_A);
    cr_assert_eq(a.rcode, WIRE_RCODE_NXDOMAIN);
    ask_and_wait(rig, &a, "nx.example", WIRE_TYPE_A);
    cr_assert_eq(rig->fakes[0].n_udp, 4);
    rig_free(rig);
}

/* B5: cached answers do not need recursion, others do. */
Test(dns_resolver, ask_start__is_unknown__without_recursion)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    request.no_recursion = true;
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    cr_assert_eq(a.outcome, RESOLVER_UNKNOWN);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* A client that asks again causes a new attempt (dnsmasq 2.83 broke that). */
Test(dns_resolver, ask_start__sends_again__when_joined_late)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a, b;
    rig->fakes[0].script = script_silent;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    run_for(&rig->loop, 950); /* sent at 0 and 400 ms; by itself the third goes out at 1200 ms */
    cr_assert_eq(rig->fakes[0].n_udp, 2);
    rig->fakes[0].script = script_answers;
    cr_assert_eq(start(rig, &b, &request), 0);
    cr_assert(run_until(&rig->loop, &b.is_done, 150));
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* All sends of the question are spent when the server comes back: whoever asks again brings another
 * one. */
Test(dns_resolver, ask_start__sends_again__when_all_sends_were_spent)
{
    struct rig *rig = rig_new(script_silent, NULL);
    struct asker a, b;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    request.limit_ms = 4000;
    cr_assert_eq(start(rig, &a, &request), 0);
    run_for(&rig->loop, 1900);
    cr_assert_eq(rig->fakes[0].n_udp, 3);
    rig->fakes[0].script = script_answers;
    cr_assert_eq(start(rig, &b, &request), 0);
    cr_assert(run_until(&rig->loop, &b.is_done, 150));
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* O01: no fd left says nothing about the servers, and nothing of it is kept. */
Test(dns_resolver, ask_start__is_busy__without_fds)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    struct rlimit old, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    cr_assert(run_until(&rig->loop, &a.is_done, 500));
    cr_assert_eq(a.outcome, RESOLVER_BUSY);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    cr_assert(!rig->group->servers[0].is_down);
    ask_and_wait(rig, &a, "www.example", WIRE_TYPE_A);
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

/* D17, D22: a full budget lets the oldest go, and is one side's only. */
Test(dns_resolver, ask_start__lets_the_oldest_go__when_a_budget_is_full)
{
    enum { MAX = 2048, N = MAX + 10 };
    struct rlimit limit = {.rlim_cur = 8192, .rlim_max = 8192};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        cr_skip_test("too few fds here");
    struct rig *rig = rig_new(script_silent, NULL);
    static struct asker askers[N];
    struct resolver_request request;
    char name[32];
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        request = request_of(name, WIRE_TYPE_A);
        request.limit_ms = 60000;
        cr_assert_eq(start(rig, &askers[i], &request), 0);
        if (i % 64 == 0)
            loop_round(&rig->loop, false);
    }
    loop_round(&rig->loop, false);
    for (unsigned i = 0; i < N; i++) {
        cr_assert_eq(askers[i].is_done, i < N - MAX, "question %u", i);
        cr_assert(!askers[i].is_done || askers[i].outcome == RESOLVER_BUSY);
    }
    cr_assert_eq(rig->resolver.rooms[RESOLVER_FOR_LAN].n, MAX);
    struct asker dial;
    request = request_of("dial.example", WIRE_TYPE_A);
    request.budget = RESOLVER_FOR_DIAL;
    cr_assert_eq(start(rig, &dial, &request), 0);
    loop_round(&rig->loop, false);
    cr_assert(!dial.is_done);
    cr_assert(!askers[N - MAX].is_done, "a dial cost the LAN a question");
    resolver_ask_cancel(&dial.ask);
    for (unsigned i = 0; i < N; i++)
        resolver_ask_cancel(&askers[i].ask);
    rig_free(rig);
}

/* D17: who dials and joins a question of the LAN's has the dials' room and its own whole time. */
Test(dns_resolver, ask_start__takes_a_question_over__for_a_dial)
{
    struct rig *rig = rig_new(script_silent, NULL);
    struct asker lan, dial, later;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &lan, &request), 0);
    run_for(&rig->loop, LIMIT_MS - 200);
    request.budget = RESOLVER_FOR_DIAL;
    cr_assert_eq(start(rig, &dial, &request), 0);
    cr_assert_eq(rig->resolver.rooms[RESOLVER_FOR_LAN].n, 0);
    cr_assert_eq(rig->resolver.rooms[RESOLVER_FOR_DIAL].n, 1);
    run_for(&rig->loop, 400);
    cr_assert(!dial.is_done, "it had the rest of another's time only");
    request.budget = RESOLVER_FOR_LAN;
    cr_assert_eq(start(rig, &later, &request), 0);
    cr_assert_eq(rig->resolver.rooms[RESOLVER_FOR_DIAL].n, 1, "it does not go back");
    cr_assert(run_until(&rig->loop, &dial.is_done, LIMIT_MS + 100));
    cr_assert_eq(dial.outcome, RESOLVER_TIMEOUT);
    cr_assert(lan.is_done && later.is_done);
    rig_free(rig);
}

Test(dns_resolver, ask_start__fails_soon_but_later__without_servers)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    rig_open(rig, NULL, 0);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    cr_assert(run_until(&rig->loop, &a.is_done, 100));
    cr_assert_eq(a.outcome, RESOLVER_UNREACHABLE);
    rig_free(rig);
}

Test(dns_resolver, group_new__is_the_same_group__for_equal_settings)
{
    struct rig *rig = rig_new(script_answers, script_answers);
    struct conf_name_server items[2] = {{.endpoint = rig->fakes[0].at},
                                        {.endpoint = rig->fakes[1].at}};
    struct conf_name_servers servers = {.items = items, .n_items = 2};
    struct egress egress = {0}, other = {.conf = {.has_mark = true, .mark = 7}};
    struct resolver_policy policy = {.ttls = {.max_s = 86400, .negative_max_s = 60}};
    struct resolver_group *same = resolver_group_new(&rig->resolver, &servers, &egress);
    struct resolver_group *marked = resolver_group_new(&rig->resolver, &servers, &other);
    struct resolver_group *short_lived =
        resolver_group_new_with(&rig->resolver, &servers, &egress, &policy);
    cr_assert_eq(same, rig->group);
    cr_assert_neq(marked, rig->group);
    cr_assert_neq(short_lived, rig->group);
    cr_assert_neq(marked->id, rig->group->id);
    resolver_group_unref(same);
    resolver_group_unref(marked);
    resolver_group_unref(short_lived);
    rig_free(rig);
}

/* A reload drops the group while a question runs through it. */
Test(dns_resolver, group_unref__leaves_questions_alone__in_flight)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    struct resolver_request request = request_of("www.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), 0);
    rig->group = resolver_group_unref(rig->group);
    cr_assert(run_until(&rig->loop, &a.is_done, 2000));
    expect_address(&a, 0xc0000201);
    rig_free(rig);
}

Test(dns_resolver, flush__forgets_one_name__only)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, "one.example", WIRE_TYPE_A);
    ask_and_wait(rig, &a, "one.example", WIRE_TYPE_AAAA);
    ask_and_wait(rig, &a, "two.example", WIRE_TYPE_A);
    struct cache_names names;
    cr_assert_eq(cache_names_parse("One.Example", 11, &names), 0);
    cr_assert_eq(resolver_flush(&rig->resolver, &names), 2);
    struct resolver_request request = request_of("two.example", WIRE_TYPE_A);
    cr_assert_eq(start(rig, &a, &request), RESOLVER_DONE);
    cr_assert_eq(resolver_flush(&rig->resolver, NULL), 1);
    rig_free(rig);
}

/* U06 */
Test(dns_resolver, upstream__uses_over_900_ports__in_1000_queries)
{
    enum { N = 1000 };
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    char name[32];
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        ask_and_wait(rig, &a, name, WIRE_TYPE_A);
    }
    static bool ports[65536], ids[65536];
    unsigned n_ports = 0, n_ids = 0, n_high = 0;
    for (unsigned i = 0; i < N; i++) {
        n_ports += !ports[rig->fakes[0].ports[i]];
        n_ids += !ids[rig->fakes[0].ids[i]];
        n_high += rig->fakes[0].ids[i] >= 32768;
        ports[rig->fakes[0].ports[i]] = ids[rig->fakes[0].ids[i]] = true;
    }
    cr_assert_eq(rig->fakes[0].n_udp, N);
    cr_assert_gt(n_ports, 900, "%u ports", n_ports);
    cr_assert_gt(n_ids, 900, "%u ids", n_ids);
    cr_assert(n_high > 400 && n_high < 600, "%u ids in the upper half", n_high);
    rig_free(rig);
}

/* ---- special names ---- */

struct special_row {
    const char *name;
    unsigned type, rcode;
    int n_addrs;
    bool is_local;
};

static const struct special_row special_rows[] = {
    {"localhost", WIRE_TYPE_A, 0, 1, true},
    {"a.LocalHost", WIRE_TYPE_AAAA, 0, 1, true},
    {"localhost", WIRE_TYPE_TXT, 0, 0, true},
    {"x.invalid", WIRE_TYPE_A, 3, 0, true},
    {"test", WIRE_TYPE_A, 3, 0, true},
    {"abc.onion", WIRE_TYPE_AAAA, 3, 0, true},
    {"host.home.arpa", WIRE_TYPE_A, 3, 0, true},
    {"home.arpa", WIRE_TYPE_A, 0, 0, true},
    {"1.0.168.192.in-addr.arpa", WIRE_TYPE_PTR, 3, 0, true},
    {"5.31.172.in-addr.arpa", WIRE_TYPE_PTR, 3, 0, true},
    {"5.15.172.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"5.32.172.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"1.64.100.in-addr.arpa", WIRE_TYPE_PTR, 3, 0, true},
    {"1.63.100.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"10.in-addr.arpa", WIRE_TYPE_SOA, 0, 0, true},
    {"1.0.0.127.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, true},
    {"010.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"8.8.8.8.in-addr.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"1.d.f.ip6.arpa", WIRE_TYPE_PTR, 3, 0, true},
    {"0.8.e.f.ip6.arpa", WIRE_TYPE_PTR, 3, 0, true},
    {"0.c.e.f.ip6.arpa", WIRE_TYPE_PTR, 0, 0, false},
    {"arpa", WIRE_TYPE_NS, 0, 0, false},
    {"notlocalhost", WIRE_TYPE_A, 0, 1, false},
    {"www.local", WIRE_TYPE_A, 0, 1, false},
    {".", WIRE_TYPE_NS, 0, 0, false},
};

ParameterizedTestParameters(dns_resolver, special__are_not_forwarded__by_name)
{
    return row_numbers(sizeof(special_rows) / sizeof(special_rows[0]));
}

ParameterizedTest(unsigned *number, dns_resolver, special__are_not_forwarded__by_name)
{
    const struct special_row *row = &special_rows[*number];
    struct rig *rig = rig_new(script_answers, NULL);
    struct asker a;
    ask_and_wait(rig, &a, row->name, row->type);
    cr_assert_eq(a.outcome, RESOLVER_ANSWER);
    cr_assert_eq(rig->fakes[0].n_udp, row->is_local ? 0 : 1, "%s: sent %u", row->name,
                 rig->fakes[0].n_udp);
    cr_assert_eq(a.rcode, row->rcode, "%s: rcode %u", row->name, a.rcode);
    cr_assert_eq(a.n_addrs, row->n_addrs, "%s: %d addresses", row->name, a.n_addrs);
    rig_free(rig);
}

/* ---- look-ups for a dial ---- */

struct looker {
    struct lookup lookup;
    bool is_done;
    unsigned n_calls, n_addrs;
    enum lookup_outcome outcome;
    struct addr addrs[LOOKUP_ADDRS_MAX];
};

static void on_looked_up(struct lookup *l, enum lookup_outcome outcome, const struct addr *addrs,
                         unsigned n_addrs)
{
    struct looker *k = list_entry(l, struct looker, lookup);
    k->is_done = true;
    k->n_calls++;
    k->outcome = outcome;
    k->n_addrs = n_addrs;
    if (n_addrs)
        memcpy(k->addrs, addrs, n_addrs * sizeof(*addrs));
}

static void look_up(struct rig *rig, struct looker *k, const char *name)
{
    memset(k, 0, sizeof(*k));
    cr_assert_eq(lookup_start(&k->lookup, &rig->resolver, rig->group, name, true, true, LIMIT_MS,
                              on_looked_up),
                 0);
    cr_assert(!k->is_done, "called back before lookup_start() returned");
    cr_assert(run_until(&rig->loop, &k->is_done, 4000));
    run_for(&rig->loop, 20);
    cr_assert_eq(k->n_calls, 1);
}

Test(dns_lookup, start__gives_both_families__by_turns)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct looker k;
    for (unsigned i = 0; i < 2; i++) { /* asked, then from the cache */
        look_up(rig, &k, "www.example");
        cr_assert_eq(k.outcome, LOOKUP_ADDRS);
        cr_assert_eq(k.n_addrs, 2);
        cr_assert(!addr_is_ipv4(&k.addrs[0]));
        cr_assert(addr_is_ipv4(&k.addrs[1]));
    }
    cr_assert_eq(rig->fakes[0].n_udp, 2);
    rig_free(rig);
}

static void script_many(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    reply_begin(r, q, 0);
    for (unsigned i = 0; i < 40; i++) {
        if (q->parsed.question.type == WIRE_TYPE_A)
            reply_add_a(r, 300, 0xc0000200 + i);
        else if (i < 3)
            reply_add_aaaa(r, 300, (uint8_t)i);
    }
    fake_send(q, r->msg, r->len);
    free(r);
}

Test(dns_lookup, start__gives_16_addresses__at_most)
{
    struct rig *rig = rig_new(script_many, NULL);
    struct looker k;
    look_up(rig, &k, "www.example");
    cr_assert_eq(k.n_addrs, 16);
    unsigned n_ipv6 = 0;
    for (unsigned i = 0; i < k.n_addrs; i++)
        n_ipv6 += !addr_is_ipv4(&k.addrs[i]);
    cr_assert_eq(n_ipv6, 3);
    rig_free(rig);
}

static void script_a_only(struct fake_query *q)
{
    if (q->parsed.question.type == WIRE_TYPE_A)
        script_answers(q);
}

static void script_aaaa_servfail(struct fake_query *q)
{
    if (q->parsed.question.type == WIRE_TYPE_A)
        script_answers(q);
    else
        script_servfail(q);
}

static void script_chain(struct fake_query *q)
{
    struct fake_reply *r = malloc(sizeof(*r));
    uint8_t address[4] = {192, 0, 2, 9};
    reply_begin(r, q, 0);
    if (q->parsed.question.type == WIRE_TYPE_A) {
        reply_add(r, 0, "evil.example", WIRE_TYPE_A, 300, (uint8_t[]){6, 6, 6, 6},
                  4); /* U13: off the chain */
        reply_add(r, 0, "c.example", WIRE_TYPE_A, 300, address, 4);
        reply_add_name(r, 0, "b.example", WIRE_TYPE_CNAME, 300, "C.example");
        reply_add_name(r, 0, NULL, WIRE_TYPE_CNAME, 300, "b.Example");
    } else {
        reply_add_soa(r, "example", 300, 60);
    }
    fake_send(q, r->msg, r->len);
    free(r);
}

struct lookup_row {
    const char *name;
    fake_script_fn script;
    enum lookup_outcome outcome;
    unsigned n_addrs;
    unsigned max_ms;
};

static const struct lookup_row lookup_rows[] = {
    {"AAAA never answered", script_a_only, LOOKUP_ADDRS, 1, 200},
    {"AAAA servfail", script_aaaa_servfail, LOOKUP_ADDRS, 1, 200},
    {"nxdomain", script_nxdomain, LOOKUP_NO_NAME, 0, 200},
    {"nodata", script_nodata, LOOKUP_NO_NAME, 0, 200},
    {"servfail", script_servfail, LOOKUP_FAILED, 0, 200},
    {"silent", script_silent, LOOKUP_TIMEOUT, 0, LIMIT_MS + 300},
    {"chain", script_chain, LOOKUP_ADDRS, 1, 200},
    {"endless chain", script_cname_loop, LOOKUP_FAILED, 0, 200},
};

ParameterizedTestParameters(dns_lookup, start__tells_apart__what_happened)
{
    return row_numbers(sizeof(lookup_rows) / sizeof(lookup_rows[0]));
}

ParameterizedTest(unsigned *number, dns_lookup, start__tells_apart__what_happened)
{
    const struct lookup_row *row = &lookup_rows[*number];
    struct rig *rig = rig_new(row->script, NULL);
    struct looker k;
    uint64_t before = loop_now_ms(&rig->loop);
    look_up(rig, &k, "www.example");
    cr_assert_eq(k.outcome, row->outcome, "%s: outcome %d", row->name, (int)k.outcome);
    cr_assert_eq(k.n_addrs, row->n_addrs, "%s: %u addresses", row->name, k.n_addrs);
    cr_assert_lt(loop_now_ms(&rig->loop) - before, row->max_ms, "%s", row->name);
    rig_free(rig);
}

Test(dns_lookup, start__gives_loopback__for_localhost)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct looker k;
    struct addr loopback = addr_from_ipv4(0x7f000001);
    look_up(rig, &k, "localhost");
    cr_assert_eq(k.n_addrs, 2);
    cr_assert_eq(addr_compare(&k.addrs[1], &loopback), 0);
    cr_assert_eq(rig->fakes[0].n_udp, 0);
    rig_free(rig);
}

Test(dns_lookup, cancel__is_silent__in_any_state)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct looker k;
    memset(&k, 0, sizeof(k));
    lookup_cancel(&k.lookup);
    cr_assert_eq(lookup_start(&k.lookup, &rig->resolver, rig->group, "www.example", true, true,
                              LIMIT_MS, on_looked_up),
                 0);
    lookup_cancel(&k.lookup);
    lookup_cancel(&k.lookup);
    run_for(&rig->loop, 50);
    cr_assert_eq(lookup_start(&k.lookup, &rig->resolver, rig->group, "localhost", true, true,
                              LIMIT_MS, on_looked_up),
                 0);
    lookup_cancel(&k.lookup); /* the report waits for the end of the round */
    run_for(&rig->loop, 50);
    cr_assert_eq(k.n_calls, 0);
    rig_free(rig);
}

Test(dns_lookup, start__asks_one_family__when_only_one_is_wanted)
{
    struct rig *rig = rig_new(script_answers, NULL);
    struct looker k = {0};
    cr_assert_eq(lookup_start(&k.lookup, &rig->resolver, rig->group, "www.example", true, false,
                              LIMIT_MS, on_looked_up),
                 0);
    cr_assert(run_until(&rig->loop, &k.is_done, 2000));
    cr_assert_eq(k.n_addrs, 1);
    cr_assert_eq(rig->fakes[0].n_udp, 1);
    rig_free(rig);
}

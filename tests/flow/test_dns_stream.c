/*
 * Many questions over few connections, TCP and TLS: what is shared, what dies with a connection and
 * what does not, and askers that leave at every moment, the last user of the server among them.
 */
#include "proxy/dns/upstream_stream.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "proxy/dns/upstream.h"
#include "tests/flow/tls_fake.h"

enum { LIMIT_MS = 6000, ASKERS = 600 };

struct rig;
struct asker {
    struct upstream x;
    struct rig *rig;
    bool is_done, is_started;
    enum upstream_outcome outcome;
};

struct rig {
    struct loop loop;
    struct upstream_env *env;
    struct fake fake;
    struct tls_fake tls;
    struct egress egress;
    struct upstream_peer *peer;
    struct asker askers[ASKERS];
    unsigned n_done, n_good, n_wanted;
    bool is_all_done;
    bool gives_up; /* the first one that is done gives the peer back and cancels the others */
};

static struct rig *rig_new(fake_script_fn script)
{
    struct rig *r = calloc(1, sizeof(*r));
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(loop_init(&r->loop), 0);
    r->env = upstream_env_new(&r->loop);
    if (script) {
        fake_open(&r->fake, &r->loop, script);
        r->peer = upstream_peer_get(r->env, &r->fake.at, NULL, &r->egress);
    } else {
        tls_fake_open(&r->tls, &r->loop, "dns.example");
        r->peer = upstream_peer_get(r->env, &r->tls.at, "dns.example", &r->egress);
    }
    return r;
}

static void rig_free(struct rig *r)
{
    upstream_peer_unref(r->peer);
    cr_assert(list_is_empty(&r->env->peers));
    upstream_env_free(r->env);
    if (r->fake.script)
        fake_close(&r->fake);
    else
        tls_fake_close(&r->tls);
    loop_fini(&r->loop);
    free(r);
}

static void cancel_all(struct rig *r)
{
    for (unsigned i = 0; i < ASKERS; i++) {
        if (r->askers[i].is_started && !r->askers[i].is_done)
            upstream_cancel(&r->askers[i].x);
        r->askers[i].is_done = true;
    }
}

static void on_done(struct upstream *x, enum upstream_outcome outcome,
                    const struct wire_reply *reply, const uint8_t *msg)
{
    struct asker *a = list_entry(x, struct asker, x);
    struct rig *r = a->rig;
    struct addr addr;
    cr_assert(!a->is_done, "done twice, or after the end");
    a->is_done = true;
    a->outcome = outcome;
    r->n_good += outcome == UPSTREAM_REPLY &&
                 wire_addresses(msg, reply->len, reply->n_answer, WIRE_TYPE_A, &addr, 1) == 1;
    r->is_all_done = ++r->n_done >= r->n_wanted;
    if (!r->gives_up)
        return;
    cancel_all(r);
    r->peer = upstream_peer_unref(r->peer);
    r->is_all_done = true;
}

static int start_one(struct rig *r, unsigned i)
{
    struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    char name[32];
    snprintf(name, sizeof(name), "n%u.example", i);
    cr_assert_eq(wire_name_from_text(name, strlen(name), &question.name), 0);
    struct upstream_request request = {
        .peer = r->peer, .question = &question, .by_tcp = true, .limit_ms = LIMIT_MS};
    r->askers[i] = (struct asker){.rig = r};
    int rc = upstream_start(&r->askers[i].x, r->env, &request, on_done);
    r->askers[i].is_started = rc == 0;
    return rc;
}

static void start(struct rig *r, unsigned n)
{
    r->n_done = r->n_good = 0;
    r->n_wanted = n;
    r->is_all_done = false;
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(start_one(r, i), 0);
}

static void run(struct rig *r, unsigned n)
{
    start(r, n);
    cr_assert(run_until(&r->loop, &r->is_all_done, LIMIT_MS + 2000), "%u of %u", r->n_done, n);
}

/* B38 */
Test(dns_stream, start__shares_a_connection__by_tcp)
{
    struct rig *r = rig_new(script_answers);
    for (unsigned i = 0; i < 3; i++) {
        run(r, 60);
        cr_assert_eq(r->n_good, 60u);
    }
    cr_assert_eq(r->env->counters.n_streams, 1u);
    rig_free(r);
}

Test(dns_stream, start__shares_a_connection__by_tls)
{
    struct rig *r = rig_new(NULL);
    for (unsigned i = 0; i < 3; i++) {
        run(r, 60);
        cr_assert_eq(r->n_good, 60u);
    }
    cr_assert_eq(r->tls.n_conns, 1u);
    cr_assert_eq(r->tls.n_queries, 180u);
    cr_assert_eq(r->tls.n_odd_sizes, 0u, "a query was not padded");
    rig_free(r);
}

Test(dns_stream, start__opens_more_connections__under_load_and_no_end_of_them)
{
    struct rig *r = rig_new(script_answers);
    run(r, ASKERS);
    cr_assert_eq(r->n_good, (unsigned)ASKERS);
    cr_assert_gt(r->env->counters.n_streams, 1u);
    cr_assert_leq(r->env->counters.n_streams, 4u);
    rig_free(r);
}

static void script_checks_ids(struct fake_query *q)
{
    static uint8_t seen[65536]; /* a bit a connection */
    unsigned id = wire_get16(q->msg), i = 0;
    while (q->fake->conns[i].fd != q->fd)
        i++;
    cr_assert(i < 8 && !(seen[id] & 1u << i), "id %u is used twice at once", id);
    seen[id] |= (uint8_t)(1u << i);
}

/* No id twice in flight, also with 500 on one connection; then the askers leave. */
Test(dns_stream, start__draws_ids__that_are_not_in_flight)
{
    struct rig *r = rig_new(script_checks_ids);
    start(r, 500);
    run_for(&r->loop, 100);
    cr_assert_eq(r->fake.n_tcp, 500u);
    cancel_all(r);
    rig_free(r);
}

Test(dns_stream, start__fails_at_once__when_all_connections_are_full)
{
    struct rig *r = rig_new(script_silent);
    unsigned n = 0, i = 0;
    for (; i < 4 * 512 + 1; i++) {
        int rc = start_one(r, i % ASKERS);
        if (rc < 0) {
            cr_assert_eq(rc, -EAGAIN);
            break;
        }
        upstream_cancel(&r->askers[i % ASKERS].x); /* its id stays taken */
        n++;
    }
    cr_assert_eq(n, 4u * 128, "%u", n);
    run_for(&r->loop, 50);
    cr_assert_eq(r->peer->n_streams, 0u, "worn out, and nobody waits on them");
    cr_assert_eq(start_one(r, 0), 0);
    cancel_all(r);
    rig_free(r);
}

static void script_hangs_up_each_third(struct fake_query *q)
{
    script_answers(q);
    if (q->n % 3 == 0)
        fake_hang_up(q);
}

Test(dns_stream, lost__asks_again__when_the_server_closes)
{
    struct rig *r = rig_new(script_hangs_up_each_third);
    run(r, 50);
    cr_assert_eq(r->n_good, 50u);
    cr_assert_gt(r->env->counters.n_moved, 10u);
    rig_free(r);
}

Test(dns_stream, lost__asks_again__when_the_tls_server_closes)
{
    struct rig *r = rig_new(NULL);
    r->tls.close_each = 4;
    run(r, 30);
    cr_assert_eq(r->n_good, 30u);
    cr_assert_gt(r->tls.n_conns, 6u);
    cr_assert_gt(r->tls.n_resumed, 2u);
    cr_assert_eq(r->env->counters.n_resumed, r->tls.n_resumed);
    rig_free(r);
}

Test(dns_stream, read__takes_records_of_any_size__by_tls)
{
    struct rig *r = rig_new(NULL);
    for (r->tls.piece = 1; r->tls.piece < 60; r->tls.piece += r->tls.piece < 4 ? 1 : 13) {
        run(r, 8);
        cr_assert_eq(r->n_good, 8u);
    }
    cr_assert_eq(r->tls.n_conns, 1u);
    rig_free(r);
}

/* B39: nothing is asked of whom we do not believe. */
Test(dns_stream, handshake__is_untrusted__by_name)
{
    struct rig *r = rig_new(NULL);
    upstream_peer_unref(r->peer);
    r->peer = upstream_peer_get(r->env, &r->tls.at, "other.example", &r->egress);
    run(r, 5);
    for (unsigned i = 0; i < 5; i++)
        cr_assert_eq(r->askers[i].outcome, UPSTREAM_UNTRUSTED);
    cr_assert_eq(r->tls.n_queries, 0u);
    cr_assert_not_null(strstr(r->peer->trouble, "ostname mismatch"), "%s", r->peer->trouble);
    rig_free(r);
}

Test(dns_stream, handshake__is_untrusted__without_its_ca)
{
    struct rig *r = rig_new(NULL);
    setenv("SSL_CERT_FILE", "/nonexistent", 1);
    run(r, 2);
    cr_assert_eq(r->askers[0].outcome, UPSTREAM_UNTRUSTED);
    cr_assert_eq(r->tls.n_queries, 0u);
    cr_assert_eq(start_one(r, 0), -EACCES, "a handshake for each question");
    run_for(&r->loop, 600);
    setenv("SSL_CERT_FILE", r->tls.ca_path, 1);
    run(r, 2);
    cr_assert_eq(r->askers[0].outcome, UPSTREAM_UNTRUSTED, "the store is read at a reload");
    upstream_env_refresh(r->env);
    run_for(&r->loop, 600);
    run(r, 2);
    cr_assert_eq(r->n_good, 2u);
    rig_free(r);
}

/* A ticket of before does not outlive a reading of the store. */
Test(dns_stream, refresh__forgets__sessions)
{
    struct rig *r = rig_new(NULL);
    r->tls.close_each = 1;
    run(r, 1);
    run_for(&r->loop, 20);
    run(r, 1);
    run_for(&r->loop, 20);
    cr_assert_eq(r->tls.n_resumed, 1u);
    setenv("SSL_CERT_FILE", "/nonexistent", 1);
    upstream_env_refresh(r->env);
    run(r, 1);
    cr_assert_eq(r->askers[0].outcome, UPSTREAM_UNTRUSTED);
    cr_assert_eq(r->tls.n_queries, 2u);
    rig_free(r);
}

Test(dns_stream, handshake__times_out__when_the_server_is_mute)
{
    struct rig *r = rig_new(NULL);
    r->tls.is_mute = true;
    uint64_t before = loop_now_ms(&r->loop);
    run(r, 3);
    cr_assert_eq(r->askers[0].outcome, UPSTREAM_TIMEOUT);
    cr_assert_lt(loop_now_ms(&r->loop) - before, (uint64_t)LIMIT_MS);
    cr_assert_eq(r->tls.n_conns, 1u);
    rig_free(r);
}

/* A connection that has gone silent keeps what waits on it, and gets no more. */
static void script_first_connection_is_silent(struct fake_query *q)
{
    if (q->fd != q->fake->conns[0].fd)
        script_answers(q);
}

Test(dns_stream, takes__nothing_new__once_silent)
{
    struct rig *r = rig_new(script_first_connection_is_silent);
    start(r, 2);
    run_for(&r->loop, 3200);
    cr_assert_eq(r->n_done, 0u);
    r->n_wanted = 1;
    cr_assert_eq(start_one(r, 10), 0);
    cr_assert(run_until(&r->loop, &r->is_all_done, 1000));
    cr_assert_eq(r->n_good, 1u);
    cr_assert_eq(r->env->counters.n_streams, 2u);
    cancel_all(r);
    run_for(&r->loop, 50);
    cr_assert_eq(r->peer->n_streams, 1u, "nobody waits on it any more");
    rig_free(r);
}

/* The asker that is told ends everything: the others, and the server itself. */
Test(dns_stream, done__may_give_back_the_server)
{
    for (unsigned by_tls = 0; by_tls < 2; by_tls++) {
        struct rig *r = rig_new(by_tls ? NULL : script_answers);
        r->gives_up = true;
        start(r, 20);
        cr_assert(run_until(&r->loop, &r->is_all_done, 3000));
        run_for(&r->loop, 20);
        cr_assert(r->n_done == 1 && list_is_empty(&r->env->peers));
        rig_free(r);
    }
}

static void script_hangs_up(struct fake_query *q)
{
    fake_hang_up(q);
}

Test(dns_stream, lost__may_give_back_the_server)
{
    struct rig *r = rig_new(script_hangs_up);
    r->gives_up = true;
    start(r, 20);
    cr_assert(run_until(&r->loop, &r->is_all_done, 3000));
    run_for(&r->loop, 20);
    cr_assert_eq(r->n_done, 1u);
    rig_free(r);
}

Test(dns_stream, cancel__is_silent__at_each_stage)
{
    for (unsigned by_tls = 0; by_tls < 2; by_tls++) {
        for (unsigned n_rounds = 0; n_rounds < 14; n_rounds++) {
            struct rig *r = rig_new(by_tls ? NULL : script_answers);
            start(r, 5);
            for (unsigned i = 0; i < n_rounds; i++)
                loop_round(&r->loop, false);
            unsigned n_before = r->n_done;
            cancel_all(r);
            run_for(&r->loop, 5);
            cr_assert_eq(r->n_done, n_before);
            rig_free(r);
        }
    }
}

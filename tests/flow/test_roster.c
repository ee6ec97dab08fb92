/* What the workers tell the main thread: whole, also when several ask at once. */
#include "proxy/flow/roster.h"
#include "proxy_bench.h"

enum { ASKED = 3 };

static struct roster *answers[ASKED];
static unsigned n_answers;

static void on_done(struct roster *r, void *owner)
{
    (void)owner;
    answers[n_answers++] = r;
}

static void ask(struct bench *b, enum roster_job job)
{
    struct roster *r = roster_new(&b->worker, 1, job, on_done, NULL);
    cr_assert_not_null(r);
    roster_start(r);
}

static void await(struct bench *b, unsigned n)
{
    for (uint64_t end = bench_now_ms() + 2000; n_answers < n && bench_now_ms() < end;)
        bench_step(b);
    cr_assert_eq(n_answers, n);
}

static void forget(void)
{
    while (n_answers > 0)
        roster_free(answers[--n_answers]);
}

static int open_tunnel(struct bench *b)
{
    char text[128], buf[256];
    int near = bench_client(b);
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", b->origin_port);
    bench_send(near, text);
    cr_assert_eq(bench_read(b, near, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    return near;
}

Test(flow_roster, several_at_once__are_all_whole)
{
    enum { N = 90 }; /* more than one slice */
    struct bench *b = bench_new("", NULL);
    int near[N];
    for (int i = 0; i < N; i++)
        near[i] = open_tunnel(b);
    for (int i = 0; i < ASKED; i++)
        ask(b, i == 1 ? ROSTER_FIGURES : ROSTER_OVERVIEW);
    await(b, ASKED);
    for (int i = 0; i < ASKED; i++) {
        cr_expect_not(answers[i]->parts[0].is_cut_short);
        cr_expect_eq(roster_sum(answers[i]).n_tunnels, N);
    }
    cr_expect_eq(answers[0]->parts[0].n_lines, N);
    cr_expect_eq(answers[1]->parts[0].n_lines, 0);
    forget();
    for (int i = 0; i < N; i++)
        close(near[i]);
    bench_free(b);
}

Test(flow_roster, overview__has_refusals__and_bytes_of_open_tunnels)
{
    struct bench *b = bench_new("", "[in]\ntcp 8080 = 127.0.0.1\n[out]\nallow = 127.0.0.0/8\n"
                                    "deny = evil.example ; memo\n");
    char buf[512];
    int tunnel = open_tunnel(b), refused = bench_client(b);
    bench_send(refused, "CONNECT evil.example:443 HTTP/1.1\r\n\r\n");
    cr_assert_eq(bench_read(b, refused, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(tunnel, "four");
    int far = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, far, buf, sizeof(buf), "four", 2000), 1);
    ask(b, ROSTER_OVERVIEW);
    await(b, 1);
    const struct roster_part *p = &answers[0]->parts[0];
    cr_assert_eq(p->n_refusals, 1);
    cr_expect_str_eq(p->refusals[0].host, "evil.example");
    cr_expect_str_eq(p->refusals[0].method, "CONNECT");
    cr_expect_str_eq(p->refusals[0].memo, "memo");
    cr_expect_eq(p->refusals[0].rule_line, 5);
    cr_expect_eq(p->refusals[0].reason, REASON_OUT_DENIED);
    cr_expect_eq(roster_sum(answers[0]).open_up, 4);
    cr_expect_eq(roster_sum(answers[0]).bytes_up, 0);
    forget();
    close(tunnel);
    close(refused);
    close(far);
    bench_free(b);
}

Test(flow_roster, top__has_all_tunnels__and_their_texts)
{
    enum { N = 90 }; /* more than one slice */
    struct bench *b =
        bench_new("", "[in]\ntcp 8080 = 127.0.0.1 ; memo\n[out]\nallow = 127.0.0.0/8\n");
    int near[N];
    for (int i = 0; i < N; i++)
        near[i] = open_tunnel(b);
    ask(b, ROSTER_TOP);
    await(b, 1);
    const struct roster_part *p = &answers[0]->parts[0];
    cr_expect_not(p->is_cut_short);
    cr_assert_eq(p->n_tunnels, N);
    for (size_t i = 0; i < p->n_tunnels; i++) {
        const char *host = p->lines + p->tunnels[i].texts;
        cr_expect_str_eq(host, "127.0.0.1");
        cr_expect_str_eq(host + strlen(host) + 1, "memo");
        cr_expect_eq(p->tunnels[i].port, b->origin_port);
    }
    cr_expect_eq(p->n_lines, 0);
    forget();
    for (int i = 0; i < N; i++)
        close(near[i]);
    bench_free(b);
}

Test(flow_roster, worker_that_ends__gives_all_back)
{
    struct bench *b = bench_new("", NULL);
    for (int i = 0; i < ASKED; i++)
        ask(b, ROSTER_FIGURES);
    loop_round(&b->worker.loop, false);
    roster_part_end(b->worker.roster);
    await(b, ASKED);
    forget();
    bench_free(b);
}

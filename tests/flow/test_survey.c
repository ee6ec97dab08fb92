/* check --against-live: told without a change. */
#include "proxy/daemon/against.h"
#include "proxy_bench.h"

#define IN   "[in]\ntcp 8080 = 127.0.0.1\n"
#define OPEN "allow = 127.0.0.0/8\n"

static struct survey *survey_of_test;

static void on_done(struct survey *s, void *owner)
{
    (void)owner;
    survey_of_test = s;
}

/* What the survey says of the rules in @acl. The caller frees it. */
static char *ask(struct bench *b, const char *acl, bool is_json)
{
    struct own_set *own = calloc(1, sizeof(*own));
    struct snapshot *candidate = bench_load(b, "", acl);
    char *text = NULL;
    size_t len;
    atomic_init(&own->n_refs, 1);
    survey_of_test = NULL;
    cr_assert_not_null(survey_start(&b->worker, 1, candidate, own, on_done, NULL));
    snapshot_unref(candidate);
    own_set_unref(own);
    for (uint64_t end = bench_now_ms() + 2000; !survey_of_test && bench_now_ms() < end;)
        bench_step(b);
    cr_assert_not_null(survey_of_test);
    FILE *out = open_memstream(&text, &len);
    cr_assert_eq(against_write(survey_of_test, is_json, out), 0);
    fclose(out);
    survey_free(survey_of_test);
    return text;
}

static void expect_said(struct bench *b, const char *acl, bool is_json, const char *part)
{
    char *text = ask(b, acl, is_json);
    cr_expect_not_null(strstr(text, part), "no %s in:\n%s", part, text);
    free(text);
}

static void open_tunnels(struct bench *b, int n, int *ret_near)
{
    char text[128], buf[256];
    for (int i = 0; i < n; i++) {
        ret_near[i] = bench_client(b);
        snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", b->origin_port);
        bench_send(ret_near[i], text);
        cr_assert_eq(bench_read(b, ret_near[i], buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    }
}

Test(flow_survey, forbidden__is_counted__and_lives_on)
{
    enum { N = 90 };
    struct bench *b = bench_new("", NULL);
    int near[N];
    char buf[8];
    open_tunnels(b, N, near);
    expect_said(b, IN "[out]\n" OPEN, false,
                "0 tunnels and 0 requests of 0 sources would be cut (of 90)");
    expect_said(b, "[in]\ntcp 8080 = 192.0.2.1\n", false,
                "90 tunnels and 0 requests of 1 source would be cut");
    expect_said(b, "[in]\ntcp 8080 = 192.0.2.1\n", false,
                "127.0.0.1       90 tunnels, 0 requests: no rule");
    expect_said(b, IN "[out]\ndeny = 127.0.0.1 ; why\n" OPEN, false,
                "acl.conf:4: deny = 127.0.0.1   ; why");
    expect_said(b, IN "[out]\ndeny = 127.0.0.1\n" OPEN, true,
                "{\"source\":\"127.0.0.1\",\"tunnels\":90,\"requests\":0,\"rule\":\"acl.conf:4\"}");
    for (int i = 0; i < N; i++) {
        cr_expect_eq(recv(near[i], buf, 1, MSG_DONTWAIT), -1);
        cr_expect_eq(errno, EAGAIN);
        close(near[i]);
    }
    bench_free(b);
}

Test(flow_survey, cancelled__frees_itself__and_a_second_is_refused_while_one_runs)
{
    struct bench *b = bench_new("", NULL);
    struct own_set *own = calloc(1, sizeof(*own));
    struct snapshot *candidate = bench_load(b, "", NULL);
    int near[80];
    open_tunnels(b, 80, near);
    atomic_init(&own->n_refs, 1);
    survey_of_test = NULL;
    survey_cancel(survey_start(&b->worker, 1, candidate, own, on_done, NULL));
    cr_assert_not_null(survey_start(&b->worker, 1, candidate, own, on_done, NULL));
    for (uint64_t end = bench_now_ms() + 2000; !survey_of_test && bench_now_ms() < end;)
        bench_step(b);
    cr_assert_not_null(survey_of_test);
    cr_expect(survey_of_test->parts[0].is_cut_short);
    survey_free(survey_of_test);
    snapshot_unref(candidate);
    own_set_unref(own);
    for (int i = 0; i < 80; i++)
        bench_reset(near[i]);
    bench_free(b);
}

Test(flow_survey, connections_that_leave_meanwhile__do_no_harm)
{
    struct bench *b = bench_new("", NULL);
    struct own_set *own = calloc(1, sizeof(*own));
    struct snapshot *candidate = bench_load(b, "", "[in]\ntcp 8080 = 192.0.2.1\n");
    int near[90];
    open_tunnels(b, 90, near);
    atomic_init(&own->n_refs, 1);
    survey_of_test = NULL;
    cr_assert_not_null(survey_start(&b->worker, 1, candidate, own, on_done, NULL));
    for (int i = 0; i < 90; i++)
        bench_reset(near[i]);
    for (uint64_t end = bench_now_ms() + 2000; !survey_of_test && bench_now_ms() < end;)
        bench_step(b);
    cr_assert_not_null(survey_of_test);
    survey_free(survey_of_test);
    snapshot_unref(candidate);
    own_set_unref(own);
    bench_free(b);
}

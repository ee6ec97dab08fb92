/* The charts' figures: taken at once, with what open tunnels carry, and given up when it stops. */
#include "proxy/daemon/sampler.h"
#include "proxy_bench.h"

static void await(struct bench *b, struct sampler *s)
{
    for (uint64_t end = bench_now_ms() + 2000; s->is_asking && bench_now_ms() < end;)
        bench_step(b);
    cr_assert_not(s->is_asking);
}

Test(daemon_sampler, first_sample__comes_at_once__with_bytes_of_open_tunnels)
{
    struct bench *b = bench_new("", NULL);
    struct sampler s;
    char text[128], buf[256];
    int near = bench_client(b);
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", b->origin_port);
    bench_send(near, text);
    cr_assert_eq(bench_read(b, near, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(near, "four");
    int far = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, far, buf, sizeof(buf), "four", 2000), 1);
    sampler_start(&s, &b->main_loop, &b->worker, 1);
    await(b, &s);
    cr_assert_eq(s.series.n, 1);
    cr_expect_eq(s.series.samples[0].values[SERIES_TUNNELS], 1);
    cr_expect_eq(s.series.samples[0].values[SERIES_CONNECTIONS], 1);
    cr_expect_eq(s.series.samples[0].values[SERIES_BYTES_UP], 4);
    cr_expect(timer_is_running(&s.timer));
    sampler_stop(&s);
    cr_expect_not(timer_is_running(&s.timer));
    close(near);
    close(far);
    bench_free(b);
}

Test(daemon_sampler, stopped_while_asking__adds_nothing)
{
    struct bench *b = bench_new("", NULL);
    struct sampler s;
    sampler_start(&s, &b->main_loop, &b->worker, 1);
    sampler_stop(&s);
    await(b, &s);
    cr_expect_eq(s.series.n, 0);
    sampler_stop(&s);
    bench_free(b);
}

#include <criterion/criterion.h>
#include <stdlib.h>

#include "proxy/loop/timers.h"

struct probe {
    struct timer t;
    struct timers *w;
    uint64_t fired_at_ms;
    unsigned n_fired;
};

static uint64_t fake_now_ms;

static void on_fire(struct timer *t)
{
    struct probe *p = list_entry(t, struct probe, t);
    p->fired_at_ms = fake_now_ms;
    p->n_fired++;
}

static void on_fire_again(struct timer *t)
{
    struct probe *p = list_entry(t, struct probe, t);
    p->n_fired++;
    timers_start(p->w, t, fake_now_ms, 100, on_fire_again);
}

/* Goes on in steps as a loop would: sleeps as long as the wheel says, at least one millisecond. */
static void run_until(struct timers *w, uint64_t end_ms)
{
    while (fake_now_ms < end_ms) {
        uint64_t wait = timers_next_ms(w, fake_now_ms);
        if (wait == 0)
            wait = 1;
        fake_now_ms = wait > end_ms - fake_now_ms ? end_ms : fake_now_ms + wait;
        timers_advance(w, fake_now_ms);
    }
}

Test(loop_timers, start__fires_once_and_never_early__for_delays_of_every_level)
{
    static const uint64_t delays[] = {0,        1,        3,        4,       5,       63,
                                      255,      256,      257,      1000,    16383,   16384,
                                      16385,    60000,    1048575,  1048576, 3600000, 67108863,
                                      67108864, 86400000, 604800000};
    struct timers *w = malloc(sizeof(*w));
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        fake_now_ms = 123457;
        timers_init(w, fake_now_ms);
        struct probe p = {.w = w};
        timers_start(w, &p.t, fake_now_ms, delays[i], on_fire);
        run_until(w, 123457 + delays[i] + 10);
        cr_expect_eq(p.n_fired, 1, "delay %lu: fired %u times", delays[i], p.n_fired);
        cr_expect_geq(p.fired_at_ms, 123457 + delays[i], "delay %lu: early", delays[i]);
        cr_expect_leq(p.fired_at_ms, 123457 + delays[i] + 2 * TIMERS_TICK_MS, "delay %lu: late",
                      delays[i]);
    }
    free(w);
}

Test(loop_timers, start__keeps_every_deadline__for_random_timers)
{
    enum { N = 5000 };
    struct timers *w = malloc(sizeof(*w));
    struct probe *p = calloc(N, sizeof(*p));
    uint64_t *due = calloc(N, sizeof(*due));
    srandom(7);
    fake_now_ms = 1;
    timers_init(w, fake_now_ms);
    for (int i = 0; i < N; i++) {
        uint64_t delay = (uint64_t)random() % (1u << (random() % 24));
        due[i] = fake_now_ms + delay;
        timers_start(w, &p[i].t, fake_now_ms, delay, on_fire);
        if (i % 50 == 0)
            run_until(w, fake_now_ms + 17);
    }
    run_until(w, fake_now_ms + (1u << 24) + 100);
    for (int i = 0; i < N; i++) {
        cr_expect_eq(p[i].n_fired, 1);
        cr_expect(p[i].fired_at_ms >= due[i] && p[i].fired_at_ms <= due[i] + 2 * TIMERS_TICK_MS + 1,
                  "due %lu fired %lu", due[i], p[i].fired_at_ms);
    }
    cr_expect_eq(w->n_running, 0);
    free(due);
    free(p);
    free(w);
}

Test(loop_timers, stop__silences__when_running_or_not)
{
    struct timers *w = malloc(sizeof(*w));
    fake_now_ms = 0;
    timers_init(w, 0);
    struct probe p = {.w = w};
    timers_stop(w, &p.t);
    timers_start(w, &p.t, 0, 100, on_fire);
    cr_expect(timer_is_running(&p.t));
    timers_stop(w, &p.t);
    cr_expect_not(timer_is_running(&p.t));
    run_until(w, 1000);
    cr_expect_eq(p.n_fired, 0);
    cr_expect_eq(timers_next_ms(w, 1000), UINT64_MAX);
    free(w);
}

Test(loop_timers, fire__may_start_itself_again)
{
    struct timers *w = malloc(sizeof(*w));
    fake_now_ms = 0;
    timers_init(w, 0);
    struct probe p = {.w = w};
    timers_start(w, &p.t, 0, 100, on_fire_again);
    run_until(w, 10000);
    cr_expect(p.n_fired >= 90 && p.n_fired <= 100, "%u", p.n_fired);
    free(w);
}

Test(loop_timers, advance__fires_all__after_a_long_stop_of_the_process)
{
    struct timers *w = malloc(sizeof(*w));
    fake_now_ms = 0;
    timers_init(w, 0);
    struct probe p[3] = {{.w = w}, {.w = w}, {.w = w}};
    timers_start(w, &p[0].t, 0, 10, on_fire);
    timers_start(w, &p[1].t, 0, 50000, on_fire);
    timers_start(w, &p[2].t, 0, 100000, on_fire);
    fake_now_ms = 60000;
    timers_advance(w, fake_now_ms);
    cr_expect_eq(p[0].n_fired + p[1].n_fired, 2);
    cr_expect_eq(p[2].n_fired, 0);
    free(w);
}

/* The last hour: rates over the time that passed, and never more than there is room for. */
#include "proxy/report/series.h"

#include <criterion/criterion.h>

static void add(struct series *s, uint64_t at_ms, uint64_t connections, uint64_t tunnels)
{
    struct series_sample sample = {.at_ms = at_ms};
    sample.values[SERIES_CONNECTIONS] = connections;
    sample.values[SERIES_TUNNELS] = tunnels;
    series_add(s, &sample);
}

Test(report_series, empty__has_no_points)
{
    struct series s = {0};
    cr_expect_eq(series_count(&s), 0);
    cr_expect_eq(series_peak(&s, SERIES_CONNECTIONS), 0);
    add(&s, 1000, 7, 3);
    cr_expect_eq(series_count(&s), 0, "one sample is no rate");
}

Test(report_series, rate__is_over_the_time_that_passed)
{
    struct series s = {0};
    add(&s, 1000, 100, 1);
    add(&s, 31000, 160, 2); /* 60 in 30 s */
    add(&s, 91000, 220, 5); /* late: 60 in 60 s */
    cr_assert_eq(series_count(&s), 2);
    cr_expect_eq(series_at(&s, SERIES_CONNECTIONS, 0).value, 2.0);
    cr_expect_eq(series_at(&s, SERIES_CONNECTIONS, 0).at_ms, 31000);
    cr_expect_eq(series_at(&s, SERIES_CONNECTIONS, 1).value, 1.0);
    cr_expect_eq(series_at(&s, SERIES_TUNNELS, 1).value, 5.0, "a level, not a rate");
    cr_expect_eq(series_peak(&s, SERIES_CONNECTIONS), 2.0);
    cr_expect_eq(series_peak(&s, SERIES_TUNNELS), 5.0);
    cr_expect_eq(series_peak(&s, SERIES_QUERIES), 0.0);
}

Test(report_series, counter_that_went_back__and_clock_that_stood__are_no_growth)
{
    struct series s = {0};
    add(&s, 1000, 100, 0);
    add(&s, 31000, 90, 0);
    add(&s, 31000, 900, 0); /* no time has passed: left out */
    add(&s, 500, 900, 0);
    cr_assert_eq(series_count(&s), 1);
    cr_expect_eq(series_at(&s, SERIES_CONNECTIONS, 0).value, 0.0);
}

Test(report_series, oldest__makes_room)
{
    struct series s = {0};
    for (uint64_t i = 0; i < 1000; i++)
        add(&s, (i + 1) * SERIES_PERIOD_MS, 30 * i * i, i);
    cr_assert_eq(series_count(&s), SERIES_POINTS);
    for (unsigned i = 0; i < SERIES_POINTS; i++) {
        struct series_point p = series_at(&s, SERIES_TUNNELS, i);
        cr_expect_eq(p.value, 1000 - SERIES_POINTS + i);
        cr_expect_eq(p.at_ms, (1000 - SERIES_POINTS + i + 1) * (uint64_t)SERIES_PERIOD_MS);
    }
    cr_expect_eq(series_peak(&s, SERIES_CONNECTIONS), 999 * 999 - 998 * 998);
}

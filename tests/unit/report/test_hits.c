/* Counters by number: only their own, from any thread, and nothing for what was never hit. */
#include "proxy/report/hits.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

Test(report_hits, counts__are_of_their_own_number)
{
    struct hits *h = calloc(1, sizeof(*h));
    static const uint32_t slots[] = {1, 2, HITS_PAGE_RULES - 1, HITS_PAGE_RULES, SLOTS_MAX - 1};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k <= i; k++)
            hits_count(h, slots[i], 100 * i + k + 1);
        hits_carried(h, slots[i], 1000 * i);
    }
    for (size_t i = 0; i < 5; i++) {
        struct hits_sum sum = {0};
        hits_add_up(h, slots[i], &sum);
        cr_expect_eq(sum.n, i + 1);
        cr_expect_eq(sum.bytes, 1000 * i);
        cr_expect_eq(sum.last_ms, 101 * i + 1);
    }
    hits_fini(h);
    free(h);
}

Test(report_hits, no_rule__and_what_is_beyond__is_not_counted)
{
    struct hits *h = calloc(1, sizeof(*h));
    struct hits_sum sum = {0};
    hits_count(h, SLOTS_NONE, 1);
    hits_count(h, SLOTS_MAX, 1);
    hits_carried(h, UINT32_MAX, 1);
    hits_add_up(h, SLOTS_NONE, &sum);
    hits_add_up(h, SLOTS_MAX, &sum);
    hits_add_up(h, 77, &sum);
    cr_expect_eq(sum.n + sum.bytes + sum.last_ms, 0);
    hits_fini(h);
    free(h);
}

static void *count_many(void *arg)
{
    for (uint32_t i = 0; i < 200000; i++)
        hits_count(arg, 1 + i % 1000, i + 1);
    return NULL;
}

Test(report_hits, reader__sees_a_count_that_only_grows__while_it_is_counted)
{
    struct hits *h = calloc(1, sizeof(*h));
    pthread_t thread;
    uint64_t before = 0;
    cr_assert_eq(pthread_create(&thread, NULL, count_many, h), 0);
    while (before < 200) {
        struct hits_sum sum = {0};
        hits_add_up(h, 500, &sum);
        cr_assert_geq(sum.n, before);
        before = sum.n;
    }
    pthread_join(thread, NULL);
    cr_expect_eq(before, 200);
    hits_fini(h);
    free(h);
}

#include <criterion/criterion.h>

#include "proxy/net/quota.h"

enum { NOW_MS = 5000000, KIB = 1024, MIB = 1024 * 1024 };

static struct addr v4(uint32_t a)
{
    return addr_from_ipv4(a);
}

static struct quota *joined(struct quotas *t, struct addr source, unsigned n_tunnels)
{
    struct quota *q = NULL;
    cr_assert_eq(quota_join(t, &source, n_tunnels, 0, &q), 0);
    return q;
}

Test(net_quota, join__refuses__one_tunnel_too_many_of_a_source)
{
    struct quotas *t = quotas_new();
    struct addr a = v4(1), b = v4(2);
    struct quota *q[3], *other, *none = NULL;
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(quota_join(t, &a, 1, 3, &q[i]), 0);
    cr_expect_eq(quota_join(t, &a, 1, 3, &none), QUOTA_FULL);
    cr_expect_null(none);
    cr_expect_eq(quota_join(t, &b, 1, 3, &other), 0);
    quota_leave(other, 1, NOW_MS);
    quota_leave(q[1], 1, NOW_MS);
    cr_expect_eq(quota_join(t, &a, 1, 3, &q[1]), 0);
    for (unsigned i = 0; i < 3; i++)
        quota_leave(q[i], 1, NOW_MS);
    cr_expect_eq(quotas_sum(t).n_sources, 0);
    quotas_free(t);
}

Test(net_quota, join__does_not_count__what_is_no_tunnel)
{
    struct quotas *t = quotas_new();
    struct addr a = v4(1);
    struct quota *q, *request = joined(t, a, 0), *none = NULL;
    cr_expect_eq(quota_join(t, &a, 1, 1, &q), 0);
    cr_expect_eq(quota_join(t, &a, 1, 1, &none), QUOTA_FULL);
    quota_leave(q, 1, NOW_MS);
    cr_expect_eq(quotas_sum(t).n_sources, 1);
    cr_expect_eq(quotas_sum(t).busiest_tunnels, 0);
    quota_leave(request, 0, NOW_MS);
    quotas_free(t);
}

Test(net_quota, join__takes_more__than_a_limit_that_was_lowered_only_when_told)
{
    struct quotas *t = quotas_new();
    struct addr a = v4(1);
    struct quota *q[4], *none = NULL;
    for (unsigned i = 0; i < 4; i++)
        q[i] = joined(t, a, 1);
    cr_expect_eq(quota_join(t, &a, 1, 2, &none), QUOTA_FULL);
    for (unsigned i = 0; i < 3; i++)
        quota_leave(q[i], 1, NOW_MS);
    cr_expect_eq(quota_join(t, &a, 1, 2, &q[0]), 0);
    quota_leave(q[0], 1, NOW_MS);
    quota_leave(q[3], 1, NOW_MS);
    quotas_free(t);
}

Test(net_quota, join__counts_together__a_64)
{
    struct quotas *t = quotas_new();
    struct addr a = {.bytes = {0x20, 1, 0x0d, 0xb8, [7] = 1, [15] = 1}}, b = a, other = a;
    b.bytes[8] = b.bytes[15] = 0xff;
    other.bytes[7] = 2;
    struct quota *q, *p, *none = NULL;
    cr_assert_eq(quota_join(t, &a, 1, 1, &q), 0);
    cr_expect_eq(quota_join(t, &b, 1, 1, &none), QUOTA_FULL);
    cr_assert_eq(quota_join(t, &other, 1, 1, &p), 0);
    quota_leave(q, 1, NOW_MS);
    quota_leave(p, 1, NOW_MS);
    quotas_free(t);
}

/* Any number of sources that come and go leaves nothing, whatever they owed. */
Test(net_quota, leave__forgets__who_owes_nothing)
{
    struct quotas *t = quotas_new();
    for (uint32_t i = 0; i < 100000; i++) {
        struct quota *q = joined(t, v4(0x0a000000 + i), 1);
        if (i % 2)
            quota_reserve(q, 4096, 1000 * KIB, NOW_MS + i);
        quota_leave(q, 1, NOW_MS + i);
    }
    cr_expect_eq(quotas_sum(t).n_sources, 0);
    quotas_free(t);
}

Test(net_quota, sum__names__who_has_the_most)
{
    struct quotas *t = quotas_new();
    struct quota *q[6];
    for (unsigned i = 0; i < 6; i++)
        q[i] = joined(t, v4(i < 2 ? 7 : 9), 1);
    struct quota_figures f = quotas_sum(t);
    struct addr nine = v4(9);
    cr_expect_eq(f.n_sources, 2);
    cr_expect_eq(f.busiest_tunnels, 4);
    cr_expect_eq(addr_compare(&f.busiest, &nine), 0);
    for (unsigned i = 0; i < 6; i++)
        quota_leave(q[i], 1, NOW_MS);
    quotas_free(t);
}

/* ---- bandwidth: a clock of its own, each waits as it is told ---- */

/* How many bytes a source that takes @chunk after @chunk has after @ms. */
static uint64_t carried(struct quota *q, uint32_t chunk, uint64_t rate, uint64_t from_ms,
                        uint64_t ms)
{
    uint64_t now = from_ms, bytes = 0;
    for (;;) {
        now += quota_reserve(q, chunk, rate, now);
        if (now > from_ms + ms)
            break;
        bytes += chunk;
    }
    quota_refund(q, chunk, rate);
    return bytes;
}

Test(net_quota, reserve__keeps_the_rate__at_all_rates)
{
    static const uint64_t rates[] = {KIB, 10 * KIB, 333333, 10 * MIB, 1024ull * MIB, 1ull << 40};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct quotas *t = quotas_new();
        struct quota *q = joined(t, v4(1), 1);
        uint32_t chunk = rates[i] < MIB ? 1024 : rates[i] > 1ull << 35 ? 64 * MIB : MIB / 16;
        double bytes = (double)carried(q, chunk, rates[i], NOW_MS, 20000);
        double wanted = (double)rates[i] * 20 + (rates[i] < 40 * KIB ? 4096 : rates[i] / 10.0);
        double slack = chunk + wanted / 100; /* the clock has milliseconds */
        cr_expect(bytes > wanted - slack && bytes < wanted + slack, "rate %llu: %.0f of %.0f",
                  (unsigned long long)rates[i], bytes, wanted);
        quota_leave(q, 1, NOW_MS + 20000);
        quotas_free(t);
    }
}

Test(net_quota, reserve__gives_turns__to_those_who_share)
{
    struct quotas *t = quotas_new();
    struct quota *q = joined(t, v4(1), 1);
    uint64_t due[4], bytes[4] = {0};
    for (unsigned i = 0; i < 4; i++)
        due[i] = NOW_MS + quota_reserve(q, 16 * KIB, MIB, NOW_MS);
    for (uint64_t now = NOW_MS; now < NOW_MS + 10000; now++) {
        for (unsigned i = 0; i < 4; i++) {
            while (due[i] <= now) {
                bytes[i] += 16 * KIB;
                due[i] = now + quota_reserve(q, 16 * KIB, MIB, now);
            }
        }
    }
    for (unsigned i = 0; i < 4; i++)
        cr_expect(bytes[i] > 2.4 * MIB && bytes[i] < 2.7 * MIB, "%u: %llu", i,
                  (unsigned long long)bytes[i]);
    quota_leave(q, 1, NOW_MS);
    quotas_free(t);
}

/* Closing and coming again makes no new bucket. */
Test(net_quota, reserve__remembers__what_a_source_owes_that_has_nothing_left)
{
    struct quotas *t = quotas_new();
    uint64_t n = 0;
    for (uint64_t now = NOW_MS; now < NOW_MS + 1000; now++) {
        struct quota *q = joined(t, v4(1), 1);
        if (quota_reserve(q, 16 * KIB, MIB, now) == 0)
            n += 16 * KIB;
        else
            quota_refund(q, 16 * KIB, MIB);
        quota_leave(q, 1, now);
    }
    cr_expect(n <= 1.12 * MIB && n >= 0.98 * MIB, "%llu", (unsigned long long)n);
    quotas_free(t);
}

#include <criterion/criterion.h>

#include "proxy/net/rates.h"

static struct addr v4(uint32_t a)
{
    return addr_from_ipv4(a);
}

static unsigned taken(struct rates *r, struct addr client, bool is_tcp, unsigned n, uint32_t rate,
                      uint64_t now_ms)
{
    unsigned n_within = 0;
    for (unsigned i = 0; i < n; i++)
        n_within += rates_take(r, &client, is_tcp, rate, now_ms);
    return n_within;
}

Test(net_rates, take__lets_a_second_s_worth_at_once__then_the_rate)
{
    struct rates *r = rates_new();
    cr_assert_eq(taken(r, v4(1), false, 100, 10, 5000), 10);
    cr_assert_eq(taken(r, v4(1), false, 100, 10, 5099), 0);
    cr_assert_eq(taken(r, v4(1), false, 100, 10, 5100), 1);
    cr_assert_eq(taken(r, v4(1), false, 100, 10, 5600), 5);
    cr_assert_eq(taken(r, v4(1), false, 100, 10, 99999), 10);
    cr_assert_eq(taken(r, v4(2), false, 900000, 500000, 5000), 500000);
    rates_free(r);
}

Test(net_rates, take__counts_apart__clients_and_transports)
{
    struct rates *r = rates_new();
    cr_assert_eq(taken(r, v4(1), false, 9, 3, 5000), 3);
    cr_assert_eq(taken(r, v4(1), true, 9, 3, 5000), 3);
    cr_assert_eq(taken(r, v4(2), false, 9, 3, 5000), 3);
    rates_free(r);
}

Test(net_rates, take__counts_together__a_64)
{
    struct rates *r = rates_new();
    struct addr a = {.bytes = {0x20, 1, 0x0d, 0xb8, [7] = 1, [15] = 1}}, b = a, other = a;
    b.bytes[8] = b.bytes[15] = 0xff;
    other.bytes[7] = 2;
    cr_assert_eq(taken(r, a, false, 2, 3, 5000), 2);
    cr_assert_eq(taken(r, b, false, 9, 3, 5000), 1);
    cr_assert_eq(taken(r, other, false, 9, 3, 5000), 3);
    rates_free(r);
}

/* A flood of sources that ask once each makes nobody's debt forgotten. */
Test(net_rates, take__remembers_who_has_too_much__under_a_flood_of_sources)
{
    struct rates *r = rates_new();
    cr_assert_eq(taken(r, v4(0xc0a8010a), false, 100, 50, 5000), 50);
    for (uint32_t i = 0; i < 1000000; i++)
        taken(r, v4(0x0a000000 + i), false, 1, 50, 5000);
    cr_assert_eq(taken(r, v4(0xc0a8010a), false, 100, 50, 5000), 0);
    cr_assert_eq(taken(r, v4(0xc0a8010a), false, 100, 50, 5500), 25);
    rates_free(r);
}

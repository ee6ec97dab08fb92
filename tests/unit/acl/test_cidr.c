/* Range sets: against a walk over all ranges, and the ends of both address spaces. */
#include "acl/cidr.h"

#include "lines.h"

static int32_t find_naive(const struct cidr_item *items, size_t n, const struct addr *a)
{
    int32_t lowest = CIDR_NONE;

    for (size_t i = 0; i < n; i++)
        if (addr_range_has(&items[i].range, a) && (lowest == CIDR_NONE || (int32_t)items[i].value < lowest))
            lowest = (int32_t)items[i].value;
    return lowest;
}

Test(acl_cidr, find__equals_a_walk__for_random_ranges)
{
    uint64_t seed = 0x5eed0001;

    for (unsigned round = 0; round < 200; round++) {
        struct cidr_item items[60];
        size_t n = random_below(&seed, N_ROWS(items) + 1);
        for (size_t i = 0; i < n; i++) /* values in no order, some of them equal */
            items[i] = (struct cidr_item){random_range(&seed), random_below(&seed, 40)};
        struct cidr_set *set = cidr_set_new(items, n);
        cr_assert_not_null(set);
        for (unsigned k = 0; n > 0 && k < 400; k++) {
            struct addr a = near_edge(&seed, &items[random_below(&seed, (uint32_t)n)].range);
            char text[ADDR_TEXT_MAX];
            cr_assert_eq(cidr_set_find(set, &a), find_naive(items, n, &a), "round %u: %s", round, addr_text(&a, text));
        }
        cidr_set_free(set);
    }
}

Test(acl_cidr, find__knows_the_ends__of_both_spaces)
{
    struct cidr_item items[2] = {{.value = 7}, {.value = 8}};
    struct addr v4_first = addr_of("0.0.0.0"), v4_last = addr_of("255.255.255.255");
    struct addr v6_first = addr_of("::"), v6_last = addr_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");

    items[0].range = (struct addr_range){v4_first, v4_last};
    items[1].range = (struct addr_range){v6_first, v6_last};
    struct cidr_set *v4 = cidr_set_new(items, 1), *v6 = cidr_set_new(items + 1, 1), *none = cidr_set_new(NULL, 0);
    cr_assert(v4 && v6 && none);
    cr_expect_eq(cidr_set_find(v4, &v4_first), 7);
    cr_expect_eq(cidr_set_find(v4, &v4_last), 7);
    cr_expect_eq(cidr_set_find(v4, &v6_first), CIDR_NONE);
    cr_expect_eq(cidr_set_find(v6, &v6_first), 8);
    cr_expect_eq(cidr_set_find(v6, &v6_last), 8);
    cr_expect_eq(cidr_set_find(v6, &v4_first), CIDR_NONE, "::/0 must not hold IPv4");
    cr_expect_eq(cidr_set_find(none, &v4_first), CIDR_NONE);
    cr_expect_eq(cidr_set_find(none, &v6_last), CIDR_NONE);
    cidr_set_free(v4);
    cidr_set_free(v6);
    cidr_set_free(none);
}

Test(acl_cidr, covers__sees_a_gap__of_one_address)
{
    struct cidr_item items[] = {
        {{addr_of("10.0.0.0"), addr_of("10.0.0.127")}, 0},
        {{addr_of("10.0.0.128"), addr_of("10.0.0.255")}, 0},
        {{addr_of("10.0.1.1"), addr_of("10.0.1.255")}, 0},
    };
    struct addr_range joined = {addr_of("10.0.0.5"), addr_of("10.0.0.200")};
    struct addr_range gap = {addr_of("10.0.0.200"), addr_of("10.0.1.5")};
    struct addr_range outside = {addr_of("10.0.1.0"), addr_of("10.0.1.0")};
    struct cidr_set *set = cidr_set_new(items, N_ROWS(items));

    cr_assert_not_null(set);
    cr_expect(cidr_set_covers(set, &joined));
    cr_expect(!cidr_set_covers(set, &gap));
    cr_expect(!cidr_set_covers(set, &outside));
    cidr_set_free(set);
}

/* Address and port at once: against a walk over all lines. */
#include "acl/dests.h"

#include "lines.h"

static int32_t find_naive(const struct dests_item *items, size_t n, const struct addr *a, uint16_t port)
{
    int32_t lowest = DESTS_NONE;

    for (size_t i = 0; i < n; i++)
        if (addr_range_has(&items[i].range, a) && items[i].port_first <= port && port <= items[i].port_last &&
            (lowest == DESTS_NONE || (int32_t)items[i].value < lowest))
            lowest = (int32_t)items[i].value;
    return lowest;
}

static struct dests_item random_item(uint64_t *seed, uint32_t value)
{
    struct dests_item item = {.range = random_range(seed), .port_first = 1, .port_last = 65535, .value = value};

    switch (random_below(seed, 4)) {
    case 0:
        break;
    case 1:
        item.port_first = item.port_last = random_below(seed, 2) ? 443 : 65535;
        break;
    default:
        item.port_first = (uint16_t)(1 + random_below(seed, 30));
        item.port_last = (uint16_t)(item.port_first + random_below(seed, 30));
    }
    return item;
}

Test(acl_dests, find__equals_a_walk__for_random_lines)
{
    static const uint16_t ports[] = {1, 443, 442, 65535, 65534};
    uint64_t seed = 0x5eed0002;

    for (unsigned round = 0; round < 200; round++) {
        struct dests_item items[60];
        size_t n = random_below(&seed, N_ROWS(items) + 1);
        for (size_t i = 0; i < n; i++)
            items[i] = random_item(&seed, random_below(&seed, 1000));
        struct dests *dests = dests_new(items, n);
        cr_assert_not_null(dests);
        for (unsigned k = 0; n > 0 && k < 400; k++) {
            struct addr a = near_edge(&seed, &items[random_below(&seed, (uint32_t)n)].range);
            uint16_t port = random_below(&seed, 2) ? ports[random_below(&seed, N_ROWS(ports))]
                                                   : (uint16_t)(1 + random_below(&seed, 62));
            char text[ADDR_TEXT_MAX];
            cr_assert_eq(dests_find(dests, &a, port), find_naive(items, n, &a, port), "round %u: %s port %u", round,
                         addr_text(&a, text), port);
        }
        dests_free(dests);
    }
}

Test(acl_dests, find__gives_nothing__when_empty)
{
    struct dests *dests = dests_new(NULL, 0);
    struct addr v4 = addr_of("255.255.255.255"), v6 = addr_of("::");

    cr_assert_not_null(dests);
    cr_expect_eq(dests_find(dests, &v4, 443), DESTS_NONE);
    cr_expect_eq(dests_find(dests, &v6, 443), DESTS_NONE);
    dests_free(dests);
}

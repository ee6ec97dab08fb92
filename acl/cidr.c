/*
 * The ranges become the points where the answer changes: a sorted array of first addresses, and
 * beside it the value from there to the next one, "nothing" included. A look-up is one binary
 * search without branches. IPv4 points are four bytes and lie apart from IPv6 ones: 100,000 rules
 * fit into the processor's cache, and an IPv6 range that spans ::ffff:0:0/96 as ::/0 does says
 * nothing about IPv4. Const after cidr_set_new(), so any thread may ask. Measured by
 * tests/bench/bench_acl.
 */
#include "acl/cidr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/sweep.h"

struct key6 {
    uint64_t high;
    uint64_t low;
};

/* keys[0] is 0 and n >= 1: every address has an entry. */
struct points4 {
    uint32_t *keys;
    int32_t *values;
    size_t n;
};

struct points6 {
    struct key6 *keys;
    int32_t *values;
    size_t n;
};

struct cidr_set {
    struct points4 v4;
    struct points6 v6;
};

static struct key6 key6_of(const struct addr *a)
{
    struct key6 key = {0, 0};

    for (int i = 0; i < 8; i++) {
        key.high = key.high << 8 | a->bytes[i];
        key.low = key.low << 8 | a->bytes[8 + i];
    }
    return key;
}

static unsigned __int128 number_of(const struct addr *a, bool is_ipv4)
{
    struct key6 key = key6_of(a);

    return is_ipv4 ? addr_ipv4(a) : (unsigned __int128)key.high << 64 | key.low;
}

static void put4(struct points4 *p, unsigned __int128 key, int32_t value)
{
    p->keys[p->n] = (uint32_t)key;
    p->values[p->n++] = value;
}

static void put6(struct points6 *p, unsigned __int128 key, int32_t value)
{
    p->keys[p->n] = (struct key6){(uint64_t)(key >> 64), (uint64_t)key};
    p->values[p->n++] = value;
}

static void put(struct cidr_set *set, bool is_ipv4, unsigned __int128 key, int32_t value)
{
    if (is_ipv4)
        put4(&set->v4, key, value);
    else
        put6(&set->v6, key, value);
}

static int alloc_points(struct cidr_set *set, bool is_ipv4, size_t n)
{
    if (is_ipv4) {
        set->v4.keys = calloc(n, sizeof(*set->v4.keys));
        set->v4.values = calloc(n, sizeof(*set->v4.values));
        return set->v4.keys && set->v4.values ? 0 : -ENOMEM;
    }
    set->v6.keys = calloc(n, sizeof(*set->v6.keys));
    set->v6.values = calloc(n, sizeof(*set->v6.values));
    return set->v6.keys && set->v6.values ? 0 : -ENOMEM;
}

/* Disjoint spans to points: a gap between two of them is a point of its own. */
static int make_points(struct cidr_set *set, bool is_ipv4, const struct sweep_span *spans, size_t n)
{
    unsigned __int128 end = is_ipv4 ? UINT32_MAX : ~(unsigned __int128)0;
    unsigned __int128 next = 0;

    if (alloc_points(set, is_ipv4, 2 * n + 1))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (spans[i].first != next)
            put(set, is_ipv4, next, CIDR_NONE);
        put(set, is_ipv4, spans[i].first, (int32_t)spans[i].value);
        next = spans[i].last + 1;
    }
    if (n == 0 || spans[n - 1].last != end)
        put(set, is_ipv4, next, CIDR_NONE);
    return 0;
}

static int compile(struct cidr_set *set, bool is_ipv4, const struct cidr_item *items, size_t n)
{
    struct sweep_span *spans = calloc(n + 1, sizeof(*spans));
    struct sweep_span *disjoint = NULL;
    size_t n_spans = 0;

    if (!spans)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct addr_range *r = &items[i].range;
        if (addr_is_ipv4(&r->first) == is_ipv4)
            spans[n_spans++] = (struct sweep_span){number_of(&r->first, is_ipv4),
                                                   number_of(&r->last, is_ipv4), items[i].value};
    }
    int r = sweep_lowest(spans, n_spans, &disjoint, &n_spans);
    free(spans);
    if (r == 0)
        r = make_points(set, is_ipv4, disjoint, n_spans);
    free(disjoint);
    return r;
}

struct cidr_set *cidr_set_new(const struct cidr_item *items, size_t n)
{
    struct cidr_set *set = calloc(1, sizeof(*set));

    if (!set || compile(set, true, items, n) || compile(set, false, items, n))
        return cidr_set_free(set);
    return set;
}

struct cidr_set *cidr_set_free(struct cidr_set *set)
{
    if (set) {
        free(set->v4.keys);
        free(set->v4.values);
        free(set->v6.keys);
        free(set->v6.values);
        free(set);
    }
    return NULL;
}

/* The last point that is not behind @key. */
static size_t find4(const struct points4 *p, uint32_t key)
{
    size_t at = 0;

    for (size_t n = p->n; n > 1;) {
        size_t half = n / 2;
        at += p->keys[at + half] <= key ? half : 0;
        n -= half;
    }
    return at;
}

static size_t find6(const struct points6 *p, const struct key6 *key)
{
    size_t at = 0;

    for (size_t n = p->n; n > 1;) {
        size_t half = n / 2;
        const struct key6 *middle = &p->keys[at + half];
        bool is_before =
            middle->high < key->high || (middle->high == key->high && middle->low <= key->low);
        at += is_before ? half : 0;
        n -= half;
    }
    return at;
}

int32_t cidr_set_find(const struct cidr_set *set, const struct addr *a)
{
    if (addr_is_ipv4(a))
        return set->v4.values[find4(&set->v4, addr_ipv4(a))];
    struct key6 key = key6_of(a);
    return set->v6.values[find6(&set->v6, &key)];
}

bool cidr_set_covers(const struct cidr_set *set, const struct addr_range *r)
{
    if (addr_is_ipv4(&r->first)) {
        size_t at = find4(&set->v4, addr_ipv4(&r->first));
        return set->v4.values[at] != CIDR_NONE && find4(&set->v4, addr_ipv4(&r->last)) == at;
    }
    struct key6 first = key6_of(&r->first), last = key6_of(&r->last);
    size_t at = find6(&set->v6, &first);
    return set->v6.values[at] != CIDR_NONE && find6(&set->v6, &last) == at;
}

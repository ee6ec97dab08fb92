/*
 * What no name and no "allow all" may reach. The table is the one of the contract (acl.conf,
 * special-use destinations); all of the program asks here. The ranges come from RFC 6890 and its
 * registry, minus documentation ranges, plus what reaches the inside of a site: 64:ff9b:1::/48 (RFC
 * 8215) and the old site-local fec0::/10. IPv6 forms that carry an IPv4 address are judged by it as
 * well, or one would walk around the table by writing 10.0.0.1 as 64:ff9b::a00:1. Forms: RFC 6052
 * section 2.1, RFC 3056 section 2, RFC 4380 section 4, RFC 5214 section 6.1; mapped ones are IPv4
 * from the start (base/addr). Pure; the table is const.
 */
#include "acl/guard.h"

#include <string.h>

struct special4 {
    uint32_t first;
    uint32_t last;
    const char *text;
};

static const struct special4 table4[] = {
    {0x00000000, 0x00ffffff, "0.0.0.0/8"},      {0x0a000000, 0x0affffff, "10.0.0.0/8"},
    {0x64400000, 0x647fffff, "100.64.0.0/10"},  {0x7f000000, 0x7fffffff, "127.0.0.0/8"},
    {0xa9fe0000, 0xa9feffff, "169.254.0.0/16"}, {0xac100000, 0xac1fffff, "172.16.0.0/12"},
    {0xc0000000, 0xc00000ff, "192.0.0.0/24"},   {0xc0a80000, 0xc0a8ffff, "192.168.0.0/16"},
    {0xc6120000, 0xc613ffff, "198.18.0.0/15"},  {0xe0000000, 0xefffffff, "224.0.0.0/4"},
    {0xf0000000, 0xffffffff, "240.0.0.0/4"},
};

struct special6 {
    uint8_t prefix[16];
    unsigned n_bits;
    const char *text;
};

static const struct special6 table6[] = {
    {{0}, 96, "::/96"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "64:ff9b:1::/48"},
    {{0x01, 0x00}, 64, "100::/64"},
    {{0xfc}, 7, "fc00::/7"},
    {{0xfe, 0x80}, 10, "fe80::/10"},
    {{0xfe, 0xc0}, 10, "fec0::/10"},
    {{0xff}, 8, "ff00::/8"},
};

enum {
    N_TABLE4 = sizeof(table4) / sizeof(table4[0]),
    N_TABLE6 = sizeof(table6) / sizeof(table6[0])
};

static const struct special4 *find4(uint32_t ipv4)
{
    for (size_t i = 0; i < N_TABLE4; i++)
        if (ipv4 >= table4[i].first && ipv4 <= table4[i].last)
            return &table4[i];
    return NULL;
}

static bool has_prefix(const struct addr *a, const struct special6 *s)
{
    unsigned n_bytes = s->n_bits / 8;
    uint8_t mask = (uint8_t) ~(0xffU >> s->n_bits % 8);

    if (memcmp(a->bytes, s->prefix, n_bytes) != 0)
        return false;
    return mask == 0 || (a->bytes[n_bytes] & mask) == s->prefix[n_bytes];
}

static const struct special6 *find6(const struct addr *a)
{
    for (size_t i = 0; i < N_TABLE6; i++)
        if (has_prefix(a, &table6[i]))
            return &table6[i];
    return NULL;
}

static uint32_t read_ipv4(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool starts_with(const struct addr *a, const uint8_t *prefix, size_t n_bytes)
{
    return memcmp(a->bytes, prefix, n_bytes) == 0;
}

static const uint8_t nat64_prefix[12] = {0x00, 0x64, 0xff, 0x9b};
static const uint8_t sixto4_prefix[2] = {0x20, 0x02};
static const uint8_t teredo_prefix[4] = {0x20, 0x01, 0x00, 0x00};
static const uint8_t isatap_private[4] = {0x00, 0x00, 0x5e, 0xfe};
static const uint8_t isatap_public[4] = {0x02, 0x00, 0x5e, 0xfe};

bool guard_is_ipv4_alias(const struct addr *a)
{
    return starts_with(a, nat64_prefix, sizeof(nat64_prefix)) ||
           starts_with(a, sixto4_prefix, sizeof(sixto4_prefix));
}

size_t guard_embedded_ipv4(const struct addr *a, struct addr ret_inner[static 2])
{
    size_t n = 0;

    if (addr_is_ipv4(a))
        return 0;
    if (starts_with(a, nat64_prefix, sizeof(nat64_prefix)))
        ret_inner[n++] = addr_from_ipv4(read_ipv4(a->bytes + 12));
    if (starts_with(a, sixto4_prefix, sizeof(sixto4_prefix)))
        ret_inner[n++] = addr_from_ipv4(read_ipv4(a->bytes + 2));
    if (starts_with(a, teredo_prefix, sizeof(teredo_prefix))) {
        ret_inner[n++] = addr_from_ipv4(read_ipv4(a->bytes + 4));
        ret_inner[n++] = addr_from_ipv4(~read_ipv4(a->bytes + 12));
        return n;
    }
    if (memcmp(a->bytes + 8, isatap_private, 4) == 0 || memcmp(a->bytes + 8, isatap_public, 4) == 0)
        ret_inner[n++] = addr_from_ipv4(read_ipv4(a->bytes + 12));
    return n;
}

const char *guard_special_range(const struct addr *a)
{
    if (addr_is_ipv4(a)) {
        const struct special4 *s = find4(addr_ipv4(a));
        return s ? s->text : NULL;
    }
    const struct special6 *s = find6(a);
    return s ? s->text : NULL;
}

const char *guard_special_use(const struct addr *a)
{
    struct addr inner[2];
    const char *text = guard_special_range(a);
    size_t n = guard_embedded_ipv4(a, inner);

    for (size_t i = 0; !text && i < n; i++)
        text = guard_special_range(&inner[i]);
    return text;
}

bool guard_range_is_special(const struct addr_range *r)
{
    const char *first = guard_special_range(&r->first);

    /* The ranges are whole and apart, so both ends in one of them means all of it. */
    return first && addr_is_ipv4(&r->first) == addr_is_ipv4(&r->last) &&
           first == guard_special_range(&r->last);
}

static bool overlaps6(const struct addr_range *r, const struct special6 *s)
{
    struct addr first;

    memcpy(first.bytes, s->prefix, sizeof(first.bytes));
    return addr_compare(&r->first, &first) <= 0 && addr_compare(&first, &r->last) <= 0;
}

const char *guard_range_overlaps(const struct addr_range *r)
{
    const char *text = guard_special_range(&r->first);

    if (text)
        return text;
    if (addr_is_ipv4(&r->first)) {
        uint32_t first = addr_ipv4(&r->first), last = addr_ipv4(&r->last);
        for (size_t i = 0; i < N_TABLE4; i++)
            if (first <= table4[i].first && table4[i].first <= last)
                return table4[i].text;
        return NULL;
    }
    for (size_t i = 0; i < N_TABLE6; i++)
        if (overlaps6(r, &table6[i]))
            return table6[i].text;
    return NULL;
}

/* The first listener that is not before (a, port). */
static size_t lower_bound(const struct guard_own *own, const struct addr *a, uint16_t port)
{
    size_t low = 0, high = own->n_listeners;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = addr_compare(&own->listeners[middle].addr, a);
        if (order < 0 || (order == 0 && own->listeners[middle].port < port))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_listener(const struct guard_own *own, const struct addr *a, uint16_t port)
{
    size_t at = lower_bound(own, a, port);

    return at < own->n_listeners && own->listeners[at].port == port &&
           addr_compare(&own->listeners[at].addr, a) == 0;
}

static bool is_loopback(const struct addr *a)
{
    static const struct addr v6 = {{[15] = 1}};

    return addr_is_ipv4(a) ? addr_ipv4(a) >> 24 == 127 : addr_compare(a, &v6) == 0;
}

static bool is_unspecified(const struct addr *a)
{
    static const struct addr v6 = {{0}};

    return addr_is_ipv4(a) ? addr_ipv4(a) == 0 : addr_compare(a, &v6) == 0;
}

/* Some listener on loopback, or on every address. */
static bool has_loopback_listener(const struct guard_own *own, uint16_t port)
{
    static const struct addr any6 = {{0}}, loop6 = {{[15] = 1}};
    struct addr any4 = addr_from_ipv4(0), loop4 = addr_from_ipv4(0x7f000000);

    if (has_listener(own, &any6, port) || has_listener(own, &loop6, port) ||
        has_listener(own, &any4, port))
        return true;
    for (size_t i = lower_bound(own, &loop4, 0); i < own->n_listeners; i++) {
        if (!addr_is_ipv4(&own->listeners[i].addr) || !is_loopback(&own->listeners[i].addr))
            return false;
        if (own->listeners[i].port == port)
            return true;
    }
    return false;
}

static bool is_own_address(const struct guard_own *own, const struct addr *a, uint16_t port)
{
    /* The kernel takes 0.0.0.0 and :: for loopback, and all of 127/8 is this host. */
    return has_listener(own, a, port) ||
           ((is_loopback(a) || is_unspecified(a)) && has_loopback_listener(own, port));
}

bool guard_is_own(const struct guard_own *own, const struct addr *a, uint16_t port)
{
    struct addr inner[2];

    if (!own || own->n_listeners == 0)
        return false;
    size_t n = guard_embedded_ipv4(a, inner);
    for (size_t i = 0; i < n; i++)
        if (is_own_address(own, &inner[i], port))
            return true;
    return is_own_address(own, a, port);
}

/*
 * Addresses as values. There is one form of everything: 16 bytes, IPv4 inside ::ffff:0:0/96,
 * compared with memcmp(). So the rule that was asked and the socket that is dialled speak of the
 * same bytes. Text is read by inet_pton() alone, because the friendlier readers take 127.1 and
 * 0177.0.0.1; what it reads is bounded and holds no NUL. A range keeps the family of its first
 * address: an IPv6 range that happens to span ::ffff:0:0/96, as ::/0 does, says nothing about IPv4.
 * Not a policy: which ranges are special is decided in acl/guard. Pure; any thread. RFC 4291
 * section 2.2, RFC 5952.
 */
#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAPPED_BITS = 96, ADDR_BITS = 128 };

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct addr addr_from_ipv4(uint32_t host_order)
{
    struct addr a;
    uint32_t net = htonl(host_order);

    memcpy(a.bytes, mapped_prefix, sizeof(mapped_prefix));
    memcpy(a.bytes + 12, &net, sizeof(net));
    return a;
}

struct addr addr_from_in6(const struct in6_addr *in6)
{
    struct addr a;

    memcpy(a.bytes, in6->s6_addr, sizeof(a.bytes));
    return a;
}

bool addr_is_ipv4(const struct addr *a)
{
    return memcmp(a->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

uint32_t addr_ipv4(const struct addr *a)
{
    uint32_t net;

    memcpy(&net, a->bytes + 12, sizeof(net));
    return ntohl(net);
}

int addr_compare(const struct addr *a, const struct addr *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool addr_range_has(const struct addr_range *r, const struct addr *a)
{
    return addr_is_ipv4(a) == addr_is_ipv4(&r->first) && addr_compare(&r->first, a) <= 0 &&
           addr_compare(a, &r->last) <= 0;
}

struct addr addr_next(const struct addr *a)
{
    struct addr next = *a;

    for (int i = 15; i >= 0 && ++next.bytes[i] == 0; i--)
        ;
    return next;
}

struct addr addr_prev(const struct addr *a)
{
    struct addr prev = *a;

    for (int i = 15; i >= 0 && prev.bytes[i]-- == 0; i--)
        ;
    return prev;
}

int addr_parse(const char *text, size_t len, struct addr *ret_addr)
{
    char copy[ADDR_TEXT_MAX];
    struct in_addr in;
    struct in6_addr in6;

    if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len))
        return -EINVAL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, &in) == 1)
        *ret_addr = addr_from_ipv4(ntohl(in.s_addr));
    else if (inet_pton(AF_INET6, copy, &in6) == 1)
        *ret_addr = addr_from_in6(&in6);
    else
        return -EINVAL;
    return 0;
}

const char *addr_text(const struct addr *a, char buf[static ADDR_TEXT_MAX])
{
    if (addr_is_ipv4(a))
        inet_ntop(AF_INET, a->bytes + 12, buf, ADDR_TEXT_MAX);
    else
        inet_ntop(AF_INET6, a->bytes, buf, ADDR_TEXT_MAX);
    return buf;
}

/* Decimal digits only, at most @n_max of them. */
static int parse_number(const char *text, size_t len, size_t n_max, uint32_t *ret_value)
{
    uint32_t value = 0;

    if (len == 0 || len > n_max)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *ret_value = value;
    return 0;
}

/* First and last address that share the first @n_bits bits with @a. */
static struct addr_range range_around(const struct addr *a, unsigned n_bits)
{
    struct addr_range r = {.first = *a, .last = *a};

    for (unsigned bit = n_bits; bit < ADDR_BITS; bit++) {
        uint8_t mask = (uint8_t)(0x80U >> bit % 8);
        r.first.bytes[bit / 8] &= (uint8_t)~mask;
        r.last.bytes[bit / 8] |= mask;
    }
    return r;
}

/* The prefix length counts within the family that the text is written in. */
int addr_parse_cidr(const char *text, size_t len, struct addr_range *ret_range)
{
    const char *slash = memchr(text, '/', len);
    struct addr a;
    uint32_t n_bits;

    if (!slash)
        return -EINVAL;
    size_t addr_len = (size_t)(slash - text);
    size_t bits_len = len - addr_len - 1;
    if (addr_parse(text, addr_len, &a) || parse_number(slash + 1, bits_len, 3, &n_bits))
        return -EINVAL;
    if (slash[1] == '0' && bits_len > 1)
        return -EINVAL;
    if (!memchr(text, ':', addr_len))
        n_bits += MAPPED_BITS;
    if (n_bits > ADDR_BITS)
        return -EINVAL;
    *ret_range = range_around(&a, n_bits);
    return addr_compare(&ret_range->first, &a) == 0 ? 0 : -ERANGE;
}

int addr_parse_range(const char *text, size_t len, struct addr_range *ret_range)
{
    const char *dash = memchr(text, '-', len);
    struct addr_range r;

    if (memchr(text, '/', len))
        return addr_parse_cidr(text, len, ret_range);
    if (!dash) {
        if (addr_parse(text, len, &r.first))
            return -EINVAL;
        *ret_range = (struct addr_range){.first = r.first, .last = r.first};
        return 0;
    }
    size_t first_len = (size_t)(dash - text);
    if (addr_parse(text, first_len, &r.first) || addr_parse(dash + 1, len - first_len - 1, &r.last))
        return -EINVAL;
    if (addr_is_ipv4(&r.first) != addr_is_ipv4(&r.last) || addr_compare(&r.first, &r.last) > 0)
        return -EDOM;
    *ret_range = r;
    return 0;
}

static unsigned common_bits(const struct addr_range *r)
{
    for (unsigned bit = 0; bit < ADDR_BITS; bit++)
        if ((r->first.bytes[bit / 8] ^ r->last.bytes[bit / 8]) & 0x80U >> bit % 8)
            return bit;
    return ADDR_BITS;
}

const char *addr_range_text(const struct addr_range *r, char *buf, size_t size)
{
    char first[ADDR_TEXT_MAX];
    char last[ADDR_TEXT_MAX];
    unsigned n_bits = common_bits(r);
    struct addr_range whole = range_around(&r->first, n_bits);
    bool is_prefix = !addr_compare(&whole.first, &r->first) && !addr_compare(&whole.last, &r->last);

    addr_text(&r->first, first);
    addr_text(&r->last, last);
    if (n_bits == ADDR_BITS)
        snprintf(buf, size, "%s", first);
    else if (is_prefix)
        snprintf(buf, size, "%s/%u", first,
                 addr_is_ipv4(&r->first) ? n_bits - MAPPED_BITS : n_bits);
    else
        snprintf(buf, size, "%s-%s", first, last);
    return buf;
}

bool addr_range_is_family(const struct addr_range *r)
{
    bool is_ipv4 = addr_is_ipv4(&r->first);
    struct addr_range whole = range_around(&r->first, is_ipv4 ? MAPPED_BITS : 0);
    return is_ipv4 == addr_is_ipv4(&r->last) && !addr_compare(&whole.first, &r->first) &&
           !addr_compare(&whole.last, &r->last);
}

static int parse_port(const char *text, size_t len, uint16_t *ret_port)
{
    uint32_t port;

    if (parse_number(text, len, 5, &port) || port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse_bracketed(const char *text, size_t len, struct endpoint *ep)
{
    const char *end = memchr(text, ']', len);

    if (!end || !memchr(text, ':', (size_t)(end - text)))
        return -EINVAL;
    size_t addr_len = (size_t)(end - text) - 1;
    size_t rest_len = len - addr_len - 2;
    if (addr_parse(text + 1, addr_len, &ep->addr))
        return -EINVAL;
    if (rest_len == 0)
        return 0;
    if (end[1] != ':')
        return -EINVAL;
    return parse_port(end + 2, rest_len - 1, &ep->port);
}

int endpoint_parse(const char *text, size_t len, uint16_t default_port, struct endpoint *ret_ep)
{
    struct endpoint ep = {.port = default_port};
    const char *colon = memchr(text, ':', len);
    int r;

    if (len > 0 && text[0] == '[') {
        r = parse_bracketed(text, len, &ep);
    } else if (colon && !memchr(colon + 1, ':', len - (size_t)(colon + 1 - text))) {
        size_t addr_len = (size_t)(colon - text);
        r = addr_parse(text, addr_len, &ep.addr);
        if (r == 0)
            r = parse_port(colon + 1, len - addr_len - 1, &ep.port);
    } else {
        r = addr_parse(text, len, &ep.addr);
    }
    if (r == 0)
        *ret_ep = ep;
    return r;
}

const char *endpoint_text(const struct endpoint *ep, char buf[static ENDPOINT_TEXT_MAX])
{
    char text[ADDR_TEXT_MAX];

    addr_text(&ep->addr, text);
    if (addr_is_ipv4(&ep->addr))
        snprintf(buf, ENDPOINT_TEXT_MAX, "%s:%u", text, ep->port);
    else if (ep->scope_id)
        snprintf(buf, ENDPOINT_TEXT_MAX, "[%s%%%u]:%u", text, ep->scope_id, ep->port);
    else
        snprintf(buf, ENDPOINT_TEXT_MAX, "[%s]:%u", text, ep->port);
    return buf;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && a->scope_id == b->scope_id &&
           addr_compare(&a->addr, &b->addr) == 0;
}

int endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *ret_ep)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    switch (ss->ss_family) {
    case AF_INET:
        memcpy(&in, ss, sizeof(in));
        *ret_ep = (struct endpoint){.addr = addr_from_ipv4(ntohl(in.sin_addr.s_addr)),
                                    .port = ntohs(in.sin_port)};
        return 0;
    case AF_INET6:
        memcpy(&in6, ss, sizeof(in6));
        *ret_ep =
            (struct endpoint){.addr = addr_from_in6(&in6.sin6_addr), .port = ntohs(in6.sin6_port)};
        if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
            ret_ep->scope_id = in6.sin6_scope_id;
        return 0;
    default:
        return -EAFNOSUPPORT;
    }
}

socklen_t endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *ret_ss)
{
    *ret_ss = (struct sockaddr_storage){0};
    if (addr_is_ipv4(&ep->addr)) {
        struct sockaddr_in in = {.sin_family = AF_INET,
                                 .sin_port = htons(ep->port),
                                 .sin_addr.s_addr = htonl(addr_ipv4(&ep->addr))};
        memcpy(ret_ss, &in, sizeof(in));
        return sizeof(in);
    }
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(ep->port), .sin6_scope_id = ep->scope_id};
    memcpy(&in6.sin6_addr, ep->addr.bytes, sizeof(ep->addr.bytes));
    memcpy(ret_ss, &in6, sizeof(in6));
    return sizeof(in6);
}

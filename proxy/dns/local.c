/*
 * A name with a local record is ours as a whole: addresses as given, for all other types "there is
 * no such record" with a SOA, never NXDOMAIN and never a question to somebody outside: a public
 * HTTPS record beside a private address would lead clients around it. What is below or above such a
 * name is not ours. The reverse name of an address tells the first name that was given to it.
 */
#include "proxy/dns/local.h"

#include <errno.h>
#include <string.h>

#include "conf/hosts.h"

enum { IPV4_LABELS = 4, IPV6_LABELS = 32 };

/* localhost. nobody.invalid. 1 3600 1200 604800 60 */
static const uint8_t soa_data[] = "\x09localhost\0\x06nobody\x07invalid\0"
                                  "\0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\0\x3c";

static int nodata(const struct answer_key *key, uint64_t now_ms, struct answer **ret)
{
    struct answer_record r = {
        .is_authority = true,
        .type = WIRE_TYPE_SOA,
        .ttl_s = LOCAL_TTL_S,
        .data = soa_data,
        .n_data = sizeof(soa_data) - 1,
    };
    *ret = answer_from_records(key, WIRE_RCODE_NOERROR, &r, 1, now_ms);
    return *ret ? 0 : -ENOMEM;
}

static int answer_addrs(const struct answer_key *key, const struct addr *addrs, unsigned n,
                        uint64_t now_ms, struct answer **ret)
{
    struct answer_record records[HOSTS_ADDRS_MAX];
    unsigned n_records = 0, type = key->question.type;
    for (unsigned i = 0; i < n; i++) {
        bool is_ipv4 = addr_is_ipv4(&addrs[i]);
        unsigned own_type = is_ipv4 ? WIRE_TYPE_A : WIRE_TYPE_AAAA;
        if (type != own_type && type != WIRE_TYPE_ANY)
            continue;
        records[n_records++] = (struct answer_record){
            .type = (uint16_t)own_type,
            .ttl_s = LOCAL_TTL_S,
            .data = addrs[i].bytes + (is_ipv4 ? 12 : 0),
            .n_data = is_ipv4 ? 4 : 16,
        };
    }
    if (n_records == 0)
        return nodata(key, now_ms, ret);
    *ret = answer_from_records(key, WIRE_RCODE_NOERROR, records, n_records, now_ms);
    return *ret ? 0 : -ENOMEM;
}

static int answer_ptr(const struct answer_key *key, const uint8_t *name, size_t len,
                      uint64_t now_ms, struct answer **ret)
{
    if (key->question.type != WIRE_TYPE_PTR && key->question.type != WIRE_TYPE_ANY)
        return nodata(key, now_ms, ret);
    struct answer_record r = {
        .type = WIRE_TYPE_PTR, .ttl_s = LOCAL_TTL_S, .data = name, .n_data = (uint16_t)len};
    *ret = answer_from_records(key, WIRE_RCODE_NOERROR, &r, 1, now_ms);
    return *ret ? 0 : -ENOMEM;
}

/* ---- reverse names ---- */

/* A decimal octet as one label, without leading zeros; -1: it is none. */
static int octet_of(const uint8_t *label)
{
    int v = 0;
    if (label[0] < 1 || label[0] > 3 || (label[0] > 1 && label[1] == '0'))
        return -1;
    for (unsigned i = 1; i <= label[0]; i++) {
        if (label[i] < '0' || label[i] > '9')
            return -1;
        v = v * 10 + (label[i] - '0');
    }
    return v <= 255 ? v : -1;
}

static int nibble_of(const uint8_t *label)
{
    if (label[0] != 1)
        return -1;
    uint8_t c = label[1];
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool ends_with(const uint8_t *at, const char *wire, size_t len)
{
    return memcmp(at, wire, len) == 0;
}

static bool reverse_ipv4(const uint8_t *at, struct addr *ret)
{
    uint32_t ipv4 = 0;
    for (unsigned i = 0; i < IPV4_LABELS; i++) {
        int v = octet_of(at);
        if (v < 0)
            return false;
        ipv4 |= (uint32_t)v << 8 * i;
        at += 1u + at[0];
    }
    *ret = addr_from_ipv4(ipv4);
    return ends_with(at,
                     "\x07in-addr\x04"
                     "arpa",
                     sizeof("\x07in-addr\x04"
                            "arpa"));
}

static bool reverse_ipv6(const uint8_t *at, struct addr *ret)
{
    *ret = (struct addr){.bytes = {0}};
    for (unsigned i = 0; i < IPV6_LABELS; i++) {
        int v = nibble_of(at);
        if (v < 0)
            return false;
        ret->bytes[15 - i / 2] |= (uint8_t)(i % 2 ? v << 4 : v);
        at += 2;
    }
    return ends_with(at,
                     "\x03ip6\x04"
                     "arpa",
                     sizeof("\x03ip6\x04"
                            "arpa")) &&
           !addr_is_ipv4(ret);
}

/* The address whose reverse name this is (lower case). */
static bool reverse_addr(const struct wire_name *name, struct addr *ret)
{
    static const size_t ipv6_len = 2 * IPV6_LABELS + sizeof("\x03ip6\x04"
                                                            "arpa");
    static const char tail[] = "\x04"
                               "arpa";
    if (name->len < sizeof(tail) + 8 ||
        !ends_with(name->bytes + name->len - sizeof(tail), tail, sizeof(tail)))
        return false;
    if (name->len == ipv6_len)
        return reverse_ipv6(name->bytes, ret);
    return name->len <= sizeof("\x03"
                               "255\x03"
                               "255\x03"
                               "255\x03"
                               "255\x07in-addr\x04"
                               "arpa") &&
           name->len >= sizeof("\x01"
                               "1\x01"
                               "1\x01"
                               "1\x01"
                               "1\x07in-addr\x04"
                               "arpa") &&
           reverse_ipv4(name->bytes, ret);
}

int local_answer(struct hosts *const tables[static LOCAL_TABLES], const struct answer_key *key,
                 uint64_t now_ms, struct answer **ret_answer)
{
    const struct wire_name *name = &key->question.name;
    struct addr addrs[HOSTS_ADDRS_MAX], reverse;
    bool is_asked_reverse = false;
    if ((!tables[0] && !tables[1]) || key->question.class != WIRE_CLASS_IN)
        return LOCAL_NOT;
    for (unsigned i = 0; i < LOCAL_TABLES; i++) {
        unsigned n = tables[i] ? hosts_find(tables[i], name->bytes, name->len, addrs) : 0;
        if (n > 0)
            return answer_addrs(key, addrs, n, now_ms, ret_answer);
    }
    is_asked_reverse = reverse_addr(name, &reverse);
    for (unsigned i = 0; is_asked_reverse && i < LOCAL_TABLES; i++) {
        size_t len;
        const uint8_t *told = tables[i] ? hosts_reverse(tables[i], &reverse, &len) : NULL;
        if (told)
            return answer_ptr(key, told, len, now_ms, ret_answer);
    }
    return LOCAL_NOT;
}

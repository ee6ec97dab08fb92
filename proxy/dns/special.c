/*
 * What would only leak from a LAN, or could be answered falsely by somebody outside: special-use
 * names get their answer here. localhost is loopback (a CONNECT to it is then refused by the guard,
 * as it must be), the others do not exist. Negative answers carry a SOA, so that clients cache
 * them. No table is built: the last label sorts out nearly all names at once.
 */
#include "proxy/dns/special.h"

#include <errno.h>
#include <string.h>

enum { LABELS_MAX = 128, LOCAL_TTL_S = 10800 };

enum kind {
    KIND_NONE,
    KIND_LOOPBACK, /* localhost and below */
    KIND_NOTHING,  /* the zone itself does not exist either */
    KIND_EMPTY,    /* the zone exists, nothing in it */
};

/* Where each label of a name begins, the root not counted. */
struct labels {
    const struct wire_name *name;
    unsigned n;
    uint8_t at[LABELS_MAX];
};

static void split(const struct wire_name *name, struct labels *l)
{
    l->name = name;
    l->n = 0;
    for (size_t at = 0; name->bytes[at]; at += 1u + name->bytes[at])
        l->at[l->n++] = (uint8_t)at;
}

/* The label @from_end places from the end (0: the last) as text; "" when there are fewer. */
static const char *label_text(const struct labels *l, unsigned from_end,
                              char buf[static WIRE_LABEL_MAX + 1])
{
    buf[0] = '\0';
    if (from_end >= l->n)
        return buf;
    const uint8_t *label = l->name->bytes + l->at[l->n - 1 - from_end];
    memcpy(buf, label + 1, label[0]);
    buf[label[0]] = '\0';
    return buf;
}

static bool label_is(const struct labels *l, unsigned from_end, const char *text)
{
    if (from_end >= l->n)
        return false;
    const uint8_t *label = l->name->bytes + l->at[l->n - 1 - from_end];
    return label[0] == strlen(text) && memcmp(label + 1, text, label[0]) == 0;
}

/* A decimal octet without leading zeros, or -1. */
static int octet(const struct labels *l, unsigned from_end)
{
    char text[WIRE_LABEL_MAX + 1];
    size_t len = strlen(label_text(l, from_end, text));
    if (from_end >= l->n || len != l->name->bytes[l->at[l->n - 1 - from_end]]) /* a NUL in it */
        return -1;
    int v = 0;
    if (len == 0 || len > 3 || (len > 1 && text[0] == '0'))
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        v = v * 10 + (text[i] - '0');
    }
    return v <= 255 ? v : -1;
}

/* How many labels the private zone that holds this reverse name has before in-addr.arpa; 0: it is
 * none. */
static unsigned ipv4_zone_labels(const struct labels *l)
{
    static const struct {
        uint8_t n, octets[4];
    } zones[] = {
        {1, {0}},
        {1, {10}},
        {1, {127}},
        {2, {169, 254}},
        {2, {192, 168}},
        {3, {192, 0, 2}},
        {3, {198, 51, 100}},
        {3, {203, 0, 113}},
        {4, {255, 255, 255, 255}},
    };
    int o[4];
    for (unsigned i = 0; i < 4; i++)
        o[i] = octet(l, 2 + i);
    if ((o[0] == 172 && o[1] >= 16 && o[1] <= 31) || (o[0] == 100 && o[1] >= 64 && o[1] <= 127))
        return 2;
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        unsigned same = 0;
        while (same < zones[i].n && o[same] == zones[i].octets[same])
            same++;
        if (same == zones[i].n)
            return same;
    }
    return 0;
}

/* The same before ip6.arpa: nibbles from the end. */
static unsigned ipv6_zone_labels(const struct labels *l)
{
    static const char *const zones[] = {
        "00000000000000000000000000000000",
        "00000000000000000000000000000001",
        "fd",
        "fe8",
        "fe9",
        "fea",
        "feb",
        "20010db8",
    };
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        unsigned n = (unsigned)strlen(zones[i]), same = 0;
        while (same < n && label_is(l, 2 + same, (char[]){zones[i][same], '\0'}))
            same++;
        if (same == n)
            return n;
    }
    return 0;
}

static enum kind find_arpa(const struct labels *l, unsigned *ret_n)
{
    unsigned n = 0;
    if (label_is(l, 1, "home")) {
        *ret_n = 2;
        return KIND_EMPTY;
    }
    if (label_is(l, 1, "in-addr"))
        n = ipv4_zone_labels(l);
    else if (label_is(l, 1, "ip6"))
        n = ipv6_zone_labels(l);
    *ret_n = n + 2;
    return n > 0 ? KIND_EMPTY : KIND_NONE;
}

/* @ret_n: how many labels the zone's name has. */
static enum kind find(const struct labels *l, unsigned *ret_n)
{
    *ret_n = 1;
    if (label_is(l, 0, "arpa"))
        return find_arpa(l, ret_n);
    if (label_is(l, 0, "localhost"))
        return KIND_LOOPBACK;
    if (label_is(l, 0, "invalid") || label_is(l, 0, "test") || label_is(l, 0, "onion"))
        return KIND_NOTHING;
    return KIND_NONE;
}

static const uint8_t localhost_name[] = "\x09localhost";
static const uint8_t loopback_ipv4[] = {127, 0, 0, 1};
static const uint8_t loopback_ipv6[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
/* localhost. nobody.invalid. 1 3600 1200 604800 10800, as RFC 6303 section 3 has it. */
static const uint8_t soa_data[] = "\x09localhost\0\x06nobody\x07invalid\0"
                                  "\0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\x2a\x30";

/* PTR of 127.0.0.1 and ::1. */
static bool is_loopback_reverse(const struct labels *l)
{
    if (l->n == 6 && label_is(l, 1, "in-addr"))
        return octet(l, 2) == 127 && octet(l, 3) == 0 && octet(l, 4) == 0 && octet(l, 5) == 1;
    return l->n == 34 && label_is(l, 1, "ip6") && label_is(l, 33, "1") && ipv6_zone_labels(l) == 32;
}

static int answer_with(const struct answer_key *key, uint16_t type, const uint8_t *data,
                       size_t n_data, uint64_t now_ms, struct answer **ret)
{
    struct answer_record r = {
        .type = type, .ttl_s = LOCAL_TTL_S, .data = data, .n_data = (uint16_t)n_data};
    *ret = answer_from_records(key, WIRE_RCODE_NOERROR, &r, 1, now_ms);
    return *ret ? 0 : -ENOMEM;
}

static int answer_negative(const struct answer_key *key, unsigned rcode, uint8_t zone_at,
                           uint64_t now_ms, struct answer **ret)
{
    struct answer_record r = {
        .owner_at = zone_at,
        .is_authority =
            key->question.type != WIRE_TYPE_SOA || zone_at != 0 || rcode != WIRE_RCODE_NOERROR,
        .type = WIRE_TYPE_SOA,
        .ttl_s = LOCAL_TTL_S,
        .data = soa_data,
        .n_data = sizeof(soa_data) - 1,
    };
    *ret = answer_from_records(key, rcode, &r, 1, now_ms);
    return *ret ? 0 : -ENOMEM;
}

int special_answer(const struct answer_key *key, uint64_t now_ms, struct answer **ret_answer)
{
    if (key->question.class != WIRE_CLASS_IN)
        return SPECIAL_NOT;
    struct labels l;
    split(&key->question.name, &l);
    unsigned n_zone;
    enum kind kind = find(&l, &n_zone);
    if (kind == KIND_NONE)
        return SPECIAL_NOT;
    uint16_t type = key->question.type;
    uint8_t zone_at = l.at[l.n - n_zone];
    if (kind == KIND_LOOPBACK && type == WIRE_TYPE_A)
        return answer_with(key, type, loopback_ipv4, sizeof(loopback_ipv4), now_ms, ret_answer);
    if (kind == KIND_LOOPBACK && type == WIRE_TYPE_AAAA)
        return answer_with(key, type, loopback_ipv6, sizeof(loopback_ipv6), now_ms, ret_answer);
    if (kind == KIND_EMPTY && type == WIRE_TYPE_PTR && is_loopback_reverse(&l))
        return answer_with(key, type, localhost_name, sizeof(localhost_name), now_ms, ret_answer);
    /* RFC 8375 section 4: the proof that home.arpa is insecure comes from above. */
    if (kind == KIND_EMPTY && type == WIRE_TYPE_DS && key->flags & ANSWER_KEY_DO &&
        label_is(&l, 1, "home") && l.n == 2)
        return SPECIAL_NOT;
    bool exists =
        kind == KIND_LOOPBACK || (kind == KIND_EMPTY && (zone_at == 0 || is_loopback_reverse(&l)));
    return answer_negative(key, exists ? WIRE_RCODE_NOERROR : WIRE_RCODE_NXDOMAIN, zone_at, now_ms,
                           ret_answer);
}

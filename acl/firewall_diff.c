/*
 * Compares meanings, not lines. For each protocol the ports where any rule of either list begins
 * or ends cut the port space into stretches; within a stretch the rules do not change, and the
 * sources of each list are swept into disjoint spans, which are then walked together. ANY is a
 * rule of every protocol, the ones without a word included. IPv4 and IPv6 are walked apart.
 */
#include "acl/firewall_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/sweep.h"

enum { DRIFTS_MAX = 1000000 };

static const char *const protos[] = {"tcp", "udp", "icmp", "icmpv6-all", "gre",
                                     "esp", "ah",  "vrrp", "other"};

struct drifts {
    struct firewall_drift *items;
    size_t n;
    size_t last_from; /* the stretch before this one: items [last_from, last_to) */
    size_t last_to;
};

/* One list within a stretch: disjoint spans, value = index of the rule. */
struct side {
    const struct firewall *fw;
    struct sweep_span *spans;
    size_t n;
    size_t at;
};

static bool is_for(const struct firewall_rule *rule, const char *proto)
{
    switch (rule->proto) {
    case IN_PROTO_TCP:
        return strcmp(proto, "tcp") == 0;
    case IN_PROTO_UDP:
        return strcmp(proto, "udp") == 0;
    case IN_PROTO_ANY:
        return true;
    case IN_PROTO_OTHER:
        return strcmp(proto, rule->proto_word) == 0;
    }
    return false;
}

static bool has_ports(const char *proto)
{
    return strcmp(proto, "tcp") == 0 || strcmp(proto, "udp") == 0;
}

static int sweep_side(struct side *side, const char *proto, uint16_t port, bool is_ipv4)
{
    const struct firewall *fw = side->fw;
    struct sweep_span *spans = calloc(fw->n_rules + 1, sizeof(*spans));
    size_t n = 0;

    if (!spans)
        return -ENOMEM;
    for (size_t i = 0; i < fw->n_rules; i++) {
        const struct firewall_rule *rule = &fw->rules[i];
        if (!is_for(rule, proto) || addr_is_ipv4(&rule->source.first) != is_ipv4)
            continue;
        if (!has_ports(proto) || (rule->port_first <= port && port <= rule->port_last))
            spans[n++] = (struct sweep_span){sweep_number(&rule->source.first),
                                             sweep_number(&rule->source.last), (uint32_t)i};
    }
    side->at = 0;
    int r = sweep_lowest(spans, n, &side->spans, &side->n);
    free(spans);
    return r;
}

static int add_drift(struct drifts *d, const struct firewall_drift *drift)
{
    if (d->n >= DRIFTS_MAX)
        return -E2BIG;
    if ((d->n & (d->n - 1)) == 0) {
        struct firewall_drift *grown =
            reallocarray(d->items, d->n ? d->n * 2 : 1, sizeof(*d->items));
        if (!grown)
            return -ENOMEM;
        d->items = grown;
    }
    d->items[d->n++] = *drift;
    return 0;
}

/* Walks both sides' spans; what only one holds is a drift. */
static int walk(struct drifts *d, struct side sides[static 2], struct firewall_drift like)
{
    unsigned __int128 at = 0;

    for (;;) {
        bool holds[2];
        unsigned __int128 end = ~(unsigned __int128)0;
        for (size_t i = 0; i < 2; i++) {
            struct side *s = &sides[i];
            while (s->at < s->n && s->spans[s->at].last < at)
                s->at++;
            holds[i] = s->at < s->n && s->spans[s->at].first <= at;
            if (s->at < s->n && holds[i] && s->spans[s->at].last < end)
                end = s->spans[s->at].last;
            if (s->at < s->n && !holds[i] && s->spans[s->at].first - 1 < end)
                end = s->spans[s->at].first - 1;
        }
        if (holds[0] != holds[1]) {
            const struct side *s = &sides[holds[0] ? 0 : 1];
            like.source = (struct addr_range){sweep_addr(at), sweep_addr(end)};
            like.admits = &s->fw->rules[s->spans[s->at].value];
            like.is_left = holds[0];
            int r = add_drift(d, &like);
            if (r < 0)
                return r;
        }
        if (end == ~(unsigned __int128)0)
            return 0;
        at = end + 1;
    }
}

/* A stretch that drifts as the one before it makes that one longer. */
static void join(struct drifts *d, size_t from)
{
    size_t n = d->n - from;
    bool is_same = n > 0 && n == d->last_to - d->last_from && d->last_to == from;

    for (size_t i = 0; i < n && is_same; i++) {
        const struct firewall_drift *a = &d->items[d->last_from + i], *b = &d->items[from + i];
        is_same = a->proto_word == b->proto_word && a->port_last + 1 == b->port_first &&
                  a->admits == b->admits && memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
    }
    if (!is_same) {
        d->last_from = from;
        d->last_to = d->n;
        return;
    }
    for (size_t i = 0; i < n; i++)
        d->items[d->last_from + i].port_last = d->items[from + i].port_last;
    d->n = from;
}

static int diff_stretch(struct drifts *d, const struct firewall *left, const struct firewall *right,
                        struct firewall_drift like)
{
    size_t from = d->n;
    int r = 0;

    for (unsigned family = 0; family < 2 && r == 0; family++) {
        struct side sides[2] = {{.fw = left}, {.fw = right}};
        r = sweep_side(&sides[0], like.proto_word, like.port_first, family == 0);
        if (r == 0)
            r = sweep_side(&sides[1], like.proto_word, like.port_first, family == 0);
        if (r == 0)
            r = walk(d, sides, like);
        free(sides[0].spans);
        free(sides[1].spans);
    }
    if (r == 0)
        join(d, from);
    return r;
}

/* Marks the ports where a stretch begins. */
static void mark(const struct firewall *fw, const char *proto, bool *begins)
{
    for (size_t i = 0; i < fw->n_rules; i++) {
        if (!is_for(&fw->rules[i], proto))
            continue;
        begins[fw->rules[i].port_first] = true;
        begins[fw->rules[i].port_last + 1] = true;
    }
}

static int diff_ports(struct drifts *d, const struct firewall *left, const struct firewall *right,
                      const char *proto)
{
    bool *begins = calloc(UINT16_MAX + 2, sizeof(*begins));
    int r = begins ? 0 : -ENOMEM;

    if (r == 0) {
        mark(left, proto, begins);
        mark(right, proto, begins);
    }
    for (unsigned first = 1, last; first <= UINT16_MAX && r == 0; first = last + 1) {
        for (last = first; last < UINT16_MAX && !begins[last + 1];)
            last++;
        const struct firewall_drift like = {proto, (uint16_t)first, (uint16_t)last};
        r = diff_stretch(d, left, right, like);
    }
    free(begins);
    return r;
}

int firewall_diff(const struct firewall *left, const struct firewall *right,
                  struct firewall_drift **ret_drifts, size_t *ret_n)
{
    struct drifts d = {0};
    int r = 0;

    for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]) && r == 0; i++) {
        if (has_ports(protos[i]))
            r = diff_ports(&d, left, right, protos[i]);
        else
            r = diff_stretch(&d, left, right, (struct firewall_drift){protos[i]});
    }
    if (r < 0) {
        free(d.items);
        return r;
    }
    *ret_drifts = d.items;
    *ret_n = d.n;
    return 0;
}

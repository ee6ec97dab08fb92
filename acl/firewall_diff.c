/*
 * Compares meanings, not lines. A rule that both lists have needs no comparing: it is kept once, as
 * a place where they agree, and only if its sources meet those of a rule of one list alone. For
 * each protocol the ports where any rule begins or ends cut the port space into stretches; within a
 * stretch the rules do not change, so they are carried from one to the next, and only a stretch
 * that holds a rule of one list alone is looked at: the sources of each list are swept into
 * disjoint spans, which are then walked together. ANY is a rule of every protocol, the ones without
 * a word included. IPv4 and IPv6 are walked apart.
 */
#include "acl/firewall_diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/sweep.h"

/* Work is counted in spans swept: 10^8 are about ten seconds. */
enum { DRIFTS_MAX = 1000000, WORK_MAX = 100000000 };
enum { LEFT = 1, RIGHT = 2, BOTH = 3 };

static const char *const protos[] = {"tcp", "udp", "icmp", "icmpv6-all", "gre",
                                     "esp", "ah",  "vrrp", "other"};

/* One rule; of equal ones the first of its list. */
struct entry {
    const struct firewall_rule *rule;
    uint32_t index; /* in its list */
    uint8_t holders;
};

/* Entries of one protocol by first port, and those that hold in the stretch at hand. */
struct stack {
    struct entry *entries;
    size_t n;
    size_t next;
    struct entry *active; /* common ones and those of one list, apart */
    size_t n_active;
};

struct drifts {
    struct firewall_drift *items;
    size_t n;
    size_t last_from; /* the stretch before this one: items [last_from, last_to) */
    size_t last_to;
    uint64_t n_work;
    const struct firewall *lists[2];
};

/* One list within a stretch: disjoint spans; value: index of the rule, or no one list's. */
struct side {
    const struct firewall *fw;
    struct sweep_span *spans;
    size_t n;
    size_t at;
};

/* ---- entries ---- */

static int compare_rules(const struct firewall_rule *a, const struct firewall_rule *b)
{
    if (a->proto != b->proto)
        return a->proto < b->proto ? -1 : 1;
    int order = a->proto == IN_PROTO_OTHER ? strcmp(a->proto_word, b->proto_word) : 0;
    if (order == 0 && a->port_first != b->port_first)
        order = a->port_first < b->port_first ? -1 : 1;
    if (order == 0 && a->port_last != b->port_last)
        order = a->port_last < b->port_last ? -1 : 1;
    return order ? order : memcmp(&a->source, &b->source, sizeof(a->source));
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = compare_rules(x->rule, y->rule);

    if (order == 0)
        order = x->index < y->index ? -1 : x->index > y->index;
    return order;
}

static int compare_ports(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->rule->port_first - y->rule->port_first;
}

/* Both lists' rules, equal ones as one. */
static struct entry *merge(const struct drifts *d, size_t *ret_n)
{
    size_t n = 0, n_all = d->lists[0]->n_rules + d->lists[1]->n_rules;
    struct entry *entries = calloc(n_all + 1, sizeof(*entries));

    if (!entries)
        return NULL;
    for (size_t side = 0, at = 0; side < 2; side++)
        for (size_t i = 0; i < d->lists[side]->n_rules; i++)
            entries[at++] =
                (struct entry){&d->lists[side]->rules[i], (uint32_t)i, side == 0 ? LEFT : RIGHT};
    qsort(entries, n_all, sizeof(*entries), compare_entries);
    for (size_t i = 0; i < n_all; i++) {
        if (n > 0 && compare_rules(entries[n - 1].rule, entries[i].rule) == 0)
            entries[n - 1].holders |= entries[i].holders;
        else
            entries[n++] = entries[i];
    }
    *ret_n = n;
    return entries;
}

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

static void stack_fini(struct stack *s)
{
    free(s->entries);
    free(s->active);
}

/* The entries of @proto: all of one list or of both. */
static int stack_init(struct stack *s, const struct entry *entries, size_t n, const char *proto,
                      bool is_common)
{
    *s = (struct stack){.entries = calloc(n + 1, sizeof(*s->entries)),
                        .active = calloc(n + 1, sizeof(*s->active))};
    if (!s->entries || !s->active)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if ((entries[i].holders == BOTH) == is_common && is_for(entries[i].rule, proto))
            s->entries[s->n++] = entries[i];
    qsort(s->entries, s->n, sizeof(*s->entries), compare_ports);
    return 0;
}

/* Moves on to the stretch that begins at @port; 0: a protocol without ports, all of them hold. */
static void stack_move(struct stack *s, uint16_t port)
{
    size_t n = 0;

    if (port == 0) {
        memcpy(s->active, s->entries, s->n * sizeof(*s->active));
        s->n_active = s->n;
        return;
    }
    for (size_t i = 0; i < s->n_active; i++)
        if (s->active[i].rule->port_last >= port)
            s->active[n++] = s->active[i];
    s->n_active = n;
    for (; s->next < s->n && s->entries[s->next].rule->port_first <= port; s->next++)
        if (s->entries[s->next].rule->port_last >= port)
            s->active[s->n_active++] = s->entries[s->next];
}

/* ---- one stretch ---- */

static size_t add_spans(const struct stack *s, uint8_t holder, bool is_ipv4,
                        struct sweep_span *spans, size_t n)
{
    for (size_t i = 0; i < s->n_active; i++) {
        const struct entry *e = &s->active[i];
        const struct addr_range *source = &e->rule->source;
        if ((e->holders & holder) && addr_is_ipv4(&source->first) == is_ipv4)
            spans[n++] =
                (struct sweep_span){sweep_number(&source->first), sweep_number(&source->last),
                                    e->holders == BOTH ? UINT32_MAX : e->index};
    }
    return n;
}

static int sweep_side(struct side *side, const struct stack *own, const struct stack *common,
                      uint8_t holder, bool is_ipv4)
{
    struct sweep_span *spans = calloc(own->n_active + common->n_active + 1, sizeof(*spans));

    if (!spans)
        return -ENOMEM;
    size_t n = add_spans(own, holder, is_ipv4, spans, 0);
    n = add_spans(common, holder, is_ipv4, spans, n);
    int r = sweep_lowest(spans, n, &side->spans, &side->n);
    free(spans);
    return r;
}

static int add_drift(struct drifts *d, const struct firewall_drift *drift)
{
    if (d->n >= DRIFTS_MAX)
        return -EOVERFLOW;
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

static int diff_stretch(struct drifts *d, struct stack *own, struct stack *common,
                        struct firewall_drift like)
{
    size_t from = d->n;
    int r = 0;

    stack_move(own, like.port_first);
    if (own->n_active == 0)
        return 0;
    stack_move(common, like.port_first);
    d->n_work += own->n_active + common->n_active;
    if (d->n_work > WORK_MAX)
        return -EOVERFLOW;
    for (unsigned family = 0; family < 2 && r == 0; family++) {
        struct side sides[2] = {{.fw = d->lists[0]}, {.fw = d->lists[1]}};
        r = sweep_side(&sides[0], own, common, LEFT, family == 0);
        if (r == 0)
            r = sweep_side(&sides[1], own, common, RIGHT, family == 0);
        if (r == 0)
            r = walk(d, sides, like);
        free(sides[0].spans);
        free(sides[1].spans);
    }
    if (r == 0)
        join(d, from);
    return r;
}

/* ---- one protocol ---- */

/* Marks the ports where a stretch begins. */
static void mark(const struct stack *s, const struct ports *served, bool *begins)
{
    for (size_t i = 0; i < s->n; i++) {
        begins[s->entries[i].rule->port_first] = true;
        begins[s->entries[i].rule->port_last + 1] = true;
    }
    for (unsigned port = 1; served && port <= UINT16_MAX; port++)
        if (ports_has(served, (uint16_t)port) != ports_has(served, (uint16_t)(port - 1)))
            begins[port] = true;
}

static int diff_ports(struct drifts *d, struct stack *own, struct stack *common,
                      const struct ports *served, const char *proto)
{
    bool *begins = calloc(UINT16_MAX + 2, sizeof(*begins));
    int r = begins ? 0 : -ENOMEM;

    if (r == 0) {
        mark(own, served, begins);
        mark(common, NULL, begins);
    }
    for (unsigned first = 1, last; first <= UINT16_MAX && r == 0; first = last + 1) {
        for (last = first; last < UINT16_MAX && !begins[last + 1];)
            last++;
        const struct firewall_drift like = {proto, (uint16_t)first, (uint16_t)last};
        if (!served || ports_has(served, (uint16_t)first))
            r = diff_stretch(d, own, common, like);
    }
    free(begins);
    return r;
}

/* Whether the disjoint @spans, sorted, meet @range. */
static bool meets(const struct sweep_span *spans, size_t n, const struct addr_range *range)
{
    unsigned __int128 first = sweep_number(&range->first);
    size_t from = 0;

    for (size_t to = n; from < to;) { /* the first span that does not end before the range */
        size_t middle = from + (to - from) / 2;
        if (spans[middle].last < first)
            from = middle + 1;
        else
            to = middle;
    }
    return from < n && spans[from].first <= sweep_number(&range->last);
}

/* Leaves out what lies beside every entry of @own. */
static int keep_near(struct stack *common, const struct stack *own)
{
    struct sweep_span *spans = calloc(own->n + 1, sizeof(*spans)), *joined = NULL;
    size_t n = 0, n_joined = 0;
    int r = spans ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < own->n; i++)
        spans[i] = (struct sweep_span){sweep_number(&own->entries[i].rule->source.first),
                                       sweep_number(&own->entries[i].rule->source.last)};
    if (r == 0)
        r = sweep_lowest(spans, own->n, &joined, &n_joined);
    for (size_t i = 0; r == 0 && i < common->n; i++)
        if (meets(joined, n_joined, &common->entries[i].rule->source))
            common->entries[n++] = common->entries[i];
    common->n = n;
    free(joined);
    free(spans);
    return r;
}

static int diff_proto(struct drifts *d, const struct entry *entries, size_t n, const char *proto,
                      const struct firewall_served *served)
{
    bool is_tcp = strcmp(proto, "tcp") == 0, is_udp = strcmp(proto, "udp") == 0;
    struct stack own = {0}, common = {0};
    int r = stack_init(&own, entries, n, proto, false);

    if (r == 0)
        r = stack_init(&common, entries, n, proto, true);
    if (r == 0)
        r = keep_near(&common, &own);
    if (r == 0 && (is_tcp || is_udp))
        r = diff_ports(d, &own, &common, served ? is_tcp ? &served->tcp : &served->udp : NULL,
                       proto);
    else if (r == 0 && !served)
        r = diff_stretch(d, &own, &common, (struct firewall_drift){proto});
    stack_fini(&own);
    stack_fini(&common);
    return r;
}

int firewall_diff(const struct firewall *left, const struct firewall *right,
                  const struct firewall_served *served, struct firewall_drift **ret_drifts,
                  size_t *ret_n)
{
    struct drifts d = {.lists = {left, right}};
    size_t n = 0;
    struct entry *entries = merge(&d, &n);
    int r = entries ? 0 : -ENOMEM;

    for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]) && r == 0; i++)
        r = diff_proto(&d, entries, n, protos[i], served);
    free(entries);
    if (r < 0) {
        free(d.items);
        return r;
    }
    *ret_drifts = d.items;
    *ret_n = d.n;
    return 0;
}

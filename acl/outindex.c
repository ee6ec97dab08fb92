/*
 * Deny lines and allow lines are two tables of one make. Names: every name of a line gets an id;
 * (id, the name itself) and (id, below it) are two keys of a portmap, `*` being the root with
 * everything below. Addresses: dests. What comes out is always the index of the first line in file
 * order, so that a refusal names the line that an admin finds first. Which table is asked when, and
 * who wins, is acl/verdict. Const; any thread may ask.
 */
#include "acl/outindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/dests.h"
#include "acl/names.h"
#include "acl/portmap.h"
#include "acl/ports.h"

struct side {
    struct names *names;
    struct portmap *name_ports; /* key: 2 * id the name itself, 2 * id + 1 below it */
    struct dests *dests;
};

struct out_index {
    struct side deny;
    struct side allow;
    struct dests *opens;
    struct ports addr_ports; /* of allow lines with an address */
    bool has_allow;
    bool has_allow_name;
};

/* Lines for every port hold port 0 too, which no request has: asking for it finds just them. */
enum { PORT_NONE = 0 };

/* Lines unrolled to one item a port range; @dests or @names, by kind. */
struct unrolled {
    struct dests_item *dests;
    size_t n_dests;
    struct portmap_item *names;
    size_t n_names;
};

enum wanted { WANTED_DENY, WANTED_ALLOW, WANTED_OPENS };

static bool is_wanted(const struct out_rule *rule, enum wanted wanted)
{
    switch (wanted) {
    case WANTED_DENY:
        return !rule->is_allow;
    case WANTED_ALLOW:
        return rule->is_allow;
    case WANTED_OPENS:
        return rule->is_allow && rule->opens_special && rule->kind == OUT_KIND_RANGE;
    }
    return false;
}

static size_t count_items(const struct out_rule *rules, size_t n)
{
    size_t n_items = 0;

    for (size_t i = 0; i < n; i++)
        n_items += rules[i].has_ports ? rules[i].n_ports : 1;
    return n_items;
}

static void put_dests(struct unrolled *u, const struct out_rule *rule, uint16_t first,
                      uint16_t last)
{
    u->dests[u->n_dests++] = (struct dests_item){rule->range, first, last, (uint32_t)rule->index};
}

static void put_names(struct unrolled *u, const struct out_rule *rule, uint32_t id, uint16_t first,
                      uint16_t last)
{
    struct portmap_item item = {2 * id, first, last, (uint32_t)rule->index};

    if (rule->kind != OUT_KIND_BELOW)
        u->names[u->n_names++] = item;
    item.key++;
    if (rule->kind != OUT_KIND_NAME)
        u->names[u->n_names++] = item;
}

static int unroll_rule(struct unrolled *u, struct names *names, const struct out_rule *rule)
{
    const char *name = rule->kind == OUT_KIND_ANY ? "" : rule->name;
    uint32_t id = 0;

    if (rule->kind != OUT_KIND_RANGE) {
        int r = names_add(names, name, strlen(name), &id);
        if (r < 0 && r != -EEXIST)
            return r;
    }
    for (size_t i = 0; i < (rule->has_ports ? rule->n_ports : 1); i++) {
        uint16_t first = rule->has_ports ? rule->ports[i].first : 1;
        uint16_t last = rule->has_ports ? rule->ports[i].last : UINT16_MAX;
        if (rule->kind == OUT_KIND_RANGE)
            put_dests(u, rule, first, last);
        else
            put_names(u, rule, id, rule->has_ports ? first : PORT_NONE, last);
    }
    return 0;
}

static int unroll(struct unrolled *u, struct names *names, const struct out_rule *rules, size_t n,
                  enum wanted wanted)
{
    size_t n_items = count_items(rules, n);
    int r = 0;

    u->dests = calloc(n_items + 1, sizeof(*u->dests));
    u->names = calloc(2 * n_items + 1, sizeof(*u->names));
    if (!u->dests || !u->names)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (is_wanted(&rules[i], wanted))
            r = unroll_rule(u, names, &rules[i]);
    return r;
}

static void unrolled_fini(struct unrolled *u)
{
    free(u->dests);
    free(u->names);
}

static int compile_side(struct side *side, const struct out_rule *rules, size_t n,
                        enum wanted wanted)
{
    struct unrolled u = {0};

    side->names = names_new();
    int r = side->names ? unroll(&u, side->names, rules, n, wanted) : -ENOMEM;
    if (r == 0) {
        side->name_ports = portmap_new(u.names, u.n_names, 2 * names_count(side->names));
        side->dests = dests_new(u.dests, u.n_dests);
        r = side->name_ports && side->dests ? 0 : -ENOMEM;
    }
    unrolled_fini(&u);
    return r;
}

static int compile_opens(struct out_index *index, const struct out_rule *rules, size_t n)
{
    struct unrolled u = {0};
    int r = unroll(&u, NULL, rules, n, WANTED_OPENS);

    if (r == 0) {
        index->opens = dests_new(u.dests, u.n_dests);
        r = index->opens ? 0 : -ENOMEM;
    }
    unrolled_fini(&u);
    return r;
}

static void note_allow(struct out_index *index, const struct out_rule *rule)
{
    index->has_allow = true;
    if (rule->kind != OUT_KIND_RANGE) {
        index->has_allow_name |= rule->kind != OUT_KIND_ANY;
        return;
    }
    if (!rule->has_ports)
        ports_add(&index->addr_ports, 1, UINT16_MAX);
    for (size_t i = 0; i < rule->n_ports; i++)
        ports_add(&index->addr_ports, rule->ports[i].first, rule->ports[i].last);
}

struct out_index *out_index_new(const struct out_rule *rules, size_t n)
{
    struct out_index *index = calloc(1, sizeof(*index));

    if (!index || compile_side(&index->deny, rules, n, WANTED_DENY) ||
        compile_side(&index->allow, rules, n, WANTED_ALLOW) || compile_opens(index, rules, n))
        return out_index_free(index);
    for (size_t i = 0; i < n; i++)
        if (rules[i].is_allow)
            note_allow(index, &rules[i]);
    return index;
}

static void side_fini(struct side *side)
{
    names_free(side->names);
    portmap_free(side->name_ports);
    dests_free(side->dests);
}

struct out_index *out_index_free(struct out_index *index)
{
    if (index) {
        side_fini(&index->deny);
        side_fini(&index->allow);
        dests_free(index->opens);
        free(index);
    }
    return NULL;
}

static const struct side *side_of(const struct out_index *index, bool is_allow)
{
    return is_allow ? &index->allow : &index->deny;
}

int32_t out_index_name(const struct out_index *index, bool is_allow, const char *name, size_t len,
                       uint16_t port)
{
    const struct side *side = side_of(index, is_allow);
    struct names_hit hits[NAMES_HITS_MAX];
    int32_t lowest = OUTINDEX_NONE;

    if (names_count(side->names) == 0)
        return OUTINDEX_NONE;
    size_t n_hits = names_match(side->names, name, len, hits);
    for (size_t i = 0; i < n_hits; i++) {
        int32_t found =
            portmap_find(side->name_ports, 2 * hits[i].id + (hits[i].is_self ? 0 : 1), port);
        if (found != PORTMAP_NONE && (lowest == OUTINDEX_NONE || found < lowest))
            lowest = found;
    }
    return lowest;
}

int32_t out_index_query(const struct out_index *index, const char *name, size_t len)
{
    return out_index_name(index, false, name, len, PORT_NONE);
}

bool out_index_may_allow_name(const struct out_index *index, const char *name, size_t len)
{
    struct names_hit hits[NAMES_HITS_MAX];
    size_t n_hits = names_match(index->allow.names, name, len, hits);

    for (size_t i = 0; i < n_hits; i++)
        if (portmap_has(index->allow.name_ports, 2 * hits[i].id + (hits[i].is_self ? 0 : 1)))
            return true;
    return false;
}

bool out_index_has_allow_name(const struct out_index *index)
{
    return index->has_allow_name;
}

int32_t out_index_any(const struct out_index *index, bool is_allow, uint16_t port)
{
    return out_index_name(index, is_allow, "", 0, port);
}

int32_t out_index_addr(const struct out_index *index, bool is_allow, const struct addr *a,
                       uint16_t port)
{
    return dests_find(side_of(index, is_allow)->dests, a, port);
}

int32_t out_index_opens(const struct out_index *index, const struct addr *a, uint16_t port)
{
    return dests_find(index->opens, a, port);
}

bool out_index_has_allow(const struct out_index *index)
{
    return index->has_allow;
}

bool out_index_may_allow_addr(const struct out_index *index, uint16_t port)
{
    return ports_has(&index->addr_ports, port);
}

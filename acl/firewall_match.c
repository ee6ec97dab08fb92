/*
 * Sets of packets as the product of three sets: protocols as bits, ports and sources as lists of
 * ranges. Cutting two sets and asking whether they meet are exact; whether one holds another is
 * asked range by range, so a range that two ranges of the other hold together counts as not held.
 * Whoever asks must stay right with that answer. A condition that no such set can say is kept
 * beside it.
 */
#include "acl/firewall_match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const proto_words[] = {"tcp", "udp", "icmp", "icmpv6-all",
                                          "gre", "esp", "ah",   "vrrp"};

enum { N_PROTO_WORDS = sizeof(proto_words) / sizeof(proto_words[0]) };

unsigned firewall_match_proto(const char *word)
{
    for (unsigned i = 0; i < N_PROTO_WORDS; i++)
        if (strcmp(proto_words[i], word) == 0)
            return 1U << i;
    return MATCH_PROTOS_OTHERS;
}

const char *firewall_match_proto_word(unsigned bit_number)
{
    return bit_number < N_PROTO_WORDS ? proto_words[bit_number] : NULL;
}

void firewall_match_fini(struct firewall_match *m)
{
    free(m->ports);
    free(m->sources);
    *m = (struct firewall_match){0};
}

bool firewall_match_is_everything(const struct firewall_match *m)
{
    return m->protos == MATCH_PROTOS_ALL && !m->ports && !m->sources && !m->is_never &&
           m->condition[0] == '\0';
}

static struct addr later(const struct addr *a, const struct addr *b)
{
    return addr_compare(a, b) > 0 ? *a : *b;
}

static struct addr earlier(const struct addr *a, const struct addr *b)
{
    return addr_compare(a, b) < 0 ? *a : *b;
}

static int cut_ports(struct firewall_match *ret, const struct firewall_match *a,
                     const struct firewall_match *b)
{
    const struct firewall_match *whole = !a->ports ? b : a;
    size_t max = a->ports && b->ports ? a->n_ports + b->n_ports : whole->n_ports;

    if (!whole->ports)
        return 0;
    ret->ports = calloc(max + 1, sizeof(*ret->ports));
    if (!ret->ports)
        return -ENOMEM;
    if (!a->ports || !b->ports) {
        memcpy(ret->ports, whole->ports, whole->n_ports * sizeof(*ret->ports));
        ret->n_ports = whole->n_ports;
        return 0;
    }
    for (size_t i = 0; i < a->n_ports; i++) {
        for (size_t k = 0; k < b->n_ports; k++) {
            const struct match_ports *x = &a->ports[i], *y = &b->ports[k];
            uint16_t first = x->first > y->first ? x->first : y->first;
            uint16_t last = x->last < y->last ? x->last : y->last;
            if (first <= last && ret->n_ports < max) /* disjoint lists never give more */
                ret->ports[ret->n_ports++] = (struct match_ports){first, last};
        }
    }
    return 0;
}

static int cut_sources(struct firewall_match *ret, const struct firewall_match *a,
                       const struct firewall_match *b)
{
    const struct firewall_match *whole = !a->sources ? b : a;
    size_t max = a->sources && b->sources ? a->n_sources * b->n_sources : whole->n_sources;

    if (!whole->sources)
        return 0;
    if (max > MATCH_SOURCES_MAX)
        return -E2BIG;
    ret->sources = calloc(max + 1, sizeof(*ret->sources));
    if (!ret->sources)
        return -ENOMEM;
    if (!a->sources || !b->sources) {
        memcpy(ret->sources, whole->sources, whole->n_sources * sizeof(*ret->sources));
        ret->n_sources = whole->n_sources;
        return 0;
    }
    for (size_t i = 0; i < a->n_sources; i++) {
        for (size_t k = 0; k < b->n_sources; k++) {
            const struct addr_range *x = &a->sources[i], *y = &b->sources[k];
            const struct addr_range cut = {later(&x->first, &y->first),
                                           earlier(&x->last, &y->last)};
            if (addr_compare(&cut.first, &cut.last) <= 0)
                ret->sources[ret->n_sources++] = cut;
        }
    }
    return 0;
}

int firewall_match_cut(const struct firewall_match *a, const struct firewall_match *b,
                       struct firewall_match *ret)
{
    struct firewall_match m = {.protos = a->protos & b->protos};

    memcpy(m.condition, a->condition[0] ? a->condition : b->condition, sizeof(m.condition));
    int r = cut_ports(&m, a, b);
    if (r == 0)
        r = cut_sources(&m, a, b);
    if (r < 0) {
        firewall_match_fini(&m);
        return r;
    }
    m.is_never = a->is_never || b->is_never || m.protos == 0 || (m.ports && m.n_ports == 0) ||
                 (m.sources && m.n_sources == 0);
    *ret = m;
    return 0;
}

static bool ports_meet(const struct firewall_match *a, const struct firewall_match *b)
{
    if (!a->ports || !b->ports)
        return true;
    for (size_t i = 0; i < a->n_ports; i++)
        for (size_t k = 0; k < b->n_ports; k++)
            if (a->ports[i].first <= b->ports[k].last && b->ports[k].first <= a->ports[i].last)
                return true;
    return false;
}

static bool sources_meet(const struct firewall_match *a, const struct firewall_match *b)
{
    if (!a->sources || !b->sources)
        return true;
    for (size_t i = 0; i < a->n_sources; i++)
        for (size_t k = 0; k < b->n_sources; k++)
            if (addr_compare(&a->sources[i].first, &b->sources[k].last) <= 0 &&
                addr_compare(&b->sources[k].first, &a->sources[i].last) <= 0)
                return true;
    return false;
}

bool firewall_match_meet(const struct firewall_match *a, const struct firewall_match *b)
{
    unsigned protos = a->protos & b->protos;

    if (protos == 0 || !sources_meet(a, b))
        return false;
    return (protos & ~(unsigned)MATCH_PROTOS_WITH_PORTS) || ports_meet(a, b);
}

bool firewall_match_holds(const struct firewall_match *a, const struct firewall_match *b)
{
    bool holds =
        (b->protos & ~a->protos) == 0 && (!a->ports || b->ports) && (!a->sources || b->sources);

    for (size_t i = 0; holds && a->ports && i < b->n_ports; i++) {
        holds = false;
        for (size_t k = 0; k < a->n_ports && !holds; k++)
            holds = a->ports[k].first <= b->ports[i].first && b->ports[i].last <= a->ports[k].last;
    }
    for (size_t i = 0; holds && a->sources && i < b->n_sources; i++) {
        holds = false;
        for (size_t k = 0; k < a->n_sources && !holds; k++)
            holds = addr_range_has(&a->sources[k], &b->sources[i].first) &&
                    addr_range_has(&a->sources[k], &b->sources[i].last);
    }
    return holds;
}

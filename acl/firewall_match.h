/* firewall_match - a set of packets: protocols, destination ports, sources (pure). */
#ifndef ACL_FIREWALL_MATCH_H
#define ACL_FIREWALL_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* One bit a protocol that an ACL line has a word for, and one for all the others. */
enum match_protos {
    MATCH_PROTOS_TCP = 1 << 0,
    MATCH_PROTOS_UDP = 1 << 1,
    MATCH_PROTOS_WITH_PORTS = MATCH_PROTOS_TCP | MATCH_PROTOS_UDP,
    MATCH_PROTOS_OTHERS = 1 << 8,
    MATCH_PROTOS_ALL = (1 << 9) - 1,
};

struct match_ports {
    uint16_t first;
    uint16_t last;
};

enum { MATCH_SOURCES_MAX = 4096, MATCH_CONDITION_MAX = 32 };

/* Which packets that open a flow from another host a rule is about. */
struct firewall_match {
    unsigned protos;           /* enum match_protos */
    struct match_ports *ports; /* owned, disjoint; NULL: every port */
    size_t n_ports;
    struct addr_range *sources; /* owned; NULL: every address of the table's family */
    size_t n_sources;
    bool is_never; /* none: replies, loopback, an empty set */
    /* A condition that no ACL line has ("--limit"): the match is at most this large. Empty: exact.
     */
    char condition[MATCH_CONDITION_MAX];
};

/* The bit of `tcp`, `icmp`, ...; any other word is one of MATCH_PROTOS_OTHERS. */
unsigned firewall_match_proto(const char *word);
/* The word of a bit below MATCH_PROTOS_OTHERS, by its number; NULL: there is none. */
const char *firewall_match_proto_word(unsigned bit_number);

/* Without a condition. */
bool firewall_match_is_everything(const struct firewall_match *m);
/* What both match; the condition of either. Returns: 0 · -ENOMEM · -E2BIG too many sources. */
int firewall_match_cut(const struct firewall_match *a, const struct firewall_match *b,
                       struct firewall_match *ret) __attribute__((warn_unused_result));
/* Whether a packet may be in both; conditions aside. */
bool firewall_match_meet(const struct firewall_match *a, const struct firewall_match *b);
/* Whether @a, without its condition, holds all of @b. May say no where it does. */
bool firewall_match_holds(const struct firewall_match *a, const struct firewall_match *b);
void firewall_match_fini(struct firewall_match *m);

#endif

/* firewall_chain - chains of ordered rules, and the allow list that means the same (pure). */
#ifndef ACL_FIREWALL_CHAIN_H
#define ACL_FIREWALL_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/firewall.h"
#include "proxy/base/addr.h"

enum chain_verdict {
    CHAIN_VERDICT_NOTHING, /* logs, counts or marks; the next rule is asked */
    CHAIN_VERDICT_ACCEPT,
    CHAIN_VERDICT_DROP, /* in silence or with an answer */
    CHAIN_VERDICT_RETURN,
    CHAIN_VERDICT_JUMP,
};

/* One bit a protocol that an ACL line has a word for, and one for all the others. */
enum chain_protos {
    CHAIN_PROTOS_TCP = 1 << 0,
    CHAIN_PROTOS_UDP = 1 << 1,
    CHAIN_PROTOS_WITH_PORTS = CHAIN_PROTOS_TCP | CHAIN_PROTOS_UDP,
    CHAIN_PROTOS_OTHERS = 1 << 8,
    CHAIN_PROTOS_ALL = (1 << 9) - 1,
};

struct chain_ports {
    uint16_t first;
    uint16_t last;
};

enum { CHAIN_ITEMS_MAX = 4096, CHAIN_CONDITION_MAX = 32 };

/* Which packets that open a flow from another host a rule is about. */
struct chain_match {
    unsigned protos;           /* enum chain_protos */
    struct chain_ports *ports; /* owned, disjoint; NULL: every port */
    size_t n_ports;
    struct addr_range *sources; /* owned; NULL: every address of the table's family */
    size_t n_sources;
    bool is_never; /* none: replies, loopback, an empty set */
    /* A condition that no ACL line has ("--limit"): the match is at most this large. Empty: exact.
     */
    char condition[CHAIN_CONDITION_MAX];
};

struct chain_rule {
    struct chain_match match;
    enum chain_verdict verdict;
    uint32_t target; /* of a jump: index of the chain */
    unsigned line;
    char *memo; /* owned, or NULL */
};

struct chain {
    char *name; /* owned */
    unsigned line;
    enum chain_verdict policy; /* ACCEPT, DROP; RETURN: a chain that is jumped to */
    struct chain_rule *rules;  /* owned */
    size_t n_rules;
};

struct chain_table {
    struct chain *chains; /* owned */
    size_t n_chains;
    bool is_ipv4;
};

/* The bit of `tcp`, `icmp`, ...; any other word is one of CHAIN_PROTOS_OTHERS. */
unsigned firewall_chain_proto(const char *word);

/**
 * firewall_chain_judge - what chain @input of @table admits, as rules in @fw
 *
 * An allow list has no order: a rule that accepts what an earlier one drops a part of is an error
 * that names both lines, and so is one with a condition that no ACL line has. What an earlier rule
 * drops whole, and what concerns a protocol no listener can use, is left out with a warning.
 * Returns: 0 (also with errors found) · -ENOMEM · -E2BIG.
 */
int firewall_chain_judge(struct firewall *fw, const struct chain_table *table, uint32_t input)
    __attribute__((warn_unused_result));

void firewall_chain_match_fini(struct chain_match *match);
void firewall_chain_table_fini(struct chain_table *table);

#endif

/* firewall_chain - chains of ordered rules, and the allow list that means the same (pure). */
#ifndef ACL_FIREWALL_CHAIN_H
#define ACL_FIREWALL_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/firewall.h"
#include "acl/firewall_match.h"

enum chain_verdict {
    CHAIN_VERDICT_NOTHING, /* logs, counts or marks; the next rule is asked */
    CHAIN_VERDICT_ACCEPT,
    CHAIN_VERDICT_DROP, /* in silence or with an answer */
    CHAIN_VERDICT_RETURN,
    CHAIN_VERDICT_JUMP,
};

struct chain_rule {
    struct firewall_match match;
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

void firewall_chain_table_fini(struct chain_table *table);

#endif

/* firewall_diff - where two lists of rules disagree, as intervals (pure). */
#ifndef ACL_FIREWALL_DIFF_H
#define ACL_FIREWALL_DIFF_H

#include "acl/firewall.h"

/* One disagreement: @admits does, the other list does not. All borrowed. */
struct firewall_drift {
    const char *proto_word; /* "tcp", "udp", "icmp", ..., "other" for what has no word */
    uint16_t port_first;    /* 0: a protocol without ports */
    uint16_t port_last;
    struct addr_range source;
    const struct firewall_rule *admits;
    bool is_left; /* the rule is of the left list */
};

/**
 * firewall_diff - every (protocol, port interval, source interval) that only one list admits
 * @ret_drifts: the caller frees it; NULL when there is none
 * Neighbouring ports with the same drift are one. Returns: 0 · -ENOMEM · -E2BIG.
 */
int firewall_diff(const struct firewall *left, const struct firewall *right,
                  struct firewall_drift **ret_drifts, size_t *ret_n)
    __attribute__((warn_unused_result));

#endif

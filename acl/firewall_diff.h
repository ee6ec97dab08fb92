/* firewall_diff - where two lists of rules disagree, as intervals (pure). */
#ifndef ACL_FIREWALL_DIFF_H
#define ACL_FIREWALL_DIFF_H

#include "acl/firewall.h"
#include "acl/ports.h"

/* One disagreement: @admits does, the other list does not. All borrowed. */
struct firewall_drift {
    const char *proto_word; /* "tcp", "udp", "icmp", ..., "other" for what has no word */
    uint16_t port_first;    /* 0: a protocol without ports */
    uint16_t port_last;
    struct addr_range source;
    const struct firewall_rule *admits;
    bool is_left; /* the rule is of the left list */
};

/* The ports that a comparison is about. */
struct firewall_served {
    struct ports tcp;
    struct ports udp;
};

/**
 * firewall_diff - every (protocol, port interval, source interval) that only one list admits
 * @served: intervals are cut to these ports, and no other protocol is compared; NULL: everything is
 * @ret_drifts: the caller frees it; NULL when there is none
 *
 * Neighbouring ports with the same drift are one. O(n log n) where the lists mostly agree; what
 * would take more than some seconds is not begun. Returns: 0 · -ENOMEM · -EOVERFLOW more than
 * 1,000,000 drifts, or too many rules that lie over each other in too many ports.
 */
int firewall_diff(const struct firewall *left, const struct firewall *right,
                  const struct firewall_served *served, struct firewall_drift **ret_drifts,
                  size_t *ret_n) __attribute__((warn_unused_result));

#endif

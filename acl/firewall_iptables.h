/* firewall_iptables - what iptables-save and ip6tables-save print, read. */
#ifndef ACL_FIREWALL_IPTABLES_H
#define ACL_FIREWALL_IPTABLES_H

#include "acl/firewall.h"

/**
 * firewall_iptables_read - chain INPUT of table filter, as an allow list
 *
 * One IPv4 and one IPv6 table may stand in one text. Other tables are looked at only for rules that
 * stop or redirect packets to this host. Returns: 0 · -EINVAL findings has errors, nothing of @fw
 * may be used · -ENOMEM · -E2BIG.
 */
int firewall_iptables_read(struct firewall *fw, const char *bytes, size_t len)
    __attribute__((warn_unused_result));

#endif

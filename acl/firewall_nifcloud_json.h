/* firewall_nifcloud_json - DescribeSecurityGroups as SDK and CLI print it, read and written. */
#ifndef ACL_FIREWALL_NIFCLOUD_JSON_H
#define ACL_FIREWALL_NIFCLOUD_JSON_H

#include <stdio.h>

#include "acl/firewall.h"

/* Returns: 0 · -EINVAL findings has errors, nothing of @fw may be used · -ENOMEM · -E2BIG. */
int firewall_nifcloud_json_read(struct firewall *fw, const char *bytes, size_t len)
    __attribute__((warn_unused_result));
/* Warns of what the service would not take (more than 100 rules, memos over 40 characters), and of
 * more sources than can be read back. */
void firewall_nifcloud_json_check(struct firewall *fw);
/* Neighbouring rules of one `where` become one item, or several of 4,096 sources; an item a line.
 * Warns of a table that is too large to be read back. Returns: 0 · -ENOMEM; what @out says of
 * itself is the caller's to ask. */
int firewall_nifcloud_json_write(FILE *out, const struct firewall *fw)
    __attribute__((warn_unused_result));

#endif

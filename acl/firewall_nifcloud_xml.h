/* firewall_nifcloud_xml - DescribeSecurityGroups as the API answers it, read. */
#ifndef ACL_FIREWALL_NIFCLOUD_XML_H
#define ACL_FIREWALL_NIFCLOUD_XML_H

#include "acl/firewall.h"

/* Returns: 0 · -EINVAL findings has errors, nothing of @fw may be used · -ENOMEM · -E2BIG. */
int firewall_nifcloud_xml_read(struct firewall *fw, const char *bytes, size_t len)
    __attribute__((warn_unused_result));

#endif

/* firewall_terraform - the firewall rules and web proxies of a Terraform state or plan, read. */
#ifndef ACL_FIREWALL_TERRAFORM_H
#define ACL_FIREWALL_TERRAFORM_H

#include "acl/firewall.h"

/**
 * firewall_terraform_read - `terraform show -json` of a state or a plan, or a state file (version
 * 4)
 *
 * Rules come from nifcloud_security_group_rule. Each nifcloud_web_proxy becomes a [web-proxy]
 * section in @fw->extra, as comment lines. Returns: 0 · -EINVAL findings has errors, nothing of @fw
 * may be used · -ENOMEM · -E2BIG.
 */
int firewall_terraform_read(struct firewall *fw, const char *bytes, size_t len)
    __attribute__((warn_unused_result));

#endif

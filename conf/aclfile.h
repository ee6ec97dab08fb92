/* aclfile - acl.conf into struct acl. */
#ifndef CONF_ACLFILE_H
#define CONF_ACLFILE_H

#include "acl/rule.h"
#include "proxy/base/findings.h"

/**
 * aclfile_load - read and compile the rules
 * Returns: 0, *ret_acl is the caller's · -EINVAL findings has errors · -ENOMEM.
 */
int aclfile_load(const char *file, struct findings *findings, struct acl **ret_acl)
    __attribute__((warn_unused_result));
/* The same from memory. @file: name for the findings. */
int aclfile_parse_bytes(const char *file, const char *bytes, size_t len, struct findings *findings,
                        struct acl **ret_acl) __attribute__((warn_unused_result));

#endif

/* lint_kind - remarks of one kind: the first few are shown, the rest counted (pure). */
#ifndef ACL_LINT_KIND_H
#define ACL_LINT_KIND_H

#include <stdbool.h>
#include <stddef.h>

#include "acl/rule.h"
#include "proxy/base/findings.h"

struct lint_kind {
    const struct acl *acl;
    struct findings *findings;
    enum finding_level level;
    const char *what; /* for the count; static */
    size_t n;
};

/* Counts one more. Returns whether it is to be shown. */
bool lint_kind_may_show(struct lint_kind *k);
/* Shows it, at that line of the ACL file: a format and its values. */
#define lint_kind_show(k, line, ...)                                                               \
    findings_add((k)->findings, (k)->level, (k)->acl->file, line, __VA_ARGS__)
/* Says how many were not shown. */
void lint_kind_end(const struct lint_kind *k);

#endif

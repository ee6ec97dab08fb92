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
/* Shows it, at that line of the ACL file. */
void lint_kind_show(const struct lint_kind *k, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Says how many were not shown. */
void lint_kind_end(const struct lint_kind *k);

#endif

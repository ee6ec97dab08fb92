/* A mirrored firewall may have thousands of lines of one kind: twenty tell the story. */
#include "acl/lint_kind.h"

#include "acl/lint.h"

bool lint_kind_may_show(struct lint_kind *k)
{
    return k->n++ < LINT_EACH_MAX;
}

void lint_kind_end(const struct lint_kind *k)
{
    if (k->n > LINT_EACH_MAX)
        findings_add(k->findings, FINDING_NOTE, k->acl->file, 0, "%zu more lines: %s",
                     k->n - LINT_EACH_MAX, k->what);
}

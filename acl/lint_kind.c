/* A mirrored firewall may have thousands of lines of one kind: twenty tell the story. */
#include "acl/lint_kind.h"

#include <stdarg.h>
#include <stdio.h>

#include "acl/lint.h"

enum { TEXT_MAX = 512 };

bool lint_kind_may_show(struct lint_kind *k)
{
    return k->n++ < LINT_EACH_MAX;
}

void lint_kind_show(const struct lint_kind *k, unsigned line, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    findings_add(k->findings, k->level, k->acl->file, line, "%s", text);
}

void lint_kind_end(const struct lint_kind *k)
{
    if (k->n > LINT_EACH_MAX)
        findings_add(k->findings, FINDING_NOTE, k->acl->file, 0, "%zu more lines: %s",
                     k->n - LINT_EACH_MAX, k->what);
}

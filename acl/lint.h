/* lint - what a valid ACL says that its author may not have meant (pure). */
#ifndef ACL_LINT_H
#define ACL_LINT_H

#include <stddef.h>
#include <stdint.h>

#include "acl/ports.h"
#include "acl/rule.h"
#include "proxy/base/findings.h"

struct lint_port {
    enum in_proto
        proto; /* TCP or UDP; UDP ones are DNS listeners, whose TCP port is listed as well */
    uint16_t port;
    const char *name; /* of the listener's section; borrowed for the call */
};

/* Of each kind of note or warning so many, then a count: a mirrored firewall may have thousands of
 * lines of one kind. */
enum { LINT_EACH_MAX = 20 };

/**
 * acl_lint - warnings and notes, never errors; @acl is finished. O(n log n)
 * @reach: as for acl_lint_out()
 * Warnings: listeners that no line reaches; a whole family admitted; UDP admitted to a DNS port and
 * TCP not. Notes: lines that no listener serves ("not ours"); sources that another line admits
 * already. And those of acl_lint_out().
 */
void acl_lint(const struct acl *acl, const struct lint_port *listeners, size_t n,
              const struct ports *reach, struct findings *findings);

#endif

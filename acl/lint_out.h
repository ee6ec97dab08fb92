/* lint_out - what a valid [out] says that its author may not have meant (pure). */
#ifndef ACL_LINT_OUT_H
#define ACL_LINT_OUT_H

#include "acl/ports.h"
#include "acl/rule.h"
#include "proxy/base/findings.h"

/**
 * acl_lint_out - warnings and notes, never errors; @acl is finished. O(n log n)
 * @reach: every port that some listener's port list has; NULL: there is no such list
 *
 * Warnings: an allow line that touches special-use ranges and opens none; that a deny line of [out]
 * or of its own section covers; whose ports are in no list; an [out @group] without allow lines
 * beside an [out] with some. Notes: an allow line that another of its section covers, a deny line
 * that another of [out] or its section covers; groups that no line uses.
 * Nothing is said of what only some sources see: a line covered by another group's, or by several
 * lines together; nor of the lines of a preset, which are not the author's. A line that is covered
 * by more than a few dozen nested ones may be passed over.
 * Returns: 0 · -ENOMEM not all was looked at.
 */
int acl_lint_out(const struct acl *acl, const struct ports *reach, struct findings *findings)
    __attribute__((warn_unused_result));

#endif

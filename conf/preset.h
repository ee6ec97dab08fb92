/* preset - lists of destinations under a name: what `preset = trend-micro` in [out] stands for. */
#ifndef CONF_PRESET_H
#define CONF_PRESET_H

#include "acl/rule.h"
#include "proxy/base/findings.h"

/**
 * preset_add - the allow lines of preset @name, into the section of @acl that is open
 * Read from NAME.conf in presets.d beside @acl_file, else in the directory that came with the
 * program; the admin's wins. A file has one section, [preset], of lines `allow = PATTERN ; memo`.
 * The rules have the place of the line that named the preset; their memos begin with its name and
 * the line in its file, and end with @memo. @line, @memo: of @acl_file.
 *
 * Returns: 0 · -EINVAL with findings, of @acl_file or of the preset's file · -ENOMEM.
 */
int preset_add(struct acl *acl, const char *acl_file, const char *name, const char *memo,
               unsigned line, struct findings *findings) __attribute__((warn_unused_result));

#endif

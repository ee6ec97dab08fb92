/* pattern - one [out] pattern: what is before and behind its ports (pure). */
#ifndef ACL_PATTERN_H
#define ACL_PATTERN_H

#include <stddef.h>

#include "acl/rule.h"

enum { PATTERN_WHY_MAX = 640 };

/**
 * pattern_parse - `*`, `name`, `*.name`, `.name`, address, CIDR or range; then `:port`, `:a-b` or
 * `:{80,443}`
 * @rule: kind, name, range and ports are set, name and ports owned by it from then on; on failure
 * it may hold some of them, to be freed by its owner
 * @why:  on -EINVAL what is wrong and what to write; on 0 empty, or a doubt worth a warning
 *
 * Returns: 0 · -EINVAL · -ENOMEM.
 */
int pattern_parse(const char *text, size_t len, struct out_rule *rule,
                  char why[static PATTERN_WHY_MAX]) __attribute__((warn_unused_result));

#endif

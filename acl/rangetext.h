/* rangetext - why a text is no address range, and what to write instead (pure). */
#ifndef ACL_RANGETEXT_H
#define ACL_RANGETEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"

enum { RANGETEXT_WHY_MAX = 384 };

/**
 * rangetext_parse - `A`, `A/n` or `A-B` of one family
 * Returns: 0 · -EINVAL with a sentence in @why.
 */
int rangetext_parse(const char *text, size_t len, struct addr_range *ret_range,
                    char why[static RANGETEXT_WHY_MAX]) __attribute__((warn_unused_result));

/* Whether the last label of @text is a number, decimal or 0x: no domain name ends so, loosely
 * written IPv4 does. */
bool rangetext_ends_in_number(const char *text, size_t len);

#endif

/* slots - a number for every rule, kept by its line over reloads, so that counters can follow it.
 */
#ifndef ACL_SLOTS_H
#define ACL_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "acl/rule.h"

enum { SLOTS_NONE = 0, SLOTS_MAX = 4 * 1024 * 1024 }; /* numbers are 1..SLOTS_MAX - 1 */

/* Which numbers are in use: of one thread. A number is free again when the last acl that has it is
 * freed, on whatever thread. */
struct slots;
/* What an acl holds of it; given back by acl_free(). */
struct slots_lease;

/* A number that had another line before, or none: what was counted under it is not this line's. */
typedef void (*slots_fresh_fn)(void *owner, uint32_t slot);

struct slots *slots_new(void);             /* NULL: out of memory */
struct slots *slots_free(struct slots *s); /* always NULL; acls may outlive it */

/**
 * slots_assign - number the rules of @acl (place.slot) before others see it
 * @old: the acl before it, or NULL; a line of the same section with the same text and memo keeps
 *       its number, whatever its line number is. The n-th of equal lines follows the n-th.
 * Returns: 0 · -ENOMEM, -ENOSPC: no rule has a number, and nothing will be counted.
 */
int slots_assign(struct slots *s, const struct acl *old, struct acl *acl, slots_fresh_fn fresh,
                 void *owner) __attribute__((warn_unused_result));
struct slots_lease *slots_lease_free(struct slots_lease *l); /* always NULL; any thread */

#endif

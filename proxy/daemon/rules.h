/* rules - what every line of the ACL did since the daemon started, or since the line was written.
 */
#ifndef PROXY_DAEMON_RULES_H
#define PROXY_DAEMON_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "acl/slots.h"
#include "conf/snapshot.h"
#include "proxy/flow/worker.h"

/* Main thread only. */
struct rules {
    struct slots *slots;
    const struct worker *workers; /* borrowed */
    unsigned n_workers;
    struct hits_sum *before; /* owned, by number: what was counted for lines that had it before */
    size_t n_before;
};

/* 0 · -ENOMEM. */
int rules_init(struct rules *r, const struct worker *workers, unsigned n_workers)
    __attribute__((warn_unused_result));
void rules_fini(struct rules *r);
/* Numbers the lines of @acl before it is published; those that @old (NULL: none) has too go on
 * counting. 0 · -ENOMEM, -ENOSPC: they are not counted. */
int rules_number(struct rules *r, const struct acl *old, struct acl *acl)
    __attribute__((warn_unused_result));
/* What one line did. */
struct hits_sum rules_sum(const struct rules *r, const struct rule_place *place);

/* One line of the ACL and what it did. */
struct rules_row {
    const char *section; /* static: in, out */
    const struct rule_place *place;
    bool is_ours; /* false: no listener of ours can ever ask it */
    struct hits_sum sum;
};
typedef void (*rules_row_fn)(void *owner, const struct rules_row *row);

/* Tells all lines in file order. */
void rules_each(const struct rules *r, const struct snapshot *s, rules_row_fn tell, void *owner);
/* All lines in file order, as a table for people or as one JSON array. @now_ms: monotonic. */
void rules_write(const struct rules *r, const struct snapshot *s, uint64_t now_ms, bool is_json,
                 FILE *out);

#endif

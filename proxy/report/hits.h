/* hits - what each rule decided and carried, as one thread counts it; read by others at any time.
 */
#ifndef PROXY_REPORT_HITS_H
#define PROXY_REPORT_HITS_H

#include <stdatomic.h>
#include <stdint.h>

#include "acl/slots.h"

enum { HITS_PAGE_RULES = 256, HITS_PAGES_MAX = SLOTS_MAX / HITS_PAGE_RULES };

struct hit {
    _Atomic uint64_t n, bytes;
    _Atomic uint64_t last_ms; /* monotonic; 0: never */
};

/* Pages come with the first hit of a rule in them: rules that nobody hits cost nothing. Too large
 * for a stack; zero-initialised is empty. */
struct hits {
    _Atomic(struct hit *) pages[HITS_PAGES_MAX]; /* owned */
};

struct hits_sum {
    uint64_t n, bytes;
    uint64_t last_ms;
};

void hits_fini(struct hits *h); /* NULL is fine */
/* One decision by the rule with number @slot (SLOTS_NONE: no rule), and what it carried. The
 * counting thread only; out of memory nothing is counted. */
void hits_count(struct hits *h, uint32_t slot, uint64_t now_ms);
void hits_carried(struct hits *h, uint32_t slot, uint64_t bytes);
/* Any thread: adds what stands there to @sum. */
void hits_add_up(const struct hits *h, uint32_t slot, struct hits_sum *sum);

#endif

/* toplist - the busiest sources, destinations and tunnels of all workers, and how fast they are. */
#ifndef PROXY_DAEMON_TOPLIST_H
#define PROXY_DAEMON_TOPLIST_H

#include <jansson.h>
#include <stdbool.h>

#include "proxy/flow/roster.h"
#include "proxy/loop/loop.h"
#include "proxy/loop/timers.h"

enum { TOPLIST_ROWS_MAX = 1000 };

enum toplist_sort { TOPLIST_BY_RATE, TOPLIST_BY_BYTES, TOPLIST_BY_AGE, TOPLIST_BY_SOURCE };

struct toplist_sample;

/* What was seen before, which rates are counted from: shared by all who ask. Main thread only;
 * zero-initialised but for the loop. */
struct toplist_past {
    struct loop *loop;
    struct timer forget;               /* nobody asks any more */
    struct toplist_sample *samples[2]; /* owned; the newer one first */
};

/* false: there is no such word. */
bool toplist_sort_parse(const char *word, enum toplist_sort *ret);
/**
 * toplist_write - sort what the workers brought, and put lists of at most @n_rows into @object
 * @r: of ROSTER_TOP, all parts back. Keys: window, busy_sources, busy_destinations, busy_tunnels,
 * n_sources, n_destinations.
 *
 * Returns: 0 · -ENOMEM.
 */
int toplist_write(struct toplist_past *past, const struct roster *r, enum toplist_sort sort,
                  size_t n_rows, uint64_t now_ms, json_t *object)
    __attribute__((warn_unused_result));
void toplist_past_fini(struct toplist_past *past);

#endif

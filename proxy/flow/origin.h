/* origin - connections to HTTP origins, lent to one request at a time and kept for the next. */
#ifndef PROXY_FLOW_ORIGIN_H
#define PROXY_FLOW_ORIGIN_H

#include <stdbool.h>

#include "proxy/loop/io.h"
#include "proxy/net/egress.h"

enum { ORIGIN_BUCKETS = 64 };

struct origin_pool;

/* On the heap, owned by a request or by the pool. */
struct origin {
    struct list node;   /* bucket of the pool */
    struct list in_age; /* of the pool, oldest first */
    struct io io;
    struct endpoint to;
    struct egress egress;
    struct origin_pool *pool; /* NULL: lent */
    struct timer idle;
    bool is_reused; /* it has served a request before */
};

struct origin_pool {
    struct loop *loop;
    struct list buckets[ORIGIN_BUCKETS];
    struct list by_age;
    unsigned n_idle;
    unsigned n_max; /* 0: nothing is kept */
};

void origin_pool_init(struct origin_pool *p, struct loop *loop);
/* Closes all idle ones: at the end, and when rules changed so that none outlives its permission. */
void origin_pool_close_all(struct origin_pool *p);
/* The one used last to any of @to by @egress, checked for an end or stray bytes; NULL: none. The
 * caller owns it. */
struct origin *origin_take(struct origin_pool *p, const struct endpoint *to, unsigned n_to,
                           const struct egress *egress);
/* Back to the pool for @idle_ms; the oldest makes room. Takes @o. Its io must be registered and its
 * stream clean. */
void origin_give(struct origin_pool *p, struct origin *o, uint64_t idle_ms);
struct origin *origin_new(void);              /* closed io; NULL: out of memory */
struct origin *origin_free(struct origin *o); /* closes it; also when it is in the pool */

#endif

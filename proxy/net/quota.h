/* quota - what each source has at this moment, over all workers: how many tunnels, and a share of
 * its bandwidth. */
#ifndef PROXY_NET_QUOTA_H
#define PROXY_NET_QUOTA_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct quotas; /* the table */
struct quota;  /* one source in it: one IPv4 address or one IPv6 /64 */

/* One a daemon; any thread. NULL: out of memory, or no random numbers. */
struct quotas *quotas_new(void);
struct quotas *quotas_free(struct quotas *t); /* nobody holds a quota any more; NULL is fine */

enum quota_outcome { QUOTA_FULL = 1 };

/**
 * quota_join - one more connection of @source
 * @n_tunnels: how many tunnels that makes, 0 or 1
 * @max_tunnels: that its source may have; 0: any number
 * @ret: what to leave once, with the same @n_tunnels
 * Returns: 0 · QUOTA_FULL it has them all · -ENOMEM. Any thread.
 */
int quota_join(struct quotas *t, const struct addr *source, unsigned n_tunnels,
               uint32_t max_tunnels, struct quota **ret) __attribute__((warn_unused_result));
/* NULL is fine. Always NULL. */
struct quota *quota_leave(struct quota *q, unsigned n_tunnels, uint64_t now_ms);

/**
 * quota_reserve - the next @bytes of this source
 * @per_second: bytes; a tenth of a second's worth, at least 4 KiB, may pass at once after a pause
 * @now_ms: monotonic, the same clock for all threads
 * Returns: how long to wait for them, milliseconds; 0: they may pass now. Those who reserved before
 * come before: with the same @bytes each, all have the same share.
 */
uint64_t quota_reserve(struct quota *q, uint32_t bytes, uint64_t per_second, uint64_t now_ms);
/* Of those, @bytes were not used. */
void quota_refund(struct quota *q, uint32_t bytes, uint64_t per_second);

/* For who asks how it goes. */
struct quota_figures {
    uint64_t n_sources;  /* that have something */
    struct addr busiest; /* who has the most tunnels; an IPv6 source is its /64 */
    unsigned busiest_tunnels;
};
struct quota_figures quotas_sum(struct quotas *t);

#endif

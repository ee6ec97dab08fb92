/* rates - how much a second each client asks for, over all workers; its size never changes. */
#ifndef PROXY_NET_RATES_H
#define PROXY_NET_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct rates;

/* Of each table one a daemon. NULL: out of memory, or no random numbers. */
struct rates *rates_new(void);
struct rates *rates_free(struct rates *r);

/**
 * rates_take - one query, or one connection, of @client: one IPv4 address or one IPv6 /64
 * @kind: each has an allowance of its own (TCP: its sources cannot be forged). @per_second:
 * 1..1000000; that many may come at once. @now_ms: monotonic, the same clock for all threads.
 * Returns: whether it is within the rate. Any thread.
 */
bool rates_take(struct rates *r, const struct addr *client, unsigned kind, uint32_t per_second,
                uint64_t now_ms);

#endif

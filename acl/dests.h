/* dests - (address range, ports) lines compiled into one look-up (pure). */
#ifndef ACL_DESTS_H
#define ACL_DESTS_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

enum { DESTS_NONE = -1 };

/* A line with several port ranges is several items of one value. */
struct dests_item {
    struct addr_range range;
    uint16_t port_first; /* 1-65535: every port */
    uint16_t port_last;
    uint32_t value; /* below INT32_MAX; a rule's index */
};

struct dests;

/* @items borrowed for the call. NULL: out of memory. */
struct dests *dests_new(const struct dests_item *items, size_t n);
struct dests *dests_free(struct dests *dests);
/* The lowest value of the items that hold @a and @port, or DESTS_NONE. O(log n) for lines of every
 * port, O(log² n) for others. */
int32_t dests_find(const struct dests *dests, const struct addr *a, uint16_t port);

#endif

/* cidr - address ranges that may overlap, compiled into one look-up (pure). */
#ifndef ACL_CIDR_H
#define ACL_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

enum { CIDR_NONE = -1 };

struct cidr_item {
    struct addr_range range;
    uint32_t value; /* below INT32_MAX; a rule's index */
};

/* Const after it was made; IPv4 and IPv6 are apart, so an IPv6 range never holds an IPv4 address.
 */
struct cidr_set;

/**
 * cidr_set_new - compile @n ranges; O(n log n)
 * Returns NULL when memory is out. @items is borrowed for the call.
 */
struct cidr_set *cidr_set_new(const struct cidr_item *items, size_t n);
struct cidr_set *cidr_set_free(struct cidr_set *set);

/* The lowest value of the ranges that hold @a, or CIDR_NONE; O(log n). */
int32_t cidr_set_find(const struct cidr_set *set, const struct addr *a);

/* Whether all of @r has one and the same value. With equal values everywhere: whether the union
 * holds @r. */
bool cidr_set_covers(const struct cidr_set *set, const struct addr_range *r);

#endif

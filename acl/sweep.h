/* sweep - overlapping spans of numbers into disjoint ones, the lowest value winning (pure). */
#ifndef ACL_SWEEP_H
#define ACL_SWEEP_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* Inclusive on both ends; 128 bits hold an address, or a key and a port. */
struct sweep_span {
    unsigned __int128 first;
    unsigned __int128 last;
    uint32_t value;
};

/**
 * sweep_lowest - for each number, the lowest value of the spans that hold it
 * @spans: sorted in place; borrowed for the call
 * @ret_out: sorted, disjoint, neighbours of one value joined; at most 2 * @n; the caller frees it
 * (NULL when @n is 0)
 *
 * O(n log n). Returns: 0 · -ENOMEM · -E2BIG more than 2^31 spans.
 */
int sweep_lowest(struct sweep_span *spans, size_t n, struct sweep_span **ret_out, size_t *ret_n)
    __attribute__((warn_unused_result));

/* An address as the number that spans are made of, IPv4 in its mapped form, and back. */
unsigned __int128 sweep_number(const struct addr *a);
struct addr sweep_addr(unsigned __int128 n);

#endif

/* portmap - port ranges that may overlap, for many keys, compiled into one look-up (pure). */
#ifndef ACL_PORTMAP_H
#define ACL_PORTMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PORTMAP_NONE = -1 };

struct portmap_item {
    uint32_t key;
    uint16_t first;
    uint16_t last;
    uint32_t value; /* below INT32_MAX; a rule's index */
};

struct portmap;

/* @items borrowed for the call, keys below @n_keys. NULL: out of memory. */
struct portmap *portmap_new(const struct portmap_item *items, size_t n, size_t n_keys);
struct portmap *portmap_free(struct portmap *map);
/* The lowest value of the items of @key that hold @port, or PORTMAP_NONE; O(log items of that key).
 */
int32_t portmap_find(const struct portmap *map, uint32_t key, uint16_t port);
/* Whether @key has any item. */
bool portmap_has(const struct portmap *map, uint32_t key);

#endif

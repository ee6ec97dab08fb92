/*
 * Which line matches this port, for a name or for a part of the address space. All keys share one
 * sorted array of disjoint port ranges; a second array says where each key's part starts, so a key
 * without any costs one comparison. The spans of the sweep are (key, port) as one number, with a
 * bit between them that keeps neighbouring keys apart. Const after portmap_new(); any thread may
 * ask.
 */
#include "acl/portmap.h"

#include <stdlib.h>

#include "acl/sweep.h"

enum { KEY_SHIFT = 17 };

struct piece {
    uint16_t first;
    uint16_t last;
    int32_t value;
};

struct portmap {
    struct piece *pieces;
    uint32_t *starts; /* n_keys + 1 */
};

static struct sweep_span span_of(const struct portmap_item *item)
{
    unsigned __int128 base = (unsigned __int128)item->key << KEY_SHIFT;

    return (struct sweep_span){base | item->first, base | item->last, item->value};
}

static int fill(struct portmap *map, const struct sweep_span *spans, size_t n, size_t n_keys)
{
    size_t key = 0;

    map->pieces = calloc(n + 1, sizeof(*map->pieces));
    map->starts = calloc(n_keys + 1, sizeof(*map->starts));
    if (!map->pieces || !map->starts)
        return -1;
    for (size_t i = 0; i < n; i++) {
        while (key <= (size_t)(spans[i].first >> KEY_SHIFT))
            map->starts[key++] = (uint32_t)i;
        map->pieces[i] = (struct piece){(uint16_t)spans[i].first, (uint16_t)spans[i].last,
                                        (int32_t)spans[i].value};
    }
    while (key <= n_keys)
        map->starts[key++] = (uint32_t)n;
    return 0;
}

struct portmap *portmap_new(const struct portmap_item *items, size_t n, size_t n_keys)
{
    struct portmap *map = calloc(1, sizeof(*map));
    struct sweep_span *spans = calloc(n + 1, sizeof(*spans));
    struct sweep_span *disjoint = NULL;
    size_t n_disjoint = 0;

    for (size_t i = 0; spans && i < n; i++)
        spans[i] = span_of(&items[i]);
    if (!map || !spans || sweep_lowest(spans, n, &disjoint, &n_disjoint) ||
        fill(map, disjoint, n_disjoint, n_keys))
        map = portmap_free(map);
    free(spans);
    free(disjoint);
    return map;
}

struct portmap *portmap_free(struct portmap *map)
{
    if (map) {
        free(map->pieces);
        free(map->starts);
        free(map);
    }
    return NULL;
}

bool portmap_has(const struct portmap *map, uint32_t key)
{
    return map->starts[key] < map->starts[key + 1];
}

int32_t portmap_find(const struct portmap *map, uint32_t key, uint16_t port)
{
    uint32_t low = map->starts[key];
    uint32_t high = map->starts[key + 1];

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct piece *piece = &map->pieces[middle];
        if (port < piece->first)
            high = middle;
        else if (port > piece->last)
            low = middle + 1;
        else
            return piece->value;
    }
    return PORTMAP_NONE;
}

/*
 * Lines for every port are a plain cidr_set. Lines with ports need both dimensions: the addresses
 * are cut where any such line starts or ends, a segment tree stands over the pieces, a line hangs
 * at the at most 2 log n nodes that make up its range, and each node has a portmap. A look-up goes
 * from the piece of the address up to the root. So no file, however its ranges and ports are mixed,
 * makes an ask slower than O(log² n) or the tables larger than O(n log n). Const after dests_new();
 * any thread may ask.
 */
#include "acl/dests.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "acl/cidr.h"
#include "acl/portmap.h"

/* Of one family: leaf i begins at starts[i]; its node is n_leaves + i, the parent of node k is k
 * / 2. */
struct tree {
    struct addr *starts;
    size_t n_leaves; /* 0: no line with ports */
    struct portmap *ports;
};

struct dests {
    struct cidr_set *every_port;
    struct tree v4;
    struct tree v6;
};

/* Grows while it is filled. */
struct hung {
    struct portmap_item *items;
    size_t n;
    size_t n_max;
};

static bool has_every_port(const struct dests_item *item)
{
    return item->port_first == 1 && item->port_last == UINT16_MAX;
}

static int compile_every_port(struct dests *dests, const struct dests_item *items, size_t n)
{
    struct cidr_item *plain = calloc(n + 1, sizeof(*plain));
    size_t n_plain = 0;

    if (!plain)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (has_every_port(&items[i]))
            plain[n_plain++] = (struct cidr_item){items[i].range, items[i].value};
    dests->every_port = cidr_set_new(plain, n_plain);
    free(plain);
    return dests->every_port ? 0 : -ENOMEM;
}

static int compare_addrs(const void *a, const void *b)
{
    return addr_compare(a, b);
}

static bool is_in_tree(const struct dests_item *item, bool is_ipv4)
{
    return !has_every_port(item) && addr_is_ipv4(&item->range.first) == is_ipv4;
}

/* The points where some line starts, or has ended; the lowest address is always one. */
static int cut(struct tree *tree, bool is_ipv4, const struct dests_item *items, size_t n)
{
    struct addr lowest = is_ipv4 ? addr_from_ipv4(0) : (struct addr){{0}};
    size_t n_starts = 0, n_unique = 0;

    tree->starts = calloc(2 * n + 1, sizeof(*tree->starts));
    if (!tree->starts)
        return -ENOMEM;
    tree->starts[n_starts++] = lowest;
    for (size_t i = 0; i < n; i++) {
        if (!is_in_tree(&items[i], is_ipv4))
            continue;
        struct addr behind = addr_next(&items[i].range.last);
        tree->starts[n_starts++] = items[i].range.first;
        /* Behind the last address of the family there is nothing to ask about. */
        if (addr_compare(&behind, &items[i].range.last) > 0)
            tree->starts[n_starts++] = behind;
    }
    if (n_starts == 1)
        return 0;
    qsort(tree->starts, n_starts, sizeof(*tree->starts), compare_addrs);
    for (size_t i = 0; i < n_starts; i++)
        if (n_unique == 0 || addr_compare(&tree->starts[n_unique - 1], &tree->starts[i]) != 0)
            tree->starts[n_unique++] = tree->starts[i];
    tree->n_leaves = n_unique;
    return 0;
}

/* The leaf that holds @a. */
static size_t find_leaf(const struct tree *tree, const struct addr *a)
{
    size_t at = 0;

    for (size_t n = tree->n_leaves; n > 1;) {
        size_t half = n / 2;
        at += addr_compare(&tree->starts[at + half], a) <= 0 ? half : 0;
        n -= half;
    }
    return at;
}

static int hang_at(struct hung *hung, size_t node, const struct dests_item *item)
{
    if (hung->n == hung->n_max) {
        size_t n_max = hung->n_max ? hung->n_max * 2 : 64;
        struct portmap_item *items = reallocarray(hung->items, n_max, sizeof(*items));
        if (!items)
            return -ENOMEM;
        hung->items = items;
        hung->n_max = n_max;
    }
    hung->items[hung->n++] =
        (struct portmap_item){(uint32_t)node, item->port_first, item->port_last, item->value};
    return 0;
}

static int hang(struct hung *hung, const struct tree *tree, const struct dests_item *item)
{
    size_t low = find_leaf(tree, &item->range.first) + tree->n_leaves;
    size_t high = find_leaf(tree, &item->range.last) + tree->n_leaves + 1;
    int r = 0;

    for (; r == 0 && low < high; low /= 2, high /= 2) {
        if (low & 1)
            r = hang_at(hung, low++, item);
        if (r == 0 && high & 1)
            r = hang_at(hung, --high, item);
    }
    return r;
}

static int compile_tree(struct tree *tree, bool is_ipv4, const struct dests_item *items, size_t n)
{
    struct hung hung = {0};
    int r = cut(tree, is_ipv4, items, n);

    if (r < 0 || tree->n_leaves == 0)
        return r;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (is_in_tree(&items[i], is_ipv4))
            r = hang(&hung, tree, &items[i]);
    if (r == 0) {
        tree->ports = portmap_new(hung.items, hung.n, 2 * tree->n_leaves);
        r = tree->ports ? 0 : -ENOMEM;
    }
    free(hung.items);
    return r;
}

struct dests *dests_new(const struct dests_item *items, size_t n)
{
    struct dests *dests = calloc(1, sizeof(*dests));

    if (!dests || compile_every_port(dests, items, n) || compile_tree(&dests->v4, true, items, n) ||
        compile_tree(&dests->v6, false, items, n))
        return dests_free(dests);
    return dests;
}

struct dests *dests_free(struct dests *dests)
{
    if (dests) {
        cidr_set_free(dests->every_port);
        free(dests->v4.starts);
        portmap_free(dests->v4.ports);
        free(dests->v6.starts);
        portmap_free(dests->v6.ports);
        free(dests);
    }
    return NULL;
}

int32_t dests_find(const struct dests *dests, const struct addr *a, uint16_t port)
{
    const struct tree *tree = addr_is_ipv4(a) ? &dests->v4 : &dests->v6;
    int32_t lowest = cidr_set_find(dests->every_port, a);

    if (tree->n_leaves == 0)
        return lowest;
    for (size_t node = find_leaf(tree, a) + tree->n_leaves; node > 0; node /= 2) {
        int32_t value = portmap_find(tree->ports, (uint32_t)node, port);
        if (value != PORTMAP_NONE && (lowest == DESTS_NONE || value < lowest))
            lowest = value;
    }
    return lowest;
}

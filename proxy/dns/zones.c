/*
 * Suffixes in wire form, found through a hash table: a name is asked for label by label from the
 * left, so the first hit is the longest suffix and label boundaries are kept by themselves. Labels
 * in front of the deepest zone are skipped unasked, so a name of a hundred labels costs no more
 * than that. The suffixes are the admin's, so the hash needs no secret, and there is one byte
 * compare only where it meets.
 */
#include "proxy/dns/zones.h"

#include <stdlib.h>
#include <string.h>

enum { LABELS_MAX = 128 };

struct zones {
    unsigned n;
    unsigned deepest; /* labels of the longest suffix */
    size_t n_slots;   /* a power of two, at most half full */
    int *slots;       /* -1: free */
    struct wire_name names[];
};

static size_t hash_of(const uint8_t *bytes, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 0x100000001b3ull;
    return (size_t)(h ^ h >> 32);
}

/* The slot of a suffix, or the free one where it belongs. */
static int *slot_of(const struct zones *z, const uint8_t *bytes, size_t len)
{
    for (size_t i = hash_of(bytes, len);; i++) {
        int *slot = &z->slots[i & (z->n_slots - 1)];
        if (*slot < 0)
            return slot;
        const struct wire_name *name = &z->names[*slot];
        if (name->len == len && memcmp(name->bytes, bytes, len) == 0)
            return slot;
    }
}

static unsigned split(const struct wire_name *name, uint8_t at[static LABELS_MAX])
{
    unsigned n = 0;
    for (size_t i = 0; name->bytes[i]; i += 1u + name->bytes[i])
        at[n++] = (uint8_t)i;
    return n;
}

struct zones *zones_new(const struct conf_zones *conf)
{
    uint8_t at[LABELS_MAX];
    if (!conf || conf->n_items == 0)
        return NULL;
    size_t n_slots = 4;
    while (n_slots < 2 * conf->n_items)
        n_slots *= 2;
    struct zones *z = malloc(sizeof(*z) + conf->n_items * sizeof(z->names[0]));
    int *slots = reallocarray(NULL, n_slots, sizeof(*slots));
    if (!z || !slots) {
        free(z);
        free(slots);
        return NULL;
    }
    *z = (struct zones){.n = (unsigned)conf->n_items, .n_slots = n_slots, .slots = slots};
    memset(slots, 0xff, n_slots * sizeof(*slots));
    for (unsigned i = 0; i < z->n; i++) {
        const char *text = conf->items[i].name;
        struct wire_name *name = &z->names[i];
        if (wire_name_from_text(text, strlen(text), name) < 0)
            return zones_free(z); /* conf has checked it */
        wire_name_lower(name);
        unsigned n_labels = split(name, at);
        z->deepest = n_labels > z->deepest ? n_labels : z->deepest;
        *slot_of(z, name->bytes, name->len) = (int)i;
    }
    return z;
}

struct zones *zones_free(struct zones *z)
{
    if (z)
        free(z->slots);
    free(z);
    return NULL;
}

int zones_find(const struct zones *z, const struct wire_name *name)
{
    uint8_t at[LABELS_MAX];
    if (!z)
        return -1;
    unsigned n = split(name, at);
    for (unsigned i = n > z->deepest ? n - z->deepest : 0; i < n; i++) {
        int found = *slot_of(z, name->bytes + at[i], (size_t)name->len - at[i]);
        if (found >= 0)
            return found;
    }
    return -1;
}

bool zones_equal(const struct zones *a, const struct zones *b)
{
    if (!a || !b)
        return a == b;
    if (a->n != b->n)
        return false;
    for (unsigned i = 0; i < a->n; i++) {
        if (!wire_name_equal_exact(&a->names[i], &b->names[i]))
            return false;
    }
    return true;
}

/*
 * A hash table with open addressing, at most half full. The hash runs from the last byte to the
 * first, so the value at a dot is the hash of everything behind that dot: one pass over a name
 * gives the hashes of all domains it lies in, and a look-up costs one probe a label, whether the
 * table holds ten names or 100,000. Labels are whole by construction: evilexample.com never meets
 * example.com. Words come from the admin's file only, so no peer can choose collisions in the
 * table. Pure; const while it is asked.
 */
#include "acl/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 16, ID_MAX = 1 << 30 };

/* FNV-1a, 64 bit. */
#define HASH_SEED  UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

struct slot {
    const char *word; /* NULL: free */
    uint32_t len;
    uint32_t id;
    uint64_t hash;
};

struct names {
    struct slot *slots;
    size_t n_slots; /* a power of two */
    size_t n_words;
};

static uint64_t hash_step(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * HASH_PRIME;
}

static uint64_t hash_word(const char *word, size_t len)
{
    uint64_t hash = HASH_SEED;

    while (len > 0)
        hash = hash_step(hash, word[--len]);
    return hash;
}

/* The word's slot, or the free one where it belongs. */
static struct slot *probe(const struct names *names, const char *word, size_t len, uint64_t hash)
{
    size_t mask = names->n_slots - 1;

    for (size_t at = (hash ^ hash >> 32) & mask;; at = (at + 1) & mask) {
        struct slot *slot = &names->slots[at];
        if (!slot->word)
            return slot;
        if (slot->hash == hash && slot->len == len && memcmp(slot->word, word, len) == 0)
            return slot;
    }
}

struct names *names_new(void)
{
    struct names *names = calloc(1, sizeof(*names));

    if (!names)
        return NULL;
    names->n_slots = SLOTS_MIN;
    names->slots = calloc(SLOTS_MIN, sizeof(*names->slots));
    return names->slots ? names : names_free(names);
}

struct names *names_free(struct names *names)
{
    if (names) {
        free(names->slots);
        free(names);
    }
    return NULL;
}

size_t names_count(const struct names *names)
{
    return names->n_words;
}

static int grow(struct names *names)
{
    struct names bigger = {.n_slots = names->n_slots * 2, .n_words = names->n_words};

    bigger.slots = calloc(bigger.n_slots, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < names->n_slots; i++) {
        const struct slot *slot = &names->slots[i];
        if (slot->word)
            *probe(&bigger, slot->word, slot->len, slot->hash) = *slot;
    }
    free(names->slots);
    *names = bigger;
    return 0;
}

int names_add(struct names *names, const char *word, size_t len, uint32_t *ret_id)
{
    uint64_t hash = hash_word(word, len);
    struct slot *slot = probe(names, word, len, hash);

    if (slot->word) {
        *ret_id = slot->id;
        return -EEXIST;
    }
    if (names->n_words >= ID_MAX || len > UINT32_MAX)
        return -ENOMEM;
    if (2 * (names->n_words + 1) > names->n_slots) {
        if (grow(names))
            return -ENOMEM;
        slot = probe(names, word, len, hash);
    }
    *slot = (struct slot){word, (uint32_t)len, (uint32_t)names->n_words++, hash};
    *ret_id = slot->id;
    return 0;
}

bool names_find(const struct names *names, const char *word, size_t len, uint32_t *ret_id)
{
    const struct slot *slot = probe(names, word, len, hash_word(word, len));

    if (!slot->word)
        return false;
    *ret_id = slot->id;
    return true;
}

static void take_hit(const struct names *names, const char *word, size_t len, uint64_t hash,
                     bool is_self, struct names_hit *hits, size_t *n_hits)
{
    const struct slot *slot = probe(names, word, len, hash);

    if (slot->word && *n_hits < NAMES_HITS_MAX)
        hits[(*n_hits)++] = (struct names_hit){slot->id, is_self};
}

size_t names_match(const struct names *names, const char *name, size_t len,
                   struct names_hit ret_hits[static NAMES_HITS_MAX])
{
    uint64_t hash = HASH_SEED;
    size_t n_hits = 0;

    take_hit(names, name + len, 0, hash, len == 0, ret_hits, &n_hits);
    for (size_t at = len; at > 0; at--) {
        hash = hash_step(hash, name[at - 1]);
        if (at == 1 || name[at - 2] == '.')
            take_hit(names, name + at - 1, len - at + 1, hash, at == 1, ret_hits, &n_hits);
    }
    return n_hits;
}

/*
 * A small table of those clients that have something in flight. Only admitted clients get here, so
 * the hash needs no secret: the address bytes folded are enough. An entry lives while somebody
 * holds it. Belongs to one worker.
 */
#include "proxy/dns/sources.h"

#include <stdlib.h>
#include <string.h>

enum { IPV6_PREFIX_BYTES = 8 };

void sources_init(struct sources *s)
{
    for (unsigned i = 0; i < SOURCES_BUCKETS; i++)
        list_init(&s->buckets[i]);
}

static void key_of(const struct addr *a, uint8_t key[static 16])
{
    memset(key, 0, 16);
    memcpy(key, a->bytes, addr_is_ipv4(a) ? 16 : IPV6_PREFIX_BYTES);
}

static struct list *bucket_of(struct sources *s, const uint8_t key[static 16])
{
    uint64_t words[2];
    memcpy(words, key, sizeof(words));
    uint64_t h = (words[0] ^ words[1]) * 0x9e3779b97f4a7c15ull;
    return &s->buckets[h >> 32 & (SOURCES_BUCKETS - 1)];
}

static struct source *find(struct list *bucket, const uint8_t key[static 16])
{
    list_for_each (pos, bucket) {
        struct source *source = list_entry(pos, struct source, node);
        if (memcmp(source->key, key, sizeof(source->key)) == 0)
            return source;
    }
    return NULL;
}

const struct source *sources_find(struct sources *s, const struct addr *a)
{
    uint8_t key[16];
    key_of(a, key);
    return find(bucket_of(s, key), key);
}

struct source *sources_get(struct sources *s, const struct addr *a)
{
    uint8_t key[16];
    key_of(a, key);
    struct list *bucket = bucket_of(s, key);
    struct source *source = find(bucket, key);
    if (source) {
        source->n_users++;
        return source;
    }
    source = calloc(1, sizeof(*source));
    if (!source)
        return NULL;
    memcpy(source->key, key, sizeof(key));
    source->n_users = 1;
    list_append(bucket, &source->node);
    return source;
}

void sources_put(struct source *source)
{
    if (!source || --source->n_users > 0)
        return;
    list_remove(&source->node);
    free(source);
}

/*
 * A hash table of fixed size with chains, and one list by last use. Everything counts against the
 * bound: the table, each block, what malloc adds to it and the gaps it leaves; an insert first
 * makes room, so the bound holds at every moment. Eviction looks at the few least used answers,
 * takes one that has expired if there is one, else the least used: constant work an insert, however
 * full. Answers are counted, so one that is being sent outlives its eviction. The hash is keyed by
 * a secret. Time is handed in: monotonic milliseconds. Belongs to one worker.
 */
#include "proxy/dns/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/siphash.h"

enum {
    BYTES_A_BUCKET = 256,
    BUCKETS_MIN = 16,
    BUCKETS_MAX = 1 << 20,
    EVICT_LOOKS = 8,
    SHARE_MAX = 8,
    /* What stands between blocks that come and go: with 100,000 names through 4 and 16 MiB the
     * resident size grew by a fifth more than all blocks together (bench_dns.py). */
    GAPS_SHARE = 5,
    /* Questions in flight and the answers on their way to somebody, which a small cache is small
     * beside: 1 MiB grew by 1.1 without (bench_dns.py). At most a quarter. */
    FLIGHT_BYTES = 256 * 1024,
    FLIGHT_SHARE = 4
};

struct cache {
    struct siphash_key seed;
    struct answer **buckets;
    size_t n_buckets; /* a power of two */
    size_t max_bytes, used_bytes, n_answers;
    struct list by_use; /* the last used at the end */
    struct cache_counters counters;
};

struct cache *cache_new(size_t max_bytes, const uint8_t seed[static 16])
{
    struct cache *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    memcpy(&c->seed, seed, sizeof(c->seed));
    list_init(&c->by_use);
    size_t flight =
        max_bytes / FLIGHT_SHARE < FLIGHT_BYTES ? max_bytes / FLIGHT_SHARE : FLIGHT_BYTES;
    c->max_bytes = max_bytes -= max_bytes / GAPS_SHARE + flight;
    c->n_buckets = BUCKETS_MIN;
    while (c->n_buckets < BUCKETS_MAX && c->n_buckets * 2 * BYTES_A_BUCKET <= max_bytes)
        c->n_buckets *= 2;
    c->buckets = calloc(c->n_buckets, sizeof(struct answer *));
    if (!c->buckets) {
        free(c);
        return NULL;
    }
    c->used_bytes = sizeof(*c) + c->n_buckets * sizeof(struct answer *);
    return c;
}

static void drop(struct cache *c, struct answer **at)
{
    struct answer *a = *at;
    *at = a->next_in_bucket;
    list_remove(&a->lru);
    c->used_bytes -= answer_bytes(a);
    c->n_answers--;
    a->is_cached = false;
    answer_unref(a);
}

static struct answer **bucket_of(const struct cache *c, uint64_t hash)
{
    return &c->buckets[hash & (c->n_buckets - 1)];
}

static void drop_answer(struct cache *c, struct answer *a)
{
    struct answer **at = bucket_of(c, a->hash);
    while (*at != a)
        at = &(*at)->next_in_bucket;
    drop(c, at);
}

struct cache *cache_free(struct cache *c)
{
    if (!c)
        return NULL;
    cache_flush(c, NULL);
    free(c->buckets);
    free(c);
    return NULL;
}

/* The name and all but type and flags; those are mixed in by entry_hash(), which needs no second
 * pass. */
uint64_t cache_hash(const struct cache *c, const struct answer_key *key)
{
    uint8_t text[WIRE_NAME_MAX + 7];
    const struct wire_question *q = &key->question;
    memcpy(text, q->name.bytes, q->name.len);
    memcpy(text + q->name.len, &q->class, 2);
    memcpy(text + q->name.len + 2, &key->group, 4);
    text[q->name.len + 6] = key->flags & ANSWER_KEY_ASKED;
    return siphash(&c->seed, text, q->name.len + 7u);
}

static uint64_t entry_hash(const struct cache *c, uint64_t name_hash, uint16_t type, uint8_t flags)
{
    uint64_t words[] = {name_hash, (uint64_t)flags << 16 | type};
    return siphash(&c->seed, words, sizeof(words));
}

static bool is_same(const struct answer *a, uint64_t hash, const struct wire_question *q,
                    uint16_t type, uint32_t group, uint8_t flags)
{
    return a->hash == hash && a->type == type && a->class == q->class && a->group == group &&
           a->key_flags == flags && a->question_end == WIRE_HEADER_BYTES + q->name.len + 4 &&
           memcmp(a->bytes + WIRE_HEADER_BYTES, q->name.bytes, q->name.len) == 0;
}

static struct answer **find(const struct cache *c, const struct answer_key *key, uint64_t name_hash,
                            uint8_t more_flags)
{
    uint16_t type = more_flags & ANSWER_KEY_NXDOMAIN ? 0 : key->question.type;
    uint8_t flags = key->flags | more_flags;
    uint64_t hash = entry_hash(c, name_hash, type, flags);
    struct answer **at = bucket_of(c, hash);
    while (*at && !is_same(*at, hash, &key->question, type, key->group, flags))
        at = &(*at)->next_in_bucket;
    return at;
}

struct answer *cache_get(struct cache *c, const struct answer_key *key, uint64_t hash,
                         uint32_t epoch, uint64_t now_ms)
{
    static const uint8_t kinds[] = {0, ANSWER_KEY_NXDOMAIN, ANSWER_KEY_FAILURE};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        struct answer *a = *find(c, key, hash, kinds[i]);
        if (!a || a->expires_ms <= now_ms || (kinds[i] == ANSWER_KEY_FAILURE && a->epoch != epoch))
            continue;
        list_remove(&a->lru);
        list_append(&c->by_use, &a->lru);
        return a;
    }
    return NULL;
}

struct answer *cache_get_stale(struct cache *c, const struct answer_key *key, uint64_t hash,
                               uint64_t stale_ms, uint64_t now_ms)
{
    static const uint8_t kinds[] = {0, ANSWER_KEY_NXDOMAIN};
    struct answer *best = NULL;
    for (size_t i = 0; i < sizeof(kinds); i++) {
        struct answer *a = *find(c, key, hash, kinds[i]);
        bool is_stale = a && a->expires_ms <= now_ms && now_ms < a->expires_ms + stale_ms;
        if (is_stale && (!best || a->stored_ms > best->stored_ms))
            best = a;
    }
    return best;
}

const struct answer *cache_last_failure(const struct cache *c, const struct answer_key *key,
                                        uint64_t hash)
{
    return *find(c, key, hash, ANSWER_KEY_FAILURE);
}

/* We are told no time here: what an insert carries is the present. */
static void evict_one(struct cache *c, uint64_t now_ms)
{
    struct list *pos = c->by_use.next;
    for (unsigned i = 0; i < EVICT_LOOKS && pos != &c->by_use; i++, pos = pos->next) {
        struct answer *a = list_entry(pos, struct answer, lru);
        if (a->expires_ms <= now_ms) {
            c->counters.n_expired++;
            drop_answer(c, a);
            return;
        }
    }
    c->counters.n_evicted++;
    drop_answer(c, list_entry(c->by_use.next, struct answer, lru));
}

/* An answer without type (NXDOMAIN) is hashed by its name alone, as find() does. */
static void key_of(const struct answer *a, struct answer_key *ret)
{
    ret->question.name.len = (uint8_t)(a->question_end - WIRE_HEADER_BYTES - 4);
    memcpy(ret->question.name.bytes, a->bytes + WIRE_HEADER_BYTES, ret->question.name.len);
    ret->question.type = a->type;
    ret->question.class = a->class;
    ret->group = a->group;
    ret->flags = a->key_flags & ANSWER_KEY_ASKED;
}

void cache_put(struct cache *c, struct answer *a)
{
    if (a->is_cached || a->expires_ms <= a->stored_ms)
        return;
    struct answer_key key;
    key_of(a, &key);
    uint64_t name_hash = cache_hash(c, &key);
    struct answer **old = find(c, &key, name_hash, a->key_flags);
    if (*old)
        drop(c, old);
    size_t bytes = answer_bytes(a);
    if (bytes > c->max_bytes / SHARE_MAX)
        return; /* one answer does not push out all the others */
    while (c->used_bytes + bytes > c->max_bytes && c->n_answers > 0)
        evict_one(c, a->stored_ms);
    if (c->used_bytes + bytes > c->max_bytes)
        return;
    a->hash = entry_hash(c, name_hash, a->type, a->key_flags);
    struct answer **bucket = bucket_of(c, a->hash);
    a->next_in_bucket = *bucket;
    *bucket = answer_ref(a);
    a->is_cached = true;
    list_append(&c->by_use, &a->lru);
    c->used_bytes += bytes;
    c->n_answers++;
    c->counters.n_stored++;
}

int cache_names_parse(const char *text, size_t len, struct cache_names *ret_names)
{
    struct cache_names names = {.reach = CACHE_REACH_NAME};
    size_t skip = 0;
    if (len > 2 && text[0] == '*' && text[1] == '.') {
        names.reach = CACHE_REACH_BELOW;
        skip = 2;
    } else if (len > 1 && text[0] == '.') {
        names.reach = CACHE_REACH_TREE;
        skip = 1;
    }
    if (len == 0 || wire_name_from_text(text + skip, len - skip, &names.name) < 0)
        return -EINVAL;
    *ret_names = names;
    return 0;
}

bool cache_names_has(const struct cache_names *names, const struct wire_name *name)
{
    size_t at;
    switch (names->reach) {
    case CACHE_REACH_NAME:
        return wire_name_equal(name, &names->name);
    case CACHE_REACH_TREE:
        return wire_name_has_suffix(name, &names->name, &at);
    case CACHE_REACH_BELOW:
        return wire_name_has_suffix(name, &names->name, &at) && at > 0;
    }
    return false;
}

size_t cache_flush(struct cache *c, const struct cache_names *names)
{
    size_t n = 0;
    list_for_each_safe (pos, tmp, &c->by_use) {
        struct answer *a = list_entry(pos, struct answer, lru);
        struct answer_key key;
        if (names)
            key_of(a, &key);
        if (!names || cache_names_has(names, &key.question.name)) {
            drop_answer(c, a);
            n++;
        }
    }
    return n;
}

size_t cache_used_bytes(const struct cache *c)
{
    return c->used_bytes;
}

size_t cache_count(const struct cache *c)
{
    return c->n_answers;
}

const struct cache_counters *cache_counters(const struct cache *c)
{
    return &c->counters;
}

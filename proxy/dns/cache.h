/* cache - answers by question: bounded in bytes, evicted by age of use, told the time. */
#ifndef PROXY_DNS_CACHE_H
#define PROXY_DNS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/dns/answer.h"

struct cache;

/* Which names. */
enum cache_reach { CACHE_REACH_NAME, CACHE_REACH_TREE, CACHE_REACH_BELOW };
struct cache_names {
    enum cache_reach reach;
    struct wire_name name; /* any case */
};

struct cache_counters {
    uint64_t n_stored, n_evicted, n_expired;
};

/* @max_bytes: of memory, the table and the allocator's share included. @seed: of the hash, random
 * and secret. NULL: out of memory. */
struct cache *cache_new(size_t max_bytes, const uint8_t seed[static 16]);
/* Answers that others hold live on. NULL is fine. */
struct cache *cache_free(struct cache *c);

/* The hash of a question under this cache's seed; for other tables too. */
uint64_t cache_hash(const struct cache *c, const struct answer_key *key);

/**
 * cache_get - what is known and still fresh: an answer, NXDOMAIN of the name, or (last) a failure
 * @key: as asked, without ANSWER_KEY_NXDOMAIN and _FAILURE. @hash: cache_hash() of it. @epoch:
 * failures of others are not given. Returns: borrowed until the next call, or NULL.
 */
struct answer *cache_get(struct cache *c, const struct answer_key *key, uint64_t hash,
                         uint32_t epoch, uint64_t now_ms);
/* An answer or NXDOMAIN that has expired, less than @stale_ms ago; borrowed until the next call, or
 * NULL. */
struct answer *cache_get_stale(struct cache *c, const struct answer_key *key, uint64_t hash,
                               uint64_t stale_ms, uint64_t now_ms);
/* The last failure of this question, fresh or not, for the back-off; NULL. */
const struct answer *cache_last_failure(const struct cache *c, const struct answer_key *key,
                                        uint64_t hash);
/* Takes a reference of its own and the place of the same key's. One that does not fit, or has no
 * life, is not kept. */
void cache_put(struct cache *c, struct answer *a);
/* All types of the names that are meant, or everything with NULL. Returns how many. */
size_t cache_flush(struct cache *c, const struct cache_names *names);

/**
 * cache_names_parse - `name`, `.name` (that one and all below it) or `*.name` (below it only)
 * As the patterns of [out]. Returns: 0 · -EINVAL.
 */
int cache_names_parse(const char *text, size_t len, struct cache_names *ret_names)
    __attribute__((warn_unused_result));
bool cache_names_has(const struct cache_names *names, const struct wire_name *name);

size_t cache_used_bytes(const struct cache *c);
size_t cache_count(const struct cache *c);
const struct cache_counters *cache_counters(const struct cache *c);

#endif

/*
 * A client's sockets spread over the workers, so its rate is counted in one table for all of them:
 * shards with a lock each, sets of eight places, a hash with a secret. A place holds until when the
 * client has used up its allowance (one number: the virtual scheduling form of the token bucket),
 * and a query is within the rate while that is at most a second ahead.
 *
 * Nothing grows. A client without a place takes that of the client of its set who owes least. So
 * with forged sources: one query each, they push each other out; a client that owes a second's
 * worth is forgotten only when seven others of its set owe more, and nobody can aim at a set. Who
 * wants a busy client forgotten has to send the whole table full of busy ones.
 */
#include "proxy/net/rates.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/siphash.h"

enum {
    SHARDS = 64,
    SETS = 32, /* a shard */
    WAYS = 8,  /* 16,384 clients in all, 512 KiB, touched only where it is used */
    IPV6_PREFIX_BYTES = 8,
};

static const uint64_t SECOND_NS = 1000000000;

struct place {
    uint8_t key[16];
    uint64_t spent_ns; /* the allowance is used up until then; 0: nobody's */
    uint64_t kind;
};

struct shard {
    pthread_mutex_t lock;
    struct place sets[SETS][WAYS];
};

struct rates {
    struct siphash_key secret;
    struct shard shards[SHARDS];
};

struct rates *rates_new(void)
{
    struct rates *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    if (getrandom(&r->secret, sizeof(r->secret), 0) != (ssize_t)sizeof(r->secret)) {
        free(r);
        return NULL;
    }
    for (unsigned i = 0; i < SHARDS; i++)
        pthread_mutex_init(&r->shards[i].lock, NULL);
    return r;
}

struct rates *rates_free(struct rates *r)
{
    for (unsigned i = 0; r && i < SHARDS; i++)
        pthread_mutex_destroy(&r->shards[i].lock);
    free(r);
    return NULL;
}

static bool is_place_of(const struct place *p, const struct place *wanted)
{
    return p->kind == wanted->kind && memcmp(p->key, wanted->key, sizeof(p->key)) == 0;
}

/* Its own place, or that of who owes least, given to it. */
static struct place *find_place(struct place set[static WAYS], const struct place *wanted)
{
    struct place *least = &set[0];
    for (unsigned i = 0; i < WAYS; i++) {
        if (is_place_of(&set[i], wanted))
            return &set[i];
        if (set[i].spent_ns < least->spent_ns)
            least = &set[i];
    }
    *least = *wanted;
    return least;
}

bool rates_take(struct rates *r, const struct addr *client, unsigned kind, uint32_t per_second,
                uint64_t now_ms)
{
    struct place wanted = {.kind = kind};
    memcpy(wanted.key, client->bytes, addr_is_ipv4(client) ? 16 : IPV6_PREFIX_BYTES);
    uint64_t hash = siphash(&r->secret, wanted.key, sizeof(wanted.key));
    struct shard *shard = &r->shards[hash % SHARDS];
    uint64_t now_ns = now_ms * 1000000, cost_ns = SECOND_NS / per_second;
    pthread_mutex_lock(&shard->lock);
    struct place *p = find_place(shard->sets[hash / SHARDS % SETS], &wanted);
    if (p->spent_ns < now_ns)
        p->spent_ns = now_ns;
    bool is_within = p->spent_ns + cost_ns <= now_ns + SECOND_NS;
    if (is_within)
        p->spent_ns += cost_ns;
    pthread_mutex_unlock(&shard->lock);
    return is_within;
}

/*
 * What is live belongs to its source: an entry is there while a connection holds it, so nothing can
 * be counted that is not. A source's connections spread over the workers, so there is one table for
 * all of them: shards with a lock each, taken twice in a connection's life, and a hash with a
 * secret (sources are chosen by peers). The memory is that of its users, who are limited.
 *
 * Bandwidth is one number, until when what was reserved takes (the virtual scheduling form of the
 * token bucket), moved on without a lock. Reservations are in the order in which they were made, so
 * connections that reserve the same amount each take turns, whichever worker they are on.
 *
 * A source that has nothing left must not begin anew with a full bucket, or it would be
 * limited no more by closing each time; so what it owes is remembered, on a list of bounded length,
 * for as long as it owes: a tenth of a second, seconds where the limit is a few bytes a second.
 */
#include "proxy/net/quota.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/list.h"
#include "proxy/base/siphash.h"

enum {
    SHARDS = 64,
    BUCKETS = 256,   /* a shard */
    OWING_MAX = 128, /* a shard */
    IPV6_PREFIX_BYTES = 8,
    BURST_MIN_BYTES = 4096,
};

static const uint64_t SECOND_NS = 1000000000;

struct shard {
    pthread_mutex_t lock;
    struct list *buckets; /* owned; NULL until it is used */
    struct list owing;    /* nobody's any more, the longest first */
    unsigned n_owing;
};

struct quota {
    struct list node;  /* of its bucket */
    struct list owing; /* of its shard, while n_users is 0 */
    struct shard *shard;
    uint8_t key[16];
    unsigned n_users, n_tunnels;
    _Atomic uint64_t spent_ns; /* what was reserved takes until then */
    _Atomic uint64_t burst_ns; /* that much later it owes nothing */
};

struct quotas {
    struct siphash_key secret;
    struct shard shards[SHARDS];
};

struct quotas *quotas_new(void)
{
    struct quotas *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    if (getrandom(&t->secret, sizeof(t->secret), 0) != (ssize_t)sizeof(t->secret)) {
        free(t);
        return NULL;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&t->shards[i].lock, NULL);
        list_init(&t->shards[i].owing);
    }
    return t;
}

static void forget(struct quota *q)
{
    q->shard->n_owing--;
    list_remove(&q->owing);
    list_remove(&q->node);
    free(q);
}

struct quotas *quotas_free(struct quotas *t)
{
    for (unsigned i = 0; t && i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        list_for_each_safe (pos, tmp, &s->owing)
            forget(list_entry(pos, struct quota, owing));
        free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    free(t);
    return NULL;
}

static int make_buckets(struct shard *s)
{
    if (s->buckets)
        return 0;
    s->buckets = malloc(BUCKETS * sizeof(*s->buckets));
    if (!s->buckets)
        return -ENOMEM;
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&s->buckets[i]);
    return 0;
}

static struct quota *find(struct list *bucket, const uint8_t key[static 16])
{
    list_for_each (pos, bucket) {
        struct quota *q = list_entry(pos, struct quota, node);
        if (memcmp(q->key, key, sizeof(q->key)) == 0)
            return q;
    }
    return NULL;
}

static struct quota *make(struct shard *s, struct list *bucket, const uint8_t key[static 16])
{
    struct quota *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    memcpy(q->key, key, sizeof(q->key));
    q->shard = s;
    list_init(&q->owing);
    list_append(bucket, &q->node);
    return q;
}

int quota_join(struct quotas *t, const struct addr *source, unsigned n_tunnels,
               uint32_t max_tunnels, struct quota **ret)
{
    uint8_t key[16] = {0};
    memcpy(key, source->bytes, addr_is_ipv4(source) ? sizeof(key) : IPV6_PREFIX_BYTES);
    uint64_t hash = siphash(&t->secret, key, sizeof(key));
    struct shard *s = &t->shards[hash % SHARDS];
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    struct list *bucket = make_buckets(s) == 0 ? &s->buckets[hash / SHARDS % BUCKETS] : NULL;
    struct quota *q = bucket ? find(bucket, key) : NULL;
    if (bucket && !q)
        q = make(s, bucket, key);
    if (!q) {
        rc = -ENOMEM;
    } else if (max_tunnels > 0 && n_tunnels > 0 && q->n_tunnels >= max_tunnels) {
        rc = QUOTA_FULL;
    } else {
        if (q->n_users++ == 0 && list_is_linked(&q->owing)) {
            list_remove(&q->owing);
            s->n_owing--;
        }
        q->n_tunnels += n_tunnels;
        *ret = q;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static uint64_t free_from_ns(struct quota *q)
{
    uint64_t spent_ns = atomic_load_explicit(&q->spent_ns, memory_order_relaxed);
    return spent_ns + atomic_load_explicit(&q->burst_ns, memory_order_relaxed);
}

/* Those who owe nothing any more, and the first ones of too many. */
static void forget_some(struct shard *s, uint64_t now_ns)
{
    list_for_each_safe (pos, tmp, &s->owing) {
        struct quota *q = list_entry(pos, struct quota, owing);
        if (s->n_owing <= OWING_MAX && free_from_ns(q) > now_ns)
            return;
        forget(q);
    }
}

struct quota *quota_leave(struct quota *q, unsigned n_tunnels, uint64_t now_ms)
{
    if (!q)
        return NULL;
    struct shard *s = q->shard;
    pthread_mutex_lock(&s->lock);
    q->n_tunnels -= n_tunnels;
    if (--q->n_users == 0) {
        list_append(&s->owing, &q->owing);
        s->n_owing++;
    }
    forget_some(s, now_ms * 1000000);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- bandwidth ---- */

static uint64_t cost_ns(uint32_t bytes, uint64_t per_second)
{
    return (uint64_t)bytes * SECOND_NS / per_second + 1;
}

static uint64_t burst_ns(uint64_t per_second)
{
    uint64_t least_ns = cost_ns(BURST_MIN_BYTES, per_second);
    return least_ns > SECOND_NS / 10 ? least_ns : SECOND_NS / 10;
}

uint64_t quota_reserve(struct quota *q, uint32_t bytes, uint64_t per_second, uint64_t now_ms)
{
    uint64_t now_ns = now_ms * 1000000, cost = cost_ns(bytes, per_second);
    uint64_t burst = burst_ns(per_second), floor_ns = now_ns > burst ? now_ns - burst : 0;
    uint64_t spent = atomic_load_explicit(&q->spent_ns, memory_order_relaxed), till;
    do {
        till = (spent > floor_ns ? spent : floor_ns) + cost;
    } while (!atomic_compare_exchange_weak_explicit(&q->spent_ns, &spent, till,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_store_explicit(&q->burst_ns, burst, memory_order_relaxed);
    return till > now_ns ? (till - now_ns + 999999) / 1000000 : 0;
}

/* What was let go since may be less than it cost: nothing is owed to a source. */
void quota_refund(struct quota *q, uint32_t bytes, uint64_t per_second)
{
    uint64_t cost = cost_ns(bytes, per_second);
    uint64_t spent = atomic_load_explicit(&q->spent_ns, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&q->spent_ns, &spent,
                                                  spent > cost ? spent - cost : 0,
                                                  memory_order_relaxed, memory_order_relaxed)) {}
}

/* ---- for who asks ---- */

static void sum_bucket(const struct list *bucket, struct quota_figures *f)
{
    list_for_each (pos, bucket) {
        const struct quota *q = list_entry(pos, struct quota, node);
        f->n_sources += q->n_users > 0;
        if (q->n_tunnels > f->busiest_tunnels) {
            f->busiest_tunnels = q->n_tunnels;
            memcpy(f->busiest.bytes, q->key, sizeof(q->key));
        }
    }
}

struct quota_figures quotas_sum(struct quotas *t)
{
    struct quota_figures f = {0};
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = &t->shards[i];
        pthread_mutex_lock(&s->lock);
        for (unsigned b = 0; s->buckets && b < BUCKETS; b++)
            sum_bucket(&s->buckets[b], &f);
        pthread_mutex_unlock(&s->lock);
    }
    return f;
}

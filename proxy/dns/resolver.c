/*
 * The one core behind the LAN's DNS and behind CONNECT. A question is answered from our own data or
 * the cache, or joins the same question in flight, or goes out (dns/question). No callback runs
 * before resolver_ask_start() returned. Owner of all: the worker.
 */
#include "proxy/dns/resolver.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/dns/attempt.h"
#include "proxy/dns/cache.h"
#include "proxy/dns/question.h"
#include "proxy/dns/special.h"
#include "proxy/dns/upstream.h"

enum {
    QUESTIONS_MAX = 2048,     /* a budget; each costs a socket or two */
    STALE_RECHECK_MS = 30000, /* after a failure it does at once (RFC 8767 section 5) */
    PREFETCH_LIFE_MIN_S = 10,
    PREFETCH_TAIL = 10, /* the last tenth of its life */
    PREFETCH_HITS = 3,
    PREFETCH_SHARE = 4, /* of the budget: never more in flight than a quarter of it */
    PREFETCH_LIMIT_MS = 5000,
    RAW_BYTES_MAX = 4 * 1024 * 1024, /* of signed queries in flight */
};

/* ---- life ---- */

int resolver_init(struct resolver *r, struct loop *loop, size_t cache_bytes)
{
    *r = (struct resolver){.loop = loop};
    list_init(&r->groups);
    list_init(&r->probes);
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++) {
        r->rooms[i].max = QUESTIONS_MAX;
        list_init(&r->rooms[i].in_order);
    }
    uint8_t seed[16];
    r->env = upstream_env_new(loop);
    r->buckets = malloc(QUESTION_BUCKETS * sizeof(*r->buckets));
    int rc = r->env && r->buckets ? upstream_random(r->env, seed, sizeof(seed)) : -ENOMEM;
    if (rc == 0) {
        r->cache = cache_new(cache_bytes, seed);
        rc = r->cache ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        free(r->buckets);
        upstream_env_free(r->env);
        *r = (struct resolver){.loop = NULL};
        return rc;
    }
    for (unsigned i = 0; i < QUESTION_BUCKETS; i++)
        list_init(&r->buckets[i]);
    return 0;
}

void resolver_fini(struct resolver *r)
{
    if (!r->loop)
        return;
    questions_clear(r);
    attempts_free(&r->probes);
    answer_unref(r->shown);
    cache_free(r->cache);
    free(r->buckets);
    upstream_env_free(r->env);
    r->loop = NULL;
}

void resolver_on_server(struct resolver *r, resolver_server_fn on_server, void *owner)
{
    r->on_server = on_server;
    r->owner = owner;
}

void resolver_use_loops(struct resolver *r, struct loops *loops)
{
    r->loops = loops;
}

void resolver_use_tally(struct resolver *r, struct tally *tally)
{
    r->tally = tally;
}

void resolver_refresh(struct resolver *r)
{
    upstream_env_refresh(r->env);
}

size_t resolver_flush(struct resolver *r, const struct cache_names *names)
{
    questions_flush(r, names);
    return cache_flush(r->cache, names);
}

/* ---- what is known without asking ---- */

/* Local records come before the cache, so a changed file counts from the next question on. */
static bool answer_local(struct resolver *r, struct resolver_group *group,
                         const struct answer_key *key, struct resolver_result *ret)
{
    struct answer *a;
    int rc = local_answer(group->policy.hosts, key, loop_now_ms(r->loop), &a);
    if (rc == LOCAL_NOT)
        return false;
    if (rc < 0) {
        *ret = (struct resolver_result){
            .outcome = RESOLVER_BUSY, .rcode = WIRE_RCODE_SERVFAIL, .ede = WIRE_EDE_NONE};
        return true;
    }
    r->counters.n_local++;
    answer_unref(r->shown);
    r->shown = a;
    *ret = (struct resolver_result){
        .outcome = RESOLVER_ANSWER, .rcode = a->rcode, .ede = WIRE_EDE_NONE, .answer = a};
    return true;
}

/*
 * Popular and about to expire: asked for again once, while there is room, for nobody in particular.
 * A name that is not asked for any more is let go, whatever its hits were.
 */
static void prefetch(struct resolver *r, struct resolver_group *g, const struct answer_key *key,
                     uint64_t hash, struct answer *a, uint64_t now)
{
    uint64_t left_ms = a->expires_ms - now;
    const struct resolver_room *room = question_room(r, g, RESOLVER_FOR_LAN);
    if (a->is_prefetched || a->n_hits < PREFETCH_HITS || a->life_s < PREFETCH_LIFE_MIN_S ||
        left_ms * PREFETCH_TAIL > a->life_s * UINT64_C(1000) ||
        room->n >= room->max / PREFETCH_SHARE || question_find(r, key, hash))
        return;
    a->is_prefetched = true;
    struct resolver_request request = {.question = key->question,
                                       .wants_dnssec = key->flags & ANSWER_KEY_DO,
                                       .checking_disabled = key->flags & ANSWER_KEY_CD,
                                       .authentic_data = key->flags & ANSWER_KEY_AD,
                                       .budget = RESOLVER_FOR_LAN,
                                       .limit_ms = PREFETCH_LIMIT_MS};
    r->counters.n_prefetched += question_new(r, g, key, hash, &request) != NULL;
}

/* A failure, or nothing: whether an expired answer does at once, since asking just failed. */
static struct answer *stale_at_once(struct resolver *r, struct resolver_group *g,
                                    const struct answer_key *key, uint64_t hash, uint64_t now)
{
    struct answer *stale = question_find_stale(r, g, key, hash);
    const struct answer *failure = stale ? cache_last_failure(r->cache, key, hash) : NULL;
    bool is_recent = failure && failure->epoch == g->epoch &&
                     failure->stored_ms >= stale->stored_ms &&
                     now < failure->stored_ms + STALE_RECHECK_MS;
    return is_recent ? stale : NULL;
}

/* What is known without asking: the cache, or special names. */
static bool answer_at_once(struct resolver *r, struct resolver_group *group,
                           const struct answer_key *key, uint64_t hash, bool is_raw,
                           struct resolver_result *ret)
{
    uint64_t now = loop_now_ms(r->loop);
    struct answer *a = is_raw ? NULL : cache_get(r->cache, key, hash, group->epoch, now);
    if (group->policy.stale_s && !is_raw && (!a || a->key_flags & ANSWER_KEY_FAILURE)) {
        struct answer *stale = stale_at_once(r, group, key, hash, now);
        if (stale) {
            answer_unref(r->shown);
            r->shown = answer_ref(stale);
            *ret = question_stale_result(r, stale);
            return true;
        }
    }
    if (a) {
        r->counters.n_hits++;
        answer_ref(a);
        a->n_hits += a->n_hits < UINT8_MAX;
        if (group->policy.prefetches && !(a->key_flags & ANSWER_KEY_FAILURE))
            prefetch(r, group, key, hash, a, now);
    } else if (!group->policy.forwards_special) {
        int rc = special_answer(key, now, &a);
        if (rc < 0) {
            *ret = (struct resolver_result){
                .outcome = RESOLVER_BUSY, .rcode = WIRE_RCODE_SERVFAIL, .ede = WIRE_EDE_NONE};
            return true;
        }
        r->counters.n_local += rc == 0;
    }
    if (!a)
        return false;
    answer_unref(r->shown);
    r->shown = a;
    bool is_failure = a->key_flags & ANSWER_KEY_FAILURE;
    *ret = (struct resolver_result){
        .outcome = is_failure ? (enum resolver_outcome)a->outcome : RESOLVER_ANSWER,
        .rcode = a->rcode,
        .ede =
            is_failure ? a->ede != WIRE_EDE_NONE ? a->ede : WIRE_EDE_CACHED_ERROR : WIRE_EDE_NONE,
        .answer = is_failure ? NULL : a,
    };
    return true;
}

/* ---- asking ---- */

static int done_with(struct resolver_result *ret, enum resolver_outcome outcome, unsigned rcode)
{
    *ret = (struct resolver_result){.outcome = outcome, .rcode = rcode, .ede = WIRE_EDE_NONE};
    return RESOLVER_DONE;
}

int resolver_ask_start(struct resolver_ask *ask, struct resolver *r, struct resolver_group *group,
                       const struct resolver_request *request, resolver_done_fn done,
                       struct resolver_result *ret_result)
{
    struct answer_key key = {
        .question = request->question,
        .flags =
            (uint8_t)((request->wants_dnssec ? ANSWER_KEY_DO : 0) |
                      (request->checking_disabled ? ANSWER_KEY_CD : 0) |
                      (request->tells_authentic && !request->wants_dnssec ? ANSWER_KEY_AD : 0)),
    };
    if (ask)
        ask->question = NULL;
    wire_name_lower(&key.question.name);
    r->counters.n_asked++;
    if (request->raw && r->n_raw_bytes + request->n_raw > RAW_BYTES_MAX)
        return done_with(ret_result, RESOLVER_BUSY, WIRE_RCODE_SERVFAIL);
    if (answer_local(r, group, &key, ret_result))
        return RESOLVER_DONE;
    group = resolver_group_for(group, &key.question.name);
    key.group = group->id;
    uint64_t hash = cache_hash(r->cache, &key);
    if (answer_at_once(r, group, &key, hash, request->raw != NULL, ret_result))
        return RESOLVER_DONE;
    if (!ask || (request->no_recursion && !request->raw))
        return done_with(ret_result, RESOLVER_UNKNOWN, WIRE_RCODE_REFUSED);
    struct question *q = request->raw ? NULL : question_find(r, &key, hash);
    if (q && q->n_waiters >= QUESTION_WAITERS_MAX)
        return done_with(ret_result, RESOLVER_BUSY, WIRE_RCODE_SERVFAIL);
    ask->takes_stale = request->budget == RESOLVER_FOR_LAN;
    if (q && q->is_stale_told && ask->takes_stale) {
        struct answer *stale = question_find_stale(r, group, &key, hash);
        if (stale) {
            answer_unref(r->shown);
            r->shown = answer_ref(stale);
            *ret_result = question_stale_result(r, stale);
            return RESOLVER_DONE;
        }
    }
    if (q) {
        question_join(q, request, ask, done);
        return 0;
    }
    q = question_new(r, group, &key, hash, request);
    if (!q)
        return done_with(ret_result, RESOLVER_BUSY, WIRE_RCODE_SERVFAIL);
    question_wait(q, ask, done);
    return 0;
}

void resolver_ask_cancel(struct resolver_ask *ask)
{
    if (ask->question)
        ask->question->n_waiters--;
    ask->question = NULL;
    list_remove(&ask->node);
}

/*
 * The one core behind the LAN's DNS and behind CONNECT. A question is answered from our own data or
 * the cache, or joins the same question in flight, or goes out: to the preferred server at once, to
 * the next one when that is late (hedging: the load stays near one query a question) or answers
 * SERVFAIL, REFUSED or worse, and around again, up to three sends a server, until one gives a final
 * answer (NOERROR, NXDOMAIN) or the time is over. A failure is remembered for a moment.
 *
 * A question belongs to its askers' union: an asker that leaves takes nothing with it, the question
 * goes on and fills the cache, within its limit. No callback runs before resolver_ask_start()
 * returned; what fails at once is told at the end of the round. When a budget is full the oldest
 * question gives way. Owner of all: the worker. RFC 5452, 2308, 6891 section 6.2.2, 8767 section 4,
 * 9520.
 */
#include "proxy/dns/resolver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/cache.h"
#include "proxy/dns/rebind.h"
#include "proxy/dns/resolver_group.h"
#include "proxy/dns/special.h"
#include "proxy/dns/upstream.h"
#include "proxy/report/tally.h"

enum {
    BUCKETS = 1024,
    QUESTIONS_MAX = 2048, /* a budget; each costs a socket or two */
    WAITERS_MAX = 4096,   /* a question */
    SENDS_MAX = 3,        /* of a question to one server (RFC 9520 section 3.1) */
    ATTEMPTS_MAX = 12,    /* of a question in all */
    RETRY_JOIN_MS =
        500, /* an asker that joins later than this after the last send causes another one */
    PROBE_LIMIT_MS = 1000,
    NO_OPT_MS = 10 * 60 * 1000, /* "minutes not hours" that a server without EDNS is remembered */
    FAILURE_MIN_S = 1,          /* RFC 9520 section 3.2 */
    FAILURE_MAX_S = 8,
    FAILURE_SILENCE_MAX_S =
        2, /* nobody answered: that took its time already, and may be over soon */
    FAILURE_FORGET_MS = 30000,
    STALE_AFTER_MS = 1800,    /* an expired answer does, then (RFC 8767 section 5) */
    STALE_RECHECK_MS = 30000, /* after a failure it does at once (the same) */
    PREFETCH_LIFE_MIN_S = 10,
    PREFETCH_TAIL = 10, /* the last tenth of its life */
    PREFETCH_HITS = 3,
    PREFETCH_SHARE = 4, /* of the budget: never more in flight than a quarter of it */
    PREFETCH_LIMIT_MS = 5000,
    RAW_BYTES_MAX = 4 * 1024 * 1024, /* of signed queries in flight */
    TOLD_EVERY_MS = 60000,
    LOOP_LIMIT_MS = 5000,
};

struct question {
    struct list in_bucket;
    struct list in_order;
    struct resolver *resolver;
    struct resolver_group *group; /* one reference */
    struct answer_key key;
    uint64_t hash;
    struct resolver_room *room;
    bool authentic_data;
    bool by_tcp;
    struct list waiters;
    unsigned n_waiters;
    struct list attempts;
    unsigned n_attempts; /* ever */
    unsigned sends_max;  /* to one server; one more each time an asker comes back */
    uint8_t n_sends[GROUP_SERVERS_MAX];
    uint32_t excluded;  /* servers that will not be asked again: bit set */
    uint32_t n_refused; /* servers that answered REFUSED */
    uint32_t n_bad;     /* servers that answered something else than an answer */
    bool is_short;      /* no socket or memory for an attempt */
    uint8_t *raw;       /* owned; not NULL: a signed query, which nothing joins or keeps */
    size_t n_raw;
    uint64_t started_ms, sent_ms, limit_ms;
    struct timer limit;
    struct timer hedge;
    struct timer stale;   /* until an expired answer does */
    bool is_stale_told;   /* it did: whoever comes now gets it at once */
    bool is_flushed;      /* not to be kept or joined */
    int ede;              /* the last that a server said; WIRE_EDE_NONE */
    struct loop_task end; /* fails at the end of the round */
    enum resolver_outcome end_outcome;
};

struct attempt {
    struct list node;          /* question's, or the resolver's probes */
    struct question *question; /* NULL: the question has ended */
    struct resolver *resolver;
    struct resolver_group *group; /* one reference */
    unsigned server;
    bool is_probe;
    bool is_late; /* counted as lost already */
    struct upstream upstream;
};

static void on_attempt_done(struct upstream *x, enum upstream_outcome outcome,
                            const struct wire_reply *reply, const uint8_t *msg);
static void question_advance(struct question *q);
static void tell_server(struct resolver_group *g, unsigned server, const char *reason);

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
    r->buckets = malloc(BUCKETS * sizeof(*r->buckets));
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
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&r->buckets[i]);
    return 0;
}

static void attempt_free(struct attempt *a)
{
    upstream_cancel(&a->upstream);
    list_remove(&a->node);
    resolver_group_unref(a->group);
    free(a);
}

static void attempts_free(struct list *attempts)
{
    for (struct list *pos; (pos = list_first(attempts));)
        attempt_free(list_entry(pos, struct attempt, node));
}

static void leave(struct question *q)
{
    list_remove(&q->in_order);
    q->room->n--;
}

static void question_unlink(struct question *q)
{
    list_remove(&q->in_bucket);
    leave(q);
    loop_timer_stop(q->resolver->loop, &q->limit);
    loop_timer_stop(q->resolver->loop, &q->hedge);
    loop_timer_stop(q->resolver->loop, &q->stale);
    loop_task_remove(&q->end);
}

static void question_free(struct question *q)
{
    attempts_free(&q->attempts);
    resolver_group_unref(q->group);
    q->resolver->n_raw_bytes -= q->n_raw;
    free(q->raw);
    free(q);
}

static void room_clear(struct resolver_room *room)
{
    for (struct list *pos; (pos = list_first(&room->in_order));) {
        struct question *q = list_entry(pos, struct question, in_order);
        while (!list_is_empty(&q->waiters))
            resolver_ask_cancel(list_entry(q->waiters.next, struct resolver_ask, node));
        question_unlink(q);
        question_free(q);
    }
}

void resolver_fini(struct resolver *r)
{
    if (!r->loop)
        return;
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
        room_clear(&r->rooms[i]);
    list_for_each_safe (pos, tmp, &r->groups) {
        struct resolver_group *g = resolver_group_ref(list_entry(pos, struct resolver_group, node));
        for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
            room_clear(&g->rooms[i]);
        resolver_group_unref(g);
    }
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

static void flush_room(struct resolver_room *room, const struct cache_names *names)
{
    list_for_each (pos, &room->in_order) {
        struct question *q = list_entry(pos, struct question, in_order);
        if (!names || cache_names_has(names, &q->key.question.name))
            q->is_flushed = true;
    }
}

size_t resolver_flush(struct resolver *r, const struct cache_names *names)
{
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
        flush_room(&r->rooms[i], names);
    list_for_each (pos, &r->groups) {
        struct resolver_group *g = list_entry(pos, struct resolver_group, node);
        for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
            flush_room(&g->rooms[i], names);
    }
    return cache_flush(r->cache, names);
}

/* ---- the end of a question ---- */

/* A probe goes on alone, to learn whether the server is back; all else stops. */
static void keep_probes(struct question *q)
{
    list_for_each_safe (pos, tmp, &q->attempts) {
        struct attempt *a = list_entry(pos, struct attempt, node);
        if (!a->is_probe)
            continue;
        a->question = NULL;
        list_remove(&a->node);
        list_append(&q->resolver->probes, &a->node);
    }
}

/* Tells every waiter. @q is gone afterwards; waiters may start, cancel and free asks in their
 * callbacks. */
static void question_finish(struct question *q, const struct resolver_result *result)
{
    struct list waiters;
    list_init(&waiters);
    question_unlink(q);
    keep_probes(q);
    list_for_each (pos, &q->waiters)
        list_entry(pos, struct resolver_ask, node)->question = NULL;
    list_splice(&waiters, &q->waiters);
    question_free(q);
    for (struct list *pos; (pos = list_first(&waiters));) {
        struct resolver_ask *ask = list_entry(pos, struct resolver_ask, node);
        list_remove(pos);
        ask->done(ask, result);
    }
}

/* ---- expired answers ---- */

/* One that may do while nothing newer is to be had; borrowed, or NULL. */
static struct answer *find_stale(struct resolver *r, const struct resolver_group *g,
                                 const struct answer_key *key, uint64_t hash)
{
    return g->policy.stale_s
               ? cache_get_stale(r->cache, key, hash, g->policy.stale_s * UINT64_C(1000),
                                 loop_now_ms(r->loop))
               : NULL;
}

static struct resolver_result stale_result(struct resolver *r, struct answer *a)
{
    r->counters.n_stale++;
    return (struct resolver_result){.outcome = RESOLVER_ANSWER,
                                    .rcode = a->rcode,
                                    .ede = WIRE_EDE_NONE,
                                    .is_stale = true,
                                    .answer = a};
}

/* The upstream is late: whoever takes an expired answer gets it; the question goes on. */
static void on_stale_due(struct timer *t)
{
    struct question *q = list_entry(t, struct question, stale);
    struct answer *a = find_stale(q->resolver, q->group, &q->key, q->hash);
    struct list takers;
    if (!a || q->is_flushed)
        return;
    q->is_stale_told = true;
    list_init(&takers);
    list_for_each_safe (pos, tmp, &q->waiters) {
        struct resolver_ask *ask = list_entry(pos, struct resolver_ask, node);
        if (!ask->takes_stale)
            continue;
        ask->question = NULL;
        q->n_waiters--;
        list_remove(pos);
        list_append(&takers, pos);
    }
    answer_ref(a);
    struct resolver *r = q->resolver;
    for (struct list *pos; (pos = list_first(&takers));) {
        struct resolver_ask *ask = list_entry(pos, struct resolver_ask, node);
        struct resolver_result result = stale_result(r, a);
        list_remove(pos);
        ask->done(ask, &result);
    }
    answer_unref(a);
}

static bool was_sent(const struct question *q)
{
    for (unsigned i = 0; i < q->group->n_servers; i++) {
        if (q->n_sends[i] > 0)
            return true;
    }
    return false;
}

/* A failure is kept for a second, longer when it comes again (RFC 9520 section 3.2). Who never left
 * this machine spares nobody by that: the way out may be back at any moment. */
static void keep_failure(struct question *q, enum resolver_outcome outcome, unsigned rcode)
{
    struct resolver *r = q->resolver;
    uint64_t now = loop_now_ms(r->loop);
    const struct answer *last = cache_last_failure(r->cache, &q->key, q->hash);
    uint32_t life_s = FAILURE_MIN_S;
    uint32_t max_s = !was_sent(q)                  ? FAILURE_MIN_S
                     : outcome == RESOLVER_TIMEOUT ? FAILURE_SILENCE_MAX_S
                                                   : FAILURE_MAX_S;
    if (last && last->epoch == q->group->epoch && now < last->expires_ms + FAILURE_FORGET_MS)
        life_s = last->life_s * 2 < max_s ? last->life_s * 2 : max_s;
    struct answer_key key = q->key;
    key.flags |= ANSWER_KEY_FAILURE;
    struct answer *a = answer_from_code(&key, rcode, life_s, now);
    if (!a)
        return;
    a->outcome = (uint8_t)outcome;
    a->epoch = q->group->epoch;
    a->ede = (int16_t)q->ede;
    cache_put(r->cache, a);
    answer_unref(a);
}

/* Whatever counts against a server's health is counted for the metrics too. */
static void tally_failure(const struct attempt *a)
{
    const struct upstream_peer *peer = a->group->servers[a->server].peer;
    if (a->resolver->tally)
        tally_server_failed(a->resolver->tally, &peer->server, peer->tls_name != NULL);
}

static void note_loss(const struct attempt *a, uint64_t now)
{
    resolver_group_note_loss(a->group, a->server, now);
    tally_failure(a);
}

static void question_fail(struct question *q, enum resolver_outcome outcome)
{
    struct resolver *r = q->resolver;
    struct resolver_result result = {
        .outcome = outcome, .rcode = WIRE_RCODE_SERVFAIL, .ede = q->ede};
    if (outcome == RESOLVER_FAILED && q->n_refused > 0 && q->n_bad == q->n_refused)
        result.rcode = WIRE_RCODE_REFUSED;
    if (outcome == RESOLVER_TIMEOUT) {
        uint64_t now = loop_now_ms(r->loop);
        list_for_each (pos, &q->attempts) {
            struct attempt *a = list_entry(pos, struct attempt, node);
            if (!a->is_late)
                note_loss(a, now);
            tell_server(a->group, a->server, "timeout");
        }
        r->counters.n_timeouts++;
    } else if (outcome == RESOLVER_BUSY) {
        r->counters.n_busy++;
    } else {
        r->counters.n_failed++;
    }
    if (outcome != RESOLVER_BUSY && !q->raw && !q->is_flushed)
        keep_failure(q, outcome, result.rcode);
    struct answer *stale =
        q->raw || q->is_flushed ? NULL : find_stale(r, q->group, &q->key, q->hash);
    if (stale) {
        answer_ref(stale);
        result = stale_result(r, stale);
    }
    question_finish(q, &result);
    answer_unref(stale);
}

static void on_end(struct loop_task *t)
{
    struct question *q = list_entry(t, struct question, end);
    question_fail(q, q->end_outcome);
}

/* Not now: nobody may be called back from inside a call. */
static void question_fail_soon(struct question *q, enum resolver_outcome outcome)
{
    q->end_outcome = outcome;
    loop_task_add(q->resolver->loop, &q->end);
}

static void on_question_late(struct timer *t)
{
    struct question *q = list_entry(t, struct question, limit);
    question_fail(q, q->n_bad > 0 ? RESOLVER_FAILED : RESOLVER_TIMEOUT);
}

/* ---- attempts ---- */

/* Whether the last word about a server still holds, and if not, the next one. */
static void tell_server(struct resolver_group *g, unsigned server, const char *reason)
{
    struct name_server *s = &g->servers[server];
    struct resolver *r = g->resolver;
    uint64_t now = loop_now_ms(r->loop);
    if (!r->on_server || s->is_down == s->is_told_down ||
        (s->is_down && s->told_ms && now < s->told_ms + TOLD_EVERY_MS))
        return;
    s->is_told_down = s->is_down;
    s->told_ms = s->is_down ? now : s->told_ms;
    r->on_server(r->owner, &(struct resolver_server_news){
                               .server = &s->peer->server,
                               .tls_name = s->peer->tls_name,
                               .is_up = !s->is_down,
                               .reason = reason,
                               .detail = strcmp(reason, "tls") == 0 ? s->peer->trouble : "",
                           });
}

/* 0 · -errno: this server cannot be asked now. */
static int attempt_start(struct question *q, unsigned server, bool is_probe, bool without_opt)
{
    struct resolver *r = q->resolver;
    uint64_t now = loop_now_ms(r->loop);
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    uint64_t left_ms = q->started_ms + q->limit_ms > now ? q->started_ms + q->limit_ms - now : 1;
    if (is_probe && left_ms > PROBE_LIMIT_MS)
        left_ms = PROBE_LIMIT_MS;
    struct upstream_request request = {
        .peer = q->group->servers[server].peer,
        .question = &q->key.question,
        .raw = q->raw,
        .n_raw = q->n_raw,
        .wants_dnssec = q->key.flags & ANSWER_KEY_DO,
        .checking_disabled = q->key.flags & ANSWER_KEY_CD,
        .authentic_data = q->authentic_data,
        .without_opt = without_opt,
        .by_tcp = q->by_tcp,
        .random_case = q->group->policy.randomises_case,
        .limit_ms = left_ms,
    };
    int rc = upstream_start(&a->upstream, r->env, &request, on_attempt_done);
    if (rc < 0) {
        free(a);
        return rc;
    }
    a->question = q;
    a->resolver = r;
    a->group = resolver_group_ref(q->group);
    a->server = server;
    a->is_probe = is_probe;
    list_append(&q->attempts, &a->node);
    q->n_attempts++;
    q->n_sends[server]++;
    q->sent_ms = now;
    r->counters.n_sent++;
    q->group->servers[server].peer->n_asked++;
    return 0;
}

static bool may_leave_out_opt(const struct question *q, unsigned server)
{
    return !(q->key.flags & ANSWER_KEY_DO) &&
           loop_now_ms(q->resolver->loop) < q->group->servers[server].no_opt_until_ms;
}

/* What failed for want of something of ours says nothing about the server. */
static bool is_own_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
           error == -EADDRNOTAVAIL || error == -EAGAIN;
}

static void on_hedge(struct timer *t)
{
    struct question *q = list_entry(t, struct question, hedge);
    uint64_t now = loop_now_ms(q->resolver->loop);
    list_for_each (pos, &q->attempts) {
        struct attempt *a = list_entry(pos, struct attempt, node);
        if (a->is_late)
            continue;
        a->is_late = true;
        note_loss(a, now);
        tell_server(a->group, a->server, "timeout");
    }
    question_advance(q);
}

/* The time until the next send: that of the server, doubled with each send to it. */
static void arm_hedge(struct question *q, unsigned server)
{
    unsigned n = q->n_sends[server] > 0 ? q->n_sends[server] - 1u : 0;
    loop_timer_start(q->resolver->loop, &q->hedge, resolver_group_hedge_ms(q->group, server) << n,
                     on_hedge);
}

static void start_probe(struct question *q)
{
    if (q->raw) /* it would outlive the message that it sends */
        return;
    int server = resolver_group_probe(q->group, q->excluded, loop_now_ms(q->resolver->loop));
    if (server >= 0 && q->n_sends[server] == 0)
        (void)!attempt_start(q, (unsigned)server, true, may_leave_out_opt(q, (unsigned)server));
}

static void tell_loop(struct resolver *r, const struct name_server *s)
{
    bool is_looping = loop_probe_is_looping(s->loop);
    if (!r->on_server)
        return;
    r->on_server(r->owner, &(struct resolver_server_news){
                               .server = &s->peer->server,
                               .tls_name = s->peer->tls_name,
                               .is_up = !is_looping,
                               .reason = "loop",
                               .detail = is_looping ? "it leads back to us" : "",
                           });
}

/* Asks @server for the name that only we know; who answers it is all that counts. */
static void ask_for_loop(struct resolver_group *g, unsigned server, const struct wire_name *name)
{
    struct resolver *r = g->resolver;
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a)
        return;
    struct wire_question question = {.name = *name, .type = WIRE_TYPE_TXT, .class = WIRE_CLASS_IN};
    struct upstream_request request = {
        .peer = g->servers[server].peer,
        .question = &question,
        .limit_ms = LOOP_LIMIT_MS,
    };
    if (upstream_start(&a->upstream, r->env, &request, on_attempt_done) < 0) {
        free(a);
        return;
    }
    a->resolver = r;
    a->group = resolver_group_ref(g);
    a->server = server;
    a->is_probe = a->is_late = true; /* silence says nothing about other names */
    list_append(&r->probes, &a->node);
}

static void look_for_loops(struct resolver_group *g)
{
    struct resolver *r = g->resolver;
    for (unsigned i = 0; i < g->n_servers; i++) {
        struct name_server *s = &g->servers[i];
        struct wire_name name;
        if (loops_due(r->loops, s->loop, loop_now_ms(r->loop), &name))
            ask_for_loop(g, i, &name);
        if (loops_has_news(s->loop))
            tell_loop(r, s);
    }
}

/* Asks the next server; with none left and none running, the question has failed (told at the end
 * of the round). */
static void question_advance(struct question *q)
{
    struct resolver_group *g = q->group;
    while (q->n_attempts < ATTEMPTS_MAX) {
        int server = resolver_group_pick(g, q->excluded, q->n_sends, q->sends_max);
        if (server < 0)
            break;
        int rc = attempt_start(q, (unsigned)server, false, may_leave_out_opt(q, (unsigned)server));
        if (rc == 0) {
            arm_hedge(q, (unsigned)server);
            return;
        }
        q->excluded |= 1u << server;
        if (is_own_shortage(rc))
            q->is_short = true;
        else
            resolver_group_note_dead(g, (unsigned)server, loop_now_ms(q->resolver->loop));
    }
    loop_timer_stop(q->resolver->loop, &q->hedge);
    if (list_is_empty(&q->attempts))
        question_fail_soon(q, q->is_short    ? RESOLVER_BUSY
                              : q->n_bad > 0 ? RESOLVER_FAILED
                                             : RESOLVER_UNREACHABLE);
}

/* ---- replies ---- */

/* A server that neither recurses nor is the authority sends others elsewhere: of no use to a
 * forwarder. */
static bool is_lame(const struct wire_reply *reply)
{
    return reply->rcode == WIRE_RCODE_NOERROR && reply->n_answer == 0 && !reply->has_soa &&
           !(reply->flags & (WIRE_FLAG_RA | WIRE_FLAG_AA));
}

static bool is_final(const struct wire_reply *reply)
{
    if (is_lame(reply))
        return false;
    return reply->rcode == WIRE_RCODE_NOERROR || reply->rcode == WIRE_RCODE_NXDOMAIN;
}

/* A chain of aliases that never ends is no answer, whatever was asked; but to who asked for the
 * alias itself. */
static bool is_endless(const struct question *q, const struct wire_reply *reply, const uint8_t *msg)
{
    uint16_t type = q->key.question.type;
    return reply->has_cname && type != WIRE_TYPE_CNAME && type != WIRE_TYPE_ANY &&
           wire_addresses(msg, reply->len, reply->n_answer, 0, NULL, 0) < 0;
}

static void take_answer(struct question *q, unsigned server, const struct wire_reply *reply,
                        const uint8_t *msg)
{
    struct resolver *r = q->resolver;
    uint64_t now = loop_now_ms(r->loop);
    struct answer *a = q->raw ? answer_from_message(&q->key, msg, reply, now)
                              : answer_from_reply(&q->key, msg, reply, &q->group->policy.ttls, now);
    if (!a) {
        question_fail(q, RESOLVER_BUSY);
        return;
    }
    a->from = q->group->servers[server].peer->server.addr;
    /* Who was named for a zone may point inside. */
    a->is_inward = !q->raw && !q->group->policy.is_zone &&
                   rebind_is_inward(a->bytes, a->len, a->question_end, a->n_answer);
    if (!q->raw && !q->is_flushed)
        cache_put(r->cache, a);
    question_finish(q, &(struct resolver_result){.outcome = RESOLVER_ANSWER,
                                                 .rcode = reply->rcode,
                                                 .ede = WIRE_EDE_NONE,
                                                 .answer = a});
    answer_unref(a);
}

/* FORMERR, NOTIMP, BADVERS: perhaps since it does not know OPT. One more try without (RFC 6891
 * section 6.2.2). */
static bool retry_without_opt(struct question *q, unsigned server, const struct wire_reply *reply,
                              bool was_without)
{
    if (was_without || q->key.flags & ANSWER_KEY_DO ||
        (reply->rcode != WIRE_RCODE_FORMERR && reply->rcode != WIRE_RCODE_NOTIMP &&
         reply->rcode != WIRE_RCODE_BADVERS))
        return false;
    return attempt_start(q, server, false, true) == 0;
}

/* The attempt is over and said @reply; @q goes on with others, or ends. */
static void take_reply(struct question *q, unsigned server, bool was_without_opt,
                       const struct wire_reply *reply, const uint8_t *msg)
{
    if (q->raw || (is_final(reply) && !is_endless(q, reply, msg))) {
        if (was_without_opt && !may_leave_out_opt(q, server))
            q->group->servers[server].no_opt_until_ms = loop_now_ms(q->resolver->loop) + NO_OPT_MS;
        take_answer(q, server, reply, msg);
        return;
    }
    if (retry_without_opt(q, server, reply, was_without_opt))
        return;
    q->excluded |= 1u << server;
    q->n_bad++;
    if (reply->ede != WIRE_EDE_NONE)
        q->ede = reply->ede;
    q->n_refused += reply->rcode == WIRE_RCODE_REFUSED;
    question_advance(q);
}

static void note_outcome(struct attempt *a, enum upstream_outcome outcome)
{
    struct loop *loop = a->resolver->loop;
    switch (outcome) {
    case UPSTREAM_REPLY:
        a->resolver->counters.n_replies++;
        if (a->resolver->tally)
            tally_time(&a->resolver->tally->dns_upstream,
                       loop_now_ms(loop) - a->upstream.started_ms);
        resolver_group_note_reply(a->group, a->server, loop_now_ms(loop) - a->upstream.started_ms);
        tell_server(a->group, a->server, "");
        return;
    case UPSTREAM_REFUSED:
        resolver_group_note_dead(a->group, a->server, loop_now_ms(loop));
        tally_failure(a);
        tell_server(a->group, a->server, "refused");
        return;
    case UPSTREAM_UNTRUSTED:
        resolver_group_note_dead(a->group, a->server, loop_now_ms(loop));
        tally_failure(a);
        tell_server(a->group, a->server, "tls");
        return;
    case UPSTREAM_BROKEN:
    case UPSTREAM_TIMEOUT:
        if (!a->is_late)
            note_loss(a, loop_now_ms(loop));
        tell_server(a->group, a->server, outcome == UPSTREAM_BROKEN ? "broken" : "timeout");
        return;
    }
}

static void on_attempt_done(struct upstream *x, enum upstream_outcome outcome,
                            const struct wire_reply *reply, const uint8_t *msg)
{
    struct attempt *a = list_entry(x, struct attempt, upstream);
    struct question *q = a->question;
    unsigned server = a->server;
    bool without_opt = x->ask.without_opt, is_probe = a->is_probe;
    note_outcome(a, outcome);
    attempt_free(a);
    if (!q)
        return;
    if (outcome == UPSTREAM_REPLY) {
        take_reply(q, server, without_opt, reply, msg);
        return;
    }
    if (outcome != UPSTREAM_TIMEOUT || is_probe)
        q->excluded |= 1u << server;
    if (outcome == UPSTREAM_BROKEN)
        q->n_bad++;
    if (list_is_empty(&q->attempts) || (outcome != UPSTREAM_TIMEOUT && !is_probe))
        question_advance(q);
}

/* ---- asking ---- */

static struct list *bucket_of(struct resolver *r, uint64_t hash)
{
    return &r->buckets[hash % BUCKETS];
}

static struct question *find_question(struct resolver *r, const struct answer_key *key,
                                      uint64_t hash)
{
    struct list *bucket = bucket_of(r, hash ^ key->question.type);
    list_for_each (pos, bucket) {
        struct question *q = list_entry(pos, struct question, in_bucket);
        if (!q->is_flushed && q->hash == hash && q->key.question.type == key->question.type &&
            q->key.question.class == key->question.class && q->key.group == key->group &&
            q->key.flags == key->flags && !list_is_linked(&q->end.node) &&
            wire_name_equal_exact(&q->key.question.name, &key->question.name))
            return q;
    }
    return NULL;
}

/* The newest come first: the oldest question of a full budget gives way, since its askers have most
 * likely gone. */
static void make_room(struct resolver_room *room)
{
    if (room->n < room->max)
        return;
    list_for_each (pos, &room->in_order) {
        struct question *q = list_entry(pos, struct question, in_order);
        if (!list_is_linked(&q->end.node)) {
            question_fail_soon(q, RESOLVER_BUSY);
            return;
        }
    }
}

static struct resolver_room *room_of(struct resolver *r, struct resolver_group *group,
                                     enum resolver_budget budget)
{
    return group->policy.is_zone ? &group->rooms[budget] : &r->rooms[budget];
}

static void enter(struct question *q, struct resolver_room *room)
{
    make_room(room);
    q->room = room;
    list_append(&room->in_order, &q->in_order);
    room->n++;
}

static struct question *question_new(struct resolver *r, struct resolver_group *group,
                                     const struct answer_key *key, uint64_t hash,
                                     const struct resolver_request *request)
{
    struct question *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->resolver = r;
    q->group = resolver_group_ref(group);
    q->key = *key;
    q->hash = hash;
    q->authentic_data = request->authentic_data || request->wants_dnssec;
    q->by_tcp = request->by_tcp;
    q->started_ms = loop_now_ms(r->loop);
    q->limit_ms = request->limit_ms;
    q->sends_max = SENDS_MAX;
    q->ede = WIRE_EDE_NONE;
    if (request->raw) {
        q->raw = malloc(request->n_raw);
        if (!q->raw) {
            resolver_group_unref(q->group);
            free(q);
            return NULL;
        }
        memcpy(q->raw, request->raw, request->n_raw);
        if (request->hides_options)
            wire_hide_options(q->raw, request->n_raw);
        q->n_raw = request->n_raw;
        r->n_raw_bytes += q->n_raw;
    }
    list_init(&q->waiters);
    list_init(&q->attempts);
    loop_task_init(&q->end, on_end);
    list_init(&q->in_bucket);
    if (!q->raw)
        list_append(bucket_of(r, hash ^ key->question.type), &q->in_bucket);
    enter(q, room_of(r, group, request->budget));
    loop_timer_start(r->loop, &q->limit, q->limit_ms, on_question_late);
    if (!q->raw && find_stale(r, group, key, hash))
        loop_timer_start(r->loop, &q->stale, STALE_AFTER_MS, on_stale_due);
    r->counters.n_started++;
    look_for_loops(group);
    question_advance(q);
    start_probe(q);
    return q;
}

static void wait_for(struct question *q, struct resolver_ask *ask, resolver_done_fn done)
{
    ask->question = q;
    ask->done = done;
    list_append(&q->waiters, &ask->node);
    q->n_waiters++;
}

/* A tunnel's look-up does not give way to the LAN's questions, nor has it less time than one of its
 * own would. Returns whether that is much more than what is under way has: it ends with the time it
 * was given. */
static bool take_over(struct question *q, const struct resolver_request *request)
{
    struct resolver *r = q->resolver;
    struct resolver_room *room = room_of(r, q->group, request->budget);
    if (request->budget != RESOLVER_FOR_DIAL || q->room == room)
        return false;
    leave(q);
    enter(q, room);
    uint64_t age_ms = loop_now_ms(r->loop) - q->started_ms;
    bool is_late = age_ms > q->limit_ms / 2;
    q->limit_ms = age_ms + request->limit_ms;
    loop_timer_start(r->loop, &q->limit, request->limit_ms, on_question_late);
    return is_late;
}

static void join(struct question *q, const struct resolver_request *request,
                 struct resolver_ask *ask, resolver_done_fn done)
{
    struct resolver *r = q->resolver;
    r->counters.n_joined++;
    wait_for(q, ask, done);
    bool is_late = take_over(q, request);
    /* Most likely a client that asks again: that must cause a new attempt, not only one more who
     * waits. */
    if (!is_late && loop_now_ms(r->loop) < q->sent_ms + RETRY_JOIN_MS)
        return;
    q->sends_max++;
    question_advance(q);
}

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
    const struct resolver_room *room =
        g->policy.is_zone ? &g->rooms[RESOLVER_FOR_LAN] : &r->rooms[RESOLVER_FOR_LAN];
    if (a->is_prefetched || a->n_hits < PREFETCH_HITS || a->life_s < PREFETCH_LIFE_MIN_S ||
        left_ms * PREFETCH_TAIL > a->life_s * UINT64_C(1000) ||
        room->n >= room->max / PREFETCH_SHARE || find_question(r, key, hash))
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
    struct answer *stale = find_stale(r, g, key, hash);
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
            *ret = stale_result(r, stale);
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
    struct question *q = request->raw ? NULL : find_question(r, &key, hash);
    if (q && q->n_waiters >= WAITERS_MAX)
        return done_with(ret_result, RESOLVER_BUSY, WIRE_RCODE_SERVFAIL);
    ask->takes_stale = request->budget == RESOLVER_FOR_LAN;
    if (q && q->is_stale_told && ask->takes_stale) {
        struct answer *stale = find_stale(r, group, &key, hash);
        if (stale) {
            answer_unref(r->shown);
            r->shown = answer_ref(stale);
            *ret_result = stale_result(r, stale);
            return RESOLVER_DONE;
        }
    }
    if (q) {
        join(q, request, ask, done);
        return 0;
    }
    q = question_new(r, group, &key, hash, request);
    if (!q)
        return done_with(ret_result, RESOLVER_BUSY, WIRE_RCODE_SERVFAIL);
    wait_for(q, ask, done);
    return 0;
}

void resolver_ask_cancel(struct resolver_ask *ask)
{
    if (ask->question)
        ask->question->n_waiters--;
    ask->question = NULL;
    list_remove(&ask->node);
}

/*
 * A question goes to the preferred server at once, to the next one when that is late (hedging: the
 * load stays near one query a question) or answers SERVFAIL, REFUSED or worse, and around again, up
 * to three sends a server, until one gives a final answer (NOERROR, NXDOMAIN) or the time is over.
 * A failure is remembered for a moment.
 *
 * It belongs to its askers' union: an asker that leaves takes nothing with it, the question goes on
 * and fills the cache, within its limit. No callback runs before the call that began it returned;
 * what fails at once is told at the end of the round. When a budget is full the oldest question
 * gives way. RFC 5452, 2308, 6891 section 6.2.2, 8767 section 4, 9520.
 */
#include "proxy/dns/question.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/attempt.h"
#include "proxy/dns/cache.h"
#include "proxy/dns/rebind.h"

enum {
    SENDS_MAX = 3,     /* of a question to one server (RFC 9520 section 3.1) */
    ATTEMPTS_MAX = 12, /* of a question in all */
    RETRY_JOIN_MS =
        500, /* an asker that joins later than this after the last send causes another one */
    PROBE_LIMIT_MS = 1000,
    NO_OPT_MS = 10 * 60 * 1000, /* "minutes not hours" that a server without EDNS is remembered */
    FAILURE_MIN_S = 1,          /* RFC 9520 section 3.2 */
    FAILURE_MAX_S = 8,
    FAILURE_SILENCE_MAX_S =
        2, /* nobody answered: that took its time already, and may be over soon */
    FAILURE_FORGET_MS = 30000,
    STALE_AFTER_MS = 1800, /* an expired answer does, then (RFC 8767 section 5) */
};

static void advance(struct question *q);
static void on_attempt_done(struct question *q, const struct attempt_end *end);

/* ---- rooms ---- */

struct resolver_room *question_room(struct resolver *r, struct resolver_group *group,
                                    enum resolver_budget budget)
{
    return group->policy.is_zone ? &group->rooms[budget] : &r->rooms[budget];
}

/* Not now: nobody may be called back from inside a call. */
static void fail_soon(struct question *q, enum resolver_outcome outcome)
{
    q->end_outcome = outcome;
    loop_task_add(q->resolver->loop, &q->end);
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
            fail_soon(q, RESOLVER_BUSY);
            return;
        }
    }
}

static void enter(struct question *q, struct resolver_room *room)
{
    make_room(room);
    q->room = room;
    list_append(&room->in_order, &q->in_order);
    room->n++;
}

static void leave(struct question *q)
{
    list_remove(&q->in_order);
    q->room->n--;
}

/* ---- the end ---- */

static void unlink_question(struct question *q)
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

/* Tells every waiter. @q is gone afterwards; waiters may start, cancel and free asks in their
 * callbacks. */
static void finish(struct question *q, const struct resolver_result *result)
{
    struct list waiters;
    list_init(&waiters);
    unlink_question(q);
    attempts_let_probes_go(&q->attempts);
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
struct answer *question_find_stale(struct resolver *r, const struct resolver_group *g,
                                   const struct answer_key *key, uint64_t hash)
{
    return g->policy.stale_s
               ? cache_get_stale(r->cache, key, hash, g->policy.stale_s * UINT64_C(1000),
                                 loop_now_ms(r->loop))
               : NULL;
}

struct resolver_result question_stale_result(struct resolver *r, struct answer *a)
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
    struct answer *a = question_find_stale(q->resolver, q->group, &q->key, q->hash);
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
        struct resolver_result result = question_stale_result(r, a);
        list_remove(pos);
        ask->done(ask, &result);
    }
    answer_unref(a);
}

/* ---- failures ---- */

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

static void fail(struct question *q, enum resolver_outcome outcome)
{
    struct resolver *r = q->resolver;
    struct resolver_result result = {
        .outcome = outcome, .rcode = WIRE_RCODE_SERVFAIL, .ede = q->ede};
    if (outcome == RESOLVER_FAILED && q->n_refused > 0 && q->n_bad == q->n_refused)
        result.rcode = WIRE_RCODE_REFUSED;
    if (outcome == RESOLVER_TIMEOUT) {
        attempts_are_late(&q->attempts);
        r->counters.n_timeouts++;
    } else if (outcome == RESOLVER_BUSY) {
        r->counters.n_busy++;
    } else {
        r->counters.n_failed++;
    }
    if (outcome != RESOLVER_BUSY && !q->raw && !q->is_flushed)
        keep_failure(q, outcome, result.rcode);
    struct answer *stale =
        q->raw || q->is_flushed ? NULL : question_find_stale(r, q->group, &q->key, q->hash);
    if (stale) {
        answer_ref(stale);
        result = question_stale_result(r, stale);
    }
    finish(q, &result);
    answer_unref(stale);
}

static void on_end(struct loop_task *t)
{
    struct question *q = list_entry(t, struct question, end);
    fail(q, q->end_outcome);
}

static void on_question_late(struct timer *t)
{
    struct question *q = list_entry(t, struct question, limit);
    fail(q, q->n_bad > 0 ? RESOLVER_FAILED : RESOLVER_TIMEOUT);
}

/* ---- sending ---- */

/* 0 · -errno: this server cannot be asked now. */
static int send_to(struct question *q, unsigned server, bool is_probe, bool without_opt)
{
    struct resolver *r = q->resolver;
    uint64_t now = loop_now_ms(r->loop);
    uint64_t left_ms = q->started_ms + q->limit_ms > now ? q->started_ms + q->limit_ms - now : 1;
    if (is_probe && left_ms > PROBE_LIMIT_MS)
        left_ms = PROBE_LIMIT_MS;
    struct upstream_peer *peer = q->group->servers[server].peer;
    struct upstream_request request = {
        .peer = peer,
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
    struct attempt_order order = {.question = q,
                                  .on_done = on_attempt_done,
                                  .group = q->group,
                                  .server = server,
                                  .is_probe = is_probe};
    int rc = attempt_start(&q->attempts, &order, &request);
    if (rc < 0)
        return rc;
    q->n_attempts++;
    q->n_sends[server]++;
    q->sent_ms = now;
    r->counters.n_sent++;
    peer->n_asked++;
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
    attempts_are_late(&q->attempts);
    advance(q);
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
        (void)!send_to(q, (unsigned)server, true, may_leave_out_opt(q, (unsigned)server));
}

/* Asks the next server; with none left and none running, the question has failed (told at the end
 * of the round). */
static void advance(struct question *q)
{
    struct resolver_group *g = q->group;
    while (q->n_attempts < ATTEMPTS_MAX) {
        int server = resolver_group_pick(g, q->excluded, q->n_sends, q->sends_max);
        if (server < 0)
            break;
        int rc = send_to(q, (unsigned)server, false, may_leave_out_opt(q, (unsigned)server));
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
        fail_soon(q, q->is_short    ? RESOLVER_BUSY
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
        fail(q, RESOLVER_BUSY);
        return;
    }
    a->from = q->group->servers[server].peer->server.addr;
    /* Who was named for a zone may point inside. */
    a->is_inward = !q->raw && !q->group->policy.is_zone &&
                   rebind_is_inward(a->bytes, a->len, a->question_end, a->n_answer);
    if (!q->raw && !q->is_flushed)
        cache_put(r->cache, a);
    finish(q, &(struct resolver_result){.outcome = RESOLVER_ANSWER,
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
    return send_to(q, server, false, true) == 0;
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
    advance(q);
}

static void on_attempt_done(struct question *q, const struct attempt_end *end)
{
    if (end->outcome == UPSTREAM_REPLY) {
        take_reply(q, end->server, end->was_without_opt, end->reply, end->msg);
        return;
    }
    bool is_timeout = end->outcome == UPSTREAM_TIMEOUT;
    if (!is_timeout || end->is_probe)
        q->excluded |= 1u << end->server;
    if (end->outcome == UPSTREAM_BROKEN)
        q->n_bad++;
    if (list_is_empty(&q->attempts) || (!is_timeout && !end->is_probe))
        advance(q);
}

/* ---- the beginning ---- */

static struct list *bucket_of(struct resolver *r, uint64_t hash)
{
    return &r->buckets[hash % QUESTION_BUCKETS];
}

struct question *question_find(struct resolver *r, const struct answer_key *key, uint64_t hash)
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

struct question *question_new(struct resolver *r, struct resolver_group *group,
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
    enter(q, question_room(r, group, request->budget));
    loop_timer_start(r->loop, &q->limit, q->limit_ms, on_question_late);
    if (!q->raw && question_find_stale(r, group, key, hash))
        loop_timer_start(r->loop, &q->stale, STALE_AFTER_MS, on_stale_due);
    r->counters.n_started++;
    attempt_look_for_loops(group);
    advance(q);
    start_probe(q);
    return q;
}

void question_wait(struct question *q, struct resolver_ask *ask, resolver_done_fn done)
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
    struct resolver_room *room = question_room(r, q->group, request->budget);
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

void question_join(struct question *q, const struct resolver_request *request,
                   struct resolver_ask *ask, resolver_done_fn done)
{
    struct resolver *r = q->resolver;
    r->counters.n_joined++;
    question_wait(q, ask, done);
    bool is_late = take_over(q, request);
    /* Most likely a client that asks again: that must cause a new attempt, not only one more who
     * waits. */
    if (!is_late && loop_now_ms(r->loop) < q->sent_ms + RETRY_JOIN_MS)
        return;
    q->sends_max++;
    advance(q);
}

/* ---- all of them ---- */

static void room_clear(struct resolver_room *room)
{
    for (struct list *pos; (pos = list_first(&room->in_order));) {
        struct question *q = list_entry(pos, struct question, in_order);
        while (!list_is_empty(&q->waiters))
            resolver_ask_cancel(list_entry(q->waiters.next, struct resolver_ask, node));
        unlink_question(q);
        question_free(q);
    }
}

void questions_clear(struct resolver *r)
{
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
        room_clear(&r->rooms[i]);
    list_for_each_safe (pos, tmp, &r->groups) {
        struct resolver_group *g = resolver_group_ref(list_entry(pos, struct resolver_group, node));
        for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
            room_clear(&g->rooms[i]);
        resolver_group_unref(g);
    }
}

static void flush_room(struct resolver_room *room, const struct cache_names *names)
{
    list_for_each (pos, &room->in_order) {
        struct question *q = list_entry(pos, struct question, in_order);
        if (!names || cache_names_has(names, &q->key.question.name))
            q->is_flushed = true;
    }
}

void questions_flush(struct resolver *r, const struct cache_names *names)
{
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
        flush_room(&r->rooms[i], names);
    list_for_each (pos, &r->groups) {
        struct resolver_group *g = list_entry(pos, struct resolver_group, node);
        for (unsigned i = 0; i < RESOLVER_BUDGETS; i++)
            flush_room(&g->rooms[i], names);
    }
}

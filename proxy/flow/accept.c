/*
 * One that comes is admitted by its source, then by the limits, in that order; whom the rules do
 * not admit costs a look-up and a close. The worker with the fewest clients gets it (flow/balance).
 */
#include "proxy/flow/accept.h"

#include <string.h>
#include <unistd.h>

#include "proxy/flow/balance.h"
#include "proxy/http/reply.h"

enum { TURNED_AWAY_MAX = 64 };

/* Whoever is not let in lingers apart from the clients: were it counted with them, it could keep
 * their places by coming again and again. */
static bool has_room_to_answer(struct worker *w)
{
    return atomic_load_explicit(&w->shared->n_turned_away, memory_order_relaxed) < TURNED_AWAY_MAX;
}

static void refuse_source(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                          const struct endpoint *peer)
{
    counter_add(&w->counters.n_source_denied, 1);
    if (w->view->snapshot->conf.acl_deny_403 && has_room_to_answer(w)) {
        struct conn *c = conn_accept(w, w->view, proxy, NULL, fd, peer);
        if (c)
            conn_turn_away(c, &(struct conn_refusal){.reason = REASON_SOURCE_DENIED,
                                                     .status = 403,
                                                     .phrase = "Forbidden source"});
        return;
    }
    close(fd);
    view_tally(w->view, proxy)->n_ended[REASON_SOURCE_DENIED]++;
    struct access_record r = worker_denied_record(ACCESS_REFUSED, proxy->base.name, NULL, peer);
    worker_record_denied(w, &r);
}

/* `mode = observe`: [in] does not admit it, and it is served all the same. */
static void observe_source(struct worker *w, const struct conn *c)
{
    struct access_record r =
        worker_denied_record(ACCESS_OBSERVED, c->proxy->base.name, NULL, &c->client);
    r.serial = c->serial;
    worker_record_denied(w, &r);
}

/* What per-source-rate counts: connections, and those of too many that are answered. */
enum { CONNECTS_SERVED, CONNECTS_ANSWERED };

static bool is_within_rate(struct worker *w, unsigned kind, const struct endpoint *peer)
{
    uint32_t rate = w->view->snapshot->conf.limits.per_source_rate;
    return rate == 0 ||
           rates_take(w->shared->connects, &peer->addr, kind, rate, loop_now_ms(&w->loop));
}

/* Answered while there is room for it and its source is not told too often; else closed at once,
 * which is cheap. */
static void turn_away(struct worker *w, const struct conf_web_proxy *proxy,
                      const struct in_rule *rule, int fd, const struct endpoint *peer,
                      const struct conn_refusal *why)
{
    if (has_room_to_answer(w) && is_within_rate(w, CONNECTS_ANSWERED, peer)) {
        struct conn *c = conn_accept(w, w->view, proxy, rule, fd, peer);
        if (c)
            conn_turn_away(c, why);
        return;
    }
    close(fd);
    counter_add(&w->counters.n_refused, 1);
    view_tally(w->view, proxy)->n_ended[why->reason]++;
    struct access_record r = worker_denied_record(ACCESS_REFUSED, proxy->base.name, NULL, peer);
    r.reason = why->reason;
    access_set_rule(&r, rule ? &rule->place : NULL, rule ? NULL : "no rule");
    worker_record_denied(w, &r);
}

static void take_client(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                        const struct endpoint *peer)
{
    counter_add(&w->counters.n_accepted, 1);
    const struct in_rule *rule = in_table_ask(proxy->table, &peer->addr);
    if (!rule && !w->view->snapshot->conf.acl_observe) {
        refuse_source(w, proxy, fd, peer);
        return;
    }
    if (rule)
        hits_count(w->hits, rule->place.slot, loop_now_ms(&w->loop));
    if (!is_within_rate(w, CONNECTS_SERVED, peer)) {
        turn_away(w, proxy, rule, fd, peer,
                  &(struct conn_refusal){.reason = REASON_SOURCE_LIMIT,
                                         .retry_after_s = 1,
                                         .body = "too many new connections a second"});
        return;
    }
    if (atomic_load_explicit(&w->shared->n_clients, memory_order_relaxed) >=
        atomic_load_explicit(&w->shared->max_clients, memory_order_relaxed)) {
        turn_away(w, proxy, rule, fd, peer, &(struct conn_refusal){.reason = REASON_LIMIT});
        return;
    }
    struct conn *c = conn_accept(w, w->view, proxy, rule, fd, peer);
    if (c && !rule)
        observe_source(w, c);
}

/* Of another worker, by the listener's name: a reload may be between the two. */
static void take_passed(struct worker *w, const char *listener, int fd, const struct endpoint *peer)
{
    const struct conf *conf = w->view ? &w->view->snapshot->conf : NULL;
    for (size_t i = 0; conf && i < conf->n_web_proxies; i++) {
        if (strcmp(conf->web_proxies[i].base.name, listener) == 0) {
            take_client(w, &conf->web_proxies[i], fd, peer);
            return;
        }
    }
    close(fd);
}

void accept_client(struct worker *w, unsigned conf_index, int fd, const struct endpoint *peer)
{
    const struct conf_web_proxy *proxy = &w->view->snapshot->conf.web_proxies[conf_index];
    if (!balance_pass(w, proxy, fd, peer, take_passed))
        take_client(w, proxy, fd, peer);
}

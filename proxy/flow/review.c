/*
 * Live revocation. A reload changes what is permitted, not only what may begin: each connection of
 * the worker is judged by the new rules (proxy/flow/rejudge), a few of them a round, so that ten
 * thousand tunnels never stall the traffic of one. `revoke` cuts what is forbidden now, `grace`
 * sets it a time after which it is judged once more, `keep` lets it be. A cut is a reset on both
 * sides: nobody may take half a transfer for a whole one.
 *
 * A set-up under way belongs to the rules it began with until it has an origin; then it is judged
 * by those in force, before its first byte passes. Whoever waits between two requests has nothing
 * to lose and is closed in any mode. The timer of grace is the connection's own: neither a relay
 * nor an exchange uses it.
 */
#include "proxy/flow/review.h"

#include "proxy/flow/conn.h"
#include "proxy/flow/reach.h"
#include "proxy/flow/rejudge.h"
#include "proxy/flow/worker.h"

/* Judging costs a few microseconds, cutting tens of them: a slice stays around a millisecond. */
enum { SLICE_CONNS = 32 };

static const struct conf *conf_of(const struct worker *w)
{
    return &w->view->snapshot->conf;
}

static bool judge(const struct conn *c, struct rejudge *ret)
{
    const struct worker *w = c->worker;
    return rejudge_conn(c, w->view->snapshot, &w->own->own, ret);
}

static void cut(struct conn *c, const struct rejudge *why)
{
    c->worker->review.n_cut++;
    conn_revoke(c, rejudge_place(why), rejudge_words(why));
}

static void on_grace_over(struct timer *t)
{
    struct conn *c = list_entry(t, struct conn, timer);
    struct rejudge why;
    if (!judge(c, &why) && conf_of(c->worker)->on_reload != CONF_RELOAD_KEEP)
        cut(c, &why);
}

static void set_grace(struct conn *c)
{
    struct worker *w = c->worker;
    uint64_t end_ms = w->review.since_ms + conf_of(w)->on_reload_grace_ms;
    uint64_t now = loop_now_ms(&w->loop);
    if (!timer_is_running(&c->timer)) /* a second reload does not begin it anew */
        loop_timer_start(&w->loop, &c->timer, end_ms > now ? end_ms - now : 1, on_grace_over);
}

/* It runs and is forbidden. Returns whether it still lives. */
static bool punish(struct conn *c, const struct rejudge *why)
{
    struct worker *w = c->worker;
    switch (conf_of(w)->on_reload) {
    case CONF_RELOAD_REVOKE:
        cut(c, why);
        return false;
    case CONF_RELOAD_GRACE:
        w->review.n_grace++;
        set_grace(c);
        return true;
    case CONF_RELOAD_KEEP:
        break;
    }
    w->review.n_kept++;
    loop_timer_stop(&w->loop, &c->timer);
    return true;
}

void review_running(struct conn *c)
{
    struct rejudge why;
    if (c->view == c->worker->view)
        return; /* it was permitted by these rules */
    if (judge(c, &why))
        loop_timer_stop(&c->worker->loop, &c->timer);
    else if (!punish(c, &why))
        return;
    if (c->state == CONN_STATE_RELAY)
        conn_adopt(c, why.proxy, why.source_rule, why.out_slot);
}

bool review_setup_over(struct conn *c)
{
    struct worker *w = c->worker;
    struct rejudge why;
    if (c->view == w->view || judge(c, &why) || conf_of(w)->on_reload != CONF_RELOAD_REVOKE)
        return true;
    if (why.verdict == VERDICT_ALLOW)
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_SOURCE_DENIED,
                                              .status = 403,
                                              .phrase = "Forbidden source"});
    else
        reach_refuse(c, why.verdict, &why.detail);
    return false;
}

/* Of what came of a request nothing was looked at yet: it belongs to the rules in force. Who began
 * to ask and is out now gets an answer, when there is an origin to judge. */
static void review_silent(struct conn *c)
{
    struct rejudge why;
    if (judge(c, &why))
        conn_adopt(c, why.proxy, why.source_rule, why.out_slot);
    else if (!c->setup || c->setup->n_buf == 0)
        conn_finish(c, REASON_ACL_REVOKED);
}

bool review_between(struct conn *c)
{
    struct rejudge why;
    c->has_origin = false;
    if (c->view == c->worker->view)
        return true;
    if (!judge(c, &why))
        return false;
    conn_adopt(c, why.proxy, why.source_rule, why.out_slot);
    return true;
}

static void review_conn(struct conn *c)
{
    switch ((enum conn_state)c->state) {
    case CONN_STATE_HEAD:
        review_silent(c);
        break;
    case CONN_STATE_EXCHANGE:
    case CONN_STATE_RELAY:
        c->worker->review.n_judged++;
        review_running(c);
        break;
    case CONN_STATE_RESOLVE: /* judged when there is an origin, before a byte passes */
    case CONN_STATE_DIAL:
    case CONN_STATE_LINGER:
    case CONN_STATE_CLOSED:
        break;
    }
}

static void tell(struct worker *w)
{
    const struct review *r = &w->review;
    if (r->n_cut + r->n_grace + r->n_kept > 0)
        log_notice("msg=\"the new rules forbid what runs\" worker=%u judged=%u cut=%u grace=%u "
                   "kept=%u",
                   w->index, r->n_judged, r->n_cut, r->n_grace, r->n_kept);
}

void review_init(struct review *r, struct worker *w)
{
    *r = (struct review){0};
    walk_init(&r->walk, w, SLICE_CONNS, review_conn, tell);
}

void review_fini(struct review *r)
{
    walk_fini(&r->walk);
}

void review_start(struct worker *w)
{
    struct review *r = &w->review;
    r->since_ms = loop_now_ms(&w->loop);
    r->n_judged = r->n_cut = r->n_grace = r->n_kept = 0;
    walk_start(&r->walk);
}

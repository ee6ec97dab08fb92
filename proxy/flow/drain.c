/*
 * A worker's way to its end: nothing new is accepted, what runs may finish within the limit. In the
 * last tenth of that, tunnels on which nothing moves are let go, so that the end may come before
 * it. It is told once neither a client is left nor a question of one.
 */
#include "proxy/flow/drain.h"

#include "proxy/flow/update.h"

enum {
    DRAIN_NEAR_SHARE = 10, /* the last tenth of the time */
    DRAIN_QUIET_MS = 1000, /* a tunnel without a byte for so long is idle then */
    DRAIN_LOOK_MS = 250,
};

static void on_all_gone(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, drained.mail);
    for (unsigned n = notice_take(m); n > 0; n--)
        w->shared->on_drained(w->shared);
}

/* Neither a client is left nor a question of one. */
void drain_tell_if_done(struct worker *w)
{
    if (w->n_conns > 0 || !dns_server_is_retired(w->dns))
        return;
    if (w->has_told_drained) /* another worker had given it one more client before it drained too */
        return;
    w->has_told_drained = true;
    notice_post(&w->drained, w->shared->main_mailbox, on_all_gone);
}

static void on_drain_limit(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, drain_limit);
    dns_server_close_all(w->dns);
    worker_finish_clients(w);
    drain_tell_if_done(w);
}

static void on_dns_retired(void *owner)
{
    drain_tell_if_done(owner);
}

/* The limit is near, and would end them all: those on which nothing moves are let go now, so that
 * the end may come before it. */
static void on_drain_near(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, drain_near);
    uint64_t now = loop_now_ms(&w->loop);
    list_for_each (pos, &w->conns) {
        struct conn *c = list_entry(pos, struct conn, node);
        if (c->state == CONN_STATE_RELAY && now - c->relay.last_active_ms >= DRAIN_QUIET_MS)
            conn_finish(c, REASON_SHUTDOWN);
    }
    loop_timer_start(&w->loop, t, DRAIN_LOOK_MS, on_drain_near);
}

static void start_drain_timers(struct worker *w, uint64_t limit_ms)
{
    loop_timer_start(&w->loop, &w->drain_limit, limit_ms, on_drain_limit);
    loop_timer_start(&w->loop, &w->drain_near, limit_ms - limit_ms / DRAIN_NEAR_SHARE,
                     on_drain_near);
}

static void on_drain(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, drain_order.mail);
    notice_take(m);
    uint64_t limit_ms = atomic_load(&w->drain_limit_ms);
    bool was_draining = w->is_draining;
    w->is_draining = true;
    dns_server_retire(w->dns, on_dns_retired, w);
    if (limit_ms == 0)
        dns_server_close_all(w->dns);
    update_stop_accepting(w);
    list_for_each (pos, &w->conns) {
        struct conn *c = list_entry(pos, struct conn, node);
        if (limit_ms == 0)
            conn_finish(c, REASON_SHUTDOWN);
        else
            conn_hurry(c);
    }
    if (limit_ms > 0 && !was_draining)
        start_drain_timers(w, limit_ms);
    drain_tell_if_done(w);
}

void drain_post(struct worker *w, uint64_t limit_ms)
{
    atomic_store(&w->drain_limit_ms, limit_ms);
    notice_post(&w->drain_order, &w->mailbox, on_drain);
}

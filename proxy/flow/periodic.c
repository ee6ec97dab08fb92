/* The first record of a pass that is still under way when the next one is due: that one is left
 * out, so a slow target never piles passes up. */
#include "proxy/flow/periodic.h"

#include "proxy/flow/conn.h"
#include "proxy/flow/worker.h"

/* A record costs a few microseconds. */
enum { SLICE_CONNS = 64 };

static void on_conn(struct conn *c)
{
    if (c->state == CONN_STATE_RELAY)
        conn_record_open(c);
}

static void on_due(struct timer *t)
{
    struct periodic *p = list_entry(t, struct periodic, timer);
    struct worker *w = p->walk.worker;
    if (!walk_is_running(&p->walk))
        walk_start(&p->walk);
    loop_timer_start(&w->loop, t, w->view->snapshot->conf.log.periodic_ms, on_due);
}

void periodic_init(struct periodic *p, struct worker *w)
{
    *p = (struct periodic){0};
    walk_init(&p->walk, w, SLICE_CONNS, on_conn, NULL);
}

void periodic_fini(struct periodic *p)
{
    walk_fini(&p->walk);
    if (p->walk.worker && timer_is_running(&p->timer))
        loop_timer_stop(&p->walk.worker->loop, &p->timer);
}

void periodic_update(struct periodic *p)
{
    struct worker *w = p->walk.worker;
    uint64_t interval_ms = w->view->snapshot->conf.log.periodic_ms;
    if (timer_is_running(&p->timer))
        loop_timer_stop(&w->loop, &p->timer);
    if (interval_ms)
        loop_timer_start(&w->loop, &p->timer, interval_ms, on_due);
}

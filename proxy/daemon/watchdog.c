/*
 * A question goes through each worker's mailbox and comes back through ours, so an answer proves
 * that both loops turn. While one is out, nothing is told, and the manager draws its conclusion.
 */
#include "proxy/daemon/watchdog.h"

#include <errno.h>
#include <stdlib.h>

struct watchdog_ping {
    struct mail mail;
    struct watchdog *watchdog;
};

static void on_answer(struct mail *m)
{
    struct watchdog *w = list_entry(m, struct watchdog_ping, mail)->watchdog;
    if (--w->n_unanswered == 0)
        notify_alive(w->notify);
}

/* On the worker's thread. */
static void on_question(struct mail *m)
{
    struct watchdog *w = list_entry(m, struct watchdog_ping, mail)->watchdog;
    mailbox_post(w->home, m, on_answer);
}

static void on_due(struct timer *t)
{
    struct watchdog *w = list_entry(t, struct watchdog, timer);
    loop_timer_start(w->loop, t, w->notify->watchdog_ms / 2, on_due);
    if (w->n_unanswered > 0)
        return;
    w->n_unanswered = w->n_workers;
    for (unsigned i = 0; i < w->n_workers; i++)
        mailbox_post(&w->workers[i].mailbox, &w->pings[i].mail, on_question);
}

int watchdog_start(struct watchdog *w, struct loop *loop, struct mailbox *home,
                   const struct notify *notify, struct worker *workers, unsigned n_workers)
{
    *w = (struct watchdog){
        .loop = loop, .home = home, .notify = notify, .workers = workers, .n_workers = n_workers};
    if (notify->watchdog_ms == 0)
        return 0;
    w->pings = calloc(n_workers, sizeof(*w->pings));
    if (!w->pings)
        return -ENOMEM;
    for (unsigned i = 0; i < n_workers; i++)
        w->pings[i].watchdog = w;
    loop_timer_start(loop, &w->timer, 0, on_due);
    return 0;
}

void watchdog_stop(struct watchdog *w)
{
    if (!w->pings)
        return;
    loop_timer_stop(w->loop, &w->timer);
    free(w->pings);
    w->pings = NULL;
}

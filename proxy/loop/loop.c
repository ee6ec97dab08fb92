/*
 * One thread's world of events. We own the loop around libevent's: one poll, its callbacks, due
 * timers, then the tasks put off to the end of the round (frees, so that no callback pulls the
 * ground from under another), then one bulk task. A bulk task is never run from a callback, since a
 * callback that re-activates its own event does not yield to others. The wheel has one kernel
 * deadline, re-armed only when something earlier comes.
 */
#include "proxy/loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *l = arg;
    l->timer_event_due_ms = UINT64_MAX;
}

int loop_init(struct loop *l)
{
    *l = (struct loop){.is_now_stale = true, .timer_event_due_ms = UINT64_MAX};
    list_init(&l->tasks);
    list_init(&l->bulk);
    struct event_config *config = event_config_new();
    if (!config)
        return -ENOMEM;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!l->base)
        return -ENOMEM;
    int rc = watch_set_init(&l->watches, l->base);
    if (rc < 0) {
        event_base_free(l->base);
        l->base = NULL;
        return rc;
    }
    timers_init(&l->timers, loop_now_ms(l));
    evtimer_assign(&l->timer_event, l->base, on_deadline, l);
    return 0;
}

void loop_fini(struct loop *l)
{
    if (!l->base)
        return;
    event_del(&l->timer_event);
    watch_set_fini(&l->watches);
    event_base_free(l->base);
    l->base = NULL;
}

uint64_t loop_now_ms(struct loop *l)
{
    if (l->is_now_stale) {
        l->now_ms = clock_ms();
        l->is_now_stale = false;
    }
    return l->now_ms;
}

/* One kernel timer for the wheel; an earlier one than needed costs a wake-up, a later one would be
 * wrong. */
static void arm_deadline(struct loop *l)
{
    uint64_t now = loop_now_ms(l);
    uint64_t next = timers_next_ms(&l->timers, now);
    if (next == UINT64_MAX || now + next >= l->timer_event_due_ms)
        return;
    l->timer_event_due_ms = now + next;
    struct timeval tv = {.tv_sec = (time_t)(next / 1000),
                         .tv_usec = (suseconds_t)(next % 1000) * 1000};
    evtimer_add(&l->timer_event, &tv);
}

static void run_tasks(struct loop *l)
{
    struct list round;
    list_init(&round);
    list_splice(&round, &l->tasks);
    for (struct list *pos; (pos = list_first(&round));) {
        struct loop_task *t = list_entry(pos, struct loop_task, node);
        list_remove(pos);
        t->run(t);
    }
}

static void run_bulk(struct loop *l)
{
    struct list *pos = list_first(&l->bulk);
    if (!pos)
        return;
    struct loop_task *t = list_entry(pos, struct loop_task, node);
    list_remove(pos);
    t->run(t);
}

/* Where libevent has nothing but our own epoll, as on every worker, that one is asked directly. */
static void poll_once(struct loop *l, bool waits)
{
    if (event_base_get_num_events(l->base, EVENT_BASE_COUNT_ADDED) > 1) {
        arm_deadline(l);
        l->is_now_stale = true;
        event_base_loop(l->base, EVLOOP_ONCE | (waits ? 0 : EVLOOP_NONBLOCK));
        return;
    }
    uint64_t next = waits ? timers_next_ms(&l->timers, loop_now_ms(l)) : 0;
    l->is_now_stale = true;
    watch_set_poll(&l->watches, next > INT_MAX ? -1 : (int)next);
}

void loop_round(struct loop *l, bool may_wait)
{
    bool waits = may_wait && list_is_empty(&l->bulk) && list_is_empty(&l->tasks);
    poll_once(l, waits);
    timers_advance(&l->timers, loop_now_ms(l));
    run_tasks(l);
    run_bulk(l);
    run_tasks(l);
}

void loop_run(struct loop *l)
{
    while (!l->is_stopping)
        loop_round(l, true);
}

void loop_stop(struct loop *l)
{
    l->is_stopping = true;
}

void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *))
{
    list_init(&t->node);
    t->run = run;
}

void loop_task_add(struct loop *l, struct loop_task *t)
{
    if (!list_is_linked(&t->node))
        list_append(&l->tasks, &t->node);
}

void loop_bulk_add(struct loop *l, struct loop_task *t)
{
    if (!list_is_linked(&t->node))
        list_append(&l->bulk, &t->node);
}

void loop_bulk_keep(struct loop *l, struct loop_task *t)
{
    if (!list_is_linked(&t->node))
        list_insert_after(&l->bulk, &t->node);
}

void loop_task_remove(struct loop_task *t)
{
    list_remove(&t->node);
}

void loop_timer_start(struct loop *l, struct timer *t, uint64_t delay_ms, timer_fn fire)
{
    timers_start(&l->timers, t, loop_now_ms(l), delay_ms, fire);
}

void loop_timer_stop(struct loop *l, struct timer *t)
{
    timers_stop(&l->timers, t);
}

/* loop - one thread's event_base, cached monotonic clock, timers, and work done between polls. */
#ifndef PROXY_LOOP_LOOP_H
#define PROXY_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "proxy/base/list.h"
#include "proxy/loop/timers.h"
#include "proxy/loop/watch.h"

/* Work for the end of this round of events: embed, init with loop_task_init(). */
struct loop_task {
    struct list node;
    void (*run)(struct loop_task *task);
};

struct loop {
    struct event_base *base;
    uint64_t now_ms;   /* private: read loop_now_ms() */
    bool is_now_stale; /* a poll may have waited since now_ms was read */
    struct watch_set watches;
    struct timers timers;
    struct event timer_event; /* one kernel deadline for the whole wheel */
    uint64_t timer_event_due_ms;
    struct list tasks; /* run once at the end of the round: frees */
    struct list bulk;  /* one is run between two polls: bulk transfers take turns */
    bool is_stopping;
};

int loop_init(struct loop *l) __attribute__((warn_unused_result)); /* 0 · -ENOMEM · -errno */
void loop_fini(struct loop *l);
/* Until loop_stop(): poll, events, due timers, tasks, one bulk task. */
void loop_run(struct loop *l);
/* One round; waits for an event only when @may_wait. For tests and loop_run(). */
void loop_round(struct loop *l, bool may_wait);
void loop_stop(struct loop *l);

void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *));
/* Runs once at the end of this round, after all callbacks of the round; queued twice is queued
 * once. */
void loop_task_add(struct loop *l, struct loop_task *t);
/* Runs between two polls: the first task of the queue, once a round; it may add itself again (at
 * the end) or call loop_bulk_keep() to stay first. */
void loop_bulk_add(struct loop *l, struct loop_task *t);
void loop_bulk_keep(struct loop *l, struct loop_task *t);
void loop_task_remove(struct loop_task *t);

/* Monotonic milliseconds, read from the kernel at most once a round of events. */
uint64_t loop_now_ms(struct loop *l);

/* Arms on this loop's clock; contract as timers_start(). */
void loop_timer_start(struct loop *l, struct timer *t, uint64_t delay_ms, timer_fn fire);
void loop_timer_stop(struct loop *l, struct timer *t);

#endif

/* timers - a hierarchical wheel: thousands of coarse deadlines for one event a loop (pure: told the
 * time). */
#ifndef PROXY_LOOP_TIMERS_H
#define PROXY_LOOP_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/list.h"

enum { TIMERS_TICK_MS = 4, TIMERS_LEVELS = 5, TIMERS_SLOTS = 64 };

struct timer;
/* Called once when the deadline has passed; the timer is already stopped and may be started again
 * or freed. */
typedef void (*timer_fn)(struct timer *t);

/* Embed it; zero-initialised is stopped. */
struct timer {
    struct list node;
    uint64_t due_tick;
    timer_fn fire;
};

struct timers {
    uint64_t now_tick;
    uint64_t occupied[TIMERS_LEVELS]; /* one bit a slot */
    unsigned n_running;
    struct list slots[TIMERS_LEVELS][TIMERS_SLOTS];
};

void timers_init(struct timers *w, uint64_t now_ms);
/* (Re)arms @t to fire @delay_ms after @now_ms, never early, at most one tick late by the wheel. */
void timers_start(struct timers *w, struct timer *t, uint64_t now_ms, uint64_t delay_ms,
                  timer_fn fire);
/* Safe in any state. */
void timers_stop(struct timers *w, struct timer *t);
bool timer_is_running(const struct timer *t);
/* Fires all that is due at @now_ms. */
void timers_advance(struct timers *w, uint64_t now_ms);
/* Milliseconds until timers_advance() may have work; UINT64_MAX: nothing runs. An early wake-up is
 * possible. */
uint64_t timers_next_ms(const struct timers *w, uint64_t now_ms);

#endif

/*
 * A hierarchical timer wheel (Varghese and Lauck): level k has 64 slots of 64^k ticks. Starting and
 * stopping are O(1); a timer moves down at most once a level. It reads no clock: the caller says
 * what time it is, so tests run 24 hours in a millisecond. The bits in occupied[] may be stale
 * after a stop, which costs one early wake-up and no more. A timer fires never early: its tick is
 * rounded up. Belongs to one loop and its thread.
 */
#include "proxy/loop/timers.h"

#include <stddef.h>

enum { SLOT_BITS = 6, SLOT_MASK = TIMERS_SLOTS - 1 };

static const uint64_t MAX_DELTA = (1ull << (SLOT_BITS * TIMERS_LEVELS)) - 1;

void timers_init(struct timers *w, uint64_t now_ms)
{
    *w = (struct timers){.now_tick = now_ms / TIMERS_TICK_MS};
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMERS_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

bool timer_is_running(const struct timer *t)
{
    return list_is_linked(&t->node);
}

static void place(struct timers *w, struct timer *t)
{
    uint64_t delta = t->due_tick - w->now_tick;
    unsigned level = 0;
    while (level + 1 < TIMERS_LEVELS && delta >= 1ull << (SLOT_BITS * (level + 1)))
        level++;
    unsigned slot = (t->due_tick >> (SLOT_BITS * level)) & SLOT_MASK;
    list_append(&w->slots[level][slot], &t->node);
    w->occupied[level] |= 1ull << slot;
}

void timers_start(struct timers *w, struct timer *t, uint64_t now_ms, uint64_t delay_ms,
                  timer_fn fire)
{
    timers_stop(w, t);
    uint64_t due = (now_ms + delay_ms + TIMERS_TICK_MS - 1) / TIMERS_TICK_MS;
    if (due <= w->now_tick)
        due = w->now_tick + 1;
    if (due - w->now_tick > MAX_DELTA)
        due = w->now_tick + MAX_DELTA;
    t->due_tick = due;
    t->fire = fire;
    w->n_running++;
    place(w, t);
}

void timers_stop(struct timers *w, struct timer *t)
{
    if (!timer_is_running(t))
        return;
    list_remove(&t->node);
    w->n_running--;
}

/* The slot of @level that begins at this tick goes one level down. */
static void cascade(struct timers *w, unsigned level)
{
    unsigned slot = (w->now_tick >> (SLOT_BITS * level)) & SLOT_MASK;
    struct list moving;
    list_init(&moving);
    list_splice(&moving, &w->slots[level][slot]);
    w->occupied[level] &= ~(1ull << slot);
    list_for_each_safe (pos, tmp, &moving) {
        list_remove(pos);
        place(w, list_entry(pos, struct timer, node));
    }
}

static void fire_slot(struct timers *w)
{
    unsigned slot = w->now_tick & SLOT_MASK;
    struct list due;
    list_init(&due);
    list_splice(&due, &w->slots[0][slot]);
    w->occupied[0] &= ~(1ull << slot);
    for (struct list *pos; (pos = list_first(&due));) {
        struct timer *t = list_entry(pos, struct timer, node);
        timers_stop(w, t);
        t->fire(t);
    }
}

static void step(struct timers *w)
{
    w->now_tick++;
    unsigned top = 0;
    while (top + 1 < TIMERS_LEVELS && !(w->now_tick & ((1ull << (SLOT_BITS * (top + 1))) - 1)))
        top++;
    for (unsigned level = top; level > 0; level--)
        cascade(w, level);
    fire_slot(w);
}

void timers_advance(struct timers *w, uint64_t now_ms)
{
    uint64_t target = now_ms / TIMERS_TICK_MS;
    while (w->now_tick < target) {
        if (!w->n_running) {
            w->now_tick = target;
            return;
        }
        if (!w->occupied[0]) {
            uint64_t boundary = w->now_tick | SLOT_MASK;
            w->now_tick = boundary < target ? boundary : target - 1;
        }
        step(w);
    }
}

uint64_t timers_next_ms(const struct timers *w, uint64_t now_ms)
{
    if (!w->n_running)
        return UINT64_MAX;
    uint64_t best = UINT64_MAX;
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        uint64_t bits = w->occupied[level];
        if (!bits)
            continue;
        uint64_t here = w->now_tick >> (SLOT_BITS * level);
        /* Rotated so that bit 0 is the next slot; what stands in the current one is a full turn
         * away. */
        unsigned shift = (here + 1) & SLOT_MASK;
        uint64_t ahead = shift ? bits >> shift | bits << (TIMERS_SLOTS - shift) : bits;
        uint64_t tick = (here + 1 + (unsigned)__builtin_ctzll(ahead)) << (SLOT_BITS * level);
        if (tick < best)
            best = tick;
    }
    if (best == UINT64_MAX)
        return UINT64_MAX;
    uint64_t best_ms = best * TIMERS_TICK_MS;
    return best_ms > now_ms ? best_ms - now_ms : 0;
}

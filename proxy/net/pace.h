/* pace - when one connection may read on, by what its source may carry a second. */
#ifndef PROXY_NET_PACE_H
#define PROXY_NET_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/loop/loop.h"
#include "proxy/net/quota.h"

struct pace;
/* It may read on; from the loop, once for each time that pace_ask() said 0. */
typedef void (*pace_fn)(struct pace *p);

/* One direction: what is read from one of two sockets. */
struct pace_way {
    struct timer timer;
    struct pace *pace;
    uint32_t left;    /* may be read now */
    uint32_t awaited; /* may be read at the next turn; 0: none is awaited */
};

struct pace {
    struct loop *loop;
    struct quota *quota; /* borrowed, of whoever joined it */
    struct pace_way ways[2];
    pace_fn on_turn;
    void *owner;
    uint64_t per_second; /* 0: as much as there is */
};

/* On the heap, without a limit until pace_set(). NULL: out of memory. */
struct pace *pace_new(struct loop *loop, struct quota *quota, pace_fn on_turn, void *owner);
struct pace *pace_free(struct pace *p); /* while the quota is there; NULL is fine */
/* A new limit holds at once: who awaits a turn is woken soon. */
void pace_set(struct pace *p, uint64_t per_second);
/* How much of @max may be read in direction @way now; 0: on_turn will be called, once. */
size_t pace_ask(struct pace *p, unsigned way, size_t max);
/* @n bytes of that were read. */
static inline void pace_used(struct pace *p, unsigned way, size_t n)
{
    struct pace_way *w = &p->ways[way];
    w->left -= n < w->left ? (uint32_t)n : w->left;
}
/* @n bytes were read that nobody could ask for; the next turn comes later for it. */
void pace_charge(struct pace *p, size_t n);
/* Nothing more is read for now: what was not used is the others'. */
void pace_rest(struct pace *p);
/* The same, and no turn is awaited. */
void pace_stop(struct pace *p);
static inline bool pace_is_waiting(const struct pace *p)
{
    return p->ways[0].awaited > 0 || p->ways[1].awaited > 0;
}

#endif

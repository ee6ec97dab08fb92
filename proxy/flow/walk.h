/* walk - one pass over all connections of a worker, a few of them a round. */
#ifndef PROXY_FLOW_WALK_H
#define PROXY_FLOW_WALK_H

#include <stdbool.h>

#include "proxy/loop/loop.h"

struct conn;
struct worker;

struct walk {
    struct loop_task task;
    struct worker *worker;
    struct list
        *next;      /* in the worker's conns: not visited yet from here on; NULL: none under way */
    unsigned slice; /* visits a round */
    void (*visit)(struct conn *c);  /* may finish @c, no other */
    void (*over)(struct worker *w); /* NULL: nobody is told */
};

void walk_init(struct walk *walk, struct worker *w, unsigned slice, void (*visit)(struct conn *c),
               void (*over)(struct worker *w));
void walk_fini(struct walk *walk);
/* From the first connection on, later in this round; a pass under way begins anew. */
void walk_start(struct walk *walk);
bool walk_is_running(const struct walk *walk);
/* @c leaves the worker's list. */
void walk_forget(struct walk *walk, const struct conn *c);

#endif

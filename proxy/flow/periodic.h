/* periodic - a record for every open tunnel each so often, as [log] periodic asks. */
#ifndef PROXY_FLOW_PERIODIC_H
#define PROXY_FLOW_PERIODIC_H

#include "proxy/flow/walk.h"
#include "proxy/loop/timers.h"

/* Of one worker. */
struct periodic {
    struct walk walk;
    struct timer timer;
};

void periodic_init(struct periodic *p, struct worker *w);
void periodic_fini(struct periodic *p);
/* The worker's view is new: the interval is as it says from now on. */
void periodic_update(struct periodic *p);

#endif

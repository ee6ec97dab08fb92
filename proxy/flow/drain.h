/* drain - a worker finishes what it has. */
#ifndef PROXY_FLOW_DRAIN_H
#define PROXY_FLOW_DRAIN_H

#include "proxy/flow/worker.h"

/* Main thread: stop accepting, finish what runs within @limit_ms, then shared.on_drained; idle
 * tunnels go in the last tenth of that time. 0 ms: at once. */
void drain_post(struct worker *w, uint64_t limit_ms);
/* The worker itself, while it drains: something ended. */
void drain_tell_if_done(struct worker *w);

#endif

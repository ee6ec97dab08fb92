/* watchdog - a sign of life for the service manager, given only while every worker answers. */
#ifndef PROXY_DAEMON_WATCHDOG_H
#define PROXY_DAEMON_WATCHDOG_H

#include "proxy/daemon/notify.h"
#include "proxy/flow/worker.h"
#include "proxy/loop/timers.h"

struct watchdog_ping;

struct watchdog {
    struct loop *loop;
    struct mailbox *home;
    const struct notify *notify;
    struct worker *workers; /* borrowed */
    unsigned n_workers, n_unanswered;
    struct watchdog_ping *pings; /* owned: one a worker */
    struct timer timer;
};

/**
 * watchdog_start - ask every worker, twice as often as the manager wants to hear of us
 * Main thread. Does nothing when the manager did not ask. The workers run already, and are stopped
 * and ended before watchdog_stop().
 *
 * Returns: 0 · -ENOMEM.
 */
int watchdog_start(struct watchdog *w, struct loop *loop, struct mailbox *home,
                   const struct notify *notify, struct worker *workers, unsigned n_workers)
    __attribute__((warn_unused_result));
void watchdog_stop(struct watchdog *w);

#endif

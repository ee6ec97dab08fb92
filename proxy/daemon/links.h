/* links - tells when interfaces or their addresses change (rtnetlink). */
#ifndef PROXY_DAEMON_LINKS_H
#define PROXY_DAEMON_LINKS_H

#include "proxy/loop/loop.h"

typedef void (*links_changed_fn)(void *arg);

struct links {
    struct loop *loop;
    int fd;
    struct event event;
    struct timer settle; /* changes come in bursts: told once they pause */
    links_changed_fn on_change;
    void *arg;
};

/* Returns 0 · -errno (then nothing is watched). */
int links_open(struct links *l, struct loop *loop, links_changed_fn on_change, void *arg)
    __attribute__((warn_unused_result));
void links_close(struct links *l);
/* Ask again after @delay_ms, as if something had changed. */
void links_retry(struct links *l, uint64_t delay_ms);

#endif

/* watch - sockets that live for one message: to close one is all it takes to stop watching it. */
#ifndef PROXY_LOOP_WATCH_H
#define PROXY_LOOP_WATCH_H

#include <stdint.h>
#include <sys/epoll.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "proxy/loop/loop.h"

enum { WATCH_BATCH = 64 };

struct watch;
/* Bytes or an error are there; told again until they are read. Any watch may be closed in it. */
typedef void (*watch_fn)(struct watch *w);

/* Embedded in its owner; stays in place until watch_close(). */
struct watch {
    int fd; /* owned; -1: closed */
    watch_fn on_readable;
};

/* One a user of short-lived sockets and worker. */
struct watch_set {
    int fd; /* owned: an epoll of its own, itself one event of the loop */
    struct event event;
    struct epoll_event ready[WATCH_BATCH]; /* of the call at hand */
    unsigned n_ready, at;
};

/* 0 · -errno, -ENOMEM; fini only after 0. */
int watch_set_init(struct watch_set *set, struct loop *loop) __attribute__((warn_unused_result));
void watch_set_fini(struct watch_set *set); /* after its watches */

/* @fd: taken only on success; close-on-exec and nobody's copy, else closing does not end it.
 * Returns: 0 · -errno. */
int watch_open(struct watch_set *set, struct watch *w, int fd, watch_fn on_readable)
    __attribute__((warn_unused_result));
void watch_close(struct watch_set *set, struct watch *w); /* closed already: fine */

#endif

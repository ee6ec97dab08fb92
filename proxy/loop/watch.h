/* watch - sockets in one epoll of the loop's own: to close one is all it takes to stop watching it.
 */
#ifndef PROXY_LOOP_WATCH_H
#define PROXY_LOOP_WATCH_H

#include <stdint.h>
#include <sys/epoll.h>

#include <event2/event.h>
#include <event2/event_struct.h>

enum { WATCH_BATCH = 128 };

struct watch;
struct watch_set;
/* @events: as epoll told them. Any watch may be closed in it. */
typedef void (*watch_fn)(struct watch *w, uint32_t events);

/* Embedded in its owner; stays in place until watch_close(). */
struct watch {
    int fd; /* owned; -1: closed */
    watch_fn on_ready;
    struct watch_set *set; /* that it is in */
};

/* One a loop. */
struct watch_set {
    int fd; /* owned: an epoll, itself one event of the loop */
    struct event event;
    struct epoll_event ready[WATCH_BATCH]; /* of the call at hand */
    unsigned n_ready, at;
};

/* 0 · -errno, -ENOMEM; fini only after 0. */
int watch_set_init(struct watch_set *set, struct event_base *base)
    __attribute__((warn_unused_result));
void watch_set_fini(struct watch_set *set);

/* @fd: taken only on success; close-on-exec, and nobody may hold a copy of it when it is closed by
 * watch_close(). @events: as for epoll_ctl(2). Returns: 0 · -errno. */
int watch_open(struct watch_set *set, struct watch *w, int fd, uint32_t events, watch_fn on_ready)
    __attribute__((warn_unused_result));
/* @from's socket is @to's, told anew of what is ready; @from is closed. Returns as watch_open(); on
 * failure the socket is still @from's. */
int watch_move(struct watch *from, struct watch *to, uint32_t events, watch_fn on_ready)
    __attribute__((warn_unused_result));
void watch_close(struct watch *w); /* closed already: fine */
/* Takes it out by a call: for what others may hold a copy of. Returns: the socket, the caller's
 * again · -1: closed already. */
int watch_release(struct watch *w);
/* Waits for @timeout_ms (-1: for ever) and tells of one batch. */
void watch_set_poll(struct watch_set *set, int timeout_ms);

#endif

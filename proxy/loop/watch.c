/*
 * libevent takes a socket out of epoll by a call before it is closed; the kernel does the same on
 * close by itself. For a socket that lives for one datagram that call is one of seven, so such
 * sockets stand in an epoll of their own, which is one readable event of the loop. What the call at
 * hand still holds of a socket that is closed meanwhile is crossed out, so nobody is told of it.
 * Belongs to one worker.
 */
#include "proxy/loop/watch.h"

#include <errno.h>
#include <unistd.h>

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct watch_set *set = arg;
    int n = epoll_wait(fd, set->ready, WATCH_BATCH, 0);
    set->n_ready = n > 0 ? (unsigned)n : 0;
    for (set->at = 0; set->at < set->n_ready; set->at++) {
        struct watch *w = set->ready[set->at].data.ptr;
        if (w)
            w->on_readable(w);
    }
    set->n_ready = 0;
}

int watch_set_init(struct watch_set *set, struct loop *loop)
{
    *set = (struct watch_set){.fd = epoll_create1(EPOLL_CLOEXEC)};
    if (set->fd < 0)
        return -errno;
    event_assign(&set->event, loop->base, set->fd, EV_READ | EV_PERSIST, on_ready, set);
    if (event_add(&set->event, NULL) == 0)
        return 0;
    close(set->fd);
    set->fd = -1;
    return -ENOMEM;
}

void watch_set_fini(struct watch_set *set)
{
    event_del(&set->event);
    close(set->fd);
    set->fd = -1;
}

int watch_open(struct watch_set *set, struct watch *w, int fd, watch_fn on_readable)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
    if (epoll_ctl(set->fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *w = (struct watch){.fd = fd, .on_readable = on_readable};
    return 0;
}

void watch_close(struct watch_set *set, struct watch *w)
{
    if (w->fd < 0)
        return;
    for (unsigned i = set->at + 1; i < set->n_ready; i++) {
        if (set->ready[i].data.ptr == w)
            set->ready[i].data.ptr = NULL;
    }
    close(w->fd);
    w->fd = -1;
}

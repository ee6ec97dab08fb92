/*
 * libevent keeps some 150 bytes for a socket and takes it out of epoll by a call before it is
 * closed; the kernel does the same on close by itself. So the sockets of tunnels, requests and
 * questions stand in an epoll of the loop's own: an idle tunnel is smaller by 300 bytes, a short
 * one cheaper by two calls, a question by one of seven. A worker has nothing else and waits here;
 * on the main thread this epoll is one readable event of libevent's. What the call at hand still
 * holds of a socket that is closed meanwhile is crossed out, so nobody is told of it.
 */
#include "proxy/loop/watch.h"

#include <errno.h>
#include <unistd.h>

void watch_set_poll(struct watch_set *set, int timeout_ms)
{
    int n = epoll_wait(set->fd, set->ready, WATCH_BATCH, timeout_ms);
    set->n_ready = n > 0 ? (unsigned)n : 0;
    for (set->at = 0; set->at < set->n_ready; set->at++) {
        struct watch *w = set->ready[set->at].data.ptr;
        if (w)
            w->on_ready(w, set->ready[set->at].events);
    }
    set->n_ready = 0;
}

static void on_any_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    watch_set_poll(arg, 0);
}

int watch_set_init(struct watch_set *set, struct event_base *base)
{
    *set = (struct watch_set){.fd = epoll_create1(EPOLL_CLOEXEC)};
    if (set->fd < 0)
        return -errno;
    event_assign(&set->event, base, set->fd, EV_READ | EV_PERSIST, on_any_ready, set);
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

static int control(struct watch_set *set, int op, struct watch *w, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = w};
    return epoll_ctl(set->fd, op, fd, &event) < 0 ? -errno : 0;
}

/* What was found ready of it already is nobody's any more. */
static void cross_out(const struct watch *w)
{
    struct watch_set *set = w->set;
    for (unsigned i = set->at + 1; i < set->n_ready; i++) {
        if (set->ready[i].data.ptr == w)
            set->ready[i].data.ptr = NULL;
    }
}

int watch_open(struct watch_set *set, struct watch *w, int fd, uint32_t events, watch_fn on_ready)
{
    int rc = control(set, EPOLL_CTL_ADD, w, fd, events);
    if (rc == 0)
        *w = (struct watch){.fd = fd, .on_ready = on_ready, .set = set};
    return rc;
}

int watch_move(struct watch *from, struct watch *to, uint32_t events, watch_fn on_ready)
{
    int rc = control(from->set, EPOLL_CTL_MOD, to, from->fd, events);
    if (rc < 0)
        return rc;
    cross_out(from);
    *to = (struct watch){.fd = from->fd, .on_ready = on_ready, .set = from->set};
    from->fd = -1;
    return 0;
}

void watch_close(struct watch *w)
{
    if (w->fd < 0)
        return;
    cross_out(w);
    close(w->fd);
    w->fd = -1;
}

int watch_release(struct watch *w)
{
    int fd = w->fd;
    if (fd < 0)
        return -1;
    control(w->set, EPOLL_CTL_DEL, w, fd, 0);
    cross_out(w);
    w->fd = -1;
    return fd;
}

/*
 * A route socket that is read for its wake-ups only: what changed is looked up afresh from the
 * kernel, so a lost or garbled message can do no harm (an overflow counts as a change). Belongs to
 * the main thread; opened before the sandbox.
 */
#include "proxy/daemon/links.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SETTLE_MS = 20 };

static void on_settled(struct timer *t)
{
    struct links *l = list_entry(t, struct links, settle);
    l->on_change(l->arg);
}

static void on_route_message(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct links *l = arg;
    char buf[8192];
    ssize_t n;
    do {
        n = recv(fd, buf, sizeof(buf), 0);
    } while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
    if (!timer_is_running(&l->settle))
        loop_timer_start(l->loop, &l->settle, SETTLE_MS, on_settled);
}

int links_open(struct links *l, struct loop *loop, links_changed_fn on_change, void *arg)
{
    *l = (struct links){.loop = loop, .on_change = on_change, .arg = arg};
    l->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (l->fd < 0)
        return -errno;
    struct sockaddr_nl sa = {
        .nl_family = AF_NETLINK,
        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
    };
    int rc = bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
    event_assign(&l->event, loop->base, l->fd, EV_READ | EV_PERSIST, on_route_message, l);
    if (rc == 0 && event_add(&l->event, NULL) < 0)
        rc = -ENOMEM;
    if (rc < 0) {
        close(l->fd);
        l->fd = -1;
    }
    return rc;
}

void links_close(struct links *l)
{
    if (l->fd < 0 || !l->loop)
        return;
    loop_timer_stop(l->loop, &l->settle);
    event_del(&l->event);
    close(l->fd);
    l->fd = -1;
}

void links_retry(struct links *l, uint64_t delay_ms)
{
    if (l->loop)
        loop_timer_start(l->loop, &l->settle, delay_ms, on_settled);
}

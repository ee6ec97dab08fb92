/*
 * A question needs a port that nobody can know, not a socket that is new: connect(2) with AF_UNSPEC
 * takes the port from a socket and closes it to the world, and the next connect(2) has the kernel
 * draw another one at random. That costs 3 microseconds where socket, bind to the device, connect
 * and close cost 8 (a loop of 200,000 of each on Linux 6.18), and the socket stays in epoll.
 * Disconnecting also forgets the device (__udp_disconnect() in net/ipv4/udp.c), so that is said
 * anew each time; source address and mark stay. A socket that is not empty once its port is closed
 * is not used again: what waits in it could pass for the next question's answer. How many idle ones
 * are worth keeping is learnt: those that were idle through a whole round of the timer are closed.
 */
#include "proxy/dns/upstream_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_MAX = 256, TIDY_MS = 500 };

static void destroy(struct upstream_udp *u)
{
    watch_close(&u->watch);
    free(u);
}

/* ---- the idle ones ---- */

/* The fewest that were idle at once are never more than there are. */
static void leave_idle(struct upstream_udp *u)
{
    struct upstream_peer *p = u->peer;
    list_remove(&u->node);
    if (--p->n_idle_udp < p->n_unused_udp)
        p->n_unused_udp = p->n_idle_udp;
}

/* The last in the list are those that waited longest. */
static void close_idle(struct upstream_peer *p, unsigned n)
{
    for (; n > 0; n--) {
        struct upstream_udp *u = list_entry(p->idle_udp.prev, struct upstream_udp, node);
        leave_idle(u);
        destroy(u);
    }
}

static void on_tidy(struct timer *t)
{
    struct upstream_peer *p = list_entry(t, struct upstream_peer, tidy_udp);
    close_idle(p, p->n_unused_udp);
    p->n_unused_udp = p->n_idle_udp;
    if (p->n_idle_udp > 0)
        loop_timer_start(p->env->loop, &p->tidy_udp, TIDY_MS, on_tidy);
}

static bool keep(struct upstream_udp *u)
{
    struct upstream_peer *p = u->peer;
    if (p->n_idle_udp >= IDLE_MAX)
        return false;
    list_insert_after(&p->idle_udp, &u->node);
    if (p->n_idle_udp++ == 0 && !timer_is_running(&p->tidy_udp)) {
        p->n_unused_udp = 0;
        loop_timer_start(p->env->loop, &p->tidy_udp, TIDY_MS, on_tidy);
    }
    return true;
}

static struct upstream_udp *take_idle(struct upstream_peer *p)
{
    if (p->n_idle_udp == 0)
        return NULL;
    struct upstream_udp *u = list_entry(list_first(&p->idle_udp), struct upstream_udp, node);
    leave_idle(u);
    return u;
}

void upstream_udp_fini(struct upstream_peer *p)
{
    loop_timer_stop(p->env->loop, &p->tidy_udp);
    close_idle(p, p->n_idle_udp);
}

/* ---- one ---- */

static void on_event(struct watch *w, uint32_t events)
{
    (void)events;
    struct upstream_udp *u = list_entry(w, struct upstream_udp, watch);
    if (u->on_readable) {
        u->on_readable(u);
        return;
    }
    leave_idle(u); /* nothing should come to a closed port; what does is nobody's */
    destroy(u);
}

static int make(struct upstream_peer *p, struct upstream_udp **ret_udp)
{
    int fd = egress_socket(&p->egress, &p->server, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    struct upstream_udp *u = calloc(1, sizeof(*u));
    int rc = u ? watch_open(&p->env->loop->watches, &u->watch, fd, EPOLLIN, on_event) : -ENOMEM;
    if (rc < 0) {
        free(u);
        close(fd);
        return rc;
    }
    u->peer = p;
    list_init(&u->node);
    *ret_udp = u;
    return 0;
}

int upstream_udp_take(struct upstream_peer *p, upstream_udp_fn on_readable, void *owner,
                      struct upstream_udp **ret_udp)
{
    struct upstream_udp *u = take_idle(p);
    int rc = u ? egress_bind_device(&p->egress, u->watch.fd) : make(p, &u);
    if (rc == 0) {
        struct sockaddr_storage ss;
        socklen_t len = endpoint_to_sockaddr(&p->server, &ss);
        rc = connect(u->watch.fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
    }
    if (rc < 0) {
        if (u)
            destroy(u);
        return rc;
    }
    u->on_readable = on_readable;
    u->owner = owner;
    *ret_udp = u;
    return 0;
}

/* Whether its port is closed and nothing waits in it, no error either. */
static bool forget_port(int fd)
{
    static const struct sockaddr none = {.sa_family = AF_UNSPEC};
    char byte;
    return connect(fd, &none, sizeof(none)) == 0 && recv(fd, &byte, sizeof(byte), 0) < 0 &&
           errno == EAGAIN;
}

struct upstream_udp *upstream_udp_give_back(struct upstream_udp *u)
{
    if (!u)
        return NULL;
    u->on_readable = NULL;
    if (!forget_port(u->watch.fd) || !keep(u))
        destroy(u);
    return NULL;
}

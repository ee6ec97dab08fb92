/*
 * Accepting for one worker. Small batches, so that a burst of connections does not hold up the
 * tunnels that run. When the process has no fd left the listener is not watched for a moment
 * instead of spinning on a level that stays ready; connections wait in the backlog meanwhile.
 * TCP_DEFER_ACCEPT is not used: a silent client must be judged at once.
 */
#include "proxy/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/egress.h"

/* QUEUE_BYTES: the kernel doubles it and counts 768 bytes for a short question, so some 2,700 of
 * them wait out a burst; by default it is 277. */
enum { BACKLOG = 4096, FULL_BATCHES = 8, QUEUE_BYTES = 1 << 20 };

static void on_acceptable(struct watch *w, uint32_t events);

static void on_pause_over(struct timer *t)
{
    struct listener *l = list_entry(t, struct listener, pause);
    if (watch_open(&l->loop->watches, &l->watch, l->fd, EPOLLIN, on_acceptable) < 0)
        loop_timer_start(l->loop, &l->pause, LISTENER_PAUSE_MS, on_pause_over);
}

static void pause_accepting(struct listener *l)
{
    watch_release(&l->watch);
    l->n_pauses++;
    loop_timer_start(l->loop, &l->pause, LISTENER_PAUSE_MS, on_pause_over);
}

/* What only concerns the one connection that failed before we took it (accept(2), "Error
 * handling"). */
static bool is_of_one_connection(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPROTO || error == ENETDOWN ||
           error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH ||
           error == EOPNOTSUPP || error == ENETUNREACH || error == EPERM;
}

/* As many as came the last time: one more would be asked for in vain, a system call for each quiet
 * connection. When all came several times in a row, twice as many from then on; the level brings us
 * back for the rest. */
static void on_acceptable(struct watch *w, uint32_t events)
{
    (void)events;
    struct listener *l = list_entry(w, struct listener, watch);
    int fd = l->fd;
    unsigned n = 0;
    for (; n < l->batch && l->fd == fd; n++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        int peer_fd = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer_fd < 0) {
            if (is_of_one_connection(errno))
                continue;
            if (errno != EAGAIN)
                pause_accepting(l);
            l->batch = n > 0 ? n : 1;
            l->n_full = 0;
            return;
        }
        struct endpoint peer;
        if (endpoint_from_sockaddr(&ss, &peer) < 0) {
            close(peer_fd);
            continue;
        }
        l->on_accept(l, peer_fd, &peer);
    }
    if (l->fd != fd || ++l->n_full < FULL_BATCHES)
        return;
    l->n_full = 0;
    if (l->batch < LISTENER_BATCH)
        l->batch *= 2;
}

int listener_open(struct listener *l, struct loop *loop, int fd, listener_accept_fn on_accept,
                  void *owner)
{
    *l = (struct listener){
        .loop = loop, .fd = fd, .batch = 1, .on_accept = on_accept, .owner = owner};
    int rc = watch_open(&loop->watches, &l->watch, fd, EPOLLIN, on_acceptable);
    if (rc < 0)
        l->fd = l->watch.fd = -1;
    return rc;
}

void listener_close(struct listener *l)
{
    if (l->fd < 0 || !l->loop)
        return;
    loop_timer_stop(l->loop, &l->pause);
    watch_release(&l->watch);
    close(l->fd);
    l->fd = -1;
}

/* As deep as we may: CAP_NET_ADMIN goes beyond net.core.rmem_max. */
static void deepen_queue(int fd)
{
    int wanted = QUEUE_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted));
}

static int datagram_options(int fd, bool is_ipv6)
{
    int on = 1;
    deepen_queue(fd);
    if (is_ipv6)
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0 ? -errno : 0;
    /* Never believe a forged path MTU: answers are small enough, and are not to be fragmented (RFC
     * 9715). */
    int discover = IP_PMTUDISC_OMIT;
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover));
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0 ? -errno : 0;
}

int listener_prepare(int fd, int type, bool is_ipv6)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return type == SOCK_STREAM ? egress_no_delay(fd) : datagram_options(fd, is_ipv6);
}

static int set_up(int fd, int type, const char *ifname, bool is_ipv6)
{
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0)
        return -errno;
    if (is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -errno;
    if (ifname[0] &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname)) < 0)
        return -errno;
    return type == SOCK_STREAM ? egress_no_delay(fd) : datagram_options(fd, is_ipv6);
}

int listener_socket(int type, const char *ifname, bool is_ipv6, const struct addr *addr,
                    uint16_t port)
{
    int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = set_up(fd, type, ifname, is_ipv6);
    struct sockaddr_storage ss;
    memset(&ss, 0, sizeof(ss));
    socklen_t len;
    if (ifname[0]) {
        struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        len = is_ipv6 ? sizeof(any6) : sizeof(any4);
        memcpy(&ss, is_ipv6 ? (void *)&any6 : (void *)&any4, len);
    } else {
        len = endpoint_to_sockaddr(&(struct endpoint){.addr = *addr, .port = port}, &ss);
    }
    if (rc == 0 && bind(fd, (struct sockaddr *)&ss, len) < 0)
        rc = -errno;
    if (rc == 0 && type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
        rc = -errno;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

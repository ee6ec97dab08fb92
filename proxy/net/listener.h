/* listener - a listening TCP socket of one worker: accept in small batches, pause when fds run out.
 */
#ifndef PROXY_NET_LISTENER_H
#define PROXY_NET_LISTENER_H

#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/loop/loop.h"

enum { LISTENER_BATCH = 16, LISTENER_PAUSE_MS = 100 };

struct listener;
/* @fd is given (non-blocking, close-on-exec); @peer unmapped by construction. Called on the
 * listener's worker. */
typedef void (*listener_accept_fn)(struct listener *l, int fd, const struct endpoint *peer);

struct listener {
    struct loop *loop;
    int fd;             /* owned; others may hold copies of the socket */
    unsigned batch;     /* how many are accepted in one go now, up to LISTENER_BATCH */
    unsigned n_full;    /* goes in a row that found as many */
    struct watch watch; /* of fd; closed while accept pauses */
    struct timer pause; /* runs while accept waits for free fds */
    listener_accept_fn on_accept;
    void *owner; /* who embeds or made it */
    uint64_t n_pauses;
};

/* @fd: a listening socket, taken only on success. Returns 0 · -errno. */
int listener_open(struct listener *l, struct loop *loop, int fd, listener_accept_fn on_accept,
                  void *owner) __attribute__((warn_unused_result));
void listener_close(struct listener *l); /* safe when never opened and zeroed with fd -1 */

/**
 * listener_socket - a bound socket with SO_REUSEPORT: @type SOCK_STREAM (listening) or SOCK_DGRAM
 * @ifname: bound to that device and to the wildcard address of @is_ipv6's family when not empty,
 * else to @addr (IP_FREEBIND, so a missing address is no error). TCP_NODELAY, which accepted
 * sockets inherit, is set here. Datagram sockets get IP_PKTINFO/IPV6_RECVPKTINFO, PMTUDISC_OMIT and
 * a queue for bursts (1 MiB; at most net.core.rmem_max without CAP_NET_ADMIN). Returns: fd ·
 * -ENODEV (no such interface yet) · -EADDRINUSE · -errno.
 */
int listener_socket(int type, const char *ifname, bool is_ipv6, const struct addr *addr,
                    uint16_t port) __attribute__((warn_unused_result));

/* The options of listener_socket() for one that somebody else opened and bound. 0 · -errno. */
int listener_prepare(int fd, int type, bool is_ipv6) __attribute__((warn_unused_result));

#endif

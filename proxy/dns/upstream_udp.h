/* upstream_udp - a peer's UDP sockets: a port drawn anew for every question, the socket not. */
#ifndef PROXY_DNS_UPSTREAM_UDP_H
#define PROXY_DNS_UPSTREAM_UDP_H

#include "proxy/dns/upstream_peer.h"
#include "proxy/loop/watch.h"

struct upstream_udp;
typedef void (*upstream_udp_fn)(struct upstream_udp *u);

/* Of the peer's; lent for one question. */
struct upstream_udp {
    struct list node; /* among the peer's idle ones */
    struct upstream_peer *peer;
    struct watch watch;
    upstream_udp_fn on_readable; /* NULL: idle */
    void *owner;                 /* the question's */
};

/**
 * upstream_udp_take - a socket connected to the peer's server, on a port that the kernel drew at
 * random for this question, with nothing in it that came for another
 * @on_readable: level-triggered, until it is given back.
 * Returns: 0 · -errno (-EMFILE, -ENODEV, -ENETUNREACH, -ECONNREFUSED, -ENOMEM, ...).
 * Source:  RFC 5452 section 9.2.
 */
int upstream_udp_take(struct upstream_peer *p, upstream_udp_fn on_readable, void *owner,
                      struct upstream_udp **ret_udp) __attribute__((warn_unused_result));
/* Its port is closed at once: what comes later is answered by the kernel as for any closed port.
 * NULL is fine; always NULL. */
struct upstream_udp *upstream_udp_give_back(struct upstream_udp *u);
/* For the peer's end: every one has been given back. */
void upstream_udp_fini(struct upstream_peer *p);

#endif

/* server_udp - the datagram sockets of the LAN side: batches in, batches out. */
#ifndef PROXY_DNS_SERVER_UDP_H
#define PROXY_DNS_SERVER_UDP_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "proxy/dns/serve.h"
#include "proxy/dns/sources.h"

struct udp_batch;

/* What the datagram sockets of a worker share. */
struct server_udp {
    const struct serve_context *context;
    struct sources *sources;
    struct udp_batch *batch;  /* owned: buffers for one round of recvmmsg(2) and sendmmsg(2) */
    struct loop_task flush;   /* late answers leave together, at the end of the round */
    struct udp_waiter *spare; /* owned: the next query that waits takes it */
    struct list waiters;      /* of all sockets, oldest first */
    unsigned n_waiters;
};

struct server_udp_socket {
    struct server_udp *udp;
    const struct serve_view *view; /* borrowed; follows the settings */
    struct watch watch;            /* owned; others may hold copies of the socket */
    uint16_t port;
    struct list waiters;
};

int server_udp_init(struct server_udp *u, const struct serve_context *context,
                    struct sources *sources) __attribute__((warn_unused_result)); /* 0 · -ENOMEM */
void server_udp_fini(struct server_udp *u); /* after its sockets */

/* @fd: taken, also on failure. 0 · -errno. */
int server_udp_open(struct server_udp_socket *s, struct server_udp *u,
                    const struct serve_view *view, int fd) __attribute__((warn_unused_result));
void server_udp_close(struct server_udp_socket *s); /* what waits is forgotten */

#endif

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
    int fd;                        /* owned, -1: closed; others may hold copies of the socket */
    struct watch watch;            /* reads from @fd; closed once it retires */
    uint16_t port;
    struct list waiters;
    struct loop_task *when_idle; /* borrowed; NULL: it has not retired */
};

int server_udp_init(struct server_udp *u, const struct serve_context *context,
                    struct sources *sources) __attribute__((warn_unused_result)); /* 0 · -ENOMEM */
void server_udp_fini(struct server_udp *u); /* after its sockets */

/* @fd: taken only on success. 0 · -errno. */
int server_udp_open(struct server_udp_socket *s, struct server_udp *u,
                    const struct serve_view *view, int fd) __attribute__((warn_unused_result));
/* Takes what has arrived and reads no more. @when_idle is added to the loop when nothing waits for
 * its answer any more, now or later. */
void server_udp_retire(struct server_udp_socket *s, struct loop_task *when_idle);
bool server_udp_is_idle(const struct server_udp_socket *s);
void server_udp_close(struct server_udp_socket *s); /* what waits is forgotten */

#endif

/* server_tcp - the stream sockets of the LAN side: many queries a connection, answered as they
 * come. */
#ifndef PROXY_DNS_SERVER_TCP_H
#define PROXY_DNS_SERVER_TCP_H

#include "proxy/dns/serve.h"
#include "proxy/dns/sources.h"
#include "proxy/net/listener.h"

/* What the stream sockets of a worker share. */
struct server_tcp {
    const struct serve_context *context;
    struct sources *sources;
    unsigned n_conns;
};

struct server_tcp_socket {
    struct server_tcp *tcp;
    const struct serve_view *view; /* borrowed; follows the settings */
    struct listener listener;
    struct list conns;
    struct loop_task review;
    struct list *next;           /* not judged by the new rules yet from here on; NULL: none */
    struct loop_task *when_idle; /* borrowed; NULL: it has not retired */
};

/* @fd: listening, taken only on success. 0 · -errno. */
int server_tcp_open(struct server_tcp_socket *s, struct server_tcp *t,
                    const struct serve_view *view, int fd) __attribute__((warn_unused_result));
/* The view is new: connections whose source it does not admit are closed, a few a round, with
 * `on-reload = revoke`; else their next query is refused. */
void server_tcp_review(struct server_tcp_socket *s);
/* Accepts no more, and its connections end with the answers to what has arrived. @when_idle is
 * added to the loop when the last one has ended, now or later. */
void server_tcp_retire(struct server_tcp_socket *s, struct loop_task *when_idle);
bool server_tcp_is_idle(const struct server_tcp_socket *s);
void server_tcp_close(struct server_tcp_socket *s); /* its connections too */

#endif

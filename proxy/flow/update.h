/* update - what the main thread wants of a worker, as a whole: rules, our addresses, sockets. */
#ifndef PROXY_FLOW_UPDATE_H
#define PROXY_FLOW_UPDATE_H

#include "proxy/flow/worker.h"

enum socket_kind { SOCKET_WEB, SOCKET_DNS_UDP, SOCKET_DNS_TCP, SOCKET_ADMIN /* no worker's */ };

/* One listening socket of this worker, as the main thread wants it. */
struct socket_order {
    uint64_t id; /* the same id is the same socket; ids that are not named are closed */
    enum socket_kind kind;
    unsigned conf_index; /* in web_proxies or dns of the snapshot */
    int fd;              /* new: taken; -1: keep the one with this id */
};

/* Main thread. Made for all workers before the first is posted, so that all get it or none. */
struct update;
/* @orders is copied, its fds are taken (also on failure). NULL: out of memory. */
struct update *update_new(struct worker *w, struct snapshot *snapshot, struct own_set *own,
                          const struct socket_order *orders, unsigned n_orders)
    __attribute__((warn_unused_result));
/* The worker applies it and tells shared.on_updated. */
void update_post(struct update *u);
void update_drop(struct update *u); /* never posted; closes its fds; NULL is fine */

/* The worker itself: its listeners are closed, nothing that is left of an update is tried any more;
 * DNS sockets are left to the DNS server. */
void update_stop_accepting(struct worker *w);
/* All sockets of its. */
void update_fini(struct worker *w);

#endif

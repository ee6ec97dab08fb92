/* upstream_peer - one name server by one way, and the few connections to it that all questions
 * share.
 */
#ifndef PROXY_DNS_UPSTREAM_PEER_H
#define PROXY_DNS_UPSTREAM_PEER_H

#include "proxy/base/addr.h"
#include "proxy/dns/upstream_env.h"
#include "proxy/net/egress.h"
#include "proxy/net/tls.h"

/* Equal server, name and way: the same peer, for every group that has it. Without users its
 * connections are closed. */
struct upstream_peer {
    struct list node;
    struct upstream_env *env;
    unsigned n_refs;
    struct endpoint server;
    struct egress egress;
    char *tls_name; /* owned; NULL: cleartext, UDP first */
    struct list streams;
    unsigned n_streams;
    struct list idle_udp;              /* struct upstream_udp, the last used first */
    unsigned n_idle_udp, n_unused_udp; /* unused: the fewest since the timer last looked */
    struct timer tidy_udp;
    struct tls_ticket ticket;
    char trouble[TLS_TROUBLE_MAX]; /* why TLS failed the last time */
    uint64_t trusted_from_ms;      /* it failed: not tried again before */
    /* The resolver's, for who asks about it. Failed: refused, broken, or not answered in time. */
    uint64_t n_asked, n_answered, n_failed;
    uint64_t rtt_8ms; /* smoothed round trip, eighths of a millisecond */
};

/* One reference is the caller's. @tls_name: copied; NULL for cleartext. NULL: out of memory. */
struct upstream_peer *upstream_peer_get(struct upstream_env *env, const struct endpoint *server,
                                        const char *tls_name, const struct egress *egress);
struct upstream_peer *upstream_peer_ref(struct upstream_peer *p);
struct upstream_peer *upstream_peer_unref(struct upstream_peer *p); /* NULL is fine; always NULL */

struct upstream_stream;
struct upstream_peer_ask;
/* Once, later, unless cancelled. @msg: valid for the call, only with UPSTREAM_REPLY, which is in
 * env->reply. */
typedef void (*upstream_peer_done_fn)(struct upstream_peer_ask *a, enum upstream_outcome outcome,
                                      const uint8_t *msg);

/* A question on its way by stream: inside the caller, in place until done or cancelled. */
struct upstream_peer_ask {
    struct list node;               /* only while it moves from one connection to another */
    struct upstream_peer *peer;     /* borrowed */
    struct upstream_stream *stream; /* NULL: on none */
    struct wire_ask *ask;           /* borrowed; gets a new id with each sending */
    unsigned n_moves;
    upstream_peer_done_fn done;
};

/**
 * upstream_peer_send - the question over a connection that there is, or a new one
 * A connection that dies with questions unanswered has them asked again on another one, within
 * bounds (RFC 7766 section 6.2.4). What answers no question of the connection is ignored.
 * Returns: 0 · -EAGAIN too much under way · -EACCES TLS has just failed · -errno of the socket.
 */
int upstream_peer_send(struct upstream_peer *p, struct upstream_peer_ask *a, struct wire_ask *ask,
                       upstream_peer_done_fn done) __attribute__((warn_unused_result));
void upstream_peer_cancel(struct upstream_peer_ask *a); /* any state; zero-initialised too */

/* For the connections: @a lost its one, which had or had not brought an answer. */
void upstream_peer_lost(struct upstream_peer_ask *a, enum upstream_outcome outcome, bool was_open,
                        bool had_answers);

#endif

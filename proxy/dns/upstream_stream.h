/* upstream_stream - one connection to a name server, TCP or TLS, many questions at once. */
#ifndef PROXY_DNS_UPSTREAM_STREAM_H
#define PROXY_DNS_UPSTREAM_STREAM_H

#include "proxy/dns/framing.h"
#include "proxy/dns/upstream_peer.h"
#include "proxy/loop/io.h"

enum upstream_stream_state {
    UPSTREAM_STREAM_CONNECTING,
    UPSTREAM_STREAM_HANDSHAKE, /* TLS only */
    UPSTREAM_STREAM_OPEN,
    UPSTREAM_STREAM_CLOSED, /* freed when its step has ended */
};

struct upstream_stream {
    struct list node; /* of the peer */
    struct upstream_env *env;
    struct upstream_peer *peer; /* borrowed; NULL: closed */
    enum upstream_stream_state state;
    bool is_stepping;
    bool is_silent; /* questions wait, and nothing has come for long: takes no new ones */
    struct io io;
    struct tls *tls;        /* owned; NULL: TCP */
    struct timer timer;     /* of the state: set-up, silence, idle */
    struct loop_task write; /* questions of one round leave together */
    struct framing in, out;
    /* In flight, by position: id, and who asked (NULL: nobody any more; the id stays taken until
     * its answer came). */
    uint16_t *ids;                   /* owned */
    struct upstream_peer_ask **asks; /* owned */
    unsigned n_asks, n_room, n_orphans;
    unsigned n_answers, n_wrong;
};

/* Begins to connect. 0 · -EACCES its TLS has just failed · -errno. */
int upstream_stream_open(struct upstream_peer *p, struct upstream_stream **ret_stream)
    __attribute__((warn_unused_result));
/* Whether a question of @n_bytes may be added. */
bool upstream_stream_takes(const struct upstream_stream *s, size_t n_bytes);
/* 0 · -ENOMEM · -errno. */
int upstream_stream_add(struct upstream_stream *s, struct upstream_peer_ask *a)
    __attribute__((warn_unused_result));
/* The asker has gone. */
void upstream_stream_forget(struct upstream_stream *s, const struct upstream_peer_ask *a);
/* Over: every question that is left is told by upstream_peer_lost(). The caller returns at once. */
void upstream_stream_end(struct upstream_stream *s, enum upstream_outcome outcome);
/* The same, later, as timed out: not from inside a call of its askers. */
void upstream_stream_end_soon(struct upstream_stream *s);
/* Over, and no asker is left. */
void upstream_stream_close(struct upstream_stream *s);

#endif

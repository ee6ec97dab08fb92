/* server - the LAN side of one worker: DNS by UDP and TCP, answered from the resolver. */
#ifndef PROXY_DNS_SERVER_H
#define PROXY_DNS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/dns/resolver.h"
#include "proxy/loop/loop.h"
#include "proxy/report/hits.h"

/* What became of a query. */
enum serve_result {
    SERVE_OWN, /* an error, or about ourselves */
    SERVE_HIT,
    SERVE_MISS,
    SERVE_LOCAL,
    SERVE_BLOCKED, /* by a name rule of [out] */
    SERVE_LIMITED, /* over per-client-rate */
    SERVE_FAILED,  /* no name server gave an answer */
    SERVE_DROPPED, /* too late, past a limit, or no query at all */
    SERVE_DENIED,  /* the source is not in [in]: a query, or a connection */
    SERVE_RESULTS,
};
const char *serve_result_word(enum serve_result result);

/* Plain counts, written by the worker. */
struct dns_server_counters {
    uint64_t results[2][SERVE_RESULTS]; /* by UDP, by TCP */
    uint64_t n_udp, n_tcp;              /* queries understood and admitted */
    uint64_t n_hits;                    /* answered at once */
    uint64_t n_waited;                  /* answered after asking upstream */
    uint64_t n_errors;                  /* answered with an error of our own */
    uint64_t n_truncated;
    uint64_t n_denied;  /* source not in [in] */
    uint64_t n_limited; /* client over its rate */
    uint64_t n_dropped; /* not a query, a loop, or past a limit */
    uint64_t n_late;    /* answer that nobody waited for any more */
    uint64_t n_connections, n_connections_refused;
};

struct dns_server;

/* NULL: out of memory. @resolver is borrowed and outlives it. */
struct dns_server *dns_server_new(struct loop *loop, struct resolver *resolver);
/* What the rules refuse, or would: borrowed for the call. */
struct dns_server_denial {
    const struct conf_dns *conf;
    const struct endpoint *source;
    bool is_tcp;
    bool is_observed;            /* `mode = observe`: it was let pass */
    const char *name;            /* that [out] refuses; NULL: [in] does not admit the source */
    const struct out_rule *rule; /* the line that refuses @name, or NULL */
};
/* For the record; called from the server's events. */
typedef void (*dns_server_denied_fn)(void *owner, const struct dns_server_denial *denial);
void dns_server_on_denied(struct dns_server *s, dns_server_denied_fn on_denied, void *owner);
/* By the number of its rule: each connection and each UDP query that was admitted, each query that
 * a line of [out] refused. @hits is borrowed and outlives the server. */
void dns_server_count_hits(struct dns_server *s, struct hits *hits);
/* A query that was answered (or not), while log-queries is on; borrowed for the call. */
struct dns_server_note {
    const struct conf_dns *conf;
    struct endpoint source;
    bool is_tcp;
    const struct in_rule *rule;           /* that admitted it */
    const struct wire_question *question; /* NULL: unreadable */
    const char *result;                   /* hit, miss, local, own, blocked, limited, dropped */
    unsigned rcode;
    size_t query_bytes, reply_bytes; /* reply 0: none was sent */
    uint64_t took_ms;
};
typedef void (*dns_server_note_fn)(void *owner, const struct dns_server_note *note);
void dns_server_on_query(struct dns_server *s, dns_server_note_fn on_query, void *owner);
/* Questions that only this daemon can have sent are told to @loops; borrowed, outlives the server.
 */
struct loops;
void dns_server_use_loops(struct dns_server *s, struct loops *loops);
/* For per-client-rate; borrowed, outlives the server. Without it no client has too much. */
struct rates;
void dns_server_use_rates(struct dns_server *s, struct rates *rates);
/* Closes every socket and connection, gives its views back. NULL is fine. */
struct dns_server *dns_server_free(struct dns_server *s);

/**
 * dns_server_add_udp / _tcp - serve a bound (TCP: listening) non-blocking socket
 * @id: the caller's name for it, unique among both kinds. @fd: from listener_socket(), taken only
 * on success. Until dns_server_set_view() gave it a view nobody is admitted. Returns: 0 ·
 * -ENOMEM · -errno.
 */
int dns_server_add_udp(struct dns_server *s, uint64_t id, int fd)
    __attribute__((warn_unused_result));
int dns_server_add_tcp(struct dns_server *s, uint64_t id, int fd)
    __attribute__((warn_unused_result));
/* Closes the socket and its connections; unknown ids are fine. */
void dns_server_remove(struct dns_server *s, uint64_t id);

/**
 * dns_server_retire - every socket takes what has arrived, reads no more, and is closed once all
 * that waits is answered
 * No longer than a question may take (timeouts/dns), or a TCP client to read its answers (10 s).
 * @on_retired: from the loop, never from this call; may be called once more after it. A second call
 * changes nothing.
 */
void dns_server_retire(struct dns_server *s, void (*on_retired)(void *owner), void *owner);
/* Whether every socket is closed. */
bool dns_server_is_retired(const struct dns_server *s);
/* Closes all at once: what waits is forgotten. */
void dns_server_close_all(struct dns_server *s);

/**
 * dns_server_set_view - by which rules and settings the socket @id works from now on
 * @snapshot: a reference is taken. @conf: the [dns] section, inside @snapshot.
 * Sockets, connections and questions in flight stay, but for connections whose source is admitted
 * no more, where on-reload says so. Returns: 0 (also for an unknown id) · -ENOMEM, the old view
 * stays.
 */
int dns_server_set_view(struct dns_server *s, uint64_t id, struct snapshot *snapshot,
                        const struct conf_dns *conf) __attribute__((warn_unused_result));

const struct dns_server_counters *dns_server_counters(const struct dns_server *s);

#endif

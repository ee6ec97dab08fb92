/* serve - what one admitted query gets: an answer now, an error, silence, or a question upstream.
 */
#ifndef PROXY_DNS_SERVE_H
#define PROXY_DNS_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/dns/loops.h"
#include "proxy/net/rates.h"
#include "proxy/dns/resolver.h"
#include "proxy/dns/server.h"

/* By which rules and settings a socket works. */
struct serve_view {
    struct snapshot *snapshot; /* one reference; NULL: none yet */
    const struct conf_dns *conf;
    struct resolver_group *group; /* one reference */
};

enum serve_outcome {
    SERVE_REPLY = 1, /* ret_reply is the answer */
    SERVE_WAIT,      /* the resolver will call back */
    SERVE_DROP,      /* not a query */
};

/* What is said, before it is written for the transport. */
struct serve_reply {
    struct answer *answer; /* one reference; NULL: only the code */
    unsigned rcode;
    int ede;
    bool is_authentic; /* AD */
    bool is_stale;     /* an expired answer */
    bool is_truncated; /* without an answer: come back by TCP */
    enum serve_result result;
};

/* Who asked, for the record. */
struct serve_asker {
    const struct serve_view *view;
    struct endpoint source;
    bool is_tcp;
    size_t bytes; /* of the query */
    uint64_t since_ms;
};

struct serve_context {
    struct loop *loop;
    struct resolver *resolver;
    struct dns_server_counters *counters;
    dns_server_denied_fn on_denied; /* NULL: nobody wants to know */
    void *owner;
    dns_server_note_fn on_query; /* the same */
    void *query_owner;
    struct loops *loops; /* NULL: nobody looks for them */
    struct rates *rates; /* NULL: nobody has too much */
    struct hits *hits;   /* of rules; NULL: not counted */
};

/* With `mode = observe` everybody is. */
bool serve_admits(const struct serve_view *v, const struct addr *source, bool is_tcp);
/* The same for one that comes, counted for the line that admits it, or told if that is only
 * observed.
 * @bytes: of its query, 0: a connection. */
bool serve_admit(const struct serve_context *c, const struct serve_view *v,
                 const struct endpoint *source, bool is_tcp, size_t bytes);

/* Counts and tells it. */
void serve_denied(const struct serve_context *c, const struct serve_view *v,
                  const struct endpoint *source, bool is_tcp);

/**
 * serve_query - parse @msg and answer it, or ask
 * @source: who asked. @ret_query: what was asked, for serve_reply_write(). @ask, @done: used with
 * SERVE_WAIT only; result to serve_reply_of(). @ask NULL: this one may not wait, so what is not
 * known is SERVE_DROP.
 */
enum serve_outcome serve_query(const struct serve_context *c, const struct serve_view *v,
                               const struct endpoint *source, const uint8_t *msg, size_t len,
                               bool is_tcp, struct wire_query *ret_query, struct resolver_ask *ask,
                               resolver_done_fn done, struct serve_reply *ret_reply);
/* For a source that [in] does not admit: REFUSED, when @msg is a query at all. */
enum serve_outcome serve_refusal(const uint8_t *msg, size_t len, struct wire_query *ret_query,
                                 struct serve_reply *ret_reply);

/* @q: whose answer it becomes. */
struct serve_reply serve_reply_of(const struct serve_view *v, const struct wire_query *q,
                                  const struct resolver_result *result);
/* Once a query. */
static inline void serve_count(const struct serve_context *c, bool is_tcp, enum serve_result result)
{
    c->counters->results[is_tcp][result]++;
}
/* Whether queries are to be written down: then serve_record() for each. */
static inline bool serve_records(const struct serve_context *c, const struct serve_view *v)
{
    return c->on_query && v->snapshot && v->snapshot->conf.log.log_queries;
}
/* @r: written already. @n_reply: its bytes, 0: not sent. */
void serve_record(const struct serve_context *c, const struct serve_asker *asker,
                  const struct wire_query *q, const struct serve_reply *r, size_t n_reply);
/* Room that serve_reply_write() may need. */
size_t serve_reply_bytes(const struct serve_reply *r);
/* @buf holds @max_bytes, at least WIRE_UDP_MIN. Returns the length; *r has no answer afterwards,
 * but its code. */
size_t serve_reply_write(const struct serve_context *c, struct serve_reply *r,
                         const struct wire_query *q, uint8_t *buf, size_t max_bytes);

#endif

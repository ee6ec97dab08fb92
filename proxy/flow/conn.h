/* conn - one client connection from accept to its end: states, answers, the one exit. */
#ifndef PROXY_FLOW_CONN_H
#define PROXY_FLOW_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "acl/verdict.h"
#include "proxy/dns/lookup.h"
#include "proxy/http/authority.h"
#include "proxy/http/head.h"
#include "proxy/net/dial.h"
#include "proxy/net/relay.h"
#include "proxy/report/reason.h"

struct conn;
struct forward;
struct quota;
struct view;
struct worker;

enum conn_state {
    CONN_STATE_HEAD,     /* the request head is being read */
    CONN_STATE_RESOLVE,  /* the target's name is asked for */
    CONN_STATE_DIAL,     /* the permitted addresses are dialled */
    CONN_STATE_RELAY,    /* the tunnel is open */
    CONN_STATE_EXCHANGE, /* a plain HTTP request is with its origin */
    CONN_STATE_LINGER, /* an answer was written; the client reads it while we discard what it still
                          sends */
    CONN_STATE_CLOSED, /* freed at the end of the round */
};

typedef void (*reach_permitted_fn)(struct conn *c);
typedef void (*reach_connected_fn)(struct conn *c);

/* What only the way to an open tunnel needs; given back before the relay. */
struct conn_setup {
    struct conn *conn;
    struct head head;
    struct authority target;
    struct lookup lookup;
    struct dial dial;
    uint64_t step_ms;                   /* when the look-up or the dial under way began */
    struct endpoint to[DIAL_ADDRS_MAX]; /* permitted */
    uint32_t slots[DIAL_ADDRS_MAX];     /* by which lines of [out] */
    unsigned n_to;
    reach_permitted_fn on_permitted;
    reach_connected_fn on_connected;
    char *buf; /* owned: the head and what came behind it */
    uint32_t n_buf;
    uint32_t buf_size;
};

/* Of one request. */
struct conn_times {
    uint64_t start_ms;           /* the accept, or the first byte of a next request */
    uint32_t dns_ms, connect_ms; /* how long each took; UINT32_MAX: did not happen */
};

struct conn {
    struct list node;      /* of the worker */
    struct loop_task task; /* the next of pipelined requests; closed: the end */
    struct timer timer;    /* head, linger; grace after a reload (flow/review) */
    struct worker *worker;
    struct view *view;                  /* counted */
    const struct conf_web_proxy *proxy; /* in the view */
    const struct in_rule
        *rule;          /* admits the source; in the view; NULL after a reload that dropped it */
    struct relay relay; /* its sides hold both sockets in every state */
    struct conn_setup *setup;     /* owned; NULL until a byte came and after the set-up */
    struct forward *forward;      /* owned; NULL until the first plain HTTP request */
    struct tally_listener *tally; /* of the listener it came by */
    uint64_t told_up, told_down;  /* bytes of an open tunnel that are in @tally already */
    struct quota *quota;          /* joined; NULL: its source has no limit, or it has nothing yet */
    char *texts;                  /* owned: host NUL user agent NUL, for records; NULL: neither */
    struct endpoint client;
    struct endpoint origin;
    uint64_t serial;
    struct conn_times times;
    uint32_t discarded_bytes;
    uint32_t out_slot; /* number of the [out] line that permits the origin, for its counters */
    uint16_t port;
    uint16_t status;
    uint8_t state;        /* enum conn_state; only conn_set_state() writes it */
    uint8_t end;          /* enum reason: why it ends, once that is known */
    bool is_tunnel;       /* counted as an open tunnel */
    bool is_quota_tunnel; /* @quota counts it as one, from its request on */
    bool is_connect;
    bool is_turned_away; /* not counted as a client */
    bool has_origin;
};

/* Why a request is refused, for the answer and the record. */
struct conn_refusal {
    enum reason reason;
    unsigned status;             /* 0: the reason's own */
    const char *phrase;          /* NULL: standard */
    const char *body;            /* NULL: standard */
    const struct out_rule *rule; /* the line that decided, for the record */
    const char *proxy_status;    /* NULL: the reason's own */
    unsigned retry_after_s;      /* 0: the reason's own */
};

/**
 * conn_accept - a client that the source rules admit
 * @fd is taken (also on failure). Returns the connection · NULL: out of memory.
 */
struct conn *conn_accept(struct worker *w, struct view *view, const struct conf_web_proxy *proxy,
                         const struct in_rule *rule, int fd, const struct endpoint *client);
/* Answers, records and lingers. The caller returns at once. */
void conn_refuse(struct conn *c, const struct conn_refusal *why);
/* conn_refuse() for one that was not let in: it takes no client's place while it lingers. */
void conn_turn_away(struct conn *c, const struct conn_refusal *why);
/* The one exit of everything that needs no answer: closes, counts, records once. The caller returns
 * at once. */
void conn_finish(struct conn *c, enum reason reason);
/* New rules forbid what runs: recorded with the line that does (@place, or NULL and @words), both
 * sides reset. The caller returns at once. */
void conn_revoke(struct conn *c, const struct rule_place *place, const char *words);
/* `mode = observe`: @why would refuse the request, which goes on; recorded, or counted when there
 * are very many. */
void conn_observe(struct conn *c, const struct conn_refusal *why);
/* An answer that has begun cannot be finished: recorded, and the client's connection reset. The
 * caller returns at once. */
void conn_abort(struct conn *c, enum reason reason);
/* A plain request was answered: recorded, then the next one is read, or the connection ends. The
 * caller returns at once. */
void conn_request_over(struct conn *c, bool keeps_client);
/* OPTIONS that ends here: 200 without a body (RFC 9110 section 9.3.7). The caller returns at once.
 */
void conn_answer_options(struct conn *c);
/* The worker drains: a client between two requests is closed, one that came just now has a
 * few seconds to begin its request, all others go on. Returns whether it lives. */
bool conn_hurry(struct conn *c);
/* What an open tunnel carried since the last time is counted for its listener. */
void conn_tell_bytes(struct conn *c);
/* A record of a tunnel that stays open. */
void conn_record_open(struct conn *c);
void conn_set_state(struct conn *c, enum conn_state state);
/* The target as asked, for the record. */
void conn_keep_host(struct conn *c, const char *text, size_t len);
const char *conn_host(const struct conn *c); /* NULL: not known */
/* Neither target nor client of the last request are those of the next. */
void conn_forget_texts(struct conn *c);
/**
 * conn_join - counts it among what its source has, if that is limited
 * @is_tunnel: it is one, or will be
 * Returns: whether it may go on; false: it is refused, the caller returns at once.
 */
bool conn_join(struct conn *c, bool is_tunnel) __attribute__((warn_unused_result));
/* The set-up is over and both sockets are connected: writes the 200 and relays. */
void conn_open_tunnel(struct conn *c);
/* Moves to the worker's view: @proxy and @rule (NULL: runs on unnamed) are of it. Without a @proxy
 * it stays where it is: its listener is gone. @out_slot: number of the line that permits its
 * origin. */
void conn_adopt(struct conn *c, const struct conf_web_proxy *proxy, const struct in_rule *rule,
                uint32_t out_slot);
/* What a client sent while it waits; called when it is readable before the relay. False: it left,
 * the conn is finished. */
bool conn_read_early(struct conn *c);

#endif

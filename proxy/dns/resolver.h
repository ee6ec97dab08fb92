/* resolver - the core both sides ask: cache, identical questions joined, name servers tried until
 * one answers. */
#ifndef PROXY_DNS_RESOLVER_H
#define PROXY_DNS_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/base/list.h"
#include "proxy/dns/answer.h"
#include "proxy/dns/local.h"
#include "proxy/loop/loop.h"
#include "proxy/net/egress.h"

struct cache;
struct cache_names;
struct loops;
struct question;
struct upstream_env;

/* resolver_ask_start(): the result is there now, done stays silent. */
enum { RESOLVER_DONE = 1 };

enum resolver_outcome {
    RESOLVER_ANSWER =
        1, /* a final answer: NOERROR or NXDOMAIN, or a code that no other server improved on */
    RESOLVER_FAILED,      /* every name server failed or refused: rcode says which */
    RESOLVER_TIMEOUT,     /* no name server answered in time */
    RESOLVER_BUSY,        /* our own limits: too many questions in flight, no fds, no memory */
    RESOLVER_UNKNOWN,     /* not asked upstream since RD=0, and not in the cache */
    RESOLVER_UNREACHABLE, /* no name server could be spoken to: refused, reset, not trusted */
};

/* Valid for the callback, or until the next call into the resolver. */
struct resolver_result {
    enum resolver_outcome outcome;
    unsigned rcode;        /* what a client is told: SERVFAIL unless the outcome knows better */
    int ede;               /* failures: what a server said of it; WIRE_EDE_NONE */
    bool is_stale;         /* the answer has expired, and nothing newer is to be had (RFC 8767) */
    struct answer *answer; /* RESOLVER_ANSWER; take answer_ref() to keep it */
};

/* Separate budgets, so that neither side's flood starves the other. */
enum resolver_budget { RESOLVER_FOR_LAN, RESOLVER_FOR_DIAL, RESOLVER_BUDGETS };

struct resolver_request {
    struct wire_question question; /* any case */
    bool wants_dnssec;             /* DO */
    bool checking_disabled;        /* CD */
    bool hides_options;   /* raw: EDNS options are the asker's alone; no signature covers them */
    bool authentic_data;  /* AD */
    bool tells_authentic; /* the asker is told AD: an answer without may not do for one with */
    bool no_recursion;    /* RD=0: cache and local data only */
    bool by_tcp;          /* asked by TCP, so ask by TCP (RFC 5625 section 4.4.1) */
    enum resolver_budget budget;
    /* A signed transaction (TSIG, SIG(0), TKEY; RFC 5625 section 4.5): this message goes out as it
     * is but for the id, shares nothing and is not kept, and its answer is the first that comes.
     * Copied; NULL: the query is made from the fields above. */
    const uint8_t *raw;
    size_t n_raw;
    uint64_t
        limit_ms; /* the whole question; one that joins another waits no longer than that one */
};

struct resolver_ask;
/* Called once, later, on the resolver's worker. The ask may be freed, started again, and others
 * cancelled in it. */
typedef void (*resolver_done_fn)(struct resolver_ask *ask, const struct resolver_result *result);

/* Storage is the caller's and stays in place until done or cancelled. Zero-initialised is idle. */
struct resolver_ask {
    struct list node;
    struct question *question; /* NULL: idle */
    resolver_done_fn done;
    bool takes_stale; /* as soon as the upstream is late; others only when it has failed */
};

/* Plain counts, written by the worker; see also the server's. */
struct resolver_counters {
    uint64_t n_asked, n_hits, n_local, n_joined, n_started, n_busy, n_stale, n_prefetched;
    uint64_t n_sent, n_replies, n_failed, n_timeouts;
};

/* A name server that is taken for dead, or has answered again. Told once a minute at most while it
 * is down; @detail: what TLS has to say, or empty. */
struct resolver_server_news {
    const struct endpoint *server;
    const char *tls_name; /* NULL: no TLS */
    bool is_up;
    const char *reason;
    const char *detail;
};
typedef void (*resolver_server_fn)(void *owner, const struct resolver_server_news *news);

/* Questions in flight that share a limit. */
struct resolver_room {
    struct list in_order; /* oldest first */
    unsigned n, max;
};

/* One a worker, embedded there. */
struct resolver {
    struct loop *loop;
    struct cache *cache;                          /* owned */
    struct upstream_env *env;                     /* owned */
    struct list groups;                           /* struct resolver_group */
    struct list *buckets;                         /* owned: questions in flight by hash */
    struct resolver_room rooms[RESOLVER_BUDGETS]; /* zones have their own */
    struct list probes;                           /* attempts whose question has ended */
    uint32_t last_group;
    struct answer *shown; /* owned: what the last RESOLVER_DONE gave out */
    size_t n_raw_bytes;   /* of signed queries in flight */
    struct loops *loops;  /* borrowed; NULL: nobody looks for loops */
    struct tally *tally;  /* borrowed; NULL: nobody wants to know */
    resolver_server_fn on_server;
    void *owner; /* on_server's */
    struct resolver_counters counters;
};

/* Who is told when a server goes down or comes back. */
void resolver_on_server(struct resolver *r, resolver_server_fn on_server, void *owner);
/* Before the first group is made; outlives the groups. */
void resolver_use_loops(struct resolver *r, struct loops *loops);
/* How long servers take, and which ones fail, is counted there; outlives the resolver. */
void resolver_use_tally(struct resolver *r, struct tally *tally);
/* After a reload: CAs are read again for the next TLS connection. */
void resolver_refresh(struct resolver *r);

/* @cache_bytes: upper bound of the cache's memory. Returns 0 · -ENOMEM · -errno; fini only after 0.
 */
int resolver_init(struct resolver *r, struct loop *loop, size_t cache_bytes)
    __attribute__((warn_unused_result));
/* All asks are done or cancelled before, all groups given back; what is still in flight ends
 * silently. Safe on a resolver whose init failed. */
void resolver_fini(struct resolver *r);
/* Forgets some names (all types), or everything with NULL. What is in flight for them still answers
 * who waits, but is not kept, and nobody joins it any more. Returns how many answers. */
size_t resolver_flush(struct resolver *r, const struct cache_names *names);

/*
 * Name servers and the way to them. Equal settings give the same group, so listeners share its
 * cache and its knowledge about the servers, and both outlive a reload that changes nothing.
 * Questions in flight hold a reference.
 */
struct resolver_group;
struct resolver_policy {
    struct answer_ttls ttls;
    bool forwards_special;             /* special-names = forward */
    bool randomises_case;              /* 0x20 */
    bool prefetches;                   /* popular answers are asked for again before they expire */
    uint32_t stale_s;                  /* for how long expired answers may do; 0: not at all */
    struct hosts *hosts[LOCAL_TABLES]; /* local records, newest state of each file; the group takes
                                          references */
    const struct conf_zones *zones;    /* borrowed for the call; NULL: none */
    bool is_zone; /* the group of a zone: questions in flight have limits of their own */
};
/* What @conf says for one of its listeners. */
struct resolver_policy resolver_policy_web(const struct conf *conf, const struct conf_web_proxy *w);
struct resolver_policy resolver_policy_dns(const struct conf *conf, const struct conf_dns *d);

/* One reference is the caller's; NULL: out of memory. No servers: every question fails. @policy
 * NULL: what [web-proxy] uses (0, 1 day, 1 hour; special names local), without local records and
 * zones. The local records of an equal group are replaced by @policy's; the same servers in another
 * order keep the answers. */
struct resolver_group *resolver_group_new(struct resolver *r,
                                          const struct conf_name_servers *servers,
                                          const struct egress *egress);
struct resolver_group *resolver_group_new_with(struct resolver *r,
                                               const struct conf_name_servers *servers,
                                               const struct egress *egress,
                                               const struct resolver_policy *policy);
struct resolver_group *resolver_group_ref(struct resolver_group *g);
struct resolver_group *
resolver_group_unref(struct resolver_group *g); /* NULL is fine; always NULL */

/**
 * resolver_ask_start - ask @group's name servers, or the cache, or our own data
 * @ask: idle; stays in place until @done or resolver_ask_cancel(). @request: borrowed for the call
 * Returns: 0 @done will be called once, later, never before returning · RESOLVER_DONE *ret_result
 * is the result, nothing will be called. Never fails otherwise: out of memory is RESOLVER_BUSY.
 */
int resolver_ask_start(struct resolver_ask *ask, struct resolver *r, struct resolver_group *group,
                       const struct resolver_request *request, resolver_done_fn done,
                       struct resolver_result *ret_result) __attribute__((warn_unused_result));
/* Any state; done stays silent. The question goes on for the cache's sake. */
void resolver_ask_cancel(struct resolver_ask *ask);

#endif

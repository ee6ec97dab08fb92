/* roster - what the workers have at this moment: figures, open tunnels, and an end to some of them.
 */
#ifndef PROXY_FLOW_ROSTER_H
#define PROXY_FLOW_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/dns/cache.h"
#include "proxy/dns/resolver.h"
#include "proxy/dns/server.h"
#include "proxy/flow/walk.h"
#include "proxy/loop/mailbox.h"
#include "proxy/report/tally.h"

struct roster;
struct worker;

enum roster_job {
    ROSTER_FIGURES,  /* only what is counted */
    ROSTER_STATUS,   /* figures, the recent refusals */
    ROSTER_TUNNELS,  /* a line of JSON for each open tunnel, too */
    ROSTER_KILL,     /* ends the connections that are named */
    ROSTER_FLUSH,    /* forgets cached answers */
    ROSTER_OVERVIEW, /* figures, some of the open tunnels, the recent refusals */
    ROSTER_METRICS,  /* figures, and all that is counted for the metrics */
    ROSTER_TOP,      /* figures, and a few words on each open tunnel, for whoever sorts them */
};

/* Lines of tunnels that each worker writes for ROSTER_OVERVIEW. */
enum { ROSTER_SOME_TUNNELS = 100, ROSTER_SERVERS_MAX = 32 };

/* Which connections: of one source, or the one that logs call WORKER.SERIAL. */
struct roster_whom {
    bool has_source;
    struct addr source;
    unsigned worker;
    uint64_t serial;
};

struct roster_figures {
    uint64_t n_accepted, n_source_denied, n_refused, n_opened, n_closed, bytes_up, bytes_down;
    uint64_t open_up, open_down; /* of tunnels that are open: not in bytes_up and bytes_down yet */
    unsigned n_clients, n_tunnels, n_exchanges;
    struct dns_server_counters dns;
    struct resolver_counters resolver;
    uint64_t cache_bytes, cache_entries;
};

/* A name server as one worker sees it. */
struct roster_server {
    struct endpoint endpoint;
    char tls_name[256]; /* empty: no TLS */
    bool is_tls;
    bool is_down; /* for one of the listeners that ask it */
    bool is_looping;
    uint64_t n_asked, n_answered, n_failed; /* as in upstream_peer */
    uint64_t rtt_8ms;
};

/* ROSTER_TOP: an open tunnel. */
struct roster_tunnel {
    uint64_t serial;
    uint64_t bytes_up, bytes_down;
    uint64_t age_ms, idle_ms;
    struct addr source;
    size_t
        texts; /* where its host and its rule's memo begin in the part's lines, a NUL behind each */
    unsigned worker;
    uint16_t port;
};

/* One worker's share; the worker's until it comes back. */
struct roster_part {
    struct mail mail;
    struct roster *roster;
    struct worker *worker;
    struct walk walk;
    struct roster_figures figures;
    struct roster_part *next; /* waits until this one is through */
    char *lines;              /* owned: ROSTER_TUNNELS, ROSTER_OVERVIEW; ROSTER_TOP: texts */
    size_t len, capacity;
    unsigned n_lines;
    struct roster_server servers[ROSTER_SERVERS_MAX]; /* ROSTER_FIGURES, _STATUS, _OVERVIEW, _TOP */
    unsigned n_servers;
    struct roster_tunnel *tunnels; /* owned: ROSTER_TOP */
    size_t n_tunnels, tunnels_capacity;
    struct refusal *refusals; /* owned: ROSTER_STATUS, _OVERVIEW; the last first */
    size_t n_refusals;
    struct tally tally; /* ROSTER_METRICS */
    uint64_t n_done;    /* ended connections, or forgotten answers */
    bool is_cut_short;  /* out of memory, or the worker is ending */
};

/* All parts are back; on the main thread. Takes @r. */
typedef void (*roster_done_fn)(struct roster *r, void *owner);

struct roster {
    enum roster_job job;
    struct roster_whom whom;
    bool has_names; /* ROSTER_FLUSH: only these */
    struct cache_names names;
    roster_done_fn done;
    void *owner;
    unsigned n_parts, n_away;
    struct roster_part parts[];
};

/* A request to all workers, to be filled in and started. NULL: out of memory. */
struct roster *roster_new(struct worker *workers, unsigned n_workers, enum roster_job job,
                          roster_done_fn done, void *owner);
/* @done is called once, later. Connections are looked at a few a round. */
void roster_start(struct roster *r);
struct roster *roster_free(struct roster *r); /* never started, or after done */
/* All parts together. */
struct roster_figures roster_sum(const struct roster *r);

/* The worker ends: what there is so far, and what waits, goes back. NULL is fine. */
void roster_part_end(struct roster_part *p);
/* A connection leaves the worker @p (NULL: none) is with. */
struct conn;
void roster_forget(struct roster_part *p, const struct conn *c);

#endif

/* worker - one thread's world: loop, listeners, connections, resolver, and the view of the rules.
 */
#ifndef PROXY_FLOW_WORKER_H
#define PROXY_FLOW_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/dns/resolver.h"
#include "proxy/dns/server.h"
#include "proxy/flow/conn.h"
#include "proxy/flow/notice.h"
#include "proxy/flow/origin.h"
#include "proxy/flow/periodic.h"
#include "proxy/flow/review.h"
#include "proxy/flow/roster.h"
#include "proxy/flow/survey.h"
#include "proxy/flow/view.h"
#include "proxy/loop/mailbox.h"
#include "proxy/net/listener.h"
#include "proxy/net/quota.h"
#include "proxy/net/rates.h"
#include "proxy/report/access.h"
#include "proxy/report/hits.h"
#include "proxy/report/refusals.h"
#include "proxy/report/seen.h"
#include "proxy/report/sink.h"
#include "proxy/report/tally.h"

struct worker;
struct update;

/* Shared by all workers; embedded in the daemon. */
struct shared {
    atomic_uint n_clients, n_tunnels;
    atomic_uint n_turned_away; /* connections that are only told so; no clients */
    atomic_uint max_clients, max_tunnels;
    atomic_uint max_pooled; /* connections to origins that a worker keeps, idle */
    char via[32];           /* our pseudonym in Via */
    struct sink *sink;
    struct rates *rates;    /* of DNS clients */
    struct rates *connects; /* of new connections */
    struct quotas *quotas;
    struct loops *loops; /* of name servers */
    struct siphash_key refusals_key;
    struct worker *workers; /* all; set before the first one runs */
    unsigned n_workers;
    struct mailbox *main_mailbox;
    /* Both run on the main thread, once for each worker: it has nothing left; it applied an update
     * or is_behind. */
    void (*on_drained)(struct shared *s);
    void (*on_updated)(struct shared *s);
};

/* Written by the worker, read relaxed by others. */
struct counters {
    _Atomic uint64_t n_accepted, n_source_denied, n_refused, n_opened, n_closed;
    _Atomic uint64_t bytes_up, bytes_down;
};

struct worker {
    unsigned index;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct resolver resolver;
    struct dns_server *dns;
    struct shared *shared;
    struct view *view;
    struct own_set *own;
    struct list sockets;
    struct list conns;
    atomic_uint n_conns;   /* written by the worker only */
    atomic_uint n_coming;  /* clients that others gave to it, on their way */
    unsigned balance_turn; /* whose load was looked at last */
    uint64_t n_serial;
    char *scratch;
    struct origin_pool origins;
    struct review review;
    struct periodic periodic;
    struct pipes pipes;
    struct counters counters;
    struct tally tally;
    struct hits *hits;           /* owned; of the rules */
    struct refusals *refusals;   /* owned */
    _Atomic(struct seen *) seen; /* owned; NULL until a snapshot has `mode = observe` */
    struct roster_part *roster;  /* the main thread's; NULL: none under way */
    struct survey_part *survey;  /* the main thread's; NULL: none under way */
    struct timer log_sample;     /* runs while refusals were logged in this second */
    unsigned n_logged, n_unlogged;
    struct update *behind;                 /* owned: what could not be applied yet, or NULL */
    struct timer retry;                    /* of it */
    atomic_bool is_behind;                 /* for the main thread */
    struct notice updated, drained;        /* to the main thread */
    struct notice drain_order, stop_order; /* from it */
    _Atomic uint64_t drain_limit_ms;
    bool is_draining, has_told_drained;
    struct timer drain_limit, drain_near; /* the latter from the last tenth of the time on */
};

/* 0 · -errno. The thread does not run yet. @cache_bytes: this worker's share. */
int worker_init(struct worker *w, unsigned index, struct shared *shared, uint64_t cache_bytes)
    __attribute__((warn_unused_result));
int worker_start(struct worker *w) __attribute__((warn_unused_result));
/* After the thread ended (or never started). */
void worker_fini(struct worker *w);

void worker_post_stop(struct worker *w); /* after drained: ends the thread */
/* Ends every connection. */
void worker_finish_clients(struct worker *w);

/* Of our own thread: no read-modify-write is needed. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* A record to the sink, its time put in, if records are wanted at all. Refusals of sources are
 * sampled by the caller. */
void worker_record(struct worker *w, struct access_record *r);
/* Of what [in] or [out] refuses, or would: to be filled and recorded, unless it is one of very
 * many.
 */
struct access_record worker_denied_record(enum access_event event, const char *listener,
                                          const char *method, const struct endpoint *source);
void worker_record_denied(struct worker *w, struct access_record *r);
/* For the recent refusals, if the record is of one; before it is sampled. */
void worker_note_refusal(struct worker *w, const struct access_record *r);
/* Whether a refusal may be logged now: 50 a second, the others are counted and told. */
bool worker_may_log_refusal(struct worker *w);
/* A conn left the list and is freed. */
void worker_conn_gone(struct worker *w);

#endif

/* tally - what one thread counts for the metrics: by listener, by name server, how long things
 * took. */
#ifndef PROXY_REPORT_TALLY_H
#define PROXY_REPORT_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/report/reason.h"

enum {
    TALLY_LISTENERS_MAX = 64, /* names that were ever served; more are counted as "other" */
    TALLY_SERVERS_MAX = 64,   /* the same */
    TALLY_NAME_MAX = 64,
    TALLY_METHODS = 9,   /* the last one: any other */
    TALLY_STATUSES = 64, /* the first one: no answer; registered codes; the last one: any other */
    TALLY_BUCKETS = 14,
};

/* Durations: how many took at most tally_bounds_ms[i] and more than the bound before; the last one:
 * longer than all bounds. */
struct tally_times {
    uint64_t n[TALLY_BUCKETS + 1];
    uint64_t sum_ms;
};
extern const uint32_t tally_bounds_ms[TALLY_BUCKETS];

/* Of a [web-proxy], by its name, for good: a reload does not begin anew. */
struct tally_listener {
    char name[TALLY_NAME_MAX];
    uint64_t n_ended[REASON_MAX]; /* connections of clients, by why they ended */
    uint64_t n_requests[TALLY_METHODS][TALLY_STATUSES];
    uint64_t bytes_up, bytes_down;
};

struct tally_server {
    struct endpoint endpoint;
    bool is_tls;
    uint64_t n_failures;
};

/* Plain numbers of one thread. Zero-initialised is empty. */
struct tally {
    struct tally_listener *listeners[TALLY_LISTENERS_MAX]; /* owned */
    unsigned n_listeners;
    struct tally_listener others; /* no room, or no memory */
    struct tally_server servers[TALLY_SERVERS_MAX];
    unsigned n_servers;
    uint64_t n_other_failures;
    struct tally_times connect, dns_upstream;
};

void tally_fini(struct tally *t);
/* Counting goes there from now on. Never NULL; stays where it is until fini. */
struct tally_listener *tally_listener_get(struct tally *t, const char *name);
/* @method: NULL or anything; @status: 0 or anything. */
void tally_request(struct tally_listener *l, const char *method, unsigned status);
void tally_server_failed(struct tally *t, const struct endpoint *server, bool is_tls);
/* Adds all of @more to @sum. */
void tally_add_up(struct tally *sum, const struct tally *more);

const char *tally_method_text(unsigned method);                    /* "GET" ... "other" */
const char *tally_status_text(unsigned index, char buf[static 8]); /* "none", "200" ... "other" */

static inline void tally_time(struct tally_times *t, uint64_t ms)
{
    unsigned i = 0;
    while (i < TALLY_BUCKETS && ms > tally_bounds_ms[i])
        i++;
    t->n[i]++;
    t->sum_ms += ms;
}

#endif

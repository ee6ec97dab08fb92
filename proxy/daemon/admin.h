/* admin - the daemon's own HTTP server: GET and HEAD of a few pages, for the few who may ask. */
#ifndef PROXY_DAEMON_ADMIN_H
#define PROXY_DAEMON_ADMIN_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/snapshot.h"
#include "proxy/flow/update.h"
#include "proxy/loop/loop.h"

enum {
    ADMIN_CLIENTS_MAX = 32,
    ADMIN_LINE_MAX = 2048,
    ADMIN_HEAD_MAX = 8192,
    ADMIN_HEAD_LIMIT_MS = 5000,  /* to say the request */
    ADMIN_PAGE_LIMIT_MS = 10000, /* for the page to be made */
    ADMIN_READ_LIMIT_MS = 30000, /* to take the whole answer */
    ADMIN_SLOW_MS = 1000,        /* who has not taken it by then may have to make room */
    ADMIN_LINGER_MS = 1000,      /* for the client to close */
};

struct admin_call;

/* Runs on the main thread, for GET and HEAD; must lead to admin_end(), at once or later. */
typedef void (*admin_run_fn)(struct admin_call *call);

struct admin_route {
    const char *path; /* without a query */
    const char *type; /* Content-Type */
    admin_run_fn run;
    const char *(*policy)(void); /* Content-Security-Policy; NULL: nothing may be loaded at all */
    bool has_any_host;           /* asked for under names that we do not know, and shows nothing
                                    that another page of a browser must not read */
};

struct admin {
    struct loop *loop;
    const struct admin_route *routes; /* borrowed; ends with an empty one */
    void *owner;
    struct snapshot *snapshot; /* one reference: who may ask, names of ours */
    struct list doors;         /* listening sockets */
    struct list calls;
    unsigned n_calls; /* with those whose clients are gone while their pages are made */
};

void admin_init(struct admin *a, struct loop *loop, const struct admin_route *routes, void *owner);
/**
 * admin_use - listen by @orders and judge by @snapshot from now on
 * Sockets with ids that are not named are closed, new ones taken: their fd becomes -1. Clients
 * whose requests are under way stay. Returns: 0 · -errno, new sockets are left that are not served.
 */
int admin_use(struct admin *a, struct snapshot *snapshot, struct socket_order *orders,
              unsigned n_orders) __attribute__((warn_unused_result));
/* Another daemon accepts by the same sockets from now on. */
void admin_close_doors(struct admin *a);
/* Everything; pages under way may still call admin_end(). Safe on a zeroed one. */
void admin_fini(struct admin *a);

void *admin_owner(const struct admin_call *call); /* NULL: the server is gone */
/* The body; never NULL. */
FILE *admin_out(struct admin_call *call);
/* Whom the client spoke to. 0 · -errno. */
int admin_local(const struct admin_call *call, struct endpoint *ret_local);
/* Whether somebody still waits for the page. */
bool admin_is_awaited(const struct admin_call *call);
/* Sends status and body and ends the call: the caller forgets it. */
void admin_end(struct admin_call *call, unsigned status);

#endif

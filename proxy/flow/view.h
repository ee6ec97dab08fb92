/* view - a snapshot as one worker uses it, and the addresses that are ours. */
#ifndef PROXY_FLOW_VIEW_H
#define PROXY_FLOW_VIEW_H

#include <stdatomic.h>

#include "acl/guard.h"
#include "conf/snapshot.h"
#include "proxy/dns/resolver.h"
#include "proxy/loop/mailbox.h"
#include "proxy/report/tally.h"

struct worker;

/* A plain count of users, since all are on the worker's thread. */
struct view {
    struct mail mail; /* on its last way, to the main thread */
    struct worker *worker;
    struct snapshot *snapshot;       /* one reference */
    struct resolver_group **groups;  /* owned: one a [web-proxy] */
    struct tally_listener **tallies; /* the same; they are the worker's */
    unsigned n_users;
};

/* Takes the reference on @s, also on failure. NULL: out of memory. */
struct view *view_new(struct worker *w, struct snapshot *s) __attribute__((warn_unused_result));
struct view *view_ref(struct view *v);
void view_unref(struct view *v);
/* Where connections of @proxy, which is in @v, are counted. */
struct tally_listener *view_tally(const struct view *v, const struct conf_web_proxy *proxy);

/* Our own addresses and ports, shared by all workers, const. */
struct own_set {
    struct guard_own own;
    atomic_int n_refs;
};
struct own_set *own_set_ref(struct own_set *o);
struct own_set *own_set_unref(struct own_set *o); /* NULL is fine; always NULL */

#endif

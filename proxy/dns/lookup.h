/* lookup - the addresses of a name for a dial: A and AAAA asked together, on top of the resolver.
 */
#ifndef PROXY_DNS_LOOKUP_H
#define PROXY_DNS_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/dns/resolver.h"

enum { LOOKUP_ADDRS_MAX = 16 };

enum lookup_outcome {
    LOOKUP_ADDRS = 1, /* at least one address */
    LOOKUP_NO_NAME,   /* NXDOMAIN or no address of a permitted family: dns_error */
    LOOKUP_FAILED,    /* every name server failed or refused: dns_error */
    LOOKUP_TIMEOUT,   /* no name server answered in time: dns_timeout */
};

struct lookup;
/* Called once, later, on the worker of the resolver. @addrs: valid for the call, order: IPv6 and
 * IPv4 alternate as RFC 8305 section 4 says, IPv6 first. */
typedef void (*lookup_done_fn)(struct lookup *l, enum lookup_outcome outcome,
                               const struct addr *addrs, unsigned n_addrs);

/* Storage is the caller's and stays in place until done or cancelled. */
struct lookup {
    struct resolver *resolver;
    struct resolver_ask ask_a, ask_aaaa;
    struct timer grace; /* one family answered: the other gets at most 50 ms more */
    lookup_done_fn done;
    struct addr addrs[2 * LOOKUP_ADDRS_MAX]; /* IPv4, then IPv6 */
    unsigned n_ipv4, n_ipv6;
    unsigned n_pending; /* asks that run */
    bool has_failed, has_timed_out, has_no_name;
    struct loop_task report; /* what is known at once is told at the end of the round */
};

/**
 * lookup_start - resolve @name through the upstream group and egress of @r's @group
 * @name: lower case text, no final dot. @group: which name servers and egress (one per listener),
 * see resolver.h
 * @wants_ipv4, @wants_ipv6: families that the egress permits
 * @limit_ms: timeouts.dns
 * Returns: 0 done will be called once, later, never before returning · -ENOMEM nothing started.
 */
int lookup_start(struct lookup *l, struct resolver *r, struct resolver_group *group,
                 const char *name, bool wants_ipv4, bool wants_ipv6, uint64_t limit_ms,
                 lookup_done_fn done) __attribute__((warn_unused_result));
void lookup_cancel(struct lookup *l); /* any state, zero-initialised too; done stays silent */

#endif

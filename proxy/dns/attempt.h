/* attempt - one server asked once, and what that says about the server. */
#ifndef PROXY_DNS_ATTEMPT_H
#define PROXY_DNS_ATTEMPT_H

#include "proxy/dns/resolver_group.h"
#include "proxy/dns/upstream.h"

struct question;

/* Borrowed for the call. */
struct attempt_end {
    unsigned server;
    enum upstream_outcome outcome;
    bool is_probe, was_without_opt;
    const struct wire_reply *reply; /* UPSTREAM_REPLY */
    const uint8_t *msg;
};
/* Never from inside attempt_start(). The attempt is gone. */
typedef void (*attempt_done_fn)(struct question *q, const struct attempt_end *end);

struct attempt_order {
    struct question *question;
    attempt_done_fn on_done;
    struct resolver_group *group; /* the attempt takes a reference */
    unsigned server;
    bool is_probe; /* it is down: does it answer again? */
};

/* Into the list @in. 0 · -errno: this server cannot be asked now. */
int attempt_start(struct list *in, const struct attempt_order *order,
                  const struct upstream_request *request) __attribute__((warn_unused_result));
/* No answer came in the time that the servers take: noted once for each. */
void attempts_are_late(struct list *attempts);
/* Probes go on without their question. */
void attempts_let_probes_go(struct list *attempts);
/* Nobody hears of them any more. */
void attempts_free(struct list *attempts);

/* Asks servers of @g for the names of proxy/dns/loops that are due, and tells what is new. */
void attempt_look_for_loops(struct resolver_group *g);

#endif

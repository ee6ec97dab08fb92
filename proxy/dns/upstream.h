/* upstream - one question to one name server: UDP from a fresh port, a shared TCP connection where
 * that is needed, or TLS and nothing else. */
#ifndef PROXY_DNS_UPSTREAM_H
#define PROXY_DNS_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/dns/upstream_peer.h"
#include "proxy/dns/upstream_udp.h"
#include "proxy/dns/wire.h"
#include "proxy/loop/loop.h"

enum { UPSTREAM_WRONG_MAX = 20 };

struct upstream;
/* Once, later, unless cancelled. The exchange is over: it may be freed or started again. @reply and
 * @msg: valid for the call, only with UPSTREAM_REPLY. */
typedef void (*upstream_done_fn)(struct upstream *x, enum upstream_outcome outcome,
                                 const struct wire_reply *reply, const uint8_t *msg);

struct upstream_request {
    struct upstream_peer *peer;           /* borrowed until the exchange is over */
    const struct wire_question *question; /* copied */
    const uint8_t *raw; /* borrowed until the exchange is over; NULL: the query is made here */
    size_t n_raw;
    bool wants_dnssec, checking_disabled, authentic_data, without_opt;
    bool random_case; /* 0x20: the question goes out in random case and must come back byte by byte
                       */
    bool by_tcp;      /* no UDP first; always so with TLS */
    uint64_t limit_ms;
};

/* Storage of the caller's; stays in place until done or cancelled. */
struct upstream {
    struct upstream_env *env;
    struct upstream_peer *peer;
    struct wire_question question;
    struct wire_ask ask;
    bool random_case;
    struct upstream_udp *udp; /* lent; NULL: not by UDP, or no more */
    struct upstream_peer_ask by_stream;
    struct timer limit;
    uint64_t started_ms;
    unsigned n_wrong;
    upstream_done_fn done;
};

/**
 * upstream_start - send the question and wait for an answer to it
 * Each start has a new port of the kernel's random choice (upstream_udp) and a new id. What does
 * not answer the question is ignored and waited on; after UPSTREAM_WRONG_MAX of those, or TC, the
 * same server is asked by TCP. When with @random_case an answer is right but for its case (the
 * server may not keep it, or somebody guessed well), it is asked anew in one case. A peer with TLS
 * is asked by that only. A raw query's answer may be truncated: who signed it asks again.
 *
 * Returns: 0 @done will be called once, later · -errno nothing was started (-EMFILE, -ENETUNREACH,
 * -ECONNREFUSED, ...). Source:  RFC 5452 sections 9.1 to 9.3, RFC 7766 sections 5 and 8.
 */
int upstream_start(struct upstream *x, struct upstream_env *env,
                   const struct upstream_request *request, upstream_done_fn done)
    __attribute__((warn_unused_result));
void upstream_cancel(struct upstream *x); /* any state after upstream_start(); done stays silent */

#endif

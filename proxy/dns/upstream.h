/* upstream - one question to one name server: UDP from a fresh socket, then TCP where that is
 * needed. */
#ifndef PROXY_DNS_UPSTREAM_H
#define PROXY_DNS_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "proxy/base/addr.h"
#include "proxy/dns/wire.h"
#include "proxy/loop/loop.h"
#include "proxy/loop/watch.h"
#include "proxy/net/egress.h"

enum { UPSTREAM_WRONG_MAX = 20, UPSTREAM_RANDOM_BYTES = 512 };

struct upstream_counters {
    uint64_t n_udp, n_tcp; /* exchanges begun by each */
    uint64_t n_wrong;      /* packets that answered nothing we asked, or malformed */
    uint64_t n_truncated;  /* to TCP since TC was set */
    uint64_t n_suspicious; /* to TCP since too many packets were wrong */
    uint64_t n_case;       /* to TCP since only the case of the question was wrong (0x20) */
};

/* What the exchanges of a worker share. */
struct upstream_env {
    struct loop *loop;
    struct watch_set watches; /* of the UDP sockets */
    struct upstream_counters counters;
    uint8_t random[UPSTREAM_RANDOM_BYTES]; /* from getrandom(2), used once */
    size_t n_random;
    struct wire_reply reply;            /* scratch: of the reply being handed over */
    uint8_t datagram[WIRE_MESSAGE_MAX]; /* scratch: what recv(2) gave */
};

struct upstream_env *upstream_env_new(struct loop *loop); /* NULL: out of memory */
struct upstream_env *upstream_env_free(struct upstream_env *env);
/* @n <= UPSTREAM_RANDOM_BYTES bytes nobody can guess. 0 · -errno of getrandom(2). */
int upstream_random(struct upstream_env *env, void *ret_bytes, size_t n)
    __attribute__((warn_unused_result));

enum upstream_outcome {
    UPSTREAM_REPLY = 1, /* complete, checked, not truncated; any code */
    UPSTREAM_REFUSED,   /* nobody there: ICMP, RST, no route */
    UPSTREAM_BROKEN,    /* TCP: closed early, wrong or malformed message, TC once more */
    UPSTREAM_TIMEOUT,
};

struct upstream;
/* Once, later, unless cancelled. The exchange is over: it may be freed or started again. @reply and
 * @msg: valid for the call, only with UPSTREAM_REPLY. */
typedef void (*upstream_done_fn)(struct upstream *x, enum upstream_outcome outcome,
                                 const struct wire_reply *reply, const uint8_t *msg);

struct upstream_request {
    const struct egress *egress;          /* borrowed until the exchange is over */
    const struct endpoint *server;        /* copied */
    const struct wire_question *question; /* copied */
    bool wants_dnssec, checking_disabled, authentic_data, without_opt;
    bool random_case; /* 0x20: the question goes out in random case and must come back byte by byte
                       */
    bool by_tcp;      /* no UDP first */
    uint64_t limit_ms;
};

/* Storage of the caller's; stays in place until done or cancelled. */
struct upstream {
    struct upstream_env *env;
    const struct egress *egress;
    struct endpoint server;
    struct wire_question question;
    struct wire_ask ask;
    bool random_case;
    bool is_tcp;
    struct watch udp;
    int fd; /* owned: TCP; -1: none */
    struct event event;
    struct timer limit;
    uint64_t started_ms;
    unsigned n_wrong;
    upstream_done_fn done;
    /* TCP */
    size_t n_sent;     /* of prefix and query */
    uint8_t prefix[2]; /* of the reply */
    size_t n_read;     /* of prefix and reply */
    uint8_t *message;  /* owned; once the length is known */
};

/**
 * upstream_start - send the question and wait for an answer to it
 * Each start has a new socket, so a new port of the kernel's random choice, and a new id. What does
 * not answer the question is ignored and waited on; after UPSTREAM_WRONG_MAX of those, or TC, the
 * same server is asked by TCP, and also when with @random_case an answer is right but for its case:
 * the server may not keep it, or somebody guessed well.
 *
 * Returns: 0 @done will be called once, later · -errno nothing was started (-EMFILE, -ENETUNREACH,
 * -ECONNREFUSED, ...). Source:  RFC 5452 sections 9.1 to 9.3, RFC 7766 sections 5 and 8.
 */
int upstream_start(struct upstream *x, struct upstream_env *env,
                   const struct upstream_request *request, upstream_done_fn done)
    __attribute__((warn_unused_result));
void upstream_cancel(struct upstream *x); /* any state after upstream_start(); done stays silent */

#endif

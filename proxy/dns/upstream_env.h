/* upstream_env - what the exchanges of one worker with name servers share: chance, scratch, counts.
 */
#ifndef PROXY_DNS_UPSTREAM_ENV_H
#define PROXY_DNS_UPSTREAM_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/list.h"
#include "proxy/dns/wire.h"
#include "proxy/loop/loop.h"

struct tls_client;

enum { UPSTREAM_RANDOM_BYTES = 512 };

/* How an exchange ends. */
enum upstream_outcome {
    UPSTREAM_REPLY = 1, /* complete, checked, not truncated; any code */
    UPSTREAM_REFUSED,   /* nobody there: ICMP, RST, no route */
    UPSTREAM_UNTRUSTED, /* TLS: not proven to be whom we mean, or no session with it at all */
    UPSTREAM_BROKEN,    /* stream: closed early, malformed message, TC once more */
    UPSTREAM_TIMEOUT,
};

struct upstream_counters {
    uint64_t n_udp, n_tcp, n_tls; /* questions sent by each */
    uint64_t n_wrong;             /* packets that answered nothing we asked, or malformed */
    uint64_t n_truncated;         /* to TCP since TC was set */
    uint64_t n_suspicious;        /* to TCP since too many packets were wrong */
    uint64_t n_case;    /* asked anew since only the case of the question was wrong (0x20) */
    uint64_t n_streams; /* connections begun */
    uint64_t n_resumed; /* TLS sessions taken up again */
    uint64_t n_moved;   /* questions asked again since their connection died */
};

struct upstream_env {
    struct loop *loop;
    struct upstream_counters counters;
    struct list peers;      /* struct upstream_peer */
    struct tls_client *tls; /* owned; NULL until the first TLS connection, and after a refresh */
    uint8_t random[UPSTREAM_RANDOM_BYTES]; /* from getrandom(2), used once */
    size_t n_random;
    struct wire_reply reply;           /* scratch: of the reply being handed over */
    uint8_t message[WIRE_MESSAGE_MAX]; /* scratch: what is sent, or what recv(2) gave */
};

struct upstream_env *upstream_env_new(struct loop *loop); /* NULL: out of memory */
/* Every exchange is over, every peer given back. NULL is fine. */
struct upstream_env *upstream_env_free(struct upstream_env *env);
/* The CA store is read again for the next TLS connection; those that are open stay. */
void upstream_env_refresh(struct upstream_env *env);
/* NULL: OpenSSL could not be set up. */
struct tls_client *upstream_env_tls(struct upstream_env *env);
/* @n <= UPSTREAM_RANDOM_BYTES bytes nobody can guess. 0 · -errno of getrandom(2). */
int upstream_random(struct upstream_env *env, void *ret_bytes, size_t n)
    __attribute__((warn_unused_result));

#endif

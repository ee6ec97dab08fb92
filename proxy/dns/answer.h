/* answer - one answer as it is kept: wire form without OPT, where its TTLs stand, counted by its
 * users. */
#ifndef PROXY_DNS_ANSWER_H
#define PROXY_DNS_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/list.h"
#include "proxy/dns/wire.h"

/* What a question is told apart by, beside its name (RFC 8906 section 6 and the server it went to).
 */
enum {
    ANSWER_KEY_DO = 1,
    ANSWER_KEY_CD = 2,
    ANSWER_KEY_AD = 16, /* asked with AD, for somebody who is told it */
    ANSWER_KEY_ASKED = ANSWER_KEY_DO | ANSWER_KEY_CD | ANSWER_KEY_AD,
    ANSWER_KEY_NXDOMAIN = 4, /* holds for all types of the name; type is 0 then */
    ANSWER_KEY_FAILURE = 8,  /* every name server failed: never in the place of an answer */
};

struct answer_key {
    struct wire_question question; /* lower case */
    uint32_t group;
    uint8_t flags;
};

struct answer {
    /* the cache's */
    struct answer *next_in_bucket;
    struct list lru;
    uint64_t hash;
    /* what it answers; the name is the lower-case question in bytes[] */
    uint32_t group;
    uint16_t type;
    uint16_t class;
    uint8_t key_flags;
    bool is_local; /* our own data: AA */
    bool is_cached;
    bool is_raw;        /* a message that goes on as it came, but for its id */
    uint8_t outcome;    /* failures: enum resolver_outcome */
    uint8_t n_hits;     /* up to 255 */
    bool is_prefetched; /* its successor was asked for */
    bool is_authentic;  /* AD, as @from said */
    bool is_inward;     /* has an address of a special-use range, from a server of the outside */
    int16_t ede;        /* as the server said; WIRE_EDE_NONE */
    struct addr from;   /* the server */
    unsigned n_refs;
    uint64_t stored_ms;
    uint64_t expires_ms; /* equal to stored_ms: for the waiting askers only */
    uint32_t life_s;
    uint32_t epoch; /* failures: the group's, see resolver_group.h */
    uint16_t rcode;
    uint16_t n_answer, n_authority, n_additional;
    uint16_t question_end;
    uint16_t additional_at;
    uint16_t n_ttls;
    uint32_t len;
    uint8_t bytes[]; /* message of len bytes (id and flags are not used), padding, n_ttls offsets of
                        16 bits */
};

/* How long answers live, from [dns]. */
struct answer_ttls {
    uint32_t min_s, max_s, negative_max_s;
};

/* One reference is the caller's. NULL: out of memory. @msg: checked, @reply says what it holds. */
struct answer *answer_from_reply(const struct answer_key *key, const uint8_t *msg,
                                 const struct wire_reply *reply, const struct answer_ttls *ttls,
                                 uint64_t now_ms);
/* The whole message, to be passed on as it is: a signed transaction's. Never for the cache. */
struct answer *answer_from_message(const struct answer_key *key, const uint8_t *msg,
                                   const struct wire_reply *reply, uint64_t now_ms);
/* Only a question and a code. @life_s: 0 for the waiting askers only. */
struct answer *answer_from_code(const struct answer_key *key, unsigned rcode, uint32_t life_s,
                                uint64_t now_ms);

/* A record of our own data: owner is the question's name from byte @owner_at on. */
struct answer_record {
    uint8_t owner_at;
    bool is_authority;
    uint16_t type;
    uint32_t ttl_s;
    const uint8_t *data;
    uint16_t n_data;
};
struct answer *answer_from_records(const struct answer_key *key, unsigned rcode,
                                   const struct answer_record *records, unsigned n_records,
                                   uint64_t now_ms);

static inline struct answer *answer_ref(struct answer *a)
{
    a->n_refs++;
    return a;
}
void answer_unref(struct answer *a);
/* Memory it takes, the allocator's share included. */
size_t answer_bytes(const struct answer *a);

/* What one asker is told beside the answer. */
struct answer_manner {
    int ede;           /* WIRE_EDE_NONE, or a code (only with OPT) */
    bool is_authentic; /* AD */
    bool is_stale;     /* expired: TTLs say ANSWER_STALE_TTL_S (RFC 8767 section 4) */
};
enum { ANSWER_STALE_TTL_S = 30 };

/**
 * answer_write - the answer for one asker: id, case, flags, TTLs by age, OPT, cut to what fits
 * @q: the asker's query. @max_bytes: what the transport and the asker take; @buf holds that much.
 * A raw answer changes in its id only; where it does not fit, TC=1 and the question go out instead.
 * Whole additional section left out when that makes it fit; else TC=1 with the question alone.
 * Returns: length, at most @max_bytes (which is at least WIRE_UDP_MIN).
 */
size_t answer_write(const struct answer *a, const struct wire_query *q, uint64_t now_ms,
                    const struct answer_manner *manner, uint8_t *buf, size_t max_bytes);
/* Addresses of an A or AAAA answer, as wire_addresses(). */
int answer_addresses(const struct answer *a, struct addr *ret_addrs, unsigned max);

#endif

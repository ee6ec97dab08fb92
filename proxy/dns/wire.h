/* wire - DNS messages as bytes: names, queries, replies; strict and bounded (pure). */
#ifndef PROXY_DNS_WIRE_H
#define PROXY_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

enum {
    WIRE_HEADER_BYTES = 12,
    WIRE_NAME_MAX = 255, /* RFC 1035 section 2.3.4, length bytes and root included */
    WIRE_LABEL_MAX = 63,
    WIRE_NAME_TEXT_MAX = 1024, /* every byte as \DDD, and the NUL */
    WIRE_MESSAGE_MAX = 65535,
    WIRE_UDP_MIN =
        512, /* without OPT, RFC 1035; and what smaller sizes count as, RFC 6891 section 6.2.3 */
    WIRE_UDP_BYTES = 1232,    /* what we announce and the most we send by UDP */
    WIRE_OPT_BYTES = 11,      /* an OPT record without options */
    WIRE_EDE_BYTES = 6,       /* one extended error without text, RFC 8914 */
    WIRE_KEEPALIVE_BYTES = 6, /* one edns-tcp-keepalive with a time, RFC 7828 */
    WIRE_QUERY_MAX = WIRE_HEADER_BYTES + WIRE_NAME_MAX + 4 + WIRE_OPT_BYTES,
    WIRE_PAD_BYTES = 128, /* queries over TLS are a multiple of it, RFC 8467 section 4.1 */
    WIRE_ASK_MAX = WIRE_QUERY_MAX + 4 + WIRE_PAD_BYTES,
    WIRE_RECORDS_MAX = (WIRE_MESSAGE_MAX - WIRE_HEADER_BYTES) / 11 + 1,
    WIRE_CHAIN_MAX = 16, /* CNAMEs that are followed */
};

enum {
    WIRE_TYPE_A = 1,
    WIRE_TYPE_NS = 2,
    WIRE_TYPE_CNAME = 5,
    WIRE_TYPE_SOA = 6,
    WIRE_TYPE_PTR = 12,
    WIRE_TYPE_HINFO = 13,
    WIRE_TYPE_TXT = 16,
    WIRE_TYPE_SIG = 24,
    WIRE_TYPE_AAAA = 28,
    WIRE_TYPE_OPT = 41,
    WIRE_TYPE_DS = 43,
    WIRE_TYPE_TKEY = 249,
    WIRE_TYPE_TSIG = 250,
    WIRE_TYPE_IXFR = 251,
    WIRE_TYPE_AXFR = 252,
    WIRE_TYPE_ANY = 255,
};

enum { WIRE_CLASS_IN = 1, WIRE_CLASS_CH = 3, WIRE_CLASS_ANY = 255 };

enum {
    WIRE_RCODE_NOERROR = 0,
    WIRE_RCODE_FORMERR = 1,
    WIRE_RCODE_SERVFAIL = 2,
    WIRE_RCODE_NXDOMAIN = 3,
    WIRE_RCODE_NOTIMP = 4,
    WIRE_RCODE_REFUSED = 5,
    WIRE_RCODE_BADVERS = 16,
};

/* The flag bits of the header's second word. */
enum {
    WIRE_FLAG_QR = 0x8000,
    WIRE_FLAG_AA = 0x0400,
    WIRE_FLAG_TC = 0x0200,
    WIRE_FLAG_RD = 0x0100,
    WIRE_FLAG_RA = 0x0080,
    WIRE_FLAG_AD = 0x0020,
    WIRE_FLAG_CD = 0x0010,
    WIRE_OPCODE_MASK = 0x7800,
    WIRE_RCODE_MASK = 0x000f,
};

/* Extended errors that we send (RFC 8914 section 4). */
enum {
    WIRE_EDE_NONE = -1,
    WIRE_EDE_STALE = 3,
    WIRE_EDE_CACHED_ERROR = 13,
    WIRE_EDE_BLOCKED = 15,
    WIRE_EDE_PROHIBITED = 18,
    WIRE_EDE_STALE_NXDOMAIN = 19,
    WIRE_EDE_NOT_AUTHORITATIVE = 20,
    WIRE_EDE_NOT_SUPPORTED = 21,
    WIRE_EDE_NO_REACHABLE = 22,
    WIRE_EDE_NETWORK_ERROR = 23,
};

/* A name in wire form: labels and root, never compressed. Always valid: only the functions below
 * make one. */
struct wire_name {
    uint8_t len; /* 1..255 */
    uint8_t bytes[WIRE_NAME_MAX];
};

struct wire_question {
    struct wire_name name;
    uint16_t type;
    uint16_t class;
};

static inline uint16_t wire_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t wire_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void wire_put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void wire_put32(uint8_t *p, uint32_t v)
{
    wire_put16(p, v >> 16);
    wire_put16(p + 2, v & 0xffff);
}

/* ---- names ---- */

/**
 * wire_name_read - the name at *at, compression undone
 * @at: moved behind the name on success. Pointers go strictly backwards, so their number is
 * bounded; @ret_name may be NULL when only validity matters. Returns: 0 · -EBADMSG (label type,
 * length, pointer, past the end of @len).
 */
int wire_name_read(const uint8_t *msg, size_t len, size_t *at, struct wire_name *ret_name)
    __attribute__((warn_unused_result));
/* Master file text, final dot optional, \. and \DDD understood; "." and "" are the root. 0 ·
 * -EINVAL. */
int wire_name_from_text(const char *text, size_t len, struct wire_name *ret_name)
    __attribute__((warn_unused_result));
/* The other way, without the final dot ("." for the root); gives the same name when read back.
 * Returns @buf. */
const char *wire_name_text(const struct wire_name *n, char buf[static WIRE_NAME_TEXT_MAX]);
/* ASCII letters only (RFC 4343). */
void wire_name_lower(struct wire_name *n);
bool wire_name_equal(const struct wire_name *a, const struct wire_name *b);       /* case ignored */
bool wire_name_equal_exact(const struct wire_name *a, const struct wire_name *b); /* byte by byte */
/* Whether @n is @suffix or below it (whole labels; case ignored). ret_at: where the suffix begins
 * in n->bytes. */
bool wire_name_has_suffix(const struct wire_name *n, const struct wire_name *suffix,
                          size_t *ret_at);

/* ---- queries of clients ---- */

enum wire_query_outcome {
    WIRE_QUERY_DROP = 1, /* no answer at all: under 12 bytes, or a response */
    WIRE_QUERY_FORMERR,
    WIRE_QUERY_NOTIMP,
    WIRE_QUERY_BADVERS,
};

struct wire_query {
    uint16_t id;
    uint16_t flags;    /* as received */
    uint16_t udp_size; /* 512 without OPT, never less */
    bool has_question; /* question below is valid; false for some errors */
    bool has_opt;
    bool wants_dnssec;             /* DO */
    bool has_signature;            /* TSIG or SIG(0) */
    bool has_keepalive;            /* edns-tcp-keepalive */
    bool says_keepalive;           /* set by who answers by TCP: the reply says keepalive_ds */
    uint16_t keepalive_ds;         /* tenths of a second */
    struct wire_question question; /* case as asked */
    size_t len;                    /* of the message, when it was understood to its end */
};

/**
 * wire_query_parse - a message that claims to be a query
 * @ret: filled as far as the message was understood, also with an outcome other than 0
 * Bytes behind the message are ignored. Work is linear in @len, whatever the counts claim.
 * Returns: 0 · an enum wire_query_outcome.
 */
int wire_query_parse(const uint8_t *msg, size_t len, struct wire_query *ret)
    __attribute__((warn_unused_result));
/* What @msg, which wire_query_parse() understood, says by EDNS options (a cookie, a client's
 * subnet) becomes padding of the same length: the options of one hop are not the next one's
 * business. */
void wire_hide_options(uint8_t *msg, size_t len);
/* An answer without records: header, question if there is one, OPT if the query had one. @ede:
 * WIRE_EDE_NONE or a code.
 * @buf holds WIRE_QUERY_MAX + WIRE_EDE_BYTES + WIRE_KEEPALIVE_BYTES. Returns its length. */
size_t wire_error_write(const struct wire_query *q, unsigned rcode, int ede, uint8_t *buf);
/* Appends our OPT; the caller adjusts ARCOUNT. Returns its length, at most WIRE_OPT_BYTES +
 * WIRE_EDE_BYTES. */
size_t wire_opt_write(uint8_t *at, unsigned rcode, bool wants_dnssec, int ede);

/* Appends to the OPT of @n_opt bytes at @at what @q says beside; returns how much. */
size_t wire_opt_add_keepalive(uint8_t *at, size_t n_opt, const struct wire_query *q);

/* ---- our queries and the replies to them ---- */

struct wire_ask {
    const struct wire_question *question;
    uint16_t id;
    bool wants_dnssec;      /* DO */
    bool checking_disabled; /* CD */
    bool authentic_data;    /* AD */
    bool without_opt;
    bool is_padded;     /* over TLS only (RFC 7830 section 6) */
    const uint8_t *raw; /* borrowed; not NULL: this message goes out as it is, but for the id, and
                           what comes back is matched and not looked into */
    size_t n_raw;
};

/* @buf holds WIRE_ASK_MAX, or n_raw. Returns the length. */
size_t wire_ask_write(const struct wire_ask *ask, uint8_t *buf);

enum wire_reply_outcome {
    WIRE_REPLY_WRONG = 1, /* does not answer this question: not ours, ignore */
    WIRE_REPLY_BAD,       /* answers it, but is malformed */
};

struct wire_reply {
    uint16_t flags;
    unsigned rcode;    /* with the upper bits of OPT */
    bool is_truncated; /* TC: nothing below is valid, nor is it for a raw ask but for len */
    bool has_cname;    /* in the answer section */
    bool has_wanted;   /* a record of the asked type in the answer section */
    bool has_soa;      /* in the authority section */
    int ede;           /* its first extended error; WIRE_EDE_NONE */
    uint32_t soa_minimum_s;
    uint32_t min_ttl_s;                           /* of all records kept; UINT32_MAX without any */
    uint16_t n_answer, n_authority, n_additional; /* kept: without OPT and what stands behind it */
    size_t question_end;
    size_t additional_at; /* where the additional section begins */
    size_t len;           /* of the part kept: trailing bytes and OPT cut off */
    unsigned n_ttls;
    uint16_t ttl_at[WIRE_RECORDS_MAX]; /* offset of each kept record's TTL */
};

/**
 * wire_reply_check - whether @msg answers @ask, and what it holds; every record is walked
 * @exact_case: the question must come back byte by byte (0x20)
 * Returns: 0 · an enum wire_reply_outcome.
 */
int wire_reply_check(const uint8_t *msg, size_t len, const struct wire_ask *ask, bool exact_case,
                     struct wire_reply *ret) __attribute__((warn_unused_result));

/* A record of a checked message. */
struct wire_record {
    size_t at;      /* of the owner name */
    size_t data_at; /* of RDATA */
    uint16_t type, class, n_data;
    uint32_t ttl;
};
/* The record at *at, which moves behind it. 0 · -EBADMSG. */
int wire_record_read(const uint8_t *msg, size_t len, size_t *at, struct wire_record *ret)
    __attribute__((warn_unused_result));

/**
 * wire_addresses - the A or AAAA records that the chain of CNAMEs from the question leads to
 * @msg: checked by wire_reply_check(). @type: WIRE_TYPE_A or WIRE_TYPE_AAAA; 0, with @max 0: the
 * chain alone is walked. Records off the chain are not looked at. Returns: how many were stored, at
 * most @max · -ELOOP the chain is longer than WIRE_CHAIN_MAX · -EBADMSG.
 */
int wire_addresses(const uint8_t *msg, size_t len, unsigned n_answer, unsigned type,
                   struct addr *ret_addrs, unsigned max) __attribute__((warn_unused_result));

#endif

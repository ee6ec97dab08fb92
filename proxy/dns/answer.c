/*
 * An answer is kept as the message that came, minus OPT and minus what stood behind it, with the
 * offsets of its TTLs; so every type passes byte for byte and answering is a copy and a few
 * patches. Everything that belongs to one asker (id, letter case, flags, OPT, size) is put in when
 * it is sent (RFC 6891 section 6.2.6: two legs, two transactions). TTLs are capped when stored (RFC
 * 2181 section 8, RFC 8767 section 4) and count down by the monotonic clock that the caller hands
 * in. Negative answers live as RFC 2308 section 5 says, and only with a SOA. Belongs to one worker:
 * plain counts.
 */
#include "proxy/dns/answer.h"

#include <stdlib.h>
#include <string.h>

/* What malloc adds to a block and rounds it to (glibc, 64 bits). */
enum { BLOCK_OVERHEAD_BYTES = 8, BLOCK_ROUND_BYTES = 16 };

static size_t ttls_at(uint32_t len)
{
    return (len + 1u) & ~1u;
}

size_t answer_bytes(const struct answer *a)
{
    size_t n = sizeof(*a) + ttls_at(a->len) + a->n_ttls * sizeof(uint16_t) + BLOCK_OVERHEAD_BYTES;
    return (n + BLOCK_ROUND_BYTES - 1) / BLOCK_ROUND_BYTES * BLOCK_ROUND_BYTES;
}

static uint16_t ttl_offset(const struct answer *a, unsigned i)
{
    uint16_t at;
    memcpy(&at, a->bytes + ttls_at(a->len) + i * sizeof(at), sizeof(at));
    return at;
}

static void set_ttl_offset(struct answer *a, unsigned i, uint16_t at)
{
    memcpy(a->bytes + ttls_at(a->len) + i * sizeof(at), &at, sizeof(at));
}

/* Zeroed but for the key, the question and the time. */
static struct answer *answer_new(const struct answer_key *key, size_t len, unsigned n_ttls,
                                 uint64_t now_ms)
{
    size_t total = sizeof(struct answer) + ttls_at((uint32_t)len) + n_ttls * sizeof(uint16_t);
    struct answer *a = malloc(total);
    if (!a)
        return NULL;
    *a = (struct answer){
        .group = key->group,
        .type = key->question.type,
        .class = key->question.class,
        .key_flags = key->flags,
        .n_refs = 1,
        .stored_ms = now_ms,
        .expires_ms = now_ms,
        .question_end = (uint16_t)(WIRE_HEADER_BYTES + key->question.name.len + 4),
        .n_ttls = (uint16_t)n_ttls,
        .len = (uint32_t)len,
        .ede = WIRE_EDE_NONE,
    };
    a->additional_at = a->question_end;
    return a;
}

static void put_question(struct answer *a, const struct answer_key *key)
{
    const struct wire_name *name = &key->question.name;
    memset(a->bytes, 0, WIRE_HEADER_BYTES);
    memcpy(a->bytes + WIRE_HEADER_BYTES, name->bytes, name->len);
    wire_put16(a->bytes + a->question_end - 4, key->question.type);
    wire_put16(a->bytes + a->question_end - 2, key->question.class);
}

static void set_life(struct answer *a, uint32_t life_s)
{
    a->life_s = life_s;
    a->expires_ms = a->stored_ms + (uint64_t)life_s * 1000;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static bool is_negative(const struct wire_reply *reply)
{
    return reply->rcode == WIRE_RCODE_NXDOMAIN || !reply->has_wanted;
}

/* How long it may be kept; *ret_cap is the most that any TTL in it may say. */
static uint32_t life_of(const struct wire_reply *reply, const struct answer_ttls *ttls,
                        uint32_t *ret_cap)
{
    *ret_cap = ttls->max_s;
    if ((reply->rcode != WIRE_RCODE_NOERROR && reply->rcode != WIRE_RCODE_NXDOMAIN) ||
        !reply->n_ttls)
        return 0;
    if (!is_negative(reply)) {
        uint32_t life = reply->min_ttl_s < ttls->min_s ? ttls->min_s : reply->min_ttl_s;
        return min_u32(life, ttls->max_s);
    }
    if (!reply->has_soa)
        return 0;
    *ret_cap = min_u32(ttls->negative_max_s, reply->soa_minimum_s);
    return min_u32(reply->min_ttl_s, *ret_cap);
}

static void clamp_ttls(struct answer *a, uint32_t least, uint32_t most)
{
    for (unsigned i = 0; i < a->n_ttls; i++) {
        uint8_t *at = a->bytes + ttl_offset(a, i);
        uint32_t ttl = wire_get32(at);
        if (ttl < least)
            ttl = least;
        wire_put32(at, min_u32(ttl, most));
    }
}

struct answer *answer_from_reply(const struct answer_key *key, const uint8_t *msg,
                                 const struct wire_reply *reply, const struct answer_ttls *ttls,
                                 uint64_t now_ms)
{
    struct answer *a = answer_new(key, reply->len, reply->n_ttls, now_ms);
    if (!a)
        return NULL;
    memcpy(a->bytes, msg, reply->len);
    put_question(a, key);
    for (unsigned i = 0; i < reply->n_ttls; i++)
        set_ttl_offset(a, i, reply->ttl_at[i]);
    a->rcode = (uint16_t)reply->rcode;
    a->n_answer = reply->n_answer;
    a->n_authority = reply->n_authority;
    a->n_additional = reply->n_additional;
    a->additional_at = (uint16_t)reply->additional_at;
    a->ede = (int16_t)reply->ede;
    a->is_authentic = reply->flags & WIRE_FLAG_AD;
    uint32_t cap;
    set_life(a, life_of(reply, ttls, &cap));
    clamp_ttls(a, is_negative(reply) ? 0 : min_u32(ttls->min_s, cap), cap);
    /* NXDOMAIN is about the name, whatever the type (RFC 2308 section 5); behind a CNAME it is
     * about another name. */
    if (a->rcode == WIRE_RCODE_NXDOMAIN && a->n_answer == 0) {
        a->key_flags |= ANSWER_KEY_NXDOMAIN;
        a->type = 0;
    }
    return a;
}

struct answer *answer_from_message(const struct answer_key *key, const uint8_t *msg,
                                   const struct wire_reply *reply, uint64_t now_ms)
{
    struct answer *a = answer_new(key, reply->len, 0, now_ms);
    if (!a)
        return NULL;
    memcpy(a->bytes, msg, reply->len);
    a->rcode = (uint16_t)reply->rcode;
    a->is_raw = true;
    return a;
}

struct answer *answer_from_code(const struct answer_key *key, unsigned rcode, uint32_t life_s,
                                uint64_t now_ms)
{
    struct answer *a = answer_new(key, WIRE_HEADER_BYTES + key->question.name.len + 4u, 0, now_ms);
    if (!a)
        return NULL;
    put_question(a, key);
    a->rcode = (uint16_t)rcode;
    set_life(a, life_s);
    return a;
}

struct answer *answer_from_records(const struct answer_key *key, unsigned rcode,
                                   const struct answer_record *records, unsigned n_records,
                                   uint64_t now_ms)
{
    size_t len = WIRE_HEADER_BYTES + key->question.name.len + 4u;
    for (unsigned i = 0; i < n_records; i++)
        len += 12u + records[i].n_data;
    struct answer *a = len > WIRE_MESSAGE_MAX ? NULL : answer_new(key, len, n_records, now_ms);
    if (!a)
        return NULL;
    put_question(a, key);
    a->rcode = (uint16_t)rcode;
    a->is_local = true;
    size_t at = a->question_end;
    for (unsigned i = 0; i < n_records; i++) {
        const struct answer_record *r = &records[i];
        uint8_t *p = a->bytes + at;
        wire_put16(p, 0xc000u | (WIRE_HEADER_BYTES + r->owner_at));
        wire_put16(p + 2, r->type);
        wire_put16(p + 4, key->question.class);
        wire_put32(p + 6, r->ttl_s);
        wire_put16(p + 10, r->n_data);
        memcpy(p + 12, r->data, r->n_data);
        set_ttl_offset(a, i, (uint16_t)(at + 6));
        at += 12u + r->n_data;
        if (r->is_authority)
            a->n_authority++;
        else
            a->n_answer++;
    }
    a->additional_at = (uint16_t)at;
    return a;
}

void answer_unref(struct answer *a)
{
    if (a && --a->n_refs == 0)
        free(a);
}

/* ---- sending ---- */

static void count_down(const struct answer *a, uint64_t now_ms, bool is_stale, uint8_t *buf,
                       size_t len)
{
    uint64_t age_s = (now_ms - a->stored_ms) / 1000;
    if (age_s == 0 && !is_stale)
        return;
    for (unsigned i = 0; i < a->n_ttls; i++) {
        size_t at = ttl_offset(a, i);
        if (at >= len)
            return; /* in order: the rest was left out */
        uint32_t ttl = wire_get32(buf + at);
        uint32_t left = ttl > age_s ? (uint32_t)(ttl - age_s) : 0;
        wire_put32(buf + at, is_stale ? ANSWER_STALE_TTL_S : left);
    }
}

/* The signature covers all of it but the id (RFC 8945 section 4.3.2 signs the original one). */
static size_t write_raw(const struct answer *a, const struct wire_query *q, uint8_t *buf,
                        size_t max_bytes)
{
    if (a->len > max_bytes) {
        size_t len = wire_error_write(q, a->rcode & WIRE_RCODE_MASK, WIRE_EDE_NONE, buf);
        wire_put16(buf + 2, wire_get16(buf + 2) | WIRE_FLAG_TC);
        return len;
    }
    memcpy(buf, a->bytes, a->len);
    wire_put16(buf, q->id);
    return a->len;
}

size_t answer_write(const struct answer *a, const struct wire_query *q, uint64_t now_ms,
                    const struct answer_manner *manner, uint8_t *buf, size_t max_bytes)
{
    int ede = manner->ede;
    if (a->is_raw)
        return write_raw(a, q, buf, max_bytes);
    size_t opt_bytes = !q->has_opt ? 0
                                   : WIRE_OPT_BYTES + (ede == WIRE_EDE_NONE ? 0 : WIRE_EDE_BYTES) +
                                         (q->says_keepalive ? WIRE_KEEPALIVE_BYTES : 0);
    unsigned rcode = a->rcode > WIRE_RCODE_MASK && !q->has_opt ? WIRE_RCODE_SERVFAIL : a->rcode;
    unsigned flags = WIRE_FLAG_QR | WIRE_FLAG_RA | (q->flags & (WIRE_FLAG_RD | WIRE_FLAG_CD)) |
                     (a->is_local ? WIRE_FLAG_AA : 0) | (manner->is_authentic ? WIRE_FLAG_AD : 0) |
                     (rcode & WIRE_RCODE_MASK);
    unsigned counts[] = {a->n_answer, a->n_authority, a->n_additional};
    size_t len = a->len;
    if (len + opt_bytes > max_bytes) {
        counts[2] = 0;
        len = a->additional_at;
    }
    if (len + opt_bytes > max_bytes) {
        flags |= WIRE_FLAG_TC;
        counts[0] = counts[1] = 0;
        len = a->question_end;
    }
    memcpy(buf, a->bytes, len);
    count_down(a, now_ms, manner->is_stale, buf, len);
    wire_put16(buf, q->id);
    wire_put16(buf + 2, flags);
    wire_put16(buf + 4, 1);
    wire_put16(buf + 6, counts[0]);
    wire_put16(buf + 8, counts[1]);
    wire_put16(buf + 10, counts[2] + q->has_opt);
    memcpy(buf + WIRE_HEADER_BYTES, q->question.name.bytes, q->question.name.len);
    wire_put16(buf + a->question_end - 4, q->question.type);
    if (q->has_opt) {
        size_t n_opt = wire_opt_write(buf + len, rcode, q->wants_dnssec, ede);
        len += n_opt + wire_opt_add_keepalive(buf + len, n_opt, q);
    }
    return len;
}

int answer_addresses(const struct answer *a, struct addr *ret_addrs, unsigned max)
{
    if (a->type != WIRE_TYPE_A && a->type != WIRE_TYPE_AAAA)
        return 0;
    return wire_addresses(a->bytes, a->len, a->n_answer, a->type, ret_addrs, max);
}

/* The cache and the answers in it, on a clock of the test's own. */
#include "proxy/dns/cache.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/siphash.h"

enum { MAX_BYTES = 1 << 20 };

static const uint8_t seed[16] = "0123456789abcdef";
static const struct answer_ttls default_ttls = {.max_s = 86400, .negative_max_s = 3600};

static struct answer_key key_of(const char *name, unsigned type)
{
    struct answer_key key = {.group = 1};
    cr_assert_eq(wire_name_from_text(name, strlen(name), &key.question.name), 0);
    key.question.type = (uint16_t)type;
    key.question.class = WIRE_CLASS_IN;
    return key;
}

/* A reply of @n records of @type with these TTLs, and perhaps a SOA. */
struct made {
    uint8_t msg[2048];
    size_t len;
    struct wire_reply reply;
};

static void make(struct made *m, const struct answer_key *key, unsigned rcode, const uint32_t *ttls,
                 unsigned n, const uint32_t *soa)
{
    struct wire_ask ask = {.question = &key->question, .id = 1, .without_opt = true};
    m->len = wire_ask_write(&ask, m->msg);
    wire_put16(m->msg + 2, WIRE_FLAG_QR | WIRE_FLAG_RA | rcode);
    wire_put16(m->msg + 6, n);
    wire_put16(m->msg + 8, soa != NULL);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *p = m->msg + m->len;
        memcpy(p, "\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1", 16);
        wire_put16(p + 2, key->question.type);
        wire_put32(p + 6, ttls[i]);
        m->len += 16;
    }
    if (soa) {
        uint8_t *p = m->msg + m->len;
        memset(p, 0, 12 + 22);
        memcpy(p, "\xc0\x0c\0\6\0\1\0\0\0\0\0\x16", 12);
        wire_put32(p + 6, soa[0]);
        wire_put32(p + 12 + 18, soa[1]);
        m->len += 34;
    }
    cr_assert_eq(wire_reply_check(m->msg, m->len, &ask, false, &m->reply), 0);
}

static struct answer *answer_of(const struct answer_key *key, unsigned rcode, const uint32_t *ttls,
                                unsigned n, const uint32_t *soa, const struct answer_ttls *limits,
                                uint64_t now_ms)
{
    struct made *m = malloc(sizeof(*m));
    make(m, key, rcode, ttls, n, soa);
    struct answer *a = answer_from_reply(key, m->msg, &m->reply, limits, now_ms);
    free(m);
    cr_assert_not_null(a);
    return a;
}

static struct answer *simple(const struct answer_key *key, uint32_t ttl, uint64_t now_ms)
{
    return answer_of(key, 0, &ttl, 1, NULL, &default_ttls, now_ms);
}

static struct answer *get(struct cache *c, const struct answer_key *key, uint64_t now_ms)
{
    return cache_get(c, key, cache_hash(c, key), 0, now_ms);
}

static void put(struct cache *c, struct answer *a)
{
    cache_put(c, a);
    answer_unref(a);
}

Test(dns_siphash, siphash__is_keyed__and_sees_every_byte)
{
    struct siphash_key a = {1, 2}, b = {1, 3};
    uint8_t text[40] = {0};
    for (size_t len = 0; len < sizeof(text); len++) {
        uint64_t h = siphash(&a, text, len);
        cr_assert_neq(h, siphash(&b, text, len));
        cr_assert_neq(h, siphash(&a, text, len + 1 < sizeof(text) ? len + 1 : 0));
        for (size_t i = 0; i < len; i++) {
            text[i] ^= 1;
            cr_assert_neq(h, siphash(&a, text, len), "byte %zu of %zu", i, len);
            text[i] ^= 1;
        }
    }
}

/* The table uses the low bits. */
Test(dns_siphash, siphash__spreads__over_low_bits)
{
    struct siphash_key key = {0x1234567890abcdefull, 42};
    static unsigned buckets[256];
    for (uint32_t i = 0; i < 65536; i++)
        buckets[siphash(&key, &i, sizeof(i)) & 255]++;
    for (unsigned i = 0; i < 256; i++)
        cr_assert(buckets[i] > 160 && buckets[i] < 360, "bucket %u: %u", i, buckets[i]);
}

Test(dns_cache, get__tells_apart__type_class_group_and_flags)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("www.example", WIRE_TYPE_A);
    put(c, simple(&key, 300, 0));
    cr_assert_not_null(get(c, &key, 0));
    struct answer_key other = key;
    other.question.type = WIRE_TYPE_TXT;
    cr_assert_null(get(c, &other, 0));
    other = key, other.question.class = WIRE_CLASS_CH;
    cr_assert_null(get(c, &other, 0));
    other = key, other.group = 2;
    cr_assert_null(get(c, &other, 0));
    other = key, other.flags = ANSWER_KEY_DO;
    cr_assert_null(get(c, &other, 0));
    other = key, other.flags = ANSWER_KEY_CD;
    cr_assert_null(get(c, &other, 0));
    other = key_of("ww.wexample", WIRE_TYPE_A);
    cr_assert_null(get(c, &other, 0));
    cache_free(c);
}

/* U23, B52: 24 hours on a fake clock, second by second at the edges. */
Test(dns_cache, get__counts_down__for_24_hours)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("www.example", WIRE_TYPE_A);
    uint64_t start_ms = 5000;
    put(c, answer_of(&key, 0, (uint32_t[]){86400, 90000}, 2, NULL, &default_ttls, start_ms));
    struct wire_query q = {.id = 7, .flags = WIRE_FLAG_RD, .question = key.question};
    uint8_t buf[512];
    for (uint64_t s = 0; s <= 86400; s += s < 3 || s >= 86397 ? 1 : 999) {
        if (s > 86390 && s < 86397)
            s = 86397;
        struct answer *a = get(c, &key, start_ms + s * 1000);
        cr_assert_eq(a != NULL, s < 86400, "second %lu", (unsigned long)s);
        if (!a)
            break;
        size_t len = answer_write(a, &q, start_ms + s * 1000,
                                  &(struct answer_manner){.ede = WIRE_EDE_NONE}, buf, sizeof(buf));
        cr_assert_eq(len, 12u + 17 + 2 * 16);
        cr_assert_eq(wire_get32(buf + 29 + 6), 86400 - s, "second %lu", (unsigned long)s);
        cr_assert_eq(wire_get32(buf + 29 + 16 + 6), 86400 - s, "90000 is capped to a day");
    }
    cr_assert_null(get(c, &key, start_ms + 86400 * 1000));
    cr_assert_not_null(get(c, &key, start_ms + 86400 * 1000 - 1));
    cache_free(c);
}

struct life_row {
    const char *what;
    unsigned rcode;
    uint32_t ttls[2];
    unsigned n;
    bool has_soa;
    uint32_t soa[2]; /* TTL, MINIMUM */
    struct answer_ttls limits;
    uint32_t life_s;
};

/* U14, B53, B54 */
static const struct life_row life_rows[] = {
    {"least of all", 0, {300, 60}, 2, false, {0}, {0, 86400, 3600}, 60},
    {"TTL 0", 0, {0}, 1, false, {0}, {0, 86400, 3600}, 0},
    {"one TTL 0 of two", 0, {300, 0}, 2, false, {0}, {0, 86400, 3600}, 0},
    {"TTL 1", 0, {1}, 1, false, {0}, {0, 86400, 3600}, 1},
    {"2^31-1", 0, {2147483647}, 1, false, {0}, {0, 86400, 3600}, 86400},
    {"2^31", 0, {2147483648u}, 1, false, {0}, {0, 86400, 3600}, 86400},
    {"2^32-1", 0, {4294967295u}, 1, false, {0}, {0, 86400, 3600}, 86400},
    {"min-ttl lifts", 0, {5}, 1, false, {0}, {30, 86400, 3600}, 30},
    {"max-ttl", 0, {5000}, 1, false, {0}, {0, 100, 3600}, 100},
    {"NXDOMAIN, minimum", 3, {0}, 0, true, {900, 60}, {0, 86400, 3600}, 60},
    {"NXDOMAIN, SOA TTL", 3, {0}, 0, true, {30, 60}, {0, 86400, 3600}, 30},
    {"NXDOMAIN, cap", 3, {0}, 0, true, {90000, 90000}, {0, 86400, 3600}, 3600},
    {"NXDOMAIN without SOA", 3, {0}, 0, false, {0}, {0, 86400, 3600}, 0},
    {"NXDOMAIN is not lifted", 3, {0}, 0, true, {900, 5}, {30, 86400, 3600}, 5},
    {"NXDOMAIN is not lifted, SOA TTL", 3, {0}, 0, true, {5, 900}, {30, 86400, 3600}, 5},
    {"NODATA", 0, {0}, 0, true, {900, 60}, {0, 86400, 3600}, 60},
    {"NODATA without SOA", 0, {0}, 0, false, {0}, {0, 86400, 3600}, 0},
    {"SERVFAIL with records", 2, {300}, 1, false, {0}, {0, 86400, 3600}, 0},
    {"REFUSED", 5, {0}, 0, true, {900, 60}, {0, 86400, 3600}, 0},
};

Test(dns_answer, from_reply__lives__as_its_ttls_say)
{
    for (size_t i = 0; i < sizeof(life_rows) / sizeof(life_rows[0]); i++) {
        const struct life_row *row = &life_rows[i];
        struct answer_key key = key_of("www.example", WIRE_TYPE_A);
        struct answer *a = answer_of(&key, row->rcode, row->ttls, row->n,
                                     row->has_soa ? row->soa : NULL, &row->limits, 1000);
        cr_assert_eq(a->life_s, row->life_s, "%s: %u s", row->what, a->life_s);
        cr_assert_eq(a->expires_ms, 1000 + row->life_s * 1000ull, "%s", row->what);
        if (row->has_soa && row->life_s)
            cr_assert_eq(wire_get32(a->bytes + 29 + row->n * 16 + 6), row->life_s,
                         "%s: the SOA's TTL", row->what);
        answer_unref(a);
    }
}

/* B54: NXDOMAIN is for all types, NODATA is not. */
Test(dns_cache, get__gives_nxdomain__for_every_type)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key a = key_of("nx.example", WIRE_TYPE_A), b = key_of("nx.example", 15);
    put(c, answer_of(&a, 3, NULL, 0, (uint32_t[]){60, 60}, &default_ttls, 0));
    struct answer *found = get(c, &b, 1000);
    cr_assert_not_null(found);
    struct wire_query q = {.question = b.question};
    uint8_t buf[512];
    answer_write(found, &q, 1000, &(struct answer_manner){.ede = WIRE_EDE_NONE}, buf, sizeof(buf));
    cr_assert_eq(wire_get16(buf + 12 + b.question.name.len), b.question.type,
                 "the question is not the asker's");
    a = key_of("nodata.example", WIRE_TYPE_A);
    b = key_of("nodata.example", WIRE_TYPE_TXT);
    put(c, answer_of(&a, 0, NULL, 0, (uint32_t[]){60, 60}, &default_ttls, 0));
    cr_assert_not_null(get(c, &a, 0));
    cr_assert_null(get(c, &b, 0));
    cache_free(c);
}

Test(dns_cache, put__keeps_the_answer__beside_a_failure)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("www.example", WIRE_TYPE_A), failure = key;
    failure.flags |= ANSWER_KEY_FAILURE;
    put(c, simple(&key, 10, 0));
    put(c, answer_from_code(&failure, WIRE_RCODE_SERVFAIL, 60, 0));
    cr_assert_eq(get(c, &key, 0)->rcode, 0);
    cr_assert_eq(get(c, &key, 10000)->rcode, WIRE_RCODE_SERVFAIL);
    cr_assert_null(cache_get(c, &key, cache_hash(c, &key), 1, 10000), "a failure of another epoch");
    cr_assert_eq(cache_last_failure(c, &key, cache_hash(c, &key))->life_s, 60);
    put(c, simple(&key, 10, 10000));
    cr_assert_eq(get(c, &key, 10000)->rcode, 0);
    cache_free(c);
}

Test(dns_cache, put__replaces__the_same_question)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("www.example", WIRE_TYPE_A);
    put(c, simple(&key, 10, 0));
    size_t used = cache_used_bytes(c);
    for (unsigned i = 0; i < 100; i++)
        put(c, simple(&key, 20, i));
    cr_assert_eq(cache_count(c), 1);
    cr_assert_eq(cache_used_bytes(c), used);
    cache_free(c);
}

/* B57: the bound holds at every moment, the least used goes first. */
Test(dns_cache, put__evicts_the_least_used__and_never_exceeds)
{
    enum { SMALL = 64 * 1024 };
    struct cache *c = cache_new(SMALL, seed);
    struct answer_key first = key_of("first.example", WIRE_TYPE_A);
    put(c, simple(&first, 86400, 0));
    char name[32];
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "n%u.example", i);
        struct answer_key key = key_of(name, WIRE_TYPE_A);
        put(c, simple(&key, 86400, i));
        cr_assert_leq(cache_used_bytes(c), SMALL, "%zu bytes after %u", cache_used_bytes(c), i);
        cr_assert_not_null(get(c, &first, i), "the one in use was evicted at %u", i);
        cr_assert_not_null(get(c, &key, i));
    }
    cr_assert_gt(cache_count(c), 100);
    cr_assert_eq(cache_counters(c)->n_evicted, 5001 - cache_count(c));
    struct answer_key old = key_of("n0.example", WIRE_TYPE_A);
    cr_assert_null(get(c, &old, 5000));
    cache_free(c);
}

Test(dns_cache, put__evicts_expired_ones__first)
{
    enum { SMALL = 64 * 1024 };
    struct cache *c = cache_new(SMALL, seed);
    char name[32];
    unsigned n = 0;
    while (cache_counters(c)->n_evicted + cache_counters(c)->n_expired == 0) {
        snprintf(name, sizeof(name), "n%u.example", n);
        struct answer_key key = key_of(name, WIRE_TYPE_A);
        put(c, simple(&key, n == 5 ? 1 : 86400, 2000 * (n > 5)));
        n++;
    }
    struct answer_key fifth = key_of("n5.example", WIRE_TYPE_A),
                      zeroth = key_of("n0.example", WIRE_TYPE_A);
    cr_assert_eq(cache_counters(c)->n_expired, 1);
    cr_assert_null(get(c, &fifth, 0));
    cr_assert_not_null(get(c, &zeroth, 0));
    cache_free(c);
}

Test(dns_cache, put__leaves_alone__answers_in_use)
{
    enum { SMALL = 64 * 1024 };
    struct cache *c = cache_new(SMALL, seed);
    struct answer_key key = key_of("held.example", WIRE_TYPE_A);
    put(c, simple(&key, 86400, 0));
    struct answer *held = answer_ref(get(c, &key, 0));
    cr_assert_eq(cache_flush(c, NULL), 1);
    cr_assert_null(get(c, &key, 0));
    cr_assert_eq(held->n_answer, 1);
    answer_unref(held);
    struct answer *again = simple(&key, 86400, 0);
    cache_put(c, again);
    cache_put(c, again); /* twice is once */
    answer_unref(again);
    cr_assert_eq(cache_count(c), 1);
    cache_free(c);
}

Test(dns_cache, put__does_not_keep__what_has_no_life_or_no_room)
{
    struct cache *c = cache_new(4096, seed);
    size_t used = cache_used_bytes(c);
    struct answer_key key = key_of("www.example", WIRE_TYPE_A);
    put(c, simple(&key, 0, 0));
    cr_assert_eq(cache_count(c), 0);
    uint32_t ttls[100];
    for (unsigned i = 0; i < 100; i++)
        ttls[i] = 300;
    put(c, answer_of(&key, 0, ttls, 100, NULL, &default_ttls, 0));
    cr_assert_eq(cache_count(c), 0);
    cr_assert_eq(cache_used_bytes(c), used);
    cache_free(c);
}

Test(dns_cache, flush__forgets__one_name_of_all_types)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key a = key_of("www.example", WIRE_TYPE_A),
                      b = key_of("www.example", WIRE_TYPE_TXT),
                      other = key_of("other.example", WIRE_TYPE_A);
    put(c, simple(&a, 300, 0));
    put(c, simple(&b, 300, 0));
    put(c, simple(&other, 300, 0));
    struct cache_names upper;
    cr_assert_eq(cache_names_parse("WWW.example", 11, &upper), 0);
    cr_assert_eq(cache_flush(c, &upper), 2);
    cr_assert_null(get(c, &a, 0));
    cr_assert_not_null(get(c, &other, 0));
    cache_free(c);
}

Test(dns_cache, flush__forgets__a_name_and_what_is_below)
{
    static const struct {
        const char *pattern;
        unsigned n; /* -EINVAL: 99 */
    } rows[] = {{"example.net", 1},
                {".example.net", 3},
                {"*.example.net", 2},
                {".EXAMPLE.NET.", 3},
                {".net", 4},
                {"*.net", 4},
                {"*.www.example.net", 1},
                {".", 0},
                {".nothing", 0},
                {"*", 0},
                {"", 99},
                {"..", 5},
                {".a..b", 99},
                {"*..net", 99},
                {"*.", 0}};
    static const char *const names[] = {"example.net", "www.example.net", "a.www.example.net",
                                        "notexample.net", "example.org"};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cache *c = cache_new(MAX_BYTES, seed);
        struct cache_names pattern;
        for (unsigned k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
            struct answer_key key = key_of(names[k], WIRE_TYPE_A);
            put(c, simple(&key, 300, 0));
        }
        int rc = cache_names_parse(rows[i].pattern, strlen(rows[i].pattern), &pattern);
        cr_expect_eq(rc, rows[i].n == 99 ? -EINVAL : 0, "%s: %d", rows[i].pattern, rc);
        if (rc == 0)
            cr_expect_eq(cache_flush(c, &pattern), rows[i].n, "%s", rows[i].pattern);
        cache_free(c);
    }
}

/* B11: additional data may go without TC, other data not. */
Test(dns_answer, write__leaves_out__additional_first)
{
    struct made *m = malloc(sizeof(*m));
    struct answer_key key = key_of("www.example", WIRE_TYPE_A);
    uint32_t ttl = 300;
    make(m, &key, 0, &ttl, 1, NULL);
    uint8_t *p = m->msg + m->len;
    memcpy(p, "\xc0\x0c\0\x10\0\1\0\0\0\0\x02\x58", 12);
    memset(p + 12, 1, 600);
    m->len += 612;
    wire_put16(m->msg + 10, 1);
    struct wire_ask ask = {.question = &key.question, .id = 1};
    cr_assert_eq(wire_reply_check(m->msg, m->len, &ask, false, &m->reply), 0);
    struct answer *a = answer_from_reply(&key, m->msg, &m->reply, &default_ttls, 0);
    struct wire_query q = {.question = key.question, .has_opt = true};
    uint8_t buf[1232];
    cr_assert_gt(answer_write(a, &q, 0, &(struct answer_manner){.ede = WIRE_EDE_NONE}, buf, 1232),
                 600);
    cr_assert_eq(wire_get16(buf + 10), 2);
    size_t len = answer_write(a, &q, 0, &(struct answer_manner){.ede = WIRE_EDE_NONE}, buf, 512);
    cr_assert_eq(len, 29u + 16 + 11);
    cr_assert_eq(wire_get16(buf + 2) & WIRE_FLAG_TC, 0);
    cr_assert_eq(wire_get16(buf + 6), 1);
    cr_assert_eq(wire_get16(buf + 10), 1);
    answer_unref(a);
    free(m);
}

/* RFC 8767: what has expired is there for a while, and a failure beside it changes nothing. */
Test(dns_cache, get_stale__gives_what_expired__for_so_long)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("stale.example", WIRE_TYPE_A), failed = key;
    uint64_t hash = cache_hash(c, &key), hour_ms = 3600000;
    failed.flags |= ANSWER_KEY_FAILURE;
    put(c, simple(&key, 60, 1000));
    cr_expect_null(cache_get_stale(c, &key, hash, hour_ms, 60999), "fresh is not stale");
    put(c, answer_from_code(&failed, WIRE_RCODE_SERVFAIL, 30, 61000));
    struct answer *a = cache_get_stale(c, &key, hash, hour_ms, 61000);
    cr_assert_not_null(a);
    cr_expect_eq(a->n_answer, 1);
    cr_expect_not_null(cache_get_stale(c, &key, hash, hour_ms, 61000 + hour_ms - 1));
    cr_expect_null(cache_get_stale(c, &key, hash, hour_ms, 61000 + hour_ms));
    cr_expect_null(cache_get_stale(c, &key, hash, 0, 61000));
    cache_free(c);
}

/* The newer of both kinds: a name that was there, and is not any more. */
Test(dns_cache, get_stale__prefers_the_newer)
{
    struct cache *c = cache_new(MAX_BYTES, seed);
    struct answer_key key = key_of("gone.example", WIRE_TYPE_A);
    uint64_t hash = cache_hash(c, &key);
    const uint32_t soa[] = {10, 10};
    put(c, simple(&key, 10, 1000));
    put(c, answer_of(&key, WIRE_RCODE_NXDOMAIN, NULL, 0, soa, &default_ttls, 20000));
    struct answer *a = cache_get_stale(c, &key, hash, 3600000, 40000);
    cr_assert_not_null(a);
    cr_expect_eq(a->rcode, WIRE_RCODE_NXDOMAIN);
    put(c, simple(&key, 10, 50000));
    a = cache_get_stale(c, &key, hash, 3600000, 70000);
    cr_assert_not_null(a);
    cr_expect_eq(a->rcode, WIRE_RCODE_NOERROR);
    cache_free(c);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static size_t resident_bytes(void)
{
    unsigned long all, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f, "%lu %lu", &all, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

enum { PHASE = 100000 };

/* One record, so that a message has from 60 bytes to 4 KiB: all sizes for a while, then small ones
 * only, then large ones, and so on. */
static void put_of_some_size(struct cache *c, unsigned number, uint32_t *chance)
{
    static const uint8_t data[4096];
    struct answer_key key = {.group = 1};
    wire_put32(key.question.name.bytes + 1, number);
    key.question.name.bytes[0] = 4;
    key.question.name.len = 6;
    key.question.type = 65280;
    key.question.class = WIRE_CLASS_IN;
    *chance = *chance * 1664525 + 1013904223;
    unsigned doublings = *chance >> 29, within = *chance >> 16 & 0x1fff;
    if (number / PHASE % 3 == 1)
        doublings = doublings < 4 ? 0 : 1;
    else if (number / PHASE % 3 == 2)
        doublings = doublings < 4 ? 5 : 7;
    unsigned n = (24u << doublings) * (8192 + within) / 8192;
    struct answer_record r = {
        .type = 65280, .ttl_s = 3600, .data = data, .n_data = (uint16_t)(n < 4000 ? n : 4000)};
    struct answer *a = answer_from_records(&key, 0, &r, 1, 0);
    cr_assert_not_null(a);
    a->expires_ms = 3600000; /* as if it had come from a name server */
    put(c, a);
}

/* What the process grows by, gaps of the allocator included, while 1.5 million answers of mixed
 * sizes pass and some hundred old ones are used all the time, so that they stay among them. */
static void expect_growth_below(size_t max_bytes)
{
    enum { HOT = 400, INSERTS = 1500000 };
    struct cache *c = cache_new(max_bytes, seed);
    uint32_t chance = 1;
    size_t before = resident_bytes(), most = before;
    unsigned n_hot = 0;
    for (unsigned i = 0; i < INSERTS; i++) {
        put_of_some_size(c, i, &chance);
        struct answer_key hot = {
            .group = 1,
            .question = {.type = 65280, .class = WIRE_CLASS_IN, .name = {.bytes = {4}, .len = 6}}};
        wire_put32(hot.question.name.bytes + 1, i / 2 % HOT);
        if (i % 2 == 0 && get(c, &hot, 0) && i >= INSERTS - 2 * HOT)
            n_hot++;
        if (i % 10000 == 0 && resident_bytes() > most)
            most = resident_bytes();
    }
    cr_expect_gt(cache_counters(c)->n_evicted, INSERTS / 2);
    cr_expect_gt(n_hot, HOT / 2, "%u of the old ones are left", n_hot);
    cr_expect_lt(most - before, max_bytes, "grew by %zu KiB", (most - before) / 1024);
    cache_free(c);
}

Test(dns_cache, put__keeps_the_process_below_its_size__at_4_mib)
{
    expect_growth_below(4 << 20);
}

Test(dns_cache, put__keeps_the_process_below_its_size__at_16_mib)
{
    expect_growth_below(16 << 20);
}
#endif

Test(dns_answer, write__says_thirty_seconds__of_a_stale_one)
{
    struct answer_key key = key_of("stale.example", WIRE_TYPE_A);
    struct answer *a = simple(&key, 5, 0);
    struct wire_query q = {.question = key.question, .udp_size = 512, .flags = WIRE_FLAG_RD};
    struct answer_manner manner = {.ede = WIRE_EDE_STALE, .is_stale = true, .is_authentic = true};
    uint8_t buf[512];
    size_t len = answer_write(a, &q, 100000, &manner, buf, sizeof(buf));
    cr_assert_eq(len, a->len);
    cr_expect_eq(wire_get32(buf + a->question_end + 6), ANSWER_STALE_TTL_S);
    cr_expect(wire_get16(buf + 2) & WIRE_FLAG_AD);
    answer_unref(a);
}

/* Names, queries and replies as bytes: vectors, every cut length, every byte flipped. */
#include "proxy/dns/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

/* ---- names: text ---- */

Test(dns_wire, name_from_text__reads__what_name_text_writes)
{
    static const struct {
        const char *text, *back;
        size_t len; /* of the wire form */
    } rows[] = {
        {".", ".", 1},
        {"", ".", 1},
        {"a", "a", 3},
        {"a.", "a", 3},
        {"WWW.Example", "WWW.Example", 13},
        {"a\\.b", "a\\.b", 5},
        {"a\\046b", "a\\.b", 5},
        {"a.b", "a.b", 5},
        {"\\000\\255\\010", "\\000\\255\\010", 5},
        {"a\\\\b", "a\\\\b", 5},
        {"_dns._udp.x", "_dns._udp.x", 13},
        {"a b", "a\\032b", 5},
        {"*.x", "*.x", 5},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_name n, again;
        char text[WIRE_NAME_TEXT_MAX];
        cr_assert_eq(wire_name_from_text(rows[i].text, strlen(rows[i].text), &n), 0, "%s",
                     rows[i].text);
        cr_assert_eq(n.len, rows[i].len, "%s: %u bytes", rows[i].text, n.len);
        cr_assert_str_eq(wire_name_text(&n, text), rows[i].back);
        cr_assert_eq(wire_name_from_text(text, strlen(text), &again), 0);
        cr_assert(wire_name_equal_exact(&n, &again), "%s", text);
    }
}

Test(dns_wire, name_from_text__fails__on_malformed_text)
{
    static const char *const rows[] = {"..",  ".a",   "a..b",  "a..",   "\\",   "a\\",
                                       "\\1", "\\12", "\\256", "\\1x2", "\\999"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_name n;
        cr_assert_eq(wire_name_from_text(rows[i], strlen(rows[i]), &n), -EINVAL, "%s", rows[i]);
    }
}

Test(dns_wire, name_from_text__bounds__labels_and_names)
{
    char text[600];
    struct wire_name n;
    memset(text, 'a', sizeof(text));
    cr_assert_eq(wire_name_from_text(text, 63, &n), 0);
    cr_assert_eq(wire_name_from_text(text, 64, &n), -EINVAL);
    for (size_t i = 63; i < sizeof(text); i += 64)
        text[i] = '.';
    cr_assert_eq(wire_name_from_text(text, 253, &n), 0, "253 characters are 255 bytes");
    cr_assert_eq(n.len, 255);
    cr_assert_eq(wire_name_from_text(text, 254, &n), -EINVAL);
    for (size_t len = 254; len < sizeof(text); len++)
        cr_assert_eq(wire_name_from_text(text, len, &n), -EINVAL, "%zu characters", len);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 ? '.' : 'a';
    cr_assert_eq(wire_name_from_text(text, 253, &n), 0, "127 labels");
    cr_assert_eq(wire_name_from_text(text, 254, &n), 0, "and a final dot");
    cr_assert_eq(wire_name_from_text(text, 255, &n), -EINVAL);
}

Test(dns_wire, name_text__fits__whatever_the_bytes)
{
    struct wire_name n = {.len = 255};
    char text[WIRE_NAME_TEXT_MAX];
    size_t at = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t label = i < 3 ? 63 : 61;
        n.bytes[at++] = label;
        memset(n.bytes + at, 0xff, label);
        at += label;
    }
    n.bytes[at] = 0;
    cr_assert_lt(strlen(wire_name_text(&n, text)), sizeof(text));
}

/* ---- names: wire ---- */

struct name_row {
    const char *what;
    const uint8_t *bytes; /* behind a header of 12 bytes */
    size_t len, at;       /* at: offset behind the header where the name begins */
    const char *text;     /* NULL: fails */
    size_t end;
};

static const struct name_row name_rows[] = {
    {"root", BYTES("\0"), 0, ".", 1},
    {"plain", BYTES("\3www\2ex\0"), 0, "www.ex", 8},
    {"pointer back", BYTES("\2ex\0\3www\xc0\x0c"), 4, "www.ex", 10},
    {"pointer to the middle", BYTES("\1a\2ex\0\xc0\x0e"), 6, "ex", 8},
    {"two pointers", BYTES("\2ex\0\1a\xc0\x0c\1b\xc0\x10"), 8, "b.a.ex", 12},
    {"self", BYTES("\xc0\x0c"), 0, NULL, 0},
    {"forward", BYTES("\xc0\x0e\0"), 0, NULL, 0},
    {"into the header", BYTES("\xc0\x00"), 0, NULL, 0},
    {"past the end", BYTES("\xc0\xff"), 0, NULL, 0},
    {"into its own labels", BYTES("\1a\xc0\x0c"), 0, NULL, 0},
    {"two-cycle", BYTES("\xc0\x0e\xc0\x0c"), 2, NULL, 0},
    {"runs into the name that points", BYTES("\5ab\2ex\0\xc0\x0e\0"), 4, NULL, 0},
    {"half a pointer", BYTES("\xc0"), 0, NULL, 0},
    {"label type 01", BYTES("\x41x\0"), 0, NULL, 0},
    {"label type 10", BYTES("\x81x\0"), 0, NULL, 0},
    {"no root", BYTES("\3www"), 0, NULL, 0},
    {"label past the end", BYTES("\x09www\0"), 0, NULL, 0},
    {"nothing", BYTES(""), 0, NULL, 0},
};

Test(dns_wire, name_read__follows_pointers__only_backwards)
{
    for (size_t i = 0; i < sizeof(name_rows) / sizeof(name_rows[0]); i++) {
        const struct name_row *row = &name_rows[i];
        uint8_t *msg = malloc(12 + row->len); /* exactly, for the sanitizer */
        memset(msg, 0, 12);
        memcpy(msg + 12, row->bytes, row->len);
        struct wire_name n;
        char text[WIRE_NAME_TEXT_MAX];
        size_t at = 12 + row->at;
        int rc = wire_name_read(msg, 12 + row->len, &at, &n);
        cr_assert_eq(rc, row->text ? 0 : -EBADMSG, "%s: %d", row->what, rc);
        if (row->text) {
            cr_assert_str_eq(wire_name_text(&n, text), row->text, "%s", row->what);
            cr_assert_eq(at, 12 + row->end, "%s: ends at %zu", row->what, at);
        }
        free(msg);
    }
}

/* 255 bytes fit, 256 do not, however they are put together. */
Test(dns_wire, name_read__bounds_the_name__over_pointers)
{
    uint8_t msg[600] = {0};
    size_t at = 12;
    for (unsigned i = 0; i < 3; i++) {
        msg[at] = 63;
        at += 64;
    }
    msg[at] = 0; /* 193 bytes at 12 */
    size_t start = ++at;
    struct wire_name n;
    for (unsigned label = 58; label <= 63; label++) {
        at = start;
        msg[at] = (uint8_t)label;
        wire_put16(msg + at + 1 + label, 0xc00c);
        int rc = wire_name_read(msg, sizeof(msg), &at, &n);
        cr_assert_eq(rc, 1 + label + 193 <= 255 ? 0 : -EBADMSG, "label of %u: %d", label, rc);
    }
}

/* D07: a chain of 10,000 pointers, each to the one before. */
Test(dns_wire, name_read__bounds_the_hops__of_a_pointer_chain)
{
    size_t len = 12 + 3 + 2 * 8000;
    uint8_t *msg = calloc(1, len);
    struct wire_name n;
    msg[12] = 1;
    msg[13] = 'a';
    wire_put16(msg + 15, 0xc00c);
    for (unsigned i = 1; i < 8000; i++)
        wire_put16(msg + 15 + 2 * i, 0xc000u | (15 + 2 * (i - 1)));
    size_t at = 15 + 2 * 100;
    cr_assert_eq(wire_name_read(msg, len, &at, &n), 0);
    at = 15 + 2 * 127;
    cr_assert_eq(wire_name_read(msg, len, &at, &n), -EBADMSG);
    at = 15 + 2 * 7999;
    cr_assert_eq(wire_name_read(msg, len, &at, &n), -EBADMSG);
    free(msg);
}

static struct wire_name name_of(const char *text)
{
    struct wire_name n;
    cr_assert_eq(wire_name_from_text(text, strlen(text), &n), 0, "%s", text);
    return n;
}

Test(dns_wire, name_equal__ignores_case__of_ascii_only)
{
    struct wire_name a = name_of("wWw.eXample"), b = name_of("WwW.ExAMPLE"), c = name_of("\\192.x"),
                     d = name_of("\\224.x"), e = name_of("www.exampl\\165"), f = name_of("a\\.b"),
                     g = name_of("a.b");
    cr_assert(wire_name_equal(&a, &b));
    cr_assert(!wire_name_equal_exact(&a, &b));
    cr_assert(!wire_name_equal(&c, &d));
    cr_assert(!wire_name_equal(&a, &e));
    cr_assert(!wire_name_equal(&f, &g), "a dot inside a label is no label end");
    wire_name_lower(&a);
    wire_name_lower(&b);
    cr_assert(wire_name_equal_exact(&a, &b));
}

Test(dns_wire, name_has_suffix__holds__on_whole_labels)
{
    static const struct {
        const char *name, *suffix;
        int at; /* -1: no */
    } rows[] = {
        {"www.example", "example", 4},
        {"example", "example", 0},
        {"wwwexample", "example", -1},
        {"www.EXAMPLE", "Example", 4},
        {"example", "www.example", -1},
        {"a.b.c", ".", 6},
        {"a\\.b", "b", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_name n = name_of(rows[i].name), s = name_of(rows[i].suffix);
        size_t at = 999;
        cr_assert_eq(wire_name_has_suffix(&n, &s, &at), rows[i].at >= 0, "%s %s", rows[i].name,
                     rows[i].suffix);
        if (rows[i].at >= 0)
            cr_assert_eq(at, (size_t)rows[i].at, "%s: %zu", rows[i].name, at);
    }
}

/* ---- queries ---- */

static size_t make_query(uint8_t *buf, const char *name, unsigned type, bool with_opt)
{
    struct wire_question question = {
        .name = name_of(name), .type = (uint16_t)type, .class = WIRE_CLASS_IN};
    struct wire_ask ask = {
        .question = &question, .id = 0x1234, .without_opt = !with_opt, .wants_dnssec = true};
    return wire_ask_write(&ask, buf);
}

Test(dns_wire, query_parse__reads__what_ask_write_writes)
{
    uint8_t buf[WIRE_QUERY_MAX];
    struct wire_query q;
    struct wire_name name = name_of("WwW.example");
    size_t len = make_query(buf, "WwW.example", WIRE_TYPE_AAAA, true);
    cr_assert_eq(wire_query_parse(buf, len, &q), 0);
    cr_assert_eq(q.id, 0x1234);
    cr_assert_eq(q.flags, WIRE_FLAG_RD);
    cr_assert(q.has_opt && q.wants_dnssec && q.has_question && !q.has_signature);
    cr_assert_eq(q.udp_size, 1232);
    cr_assert_eq(q.question.type, WIRE_TYPE_AAAA);
    cr_assert(wire_name_equal_exact(&q.question.name, &name));
}

/* D23: each cut has one outcome, and never success. */
Test(dns_wire, query_parse__fails__at_every_cut)
{
    uint8_t buf[WIRE_QUERY_MAX];
    size_t len = make_query(buf, "www.example", WIRE_TYPE_A, true);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *msg = malloc(cut ? cut : 1);
        struct wire_query q;
        memcpy(msg, buf, cut);
        int rc = wire_query_parse(msg, cut, &q);
        cr_assert_eq(rc, cut < 12 ? WIRE_QUERY_DROP : WIRE_QUERY_FORMERR, "cut at %zu: %d", cut,
                     rc);
        free(msg);
    }
}

Test(dns_wire, query_parse__survives__every_flipped_bit)
{
    uint8_t buf[WIRE_QUERY_MAX], answer[WIRE_QUERY_MAX + WIRE_EDE_BYTES];
    size_t len = make_query(buf, "www.example", WIRE_TYPE_A, true);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct wire_query q;
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc = wire_query_parse(buf, len, &q);
        if (rc != WIRE_QUERY_DROP)
            cr_assert_leq(wire_error_write(&q, WIRE_RCODE_FORMERR, WIRE_EDE_BLOCKED, answer),
                          sizeof(answer));
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

Test(dns_wire, query_parse__drops__answers)
{
    uint8_t buf[WIRE_QUERY_MAX];
    struct wire_query q;
    size_t len = make_query(buf, "www.example", WIRE_TYPE_A, false);
    wire_put16(buf + 2, WIRE_FLAG_QR | WIRE_FLAG_RD);
    cr_assert_eq(wire_query_parse(buf, len, &q), WIRE_QUERY_DROP);
    wire_put16(buf + 2, WIRE_FLAG_QR | 5 << 11); /* whatever the opcode */
    cr_assert_eq(wire_query_parse(buf, len, &q), WIRE_QUERY_DROP);
}

Test(dns_wire, error_write__has_opt__exactly_when_the_query_had)
{
    uint8_t buf[WIRE_QUERY_MAX], answer[WIRE_QUERY_MAX + WIRE_EDE_BYTES];
    for (unsigned with_opt = 0; with_opt < 2; with_opt++) {
        struct wire_query q;
        size_t len = make_query(buf, "www.example", WIRE_TYPE_A, with_opt);
        cr_assert_eq(wire_query_parse(buf, len, &q), 0);
        size_t n = wire_error_write(&q, WIRE_RCODE_BADVERS, WIRE_EDE_NONE, answer);
        cr_assert_eq(n, len);
        cr_assert_eq(wire_get16(answer + 10), with_opt);
        cr_assert_eq(memcmp(answer + 12, buf + 12, 17), 0);
        if (with_opt)
            cr_assert_eq(answer[n - 6], 1, "the upper bits of BADVERS stand in OPT");
        cr_assert_eq(wire_error_write(&q, 2, 22, answer), n + (with_opt ? WIRE_EDE_BYTES : 0u));
    }
}

/* ---- replies ---- */

/* www.example A: CNAME to web.example, its address, NS, glue, OPT. */
static const uint8_t good_reply[] = "\x12\x34\x81\x80\0\1\0\2\0\1\0\2"
                                    "\3www\7example\0\0\1\0\1"
                                    "\xc0\x0c\0\5\0\1\0\0\1\x2c\0\6\3web\xc0\x10"
                                    "\xc0\x29\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
                                    "\xc0\x10\0\2\0\1\0\0\2\x58\0\5\2ns\xc0\x10"
                                    "\xc0\x4b\0\1\0\1\0\0\x02\x58\0\4\xc0\0\2\x35"
                                    "\0\0\x29\x10\0\0\0\0\0\0\0";
enum { GOOD_LEN = sizeof(good_reply) - 1 };

static struct wire_reply *check(const uint8_t *msg, size_t len, int *ret_rc)
{
    struct wire_question question = {
        .name = name_of("www.example"), .type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    struct wire_ask ask = {.question = &question, .id = 0x1234};
    struct wire_reply *reply = calloc(1, sizeof(*reply));
    *ret_rc = wire_reply_check(msg, len, &ask, false, reply);
    return reply;
}

Test(dns_wire, reply_check__finds__all_there_is)
{
    int rc;
    struct wire_reply *r = check(good_reply, GOOD_LEN, &rc);
    cr_assert_eq(rc, 0);
    cr_assert(r->has_cname && r->has_wanted && !r->has_soa && !r->is_truncated);
    cr_assert_eq(r->n_answer, 2);
    cr_assert_eq(r->n_authority, 1);
    cr_assert_eq(r->n_additional, 1);
    cr_assert_eq(r->min_ttl_s, 60);
    cr_assert_eq(r->n_ttls, 4);
    cr_assert_eq(r->len, GOOD_LEN - 11u);
    cr_assert_eq(wire_get32(good_reply + r->ttl_at[0]), 300);
    cr_assert_eq(wire_get32(good_reply + r->ttl_at[1]), 60);
    cr_assert_eq(wire_get32(good_reply + r->ttl_at[3]), 600);
    struct addr addr, want = addr_from_ipv4(0xc0000201);
    cr_assert_eq(wire_addresses(good_reply, r->len, r->n_answer, WIRE_TYPE_A, &addr, 1), 1);
    cr_assert_eq(addr_compare(&addr, &want), 0);
    free(r);
}

/* U10 */
Test(dns_wire, reply_check__fails__at_every_cut)
{
    for (size_t cut = 0; cut < GOOD_LEN; cut++) {
        uint8_t *msg = malloc(cut ? cut : 1);
        memcpy(msg, good_reply, cut);
        int rc;
        free(check(msg, cut, &rc));
        cr_assert_eq(rc, cut < 12 + 13 + 4 ? WIRE_REPLY_WRONG : WIRE_REPLY_BAD, "cut at %zu: %d",
                     cut, rc);
        free(msg);
    }
}

Test(dns_wire, reply_check__survives__every_flipped_bit)
{
    uint8_t *msg = malloc(GOOD_LEN);
    memcpy(msg, good_reply, GOOD_LEN);
    for (size_t bit = 0; bit < GOOD_LEN * 8; bit++) {
        msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc;
        struct wire_reply *r = check(msg, GOOD_LEN, &rc);
        struct addr addrs[4];
        if (rc == 0 && !r->is_truncated)
            cr_assert_leq(wire_addresses(msg, r->len, r->n_answer, WIRE_TYPE_A, addrs, 4), 4);
        if (bit < 16)
            cr_assert_eq(rc, WIRE_REPLY_WRONG, "id bit %zu", bit);
        free(r);
        msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(msg);
}

Test(dns_wire, reply_check__cuts_off__trailing_bytes)
{
    uint8_t msg[GOOD_LEN + 9];
    memcpy(msg, good_reply, GOOD_LEN);
    memset(msg + GOOD_LEN, 0xaa, 9);
    int rc;
    struct wire_reply *r = check(msg, sizeof(msg), &rc);
    cr_assert_eq(rc, 0);
    cr_assert_eq(r->len, GOOD_LEN - 11u);
    free(r);
}

/* A name made of a TTL would be another one a second later. */
Test(dns_wire, reply_check__fails__when_a_name_reaches_into_a_ttl)
{
    uint8_t msg[GOOD_LEN];
    static const struct {
        size_t target;
        int rc;
    } rows[] = {
        {35, WIRE_REPLY_BAD}, /* the first TTL: 00 00 01 2c */
        {37, WIRE_REPLY_BAD}, /* its third byte: a label of one, then the length of RDATA */
        {25, WIRE_REPLY_BAD}, /* the type of the question */
        {24, 0},              /* the root of the question */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc;
        memcpy(msg, good_reply, GOOD_LEN);
        wire_put16(msg + 29 + 18, 0xc000u | (unsigned)rows[i].target);
        free(check(msg, GOOD_LEN, &rc));
        cr_assert_eq(rc, rows[i].rc, "target %zu: %d", rows[i].target, rc);
    }
}

Test(dns_wire, reply_check__reads_the_soa__of_a_negative_answer)
{
    static const uint8_t nx[] = "\x12\x34\x81\x83\0\1\0\0\0\1\0\0"
                                "\3www\7example\0\0\1\0\1"
                                "\xc0\x10\0\6\0\1\0\0\x0e\x10\0\x18\xc0\x10\xc0\x10"
                                "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x3c";
    int rc;
    struct wire_reply *r = check(nx, sizeof(nx) - 1, &rc);
    cr_assert_eq(rc, 0);
    cr_assert_eq(r->rcode, WIRE_RCODE_NXDOMAIN);
    cr_assert(r->has_soa && !r->has_wanted);
    cr_assert_eq(r->soa_minimum_s, 60);
    cr_assert_eq(r->min_ttl_s, 3600);
    free(r);
}

/* Chain of @n aliases a0 -> a1 -> ... and the address at its end; written last first. */
static size_t make_chain(uint8_t *msg, unsigned n)
{
    static const uint8_t head[] = "\x12\x34\x81\x80\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1";
    size_t at = sizeof(head) - 1;
    memcpy(msg, head, at);
    wire_put16(msg + 6, n + 1);
    uint8_t owner[8] = {0};
    for (unsigned i = n; i-- > 0;) {
        uint8_t *p = msg + at;
        if (i == 0) {
            wire_put16(p, 0xc00c);
            p += 2;
        } else {
            p[0] = 4, p[1] = 'a', p[2] = (uint8_t)('0' + i / 100),
            p[3] = (uint8_t)('0' + i / 10 % 10);
            p[4] = (uint8_t)('0' + i % 10), p[5] = 0;
            p += 6;
        }
        memcpy(p, "\0\5\0\1\0\0\1\0\0\6", 10);
        p += 10;
        unsigned next = i + 1;
        owner[0] = 4, owner[1] = 'a', owner[2] = (uint8_t)('0' + next / 100);
        owner[3] = (uint8_t)('0' + next / 10 % 10), owner[4] = (uint8_t)('0' + next % 10),
        owner[5] = 0;
        memcpy(p, owner, 6);
        at = (size_t)(p + 6 - msg);
    }
    uint8_t last[6] = {
        4, 'a', (uint8_t)('0' + n / 100), (uint8_t)('0' + n / 10 % 10), (uint8_t)('0' + n % 10), 0};
    memcpy(msg + at, last, 6);
    memcpy(msg + at + 6, "\0\1\0\1\0\0\1\0\0\4\xc0\0\2\x07", 14);
    return at + 20;
}

/* U12 */
Test(dns_wire, addresses__follows__sixteen_aliases)
{
    static uint8_t msg[32768];
    for (unsigned n = 1; n <= 1000; n = n < 20 ? n + 1 : n * 7) {
        if (n > 999)
            break;
        size_t len = make_chain(msg, n);
        struct addr addr;
        int rc;
        struct wire_reply *r = check(msg, len, &rc);
        cr_assert_eq(rc, 0, "%u aliases", n);
        int n_addrs = wire_addresses(msg, r->len, r->n_answer, WIRE_TYPE_A, &addr, 1);
        cr_assert_eq(n_addrs, n <= WIRE_CHAIN_MAX ? 1 : -ELOOP, "%u aliases: %d", n, n_addrs);
        free(r);
    }
}

/* RFC 8467 section 4.1: the whole message is a multiple of 128, and OPT still parses. */
Test(dns_wire, ask_write__pads__to_the_next_128)
{
    for (unsigned n = 1; n <= 60; n++) {
        struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
        char name[128];
        memset(name, 'a', sizeof(name));
        name[60] = '.';
        cr_assert_eq(wire_name_from_text(name, 60 + n + 1, &question.name), 0);
        struct wire_ask ask = {.question = &question, .id = 7, .is_padded = true};
        uint8_t buf[WIRE_ASK_MAX];
        size_t len = wire_ask_write(&ask, buf);
        cr_assert(len % WIRE_PAD_BYTES == 0 && len <= sizeof(buf), "%u: %zu", n, len);
        struct wire_query q;
        cr_assert_eq(wire_query_parse(buf, len, &q), 0);
        cr_assert(q.has_opt);
        ask.without_opt = true; /* then there is nowhere to put it */
        cr_assert_eq(wire_ask_write(&ask, buf), 12u + question.name.len + 4);
    }
}

/* A signed message goes out as it is, and what answers it is matched but not looked into. */
Test(dns_wire, ask_write__passes_raw_bytes__but_for_the_id)
{
    struct wire_question question = {.type = WIRE_TYPE_A, .class = WIRE_CLASS_IN};
    cr_assert_eq(wire_name_from_text("www.example", 11, &question.name), 0);
    uint8_t raw[WIRE_ASK_MAX], out[WIRE_ASK_MAX], reply[WIRE_ASK_MAX + 8];
    struct wire_ask plain = {.question = &question, .id = 1};
    size_t len = wire_ask_write(&plain, raw);
    struct wire_ask ask = {.question = &question, .id = 0xabcd, .raw = raw, .n_raw = len};
    cr_assert_eq(wire_ask_write(&ask, out), len);
    cr_assert_eq(wire_get16(out), 0xabcd);
    cr_assert_arr_eq(out + 2, raw + 2, len - 2);
    struct wire_reply *r = calloc(1, sizeof(*r));
    memcpy(reply, out, len);
    wire_put16(reply + 2, WIRE_FLAG_QR | WIRE_FLAG_TC | 9);
    wire_put16(reply + 10, 50000); /* records that are not there */
    cr_assert_eq(wire_reply_check(reply, len, &ask, false, r), 0);
    cr_assert(r->len == len && r->is_truncated && r->rcode == 9);
    wire_put16(reply + 2, WIRE_FLAG_QR);
    cr_assert_eq(wire_reply_check(reply, len, &ask, false, r), WIRE_REPLY_BAD);
    wire_put16(reply + 10, wire_get16(raw + 10));
    cr_assert_eq(wire_reply_check(reply, len + 8, &ask, false, r), 0);
    cr_assert_eq(r->len, len, "what stands behind the message is not passed on");
    reply[13] ^= 1;
    cr_assert_eq(wire_reply_check(reply, len, &ask, false, r), WIRE_REPLY_WRONG);
    free(r);
}

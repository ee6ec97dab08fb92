/*
 * The head parser. Each vector is fed whole, byte by byte, and in random pieces, every time from a
 * fresh buffer of exactly the bytes received so far: a sanitizer sees any read beyond them, and a
 * buffer that moved breaks any kept pointer. Ids R and H are those of the abuse cases.
 */
#include <criterion/criterion.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/head.h"

#define BYTES(literal) literal, sizeof(literal) - 1

enum { LINE_LIMIT = 8192, HEAD_LIMIT = 32768, ANY_FEEDS = 8 };

struct limits {
    uint32_t line, head;
};

static const struct limits usual = {LINE_LIMIT, HEAD_LIMIT};

static struct head outcome; /* of the last expect_same(); big, so not on the stack */

static enum head_result feed_exactly(struct head *h, const char *bytes, size_t len)
{
    char *copy = malloc(len ? len : 1);
    cr_assert(copy);
    memcpy(copy, bytes, len);
    enum head_result r = head_feed(h, copy, len);
    free(copy);
    return r;
}

/* Grows by @step bytes a feed; 0: by random steps. */
static enum head_result feed_in_steps(struct head *h, const char *bytes, size_t len, size_t step,
                                      unsigned short seed[static 3])
{
    enum head_result r = HEAD_MORE;
    for (size_t at = 0; at < len && r == HEAD_MORE;) {
        at += step ? step : 1 + (size_t)nrand48(seed) % (len / 4 + 2);
        r = feed_exactly(h, bytes, at < len ? at : len);
    }
    return r;
}

static void expect_equal(const struct head *a, const struct head *b, const char *id)
{
    cr_assert_eq(a->bad_status, b->bad_status, "%s: %u or %u", id, a->bad_status, b->bad_status);
    cr_assert_eq(a->bad_why, b->bad_why, "%s: %s or %s", id, a->bad_why, b->bad_why);
    cr_assert_eq(a->phase, b->phase, "%s", id);
    cr_assert_eq(a->scanned, b->scanned, "%s", id);
    cr_assert_eq(a->head_bytes, b->head_bytes, "%s", id);
    cr_assert_eq(a->minor, b->minor, "%s", id);
    cr_assert_eq(a->status_code, b->status_code, "%s", id);
    cr_assert_eq(memcmp(&a->method, &b->method, sizeof(a->method)), 0, "%s", id);
    cr_assert_eq(memcmp(&a->target, &b->target, sizeof(a->target)), 0, "%s", id);
    cr_assert_eq(memcmp(&a->reason, &b->reason, sizeof(a->reason)), 0, "%s", id);
    cr_assert_eq(a->framing.length, b->framing.length, "%s", id);
    cr_assert_eq(a->n_fields, b->n_fields, "%s", id);
    cr_assert_eq(memcmp(a->fields, b->fields, a->n_fields * sizeof(a->fields[0])), 0, "%s", id);
}

/* Feeds whole, then in steps of 1 and at random; all must agree. The result is left in outcome. */
static enum head_result expect_same(enum head_kind kind, struct limits limits, const char *bytes,
                                    size_t len, const char *id)
{
    static struct head other;
    unsigned short seed[3] = {1, 2, (unsigned short)len};
    head_init(&outcome, kind, limits.line, limits.head);
    enum head_result whole = feed_exactly(&outcome, bytes, len);
    for (int i = 0; i < ANY_FEEDS; i++) {
        if (i == 0 && len > 4096)
            continue;
        head_init(&other, kind, limits.line, limits.head);
        enum head_result r = feed_in_steps(&other, bytes, len, i == 0 ? 1 : 0, seed);
        cr_assert_eq(r, len ? whole : HEAD_MORE, "%s: feed %d gives %d, whole %d", id, i, (int)r,
                     (int)whole);
        expect_equal(&outcome, &other, id);
    }
    return whole;
}

struct row {
    const char *id;
    const char *bytes;
    size_t len;
    unsigned status; /* 0: HEAD_DONE · 1: HEAD_MORE · else what HEAD_BAD answers */
};

static void expect_row(enum head_kind kind, const struct row *row)
{
    enum head_result r = expect_same(kind, usual, row->bytes, row->len, row->id);
    enum head_result want = row->status == 0 ? HEAD_DONE : row->status == 1 ? HEAD_MORE : HEAD_BAD;
    cr_expect_eq(r, want, "%s (%s): result %d, status %u", row->id, row->bytes, (int)r,
                 outcome.bad_status);
    if (want == HEAD_BAD) {
        cr_expect_eq(outcome.bad_status, row->status, "%s (%s): %u %s", row->id, row->bytes,
                     outcome.bad_status, outcome.bad_why);
        cr_expect_not_null(outcome.bad_why, "%s", row->id);
    }
    if (want == HEAD_DONE)
        cr_expect_eq(outcome.head_bytes, row->len, "%s", row->id);
}

static void expect_rows(enum head_kind kind, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_row(kind, &rows[i]);
}

#define EXPECT_ROWS(kind, rows) expect_rows(kind, rows, sizeof(rows) / sizeof((rows)[0]))
#define HOST_AND_END            "Host: h\r\n\r\n"
#define GET                     "GET http://h/ HTTP/1.1\r\n"
#define POST                    "POST http://h/ HTTP/1.1\r\nHost: h\r\n"

Test(http_head, request_line__is_judged)
{
    static const struct row rows[] = {
        {"R01 nothing", BYTES(""), 1},
        {"R01 half a line", BYTES("GET http://h/ HT"), 1},
        {"R01 no final LF", BYTES(GET "Host: h\r\n\r"), 1},
        {"plain", BYTES(GET HOST_AND_END), 0},
        {"connect", BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"), 0},
        {"python 2.7", BYTES("CONNECT h:443 HTTP/1.0\r\n\r\n"), 0},
        {"python v6", BYTES("CONNECT 2001:db8::1:443 HTTP/1.1\r\nHost: 2001:db8::1\r\n\r\n"), 0},
        {"R02 one CRLF", BYTES("\r\n" GET HOST_AND_END), 0},
        {"R02 four CRLF", BYTES("\r\n\r\n\r\n\r\n" GET HOST_AND_END), 0},
        {"R02 five CRLF", BYTES("\r\n\r\n\r\n\r\n\r\n" GET HOST_AND_END), 400},
        {"R02 lone CR", BYTES("\r"), 1},
        {"R02 CR X", BYTES("\rX"), 400},
        {"R02 CR CR", BYTES("\r\r\n"), 400},
        {"R02 LF", BYTES("\n" GET HOST_AND_END), 400},
        {"R05 method of 32", BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF http://h/ HTTP/1.1\r\n\r\n"),
         0},
        {"R05 method of 33", BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG http://h/ HTTP/1.1\r\n\r\n"),
         501},
        {"R05 quote", BYTES("G\"T http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R05 bracket", BYTES("G(T http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R05 at", BYTES("G@T http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R06 lower case is a token", BYTES("get http://h/ HTTP/1.1\r\n\r\n"), 0},
        {"R07 unknown", BYTES("PROPFIND http://h/ HTTP/1.1\r\n\r\n"), 0},
        {"R09 no version", BYTES("GET http://h/\r\n\r\n"), 400},
        {"R09 method alone", BYTES("GET\r\n\r\n"), 400},
        {"R09 no target", BYTES("GET HTTP/1.1\r\n\r\n"), 400},
        {"R10 preface", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
        {"R11 1.2", BYTES("GET http://h/ HTTP/1.2\r\n\r\n"), 505},
        {"R11 1.9", BYTES("GET http://h/ HTTP/1.9\r\n\r\n"), 505},
        {"R11 2.1", BYTES("GET http://h/ HTTP/2.1\r\n\r\n"), 505},
        {"R11 0.9", BYTES("GET http://h/ HTTP/0.9\r\n\r\n"), 505},
        {"R11 1.32", BYTES("GET http://h/ HTTP/1.32\r\n\r\n"), 400},
        {"R11 01.1", BYTES("GET http://h/ HTTP/01.1\r\n\r\n"), 400},
        {"R11 1.01", BYTES("GET http://h/ HTTP/1.01\r\n\r\n"), 400},
        {"R11 lower", BYTES("GET http://h/ http/1.1\r\n\r\n"), 400},
        {"R11 wrap", BYTES("GET http://h/ HTTP/4294967297.1\r\n\r\n"), 400},
        {"R11 no minor", BYTES("GET http://h/ HTTP/1.\r\n\r\n"), 400},
        {"R11 no dot", BYTES("GET http://h/ HTTP/1\r\n\r\n"), 400},
        {"R11 blank", BYTES("GET http://h/ HTTP/1. 1\r\n\r\n"), 400},
        {"R11 minus", BYTES("GET http://h/ HTTP/-1.1\r\n\r\n"), 400},
        {"R11 empty", BYTES("GET http://h/ \r\n\r\n"), 400},
        {"R11 other", BYTES("GET http://h/ ICY/1.1\r\n\r\n"), 400},
        {"R12 tab", BYTES("GET\thttp://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R12 tab 2", BYTES("GET http://h/\tHTTP/1.1\r\n\r\n"), 400},
        {"R12 VT", BYTES("GET http://h/\vHTTP/1.1\r\n\r\n"), 400},
        {"R12 FF", BYTES("GET\fhttp://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R12 CR", BYTES("GET\rhttp://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R12 two SP", BYTES("GET  http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R12 two SP 2", BYTES("GET http://h/  HTTP/1.1\r\n\r\n"), 400},
        {"R12 two SP, no target", BYTES("GET  HTTP/1.1\r\n\r\n"), 400},
        {"R12 trailing SP", BYTES("GET http://h/ HTTP/1.1 \r\n\r\n"), 400},
        {"R12 leading SP", BYTES(" GET http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R12 four words", BYTES("GET http://h/ x HTTP/1.1\r\n\r\n"), 400},
        {"R13 LF", BYTES("GET http://h/ HTTP/1.1\nHost: h\n\n"), 400},
        {"R13 mixed", BYTES(GET "Host: h\n\r\n"), 400},
        {"R13 LF at the end", BYTES(GET "Host: h\r\n\n"), 400},
        {"R14 CR in the target", BYTES("GET http://h/\rx HTTP/1.1\r\n\r\n"), 400},
        {"R14 CR in a value", BYTES(GET "A: b\rc\r\n\r\n"), 400},
        {"R14 CR CR LF", BYTES(GET "A: b\r\r\n\r\n"), 400},
        {"R15 method", BYTES("G\0T http://h/ HTTP/1.1\r\n\r\n"), 400},
        {"R15 target", BYTES("GET http://h/\0 HTTP/1.1\r\n\r\n"), 400},
        {"R15 version", BYTES("GET http://h/ HTTP/1.1\0\r\n\r\n"), 400},
        {"R16 0x80", BYTES("GET http://h/\x80 HTTP/1.1\r\n\r\n"), 400},
        {"R16 UTF-8", BYTES("GET http://h/\xe6\x97\xa5 HTTP/1.1\r\n\r\n"), 400},
        {"R16 DEL", BYTES("GET http://h/\x7f HTTP/1.1\r\n\r\n"), 400},
        {"R16 ESC", BYTES("GET http://h/\x1b HTTP/1.1\r\n\r\n"), 400},
        {"TLS hello", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400},
        {"R29 percent", BYTES("GET http://h/%00%0d%0a%2e%2e%c0%af HTTP/1.1\r\n" HOST_AND_END), 0},
    };
    EXPECT_ROWS(HEAD_REQUEST, rows);
}

Test(http_head, fields__are_judged)
{
    static const struct row rows[] = {
        {"empty value", BYTES(GET "A:\r\nB: \t \r\n\r\n"), 0},
        {"tab around", BYTES(GET "A:\t b \t\r\n\r\n"), 0},
        {"obs-text", BYTES(GET "A: \x80\xff\xe6\x97\xa5\r\n\r\n"), 0},
        {"colons in a value", BYTES(GET "A::b:c\r\n\r\n"), 0},
        {"all token bytes", BYTES(GET "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n"), 0},
        {"H01 fold", BYTES(GET "A: b\r\n c\r\n\r\n"), 400},
        {"H01 fold by tab", BYTES(GET "A: b\r\n\tc\r\n\r\n"), 400},
        {"H01 fold in TE", BYTES(POST "Transfer-Encoding: chunked\r\n , x\r\n\r\n"), 400},
        {"H01 folded TE", BYTES(POST "Transfer-Encoding:\r\n chunked\r\n\r\n"), 400},
        {"H02 SP", BYTES(GET "A : b\r\n\r\n"), 400},
        {"H02 tab", BYTES(GET "A\t: b\r\n\r\n"), 400},
        {"H02 SP in TE", BYTES(POST "Transfer-Encoding : chunked\r\n\r\n"), 400},
        {"H03 no name", BYTES(GET ": x\r\n\r\n"), 400},
        {"H03 colon", BYTES(GET ":\r\n\r\n"), 400},
        {"H03 no colon", BYTES(GET "Host\r\n\r\n"), 400},
        {"H04 first", BYTES(GET " A: b\r\n\r\n"), 400},
        {"H04 blank line", BYTES(GET " \r\n\r\n"), 400},
        {"H05 NUL", BYTES(GET "A: b\0c\r\n\r\n"), 400},
        {"H05 0x01", BYTES(GET "A: \x01\r\n\r\n"), 400},
        {"H05 0x08", BYTES(GET "A: \x08\r\n\r\n"), 400},
        {"H05 VT", BYTES(GET "A: \v\r\n\r\n"), 400},
        {"H05 ESC", BYTES(GET "A: \x1b\r\n\r\n"), 400},
        {"H05 DEL", BYTES(GET "A: \x7f\r\n\r\n"), 400},
        {"H05 LF", BYTES(GET "A: \nB: c\r\n\r\n"), 400},
        {"H06 brackets", BYTES(GET "A[]: b\r\n\r\n"), 400},
        {"H06 parens", BYTES(GET "A(): b\r\n\r\n"), 400},
        {"H06 0x85", BYTES(GET "A\x85: b\r\n\r\n"), 400},
        {"H06 0xA0", BYTES(GET "A\xa0: b\r\n\r\n"), 400},
        {"H06 UTF-8", BYTES(GET "\xe6\x97\xa5: b\r\n\r\n"), 400},
        {"H06 NUL", BYTES(GET "A\0: b\r\n\r\n"), 400},
        {"H06 underscore", BYTES(GET "A_B: c\r\n\r\n"), 0},
        {"H26 CR LF CR X", BYTES(GET "A: b\r\n\rX"), 400},
        {"H26 LF CR LF", BYTES(GET "A: b\n\r\n"), 400},
        {"H26 CR CR", BYTES(GET "A: b\r\r"), 400},
        {"R28 two hosts", BYTES(GET "Host: h\r\nHost: h\r\n\r\n"), 400},
        {"R28 two hosts, case", BYTES(GET "Host: h\r\nhOST: g\r\n\r\n"), 400},
        {"R28 path", BYTES(GET "Host: h/x\r\n\r\n"), 400},
        {"R28 at", BYTES(GET "Host: u@h\r\n\r\n"), 400},
        {"R28 comma", BYTES(GET "Host: h, g\r\n\r\n"), 400},
        {"R28 blank", BYTES(GET "Host: h g\r\n\r\n"), 400},
        {"R28 obs-text", BYTES(GET "Host: h\x80\r\n\r\n"), 400},
        {"host, empty", BYTES(GET "Host:\r\n\r\n"), 0},
        {"host with a port", BYTES(GET "Host: [2001:db8::1]:80\r\n\r\n"), 0},
        {"CONNECT ignores Host", BYTES("CONNECT h:443 HTTP/1.1\r\nHost: u@x/y, z\r\n\r\n"), 0},
        {"CONNECT, two hosts", BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"), 400},
        {"no host is the caller's", BYTES(GET "\r\n"), 0},
    };
    EXPECT_ROWS(HEAD_REQUEST, rows);
}

Test(http_head, framing__is_judged)
{
    static const struct row rows[] = {
        {"length", BYTES(POST "Content-Length: 5\r\n\r\n"), 0},
        {"length, blanks", BYTES(POST "Content-Length: \t5 \r\n\r\n"), 0},
        {"H10 equal", BYTES(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), 400},
        {"H10 different", BYTES(POST "Content-Length: 5\r\nContent-length: 6\r\n\r\n"), 400},
        {"H10 list", BYTES(POST "Content-Length: 5, 5\r\n\r\n"), 400},
        {"H10 list 2", BYTES(POST "Content-Length: 5,6\r\n\r\n"), 400},
        {"H11 empty", BYTES(POST "Content-Length:\r\n\r\n"), 400},
        {"H11 blank", BYTES(POST "Content-Length:  \r\n\r\n"), 400},
        {"H11 plus", BYTES(POST "Content-Length: +5\r\n\r\n"), 400},
        {"H11 minus", BYTES(POST "Content-Length: -5\r\n\r\n"), 400},
        {"H11 hex", BYTES(POST "Content-Length: 0x5\r\n\r\n"), 400},
        {"H11 underscore", BYTES(POST "Content-Length: 5_0\r\n\r\n"), 400},
        {"H11 letter", BYTES(POST "Content-Length: 5a\r\n\r\n"), 400},
        {"H11 two words", BYTES(POST "Content-Length: 5 6\r\n\r\n"), 400},
        {"H11 exponent", BYTES(POST "Content-Length: 1e1\r\n\r\n"), 400},
        {"H11 fraction", BYTES(POST "Content-Length: 5.0\r\n\r\n"), 400},
        {"H11 obs-text", BYTES(POST "Content-Length: \xb2\r\n\r\n"), 400},
        {"H11 2^63-1", BYTES(POST "Content-Length: 9223372036854775807\r\n\r\n"), 0},
        {"H11 2^63", BYTES(POST "Content-Length: 9223372036854775808\r\n\r\n"), 400},
        {"H11 19 nines", BYTES(POST "Content-Length: 9999999999999999999\r\n\r\n"), 400},
        {"H11 2^64+5", BYTES(POST "Content-Length: 18446744073709551621\r\n\r\n"), 400},
        {"H11 30 digits", BYTES(POST "Content-Length: 111111111111111111111111111111\r\n\r\n"),
         400},
        {"H11 005", BYTES(POST "Content-Length: 005\r\n\r\n"), 0},
        {"H12 CL TE", BYTES(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
        {"H12 TE CL", BYTES(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 400},
        {"H13 upper", BYTES(POST "Transfer-Encoding: CHUNKED\r\n\r\n"), 0},
        {"H13 blanks", BYTES(POST "Transfer-Encoding:\t chunked \t\r\n\r\n"), 0},
        {"H13 gzip", BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501},
        {"H13 behind", BYTES(POST "Transfer-Encoding: chunked, gzip\r\n\r\n"), 501},
        {"H13 twice", BYTES(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400},
        {"H13 twice, case", BYTES(POST "Transfer-Encoding: chunked,CHUNKED\r\n\r\n"), 400},
        {"H13 identity", BYTES(POST "Transfer-Encoding: identity\r\n\r\n"), 501},
        {"H13 xchunked", BYTES(POST "Transfer-Encoding: xchunked\r\n\r\n"), 501},
        {"H13 chunkedx", BYTES(POST "Transfer-Encoding: chunkedx\r\n\r\n"), 501},
        {"H13 ,chunked", BYTES(POST "Transfer-Encoding: ,chunked\r\n\r\n"), 400},
        {"H13 chunked,", BYTES(POST "Transfer-Encoding: chunked,\r\n\r\n"), 400},
        {"H13 comma", BYTES(POST "Transfer-Encoding: ,\r\n\r\n"), 400},
        {"H13 empty", BYTES(POST "Transfer-Encoding:\r\n\r\n"), 400},
        {"H13 quoted", BYTES(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), 400},
        {"H13 two words", BYTES(POST "Transfer-Encoding: chunked x\r\n\r\n"), 400},
        {"H13 parameter", BYTES(POST "Transfer-Encoding: chunked;q=1\r\n\r\n"), 400},
        {"H13 VT", BYTES(POST "Transfer-Encoding: \vchunked\r\n\r\n"), 400},
        {"H13 NBSP",
         BYTES(POST "Transfer-Encoding: \xa0"
                    "chunked\r\n\r\n"),
         400},
        {"H13 two lines",
         BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n"), 400},
        {"H13 two lines 2",
         BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n"), 400},
        {"H14 1.0", BYTES("POST http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
        {"1.0 with a length", BYTES("POST http://h/ HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), 0},
        {"C05 on CONNECT", BYTES("CONNECT h:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 0},
    };
    EXPECT_ROWS(HEAD_REQUEST, rows);
}

Test(http_head, response__is_judged)
{
    static const struct row rows[] = {
        {"plain", BYTES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0},
        {"1.0", BYTES("HTTP/1.0 404 Not Found\r\n\r\n"), 0},
        {"B14 no reason", BYTES("HTTP/1.1 200\r\n\r\n"), 0},
        {"B14 no reason, SP", BYTES("HTTP/1.1 200 \r\n\r\n"), 0},
        {"reason with tab and obs-text", BYTES("HTTP/1.1 200 \t\xe9t\xe9\r\n\r\n"), 0},
        {"100", BYTES("HTTP/1.1 100 Continue\r\n\r\n"), 0},
        {"599", BYTES("HTTP/1.1 599 x\r\n\r\n"), 0},
        {"B14 99", BYTES("HTTP/1.1 99 x\r\n\r\n"), 502},
        {"B14 099", BYTES("HTTP/1.1 099 x\r\n\r\n"), 502},
        {"B14 600", BYTES("HTTP/1.1 600 x\r\n\r\n"), 502},
        {"B14 2000", BYTES("HTTP/1.1 2000 x\r\n\r\n"), 502},
        {"B14 20", BYTES("HTTP/1.1 20\r\n\r\n"), 502},
        {"B14 letters", BYTES("HTTP/1.1 2x0 x\r\n\r\n"), 502},
        {"B14 ICY", BYTES("ICY 200 OK\r\n\r\n"), 502},
        {"B14 garbage", BYTES("\x15\x03\x01\x00\x02\x02\x28"), 502},
        {"version only", BYTES("HTTP/1.1\r\n\r\n"), 502},
        {"two SP", BYTES("HTTP/1.1  200 OK\r\n\r\n"), 502},
        {"2.0", BYTES("HTTP/2.0 200 OK\r\n\r\n"), 502},
        {"1.2", BYTES("HTTP/1.2 200 OK\r\n\r\n"), 502},
        {"leading CRLF", BYTES("\r\nHTTP/1.1 200 OK\r\n\r\n"), 502},
        {"LF", BYTES("HTTP/1.1 200 OK\nA: b\n\n"), 502},
        {"NUL in the reason", BYTES("HTTP/1.1 200 O\0K\r\n\r\n"), 502},
        {"B12 CL TE",
         BYTES("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 502},
        {"B12 two CL", BYTES("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
         502},
        {"B12 bad CL", BYTES("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), 502},
        {"gzip", BYTES("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 502},
        {"TE in 1.0", BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 502},
        {"B18 SP", BYTES("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), 502},
        {"B18 fold", BYTES("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), 502},
        {"Host means nothing", BYTES("HTTP/1.1 200 OK\r\nHost: a/b\r\nHost: c\r\n\r\n"), 0},
    };
    EXPECT_ROWS(HEAD_RESPONSE, rows);
}

Test(http_head, feed__gives_the_pieces)
{
    static const char text[] =
        "\r\nPOST http://h/x HTTP/1.0\r\nHost: \t h \r\nX_y:\r\nconTENT-length: "
        "005\r\nExpect: 100-Continue\r\n\r\nbody";
    cr_assert_eq(expect_same(HEAD_REQUEST, usual, BYTES(text), "pieces"), HEAD_DONE);
    const struct head *h = &outcome;
    cr_expect(head_span_is(text, h->method, "POST"));
    cr_expect(head_span_is(text, h->target, "http://h/x"));
    cr_expect_eq(h->minor, 0);
    cr_expect_eq(h->head_bytes, sizeof(text) - 1 - 4);
    cr_expect_eq(h->n_fields, 4);
    cr_expect(head_span_is(text, h->fields[0].value, "h"));
    cr_expect(head_span_is(text, h->fields[1].name, "X_y"));
    cr_expect_eq(h->fields[1].value.len, 0);
    cr_expect(h->framing.has_length);
    cr_expect_eq(h->framing.length, 5);
    cr_expect(h->framing.expects_100);
    cr_expect_not(h->framing.is_chunked);
    cr_expect_eq(h->framing.n_hosts, 1);
    cr_expect_eq(h->framing.host_field, 0);
}

Test(http_head, feed__gives_the_pieces_of_a_response)
{
    static const char text[] =
        "HTTP/1.1 404 Not  Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    cr_assert_eq(expect_same(HEAD_RESPONSE, usual, BYTES(text), "response"), HEAD_DONE);
    cr_expect_eq(outcome.status_code, 404);
    cr_expect_eq(outcome.minor, 1);
    cr_expect(head_span_is(text, outcome.reason, "Not  Found"));
    cr_expect(outcome.framing.is_chunked);
    cr_expect(outcome.framing.wants_close);
}

Test(http_head, find__ignores_case_and_takes_the_first)
{
    static const char text[] = GET "A: 1\r\nAB: 2\r\na: 3\r\n\r\n";
    cr_assert_eq(expect_same(HEAD_REQUEST, usual, BYTES(text), "find"), HEAD_DONE);
    cr_expect_eq(head_find(&outcome, text, "a"), &outcome.fields[0]);
    cr_expect_eq(head_find(&outcome, text, "ab"), &outcome.fields[1]);
    cr_expect_null(head_find(&outcome, text, "abc"));
    cr_expect_null(head_find(&outcome, text, ""));
    cr_expect(head_span_is_nocase(text, outcome.fields[1].name, "aB"));
    cr_expect_not(head_span_is(text, outcome.fields[1].name, "aB"));
}

Test(http_head, connection__is_a_list_over_all_fields)
{
    static const struct {
        const char *fields;
        bool wants_close, wants_keep;
    } rows[] = {
        {"", false, false},
        {"Connection: close\r\n", true, false},
        {"Connection: Keep-Alive\r\n", false, true},
        {"Proxy-Connection: keep-alive\r\n", false, true},
        {"Connection: TE, close\r\n", true, false},
        {"Connection: TE\r\nConnection: ,, \tCLOSE\t,\r\n", true, false},
        {"Connection: closed, xclose, close;x\r\n", false, false},
        {"Connection:\r\nConnection: ,\r\n", false, false},
        {"Connection: keep-alive, close\r\n", true, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256];
        int len = snprintf(text, sizeof(text), GET "%s\r\n", rows[i].fields);
        cr_assert_eq(expect_same(HEAD_REQUEST, usual, text, (size_t)len, rows[i].fields),
                     HEAD_DONE);
        cr_expect_eq(outcome.framing.wants_close, rows[i].wants_close, "%s", rows[i].fields);
        cr_expect_eq(outcome.framing.wants_keep, rows[i].wants_keep, "%s", rows[i].fields);
    }
}

Test(http_head, feed__stops_behind_the_head)
{
    static const char text[] = "CONNECT h:443 HTTP/1.1\r\n\r\n\x16\x03\x01\0GET";
    cr_assert_eq(expect_same(HEAD_REQUEST, usual, BYTES(text), "glued"), HEAD_DONE);
    cr_expect_eq(outcome.head_bytes, 26);
    cr_expect_eq(head_feed(&outcome, BYTES(text)), HEAD_DONE, "done stays done");
}

Test(http_head, feed__stays_bad)
{
    struct head h;
    head_init(&h, HEAD_REQUEST, LINE_LIMIT, HEAD_LIMIT);
    cr_expect_eq(head_feed(&h, "\0", 1), HEAD_BAD);
    cr_expect_eq(head_feed(&h, BYTES(GET HOST_AND_END)), HEAD_BAD);
    cr_expect_eq(h.bad_status, 400);
}

/* ---- limits ---- */

/* @prefix, then @n of @fill, then @suffix. */
static char *pad(const char *prefix, size_t n, char fill, const char *suffix, size_t *ret_len)
{
    size_t n_prefix = strlen(prefix), n_suffix = strlen(suffix);
    char *text = malloc(n_prefix + n + n_suffix + 1);
    cr_assert(text);
    memcpy(text, prefix, n_prefix);
    memset(text + n_prefix, fill, n);
    memcpy(text + n_prefix + n, suffix, n_suffix + 1);
    *ret_len = n_prefix + n + n_suffix;
    return text;
}

static unsigned status_of(enum head_kind kind, struct limits limits, const char *text, size_t len,
                          const char *id)
{
    switch (expect_same(kind, limits, text, len, id)) {
    case HEAD_DONE:
        return 0;
    case HEAD_MORE:
        return 1;
    case HEAD_BAD:
        return outcome.bad_status;
    }
    return 1;
}

Test(http_head, line_limit__is_exact)
{
    static const struct {
        size_t line_bytes;
        unsigned status;
    } rows[] = {{99, 0}, {100, 0}, {101, 414}, {102, 414}, {5000, 414}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len;
        char *text = pad("GET http://h/", rows[i].line_bytes - 22, 'x', " HTTP/1.1\r\n\r\n", &len);
        struct limits limits = {100, HEAD_LIMIT};
        cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len, "R04"), rows[i].status, "R04 %zu",
                     rows[i].line_bytes);
        free(text);
    }
}

Test(http_head, line_limit__is_seen_before_the_line_ends)
{
    size_t len;
    char *text = pad("GET http://h/", 88, 'x', "", &len); /* 101 bytes */
    struct limits limits = {100, HEAD_LIMIT};
    cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len - 1, "R04"), 1);
    cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len, "R04"), 414);
    free(text);
    text = pad("HTTP/1.1 200 ", 88, 'x', "", &len);
    cr_expect_eq(status_of(HEAD_RESPONSE, limits, text, len, "B13"), 502);
    free(text);
}

Test(http_head, head_limit__is_exact)
{
    static const struct {
        size_t head_bytes;
        unsigned status;
    } rows[] = {{999, 0}, {1000, 0}, {1001, 431}, {1002, 431}, {4000, 431}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len, overhead = strlen(GET "A: \r\n\r\n");
        char *text = pad(GET "A: ", rows[i].head_bytes - overhead, 'x', "\r\n\r\n", &len);
        struct limits limits = {100, 1000};
        cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len, "H07"), rows[i].status, "H07 %zu",
                     rows[i].head_bytes);
        free(text);
    }
}

Test(http_head, head_limit__never_leaves_a_full_buffer_waiting)
{
    size_t len;
    char *text = pad(GET "A: ", 1000, 'x', "", &len);
    struct limits limits = {100, 1000};
    cr_expect_eq(status_of(HEAD_REQUEST, limits, text, 999, "H07"), 1);
    cr_expect_eq(status_of(HEAD_REQUEST, limits, text, 1000, "H07"), 431);
    free(text);
}

Test(http_head, head_limit__counts_leading_empty_lines)
{
    static const char text[] = "\r\n\r\n\r\n\r\n" GET "\r\n";
    struct limits exact = {100, sizeof(text) - 1}, less = {100, sizeof(text) - 2};
    cr_expect_eq(status_of(HEAD_REQUEST, exact, BYTES(text), "R02"), 0);
    cr_expect_eq(status_of(HEAD_REQUEST, less, BYTES(text), "R02"), 431);
}

static char *many_fields(size_t n, size_t *ret_len)
{
    static const char field[] = "X: y\r\n";
    char *text = malloc(strlen(GET) + n * (sizeof(field) - 1) + 3);
    cr_assert(text);
    char *at = stpcpy(text, GET);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, field);
    at = stpcpy(at, "\r\n");
    *ret_len = (size_t)(at - text);
    return text;
}

Test(http_head, field_count__is_bounded)
{
    static const struct {
        size_t n;
        unsigned status;
    } rows[] = {
        {HEAD_FIELDS_MAX - 1, 0}, {HEAD_FIELDS_MAX, 0}, {HEAD_FIELDS_MAX + 1, 431}, {20000, 431}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len;
        char *text = many_fields(rows[i].n, &len);
        struct limits limits = {LINE_LIMIT, 1 << 20};
        cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len, "H08"), rows[i].status, "H08 %zu",
                     rows[i].n);
        free(text);
    }
}

Test(http_head, values__are_not_cut_at_integer_widths)
{
    for (uint32_t n = 65534; n <= 65537; n++) {
        size_t len;
        char *text = pad(GET "A: ", n, 'x', "\r\nB: c\r\n\r\n", &len);
        struct limits limits = {LINE_LIMIT, 1 << 20};
        cr_expect_eq(status_of(HEAD_REQUEST, limits, text, len, "H09"), 0);
        cr_expect_eq(outcome.fields[0].value.len, n);
        cr_expect(head_span_is(text, outcome.fields[1].value, "c"));
        free(text);
    }
}

/* A million feeds and ten thousand Connection members would not end in time if anything were
 * scanned twice. */
Test(http_head, feed__is_linear, .timeout = 20)
{
    enum { N = 1000000 };
    size_t len;
    char *text = pad(GET "Connection: ", N, ',', "close\r\n\r\n", &len);
    static struct head h;
    head_init(&h, HEAD_REQUEST, LINE_LIMIT, 2 * N);
    for (size_t i = 1; i < len; i++)
        cr_assert_eq(head_feed(&h, text, i), HEAD_MORE);
    cr_expect_eq(head_feed(&h, text, len), HEAD_DONE);
    cr_expect(h.framing.wants_close);
    free(text);
}

/* A good head with random bytes put in: whatever comes out, all feeds agree, and spans stay inside.
 */
Test(http_head, feed__is_the_same__for_any_split_of_random_heads)
{
    static const char base[] =
        "GET http://h.example/p?q HTTP/1.1\r\nHost: h.example\r\nContent-Length: "
        "12\r\nTransfer-Encoding: chunked\r\nConnection: a, close\r\n\r\n";
    static const char bytes[] = "\r\n \t:,;0159aZ/.\0\x7f\x80";
    unsigned short seed[3] = {9, 9, 9};
    for (int n = 0; n < 3000; n++) {
        char text[sizeof(base)];
        memcpy(text, base, sizeof(base));
        for (int i = (int)(nrand48(seed) % 4); i > 0; i--)
            text[(size_t)nrand48(seed) % (sizeof(base) - 1)] =
                bytes[(size_t)nrand48(seed) % (sizeof(bytes) - 1)];
        size_t len = (size_t)nrand48(seed) % sizeof(base);
        struct limits limits = {(uint32_t)(nrand48(seed) % 60), (uint32_t)(nrand48(seed) % 300)};
        expect_same(n % 5 ? HEAD_REQUEST : HEAD_RESPONSE, n % 2 ? usual : limits, text, len,
                    "random");
        for (uint32_t i = 0; i < outcome.n_fields; i++) {
            const struct head_field *f = &outcome.fields[i];
            cr_assert(f->name.at + f->name.len <= len && f->value.at + f->value.len <= len);
        }
    }
}

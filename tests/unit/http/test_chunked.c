#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/chunked.h"

struct row {
    const char *id;
    const char *input;
    const char *body; /* NULL: bad */
    const char *rest; /* behind the end */
};

static const struct row rows[] = {
    {"plain", "5\r\nhello\r\n0\r\n\r\n", "hello", ""},
    {"two chunks, the next message behind", "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\nGET ",
     "a0123456789", "GET "},
    {"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello", ""},
    {"B02 extension", "5;a=b;c=\"d;\\\"\\r\"\r\nhello\r\n0;x\r\n\r\n", "hello", ""},
    {"B02 bare semicolon", "5;\r\nhello\r\n0\r\n\r\n", "hello", ""},
    {"B04 trailers are dropped", "0\r\nHost: x\r\nContent-Length: 5\r\n\r\n", "", ""},
    {"B01 0x5", "0x5\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 +5", "+5\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 -1", "-1\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 blank before", " 5\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 blank behind", "5 \r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 underscore", "5_0\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 empty", "\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B01 wraps", "FFFFFFFFFFFFFFFF\r\nhello", NULL, ""},
    {"B01 2^63", "8000000000000000\r\nhello", NULL, ""},
    {"B02 LF in extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B02 CR in extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B02 LF in quoted extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", NULL, ""},
    {"bare LF behind the size", "5\nhello\r\n0\r\n\r\n", NULL, ""},
    {"B03 no CRLF behind the data", "5\r\nhelloXX0\r\n\r\n", NULL, ""},
    {"B03 LF behind the data", "5\r\nhello\n0\r\n\r\n", NULL, ""},
    {"B03 last chunk ended by XX", "0\r\nXX", NULL, ""},
    {"trailer without a name", "0\r\n: x\r\n\r\n", NULL, ""},
    {"trailer with a blank before the colon", "0\r\na : x\r\n\r\n", NULL, ""},
    {"trailer with obs-fold", "0\r\na: x\r\n b\r\n\r\n", NULL, ""},
    {"trailer with a control", "0\r\na: \x01\r\n\r\n", NULL, ""},
};

/* Feeds in pieces that end at the given cut, or byte by byte for cut 0. */
static bool decode(const char *input, size_t len, size_t cut, char *body, size_t *n_body,
                   size_t *ret_used)
{
    struct chunked d;
    size_t at = 0;
    chunked_init(&d);
    *n_body = 0;
    while (at < len) {
        size_t end = cut == 0 ? at + 1 : at < cut ? cut : len;
        size_t used, n_data;
        const char *data;
        switch (chunked_feed(&d, input + at, end - at, &used, &data, &n_data)) {
        case CHUNKED_DATA:
            memcpy(body + *n_body, data, n_data);
            *n_body += n_data;
            break;
        case CHUNKED_DONE:
            *ret_used = at + used;
            return true;
        case CHUNKED_BAD:
            cr_expect_not_null(d.why);
            return false;
        case CHUNKED_MORE:
            break;
        }
        at += used;
    }
    return false;
}

Test(http_chunked, feed__gives_the_same__for_every_split)
{
    char body[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        size_t len = strlen(r->input);
        for (size_t cut = 0; cut <= len; cut++) {
            size_t n_body, used = 0;
            bool is_good = decode(r->input, len, cut, body, &n_body, &used);
            cr_expect_eq(is_good, r->body != NULL, "%s, cut at %zu", r->id, cut);
            if (!is_good || !r->body)
                continue;
            cr_expect_eq(n_body, strlen(r->body), "%s, cut at %zu", r->id, cut);
            cr_expect_eq(memcmp(body, r->body, n_body), 0, "%s, cut at %zu", r->id, cut);
            cr_expect_str_eq(r->input + used, r->rest, "%s, cut at %zu", r->id, cut);
        }
    }
}

static bool ends_bad(const char *head, char fill, size_t n, const char *tail)
{
    size_t len = strlen(head) + n + strlen(tail), n_body, used;
    char *input = malloc(len + 1), *body = malloc(len + 1);
    memcpy(input, head, strlen(head));
    memset(input + strlen(head), fill, n);
    memcpy(input + strlen(head) + n, tail, strlen(tail) + 1);
    bool is_good = decode(input, len, len, body, &n_body, &used);
    free(input);
    free(body);
    return !is_good;
}

Test(http_chunked, feed__bounds_extensions_and_trailers)
{
    cr_expect_not(ends_bad("1;", 'x', CHUNKED_EXTENSION_MAX - 1, "\r\na\r\n0\r\n\r\n"));
    cr_expect(ends_bad("1;", 'x', CHUNKED_EXTENSION_MAX + 1, "\r\na\r\n0\r\n\r\n"));
    cr_expect_not(ends_bad("0\r\na: ", 'x', CHUNKED_TRAILER_MAX - 10, "\r\n\r\n"));
    cr_expect(ends_bad("0\r\na: ", 'x', CHUNKED_TRAILER_MAX, "\r\n\r\n"));
}

Test(http_chunked, feed__is_linear__for_a_million_small_chunks)
{
    enum { N = 1000000 };
    struct chunked d;
    size_t n_body = 0;
    chunked_init(&d);
    for (int i = 0; i < N; i++) {
        const char *at = "1\r\nx\r\n";
        for (size_t left = 6; left > 0;) {
            size_t used, n_data;
            const char *data;
            enum chunked_result result = chunked_feed(&d, at, left, &used, &data, &n_data);
            cr_assert(result == CHUNKED_MORE || result == CHUNKED_DATA);
            n_body += result == CHUNKED_DATA ? n_data : 0;
            at += used;
            left -= used;
        }
    }
    cr_expect_eq(n_body, N);
}

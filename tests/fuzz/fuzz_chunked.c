/*
 * Any bytes as a chunked body; the first byte picks the random split. Fed whole, byte by byte and
 * in random pieces the decoder must give the same bytes and the same end. A second decoder, written
 * line by line over the whole input, must agree: what one calls complete ends at the same place
 * with the same bytes for the other, and a line that is broken for it is broken for both.
 */
#include <stdint.h>

#include "proxy/http/chunked.h"
#include "tests/fuzz/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoded {
    enum chunked_result result;
    char *bytes; /* owned, as large as the input */
    size_t len;
    size_t used;
    const char *why;
};

static void take(struct decoded *r, const char *piece, size_t n_piece, const char *data, size_t n)
{
    expect(n > 0 && data >= piece && data + n <= piece + n_piece);
    memcpy(r->bytes + r->len, data, n);
    r->len += n;
}

/* One piece to its end, or to the end of the body. */
static void feed_piece(struct chunked *d, const char *text, size_t len, struct decoded *r)
{
    char *piece = pieces_copy(text, len);
    for (size_t at = 0; at < len;) {
        size_t used = 0, n_data = 0;
        const char *data = NULL;
        r->result = chunked_feed(d, piece + at, len - at, &used, &data, &n_data);
        expect(used <= len - at);
        if (r->result == CHUNKED_DATA)
            take(r, piece + at, used, data, n_data);
        at += used;
        r->used += used;
        if (r->result == CHUNKED_DONE || r->result == CHUNKED_BAD)
            break;
        expect(r->result == CHUNKED_DATA || at == len);
    }
    free(piece);
}

static struct decoded decode(const char *text, size_t len, struct pieces pieces)
{
    struct decoded r = {.result = CHUNKED_MORE, .bytes = pieces_copy(text, len)};
    struct chunked d;
    chunked_init(&d);
    for (size_t at = 0; at < len && r.result != CHUNKED_DONE && r.result != CHUNKED_BAD;) {
        size_t n = pieces_next(&pieces, len - at);
        feed_piece(&d, text + at, n, &r);
        at += n;
    }
    /* The end is final: more input changes nothing. */
    if (r.result == CHUNKED_DONE || r.result == CHUNKED_BAD) {
        size_t used = 7, n_data;
        const char *rest;
        expect(chunked_feed(&d, "5\r\nhello", 8, &used, &rest, &n_data) == r.result && used == 0);
    } else {
        r.result = CHUNKED_MORE;
    }
    expect((r.result == CHUNKED_BAD) == (d.why != NULL));
    r.why = d.why;
    return r;
}

static void expect_same(const struct decoded *a, const struct decoded *b)
{
    expect(a->result == b->result && a->used == b->used && a->why == b->why);
    expect(a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* ---- the second decoder ---- */

/* The line that starts at @at, without CRLF. False: it is not complete yet. */
static bool find_line(const char *text, size_t len, size_t at, size_t *ret_len)
{
    const char *lf = memchr(text + at, '\n', len - at);
    if (!lf)
        return false;
    *ret_len = (size_t)(lf - (text + at)) + 1;
    return true;
}

static bool has_only(const char *text, size_t len, const char *kinds)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0' || !strchr(kinds, text[i]))
            return false;
    }
    return true;
}

#define DIGITS  "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TOKEN   DIGITS LETTERS "!#$%&'*+-.^_`|~"

static bool is_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }
    return true;
}

/* Tokens, `=`, `;` and blanks with quoted strings between them. */
static bool is_extension(const char *text, size_t len)
{
    size_t at = 0;
    if (len >= CHUNKED_EXTENSION_MAX)
        return false;
    while (at < len) {
        if (text[at] != '"') {
            if (!has_only(text + at, 1, TOKEN "=; \t"))
                return false;
            at++;
            continue;
        }
        for (at++; at < len && text[at] != '"'; at++)
            at += text[at] == '\\';
        if (at >= len)
            return false; /* not closed in its line */
        at++;
    }
    return is_text(text, len);
}

/* A complete size line with its CRLF. False: broken. */
static bool read_size(const char *line, size_t len, uint64_t *ret_size)
{
    size_t n = 0;
    if (len < 2 || line[len - 2] != '\r')
        return false;
    len -= 2;
    while (n < len && has_only(line + n, 1, DIGITS "abcdefABCDEF"))
        n++;
    if (n < 1 || n > 16)
        return false;
    char digits[17] = {0};
    memcpy(digits, line, n);
    *ret_size = strtoull(digits, NULL, 16);
    if (*ret_size > INT64_MAX)
        return false;
    return n == len || (line[n] == ';' && is_extension(line + n + 1, len - n - 1));
}

/* A complete trailer line with its CRLF; the empty one ends the body. False: broken. */
static bool read_trailer(const char *line, size_t len)
{
    if (len < 2 || line[len - 2] != '\r')
        return false;
    len -= 2;
    const char *colon = memchr(line, ':', len);
    if (len == 0)
        return true;
    return colon && colon > line && has_only(line, (size_t)(colon - line), TOKEN) &&
           is_text(colon, len - (size_t)(colon - line));
}

static enum chunked_result reference_trailers(const char *text, size_t len, size_t *at)
{
    size_t start = *at, n;
    while (find_line(text, len, *at, &n)) {
        bool is_end = n == 2;
        *at += n;
        if (!read_trailer(text + *at - n, n) || *at - start - is_end > CHUNKED_TRAILER_MAX)
            return CHUNKED_BAD;
        if (is_end)
            return CHUNKED_DONE;
    }
    return CHUNKED_MORE;
}

static struct decoded reference(const char *text, size_t len)
{
    struct decoded r = {.result = CHUNKED_MORE, .bytes = pieces_copy(text, len)};
    uint64_t size;
    size_t n;
    while (find_line(text, len, r.used, &n)) {
        if (!read_size(text + r.used, n, &size)) {
            r.result = CHUNKED_BAD;
            return r;
        }
        r.used += n;
        if (size == 0) {
            r.result = reference_trailers(text, len, &r.used);
            return r;
        }
        size_t here = len - r.used < size ? len - r.used : (size_t)size;
        memcpy(r.bytes + r.len, text + r.used, here);
        r.len += here;
        r.used += here;
        if (len - r.used < 2)
            return r;
        if (memcmp(text + r.used, "\r\n", 2) != 0) {
            r.result = CHUNKED_BAD;
            return r;
        }
        r.used += 2;
    }
    return r;
}

static void expect_agreement(const struct decoded *ours, const struct decoded *other)
{
    expect((ours->result == CHUNKED_DONE) == (other->result == CHUNKED_DONE));
    if (other->result == CHUNKED_BAD)
        expect(ours->result == CHUNKED_BAD);
    if (ours->result == CHUNKED_DONE)
        expect(ours->used == other->used);
    /* Also a broken body has no byte of data that the other would not have given. */
    expect(ours->len == other->len && memcmp(ours->bytes, other->bytes, ours->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    struct decoded whole = decode(text, len, pieces_by(0));
    struct decoded bytes = decode(text, len, pieces_by(1));
    struct decoded split = decode(text, len, pieces_by(2u + data[0]));
    struct decoded other = reference(text, len);
    expect_same(&whole, &bytes);
    expect_same(&whole, &split);
    expect_agreement(&whole, &other);
    free(whole.bytes);
    free(bytes.bytes);
    free(split.bytes);
    free(other.bytes);
    return 0;
}

/*
 * Any bytes as the head of an origin's answer; the first byte picks the random split. Fed whole,
 * byte by byte and in pieces, each time from a buffer of its own, the result must be the same. A
 * second reader, which cuts the head into lines and judges each as a whole, must accept exactly the
 * same heads and read the same framing out of them.
 */
#include <stdint.h>
#include <strings.h>

#include "proxy/http/head.h"
#include "tests/fuzz/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE_LIMIT = 200, HEAD_LIMIT = 8192 };

static enum head_result parse(struct head *h, const char *text, size_t len, struct pieces pieces)
{
    enum head_result r = HEAD_MORE;
    head_init(h, HEAD_RESPONSE, LINE_LIMIT, HEAD_LIMIT);
    for (size_t at = 0; at < len && r == HEAD_MORE;) {
        at += pieces_next(&pieces, len - at);
        char *so_far = pieces_copy(text, at); /* the buffer moves between feeds */
        r = head_feed(h, so_far, at);
        free(so_far);
    }
    return r;
}

static void expect_same(const struct head *a, const struct head *b)
{
    expect(a->bad_status == b->bad_status && a->bad_why == b->bad_why);
    expect(a->phase == b->phase && a->scanned == b->scanned && a->head_bytes == b->head_bytes);
    expect(a->minor == b->minor && a->status_code == b->status_code);
    expect(a->reason.at == b->reason.at && a->reason.len == b->reason.len);
    expect(memcmp(&a->framing, &b->framing, sizeof(a->framing)) == 0);
    expect(a->n_fields == b->n_fields);
    expect(memcmp(a->fields, b->fields, a->n_fields * sizeof(a->fields[0])) == 0);
}

/* ---- the second reader ---- */

struct line {
    const char *at;
    size_t len;
};

struct answer {
    unsigned status, minor, n_fields;
    unsigned n_lengths, n_codings;
    uint64_t length;
    bool wants_close, wants_keep;
    size_t head_bytes;
};

static bool is_text(struct line l)
{
    for (size_t i = 0; i < l.len; i++) {
        unsigned char c = (unsigned char)l.at[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }
    return true;
}

static bool is_name(struct line l)
{
    static const char token[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < l.len; i++) {
        if (!l.at[i] || !strchr(token, l.at[i]))
            return false;
    }
    return l.len > 0;
}

static bool is_word(struct line l, const char *word)
{
    return l.len == strlen(word) && strncasecmp(l.at, word, l.len) == 0;
}

static struct line trimmed(struct line l)
{
    while (l.len > 0 && (l.at[0] == ' ' || l.at[0] == '\t'))
        l = (struct line){l.at + 1, l.len - 1};
    while (l.len > 0 && (l.at[l.len - 1] == ' ' || l.at[l.len - 1] == '\t'))
        l.len--;
    return l;
}

static bool read_status_line(struct line l, struct answer *a)
{
    if (l.len < 12 || l.len > LINE_LIMIT || memcmp(l.at, "HTTP/1.", 7) != 0 || l.at[8] != ' ')
        return false;
    if (l.at[7] != '0' && l.at[7] != '1')
        return false;
    for (size_t i = 9; i < 12; i++) {
        if (l.at[i] < '0' || l.at[i] > '9')
            return false;
        a->status = a->status * 10 + (unsigned)(l.at[i] - '0');
    }
    a->minor = (unsigned)(l.at[7] - '0');
    return a->status >= 100 && a->status <= 599 && is_text(l) && (l.len == 12 || l.at[12] == ' ');
}

static bool read_length(struct line value, struct answer *a)
{
    char digits[20] = {0};
    if (value.len == 0 || value.len > 19)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
    }
    memcpy(digits, value.at, value.len);
    a->length = strtoull(digits, NULL, 10);
    return a->n_lengths++ == 0 && a->length <= INT64_MAX;
}

static void read_options(struct line value, struct answer *a)
{
    for (size_t at = 0; at <= value.len;) {
        size_t n = 0;
        while (at + n < value.len && value.at[at + n] != ',')
            n++;
        struct line option = trimmed((struct line){value.at + at, n});
        a->wants_close |= is_word(option, "close");
        a->wants_keep |= is_word(option, "keep-alive");
        at += n + 1;
    }
}

static bool read_field(struct line l, struct answer *a)
{
    const char *colon = memchr(l.at, ':', l.len);
    if (!colon || !is_text(l) || ++a->n_fields > HEAD_FIELDS_MAX)
        return false;
    struct line name = {l.at, (size_t)(colon - l.at)};
    struct line value = trimmed((struct line){colon + 1, l.len - name.len - 1});
    if (!is_name(name))
        return false;
    if (is_word(name, "Content-Length"))
        return read_length(value, a);
    if (is_word(name, "Transfer-Encoding"))
        return a->n_codings++ == 0 && a->minor == 1 && is_word(value, "chunked");
    if (is_word(name, "Connection"))
        read_options(value, a);
    return true;
}

/* True: a complete and good head. Only LF ends a line, and CR stands before it and nowhere else. */
static bool judge(const char *text, size_t len, struct answer *ret)
{
    *ret = (struct answer){0};
    for (size_t at = 0;;) {
        const char *lf = at < len ? memchr(text + at, '\n', len - at) : NULL;
        if (!lf || lf == text + at || lf[-1] != '\r')
            return false;
        struct line l = {text + at, (size_t)(lf - text) - at - 1};
        bool is_first = at == 0;
        at += l.len + 2;
        if (at > HEAD_LIMIT || (is_first && !read_status_line(l, ret)))
            return false;
        if (is_first)
            continue;
        if (l.len == 0) {
            ret->head_bytes = at;
            return ret->n_codings + ret->n_lengths <= 1;
        }
        if (!read_field(l, ret))
            return false;
    }
}

static void expect_agreement(const struct head *h, const struct answer *a)
{
    expect(h->head_bytes == a->head_bytes && h->n_fields == a->n_fields);
    expect(h->status_code == a->status && h->minor == a->minor);
    expect(h->framing.has_length == (a->n_lengths == 1) && h->framing.length == a->length);
    expect(h->framing.is_chunked == (a->n_codings == 1));
    expect(!h->framing.has_length || !h->framing.is_chunked);
    expect(h->framing.wants_close == a->wants_close && h->framing.wants_keep == a->wants_keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct head whole, bytes, split;
    struct answer other;
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    enum head_result r = parse(&whole, text, len, pieces_by(0));
    if (len <= 1024) { /* every feed is a copy: quadratic */
        expect(parse(&bytes, text, len, pieces_by(1)) == r);
        expect_same(&whole, &bytes);
    }
    expect(parse(&split, text, len, pieces_by(2u + data[0])) == r);
    expect_same(&whole, &split);
    expect(judge(text, len, &other) == (r == HEAD_DONE));
    if (r == HEAD_DONE)
        expect_agreement(&whole, &other);
    if (r == HEAD_BAD)
        expect(whole.bad_status == 502 && whole.bad_why);
    if (r == HEAD_MORE)
        expect(len < HEAD_LIMIT);
    return 0;
}

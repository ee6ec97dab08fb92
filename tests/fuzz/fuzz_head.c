/*
 * Any bytes as a request or response head. The first byte picks the kind, the second the limits and
 * the split. Fed whole and in pieces the result must be the same, and an accepted head must hold
 * what the parser promises, looked at anew, line by line.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct head whole, split;

static void expect(bool is_so)
{
    if (!is_so)
        abort();
}

static void expect_same_outcome(void)
{
    expect(whole.bad_status == split.bad_status && whole.bad_why == split.bad_why);
    expect(whole.phase == split.phase && whole.scanned == split.scanned);
    expect(whole.head_bytes == split.head_bytes && whole.n_fields == split.n_fields);
    expect(whole.minor == split.minor && whole.status_code == split.status_code);
    expect(whole.framing.length == split.framing.length);
    expect(memcmp(whole.fields, split.fields, whole.n_fields * sizeof(whole.fields[0])) == 0);
}

static void expect_inside(struct head_span s)
{
    expect(s.at <= whole.head_bytes && s.len <= whole.head_bytes - s.at);
}

/* No bare CR or LF, no NUL, no control: two readers cannot see two heads in it. */
static void expect_clean_lines(const char *text)
{
    size_t n = whole.head_bytes;

    expect(n >= 4 && memcmp(text + n - 4, "\r\n\r\n", 4) == 0);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r')
            expect(i + 1 < n && text[i + 1] == '\n');
        else if (c == '\n')
            expect(i > 0 && text[i - 1] == '\r');
        else
            expect((c >= 0x20 && c != 0x7f) || c == '\t');
    }
}

static void expect_clean_fields(const char *text)
{
    unsigned n_lengths = 0, n_codings = 0;

    for (uint32_t i = 0; i < whole.n_fields; i++) {
        const struct head_field *f = &whole.fields[i];
        expect_inside(f->name);
        expect_inside(f->value);
        expect(f->name.len > 0 && text[f->name.at + f->name.len] == ':');
        expect(f->name.at >= 2 && text[f->name.at - 1] == '\n');
        expect(f->value.len == 0 || (text[f->value.at] != ' ' && text[f->value.at] != '\t'));
        n_lengths += head_span_is_nocase(text, f->name, "content-length");
        n_codings += head_span_is_nocase(text, f->name, "transfer-encoding");
    }
    expect(n_lengths + n_codings <= 1);
    expect(whole.framing.has_length == (n_lengths == 1));
    expect(whole.framing.is_chunked == (n_codings == 1));
    expect(whole.framing.length <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum head_kind kind = data[0] % 2 ? HEAD_RESPONSE : HEAD_REQUEST;
    uint32_t line_limit = data[1] & 0x80 ? 64 : 8192, head_limit = data[1] & 0x40 ? 256 : 32768;
    size_t step = 1 + data[1] % 16;
    const char *text = (const char *)data + 2;
    size_t len = size - 2;

    head_init(&whole, kind, line_limit, head_limit);
    head_init(&split, kind, line_limit, head_limit);
    enum head_result r = head_feed(&whole, text, len), r_split = HEAD_MORE;
    for (size_t at = 0; at < len && r_split == HEAD_MORE;) {
        at = at + step < len ? at + step : len;
        r_split = head_feed(&split, text, at);
    }
    expect(r == r_split);
    expect_same_outcome();
    if (r == HEAD_MORE)
        expect(len < head_limit);
    if (r == HEAD_BAD)
        expect(whole.bad_why &&
               (kind == HEAD_RESPONSE ? whole.bad_status == 502 : whole.bad_status >= 400));
    if (r == HEAD_DONE) {
        expect(whole.head_bytes <= len && whole.head_bytes <= head_limit);
        expect_clean_lines(text);
        expect_clean_fields(text);
    }
    return 0;
}

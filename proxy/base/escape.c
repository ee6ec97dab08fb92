/*
 * Peer bytes for a line of text. The text is taken one character at a time: a well-formed UTF-8
 * sequence, or one byte that begins none. Each becomes either itself or one group of escapes, and a
 * group is written whole or not at all, so a full buffer never ends in half a character. Which
 * characters are dangerous is one small table: controls that move a terminal's cursor, separators
 * that a reader may take for a line end, and the marks that turn the direction of writing round.
 * Not a general encoder: plain text that is safe stays readable, a Japanese memo stays Japanese.
 * Pure; any thread. UTF-8 as in RFC 3629 section 4, JSON strings as in RFC 8259 section 7.
 */
#include "proxy/base/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct span {
    uint32_t first;
    uint32_t last;
};

static const struct span dangerous[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f},
    {0x2028, 0x2029}, {0x202a, 0x202e}, {0x2066, 0x2069},
};

/* Blanks that a log reader may split words at (Unicode White_Space, above the controls). */
static const struct span blanks[] = {
    {0x20, 0x20},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
};

struct character {
    uint32_t code;
    unsigned n_bytes;
    bool is_valid; /* false: one byte that is not UTF-8, code holds it */
};

/* The longest group is three bytes as \xNN each. */
enum { GROUP_MAX = 16 };

static bool is_in(const struct span *spans, size_t n_spans, uint32_t code)
{
    for (size_t i = 0; i < n_spans; i++)
        if (code >= spans[i].first && code <= spans[i].last)
            return true;
    return false;
}

static unsigned sequence_bytes(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    if (lead >= 0xf0 && lead <= 0xf4)
        return 4;
    return 0;
}

static struct character read_character(const char *text, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)text[0];
    unsigned n_bytes = sequence_bytes(lead);
    struct character broken = {.code = lead, .n_bytes = 1, .is_valid = false};

    if (n_bytes == 0 || n_bytes > len)
        return broken;
    if (n_bytes == 1)
        return (struct character){.code = lead, .n_bytes = 1, .is_valid = true};

    uint32_t code = lead & (0x7fU >> n_bytes);
    for (unsigned i = 1; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        if ((byte & 0xc0) != 0x80)
            return broken;
        code = code << 6 | (byte & 0x3fU);
    }
    if (code < smallest[n_bytes] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return broken;
    return (struct character){.code = code, .n_bytes = n_bytes, .is_valid = true};
}

static bool wants_escape(enum escape_style style, const struct character *c)
{
    if (!c->is_valid || is_in(dangerous, sizeof(dangerous) / sizeof(dangerous[0]), c->code))
        return true;
    switch (style) {
    case ESCAPE_LOG:
    case ESCAPE_JSON:
        return c->code == '"' || c->code == '\\';
    case ESCAPE_URL:
        return c->code == '"' || c->code == '\'' ||
               is_in(blanks, sizeof(blanks) / sizeof(blanks[0]), c->code);
    case ESCAPE_TEXT:
        return false;
    case ESCAPE_HTML:
        return c->code < 0x80 && strchr("&<>\"'", (int)c->code);
    }
    return true;
}

static size_t put_hex(char *out, uint32_t value, unsigned n_digits)
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < n_digits; i++)
        out[i] = digits[value >> 4 * (n_digits - 1 - i) & 0xf];
    return n_digits;
}

static size_t write_json_group(const struct character *c, char out[static GROUP_MAX])
{
    out[0] = '\\';
    if (c->is_valid && (c->code == '"' || c->code == '\\')) {
        out[1] = (char)c->code;
        return 2;
    }
    out[1] = 'u';
    return 2 + put_hex(out + 2, c->is_valid ? c->code : 0xfffd, 4);
}

/* The number of the character: every reader of HTML and XML knows it. */
static size_t write_html_group(uint32_t code, char out[static GROUP_MAX])
{
    return (size_t)snprintf(out, GROUP_MAX, "&#%u;", (unsigned)code);
}

static size_t write_bytes_group(enum escape_style style, const struct character *c,
                                const char *text, char out[static GROUP_MAX])
{
    size_t n = 0;

    for (unsigned i = 0; i < c->n_bytes; i++) {
        if (style == ESCAPE_URL) {
            out[n++] = '%';
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
        }
        n += put_hex(out + n, (uint8_t)text[i], 2);
    }
    return n;
}

static size_t write_group(enum escape_style style, const struct character *c, const char *text,
                          char out[static GROUP_MAX])
{
    if (style == ESCAPE_JSON)
        return write_json_group(c, out);
    if (style == ESCAPE_LOG && c->is_valid && (c->code == '"' || c->code == '\\')) {
        out[0] = '\\';
        out[1] = (char)c->code;
        return 2;
    }
    if (style == ESCAPE_HTML && c->is_valid && c->code >= ' ' && c->code < 0x7f)
        return write_html_group(c->code, out);
    return write_bytes_group(style, c, text, out);
}

size_t escape_write(enum escape_style style, const char *text, size_t len, char *buf, size_t size)
{
    size_t n = 0;

    if (size == 0)
        return 0;
    for (size_t at = 0; at < len;) {
        struct character c = read_character(text + at, len - at);
        char group[GROUP_MAX];
        const char *piece = text + at;
        size_t n_piece = c.n_bytes;

        if (wants_escape(style, &c)) {
            n_piece = write_group(style, &c, text + at, group);
            piece = group;
        }
        if (n_piece >= size - n)
            break;
        memcpy(buf + n, piece, n_piece);
        n += n_piece;
        at += c.n_bytes;
    }
    buf[n] = '\0';
    return n;
}

bool escape_is_utf8(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct character c = read_character(text + at, len - at);
        if (!c.is_valid)
            return false;
        at += c.n_bytes;
    }
    return true;
}

size_t escape_utf8_length(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t at = 0; at < len; at += read_character(text + at, len - at).n_bytes)
        n++;
    return n;
}

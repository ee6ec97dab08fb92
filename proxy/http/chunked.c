/*
 * A byte machine for everything but the data, which is handed out in place. Each of its refusals
 * stands for a way in which two parsers once disagreed on where a body ends: a sign or 0x before
 * the size, a lone LF, a CR inside an extension, white space around the size, a size that wraps.
 */
#include "proxy/http/chunked.h"

#include <stdbool.h>

enum state {
    STATE_SIZE,
    STATE_EXTENSION,
    STATE_EXTENSION_QUOTED,
    STATE_EXTENSION_ESCAPED,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE,
    STATE_BAD,
};

void chunked_init(struct chunked *d)
{
    *d = (struct chunked){.state = STATE_SIZE};
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_token(unsigned char c)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    for (const char *e = extra; *e; e++) {
        if (c == (unsigned char)*e)
            return true;
    }
    return false;
}

/* HTAB, SP, VCHAR and obs-text: what a field value and a quoted string may hold. */
static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static enum state bad(struct chunked *d, const char *why)
{
    d->why = why;
    return STATE_BAD;
}

static enum state step_size(struct chunked *d, unsigned char c)
{
    int value = hex_value(c);
    if (value >= 0) {
        if (++d->n_digits > 16 || d->left >> 59)
            return bad(d, "chunk size too large");
        d->left = d->left << 4 | (unsigned)value;
        return STATE_SIZE;
    }
    if (d->n_digits == 0)
        return bad(d, "chunk size is not a hex number");
    if (c == '\r')
        return STATE_SIZE_LF;
    if (c == ';')
        return STATE_EXTENSION;
    return bad(d, "chunk size is followed by neither CRLF nor an extension");
}

static enum state step_extension(struct chunked *d, unsigned char c)
{
    if (++d->n_extension > CHUNKED_EXTENSION_MAX)
        return bad(d, "chunk extension too long");
    if (d->state == STATE_EXTENSION_ESCAPED)
        return is_text(c) ? STATE_EXTENSION_QUOTED
                          : bad(d, "control character in a chunk extension");
    if (d->state == STATE_EXTENSION_QUOTED) {
        if (c == '\\')
            return STATE_EXTENSION_ESCAPED;
        if (c == '"')
            return STATE_EXTENSION;
        return is_text(c) ? STATE_EXTENSION_QUOTED
                          : bad(d, "control character in a chunk extension");
    }
    if (c == '\r')
        return STATE_SIZE_LF;
    if (c == '"')
        return STATE_EXTENSION_QUOTED;
    if (is_token(c) || c == '=' || c == ';' || c == ' ' || c == '\t')
        return STATE_EXTENSION;
    return bad(d, "bad character in a chunk extension");
}

static enum state step_trailer(struct chunked *d, unsigned char c)
{
    if (++d->n_trailer > CHUNKED_TRAILER_MAX)
        return bad(d, "trailer section too long");
    switch ((enum state)d->state) {
    case STATE_TRAILER_START:
        if (c == '\r')
            return STATE_END_LF;
        return is_token(c) ? STATE_TRAILER_NAME : bad(d, "bad trailer field name");
    case STATE_TRAILER_NAME:
        if (c == ':')
            return STATE_TRAILER_VALUE;
        return is_token(c) ? STATE_TRAILER_NAME : bad(d, "bad trailer field name");
    case STATE_TRAILER_VALUE:
        if (c == '\r')
            return STATE_TRAILER_LF;
        return is_text(c) ? STATE_TRAILER_VALUE : bad(d, "control character in a trailer field");
    case STATE_SIZE:
    case STATE_EXTENSION:
    case STATE_EXTENSION_QUOTED:
    case STATE_EXTENSION_ESCAPED:
    case STATE_SIZE_LF:
    case STATE_DATA:
    case STATE_DATA_CR:
    case STATE_DATA_LF:
    case STATE_TRAILER_LF:
    case STATE_END_LF:
    case STATE_DONE:
    case STATE_BAD:
        break;
    }
    return c == '\n' ? STATE_TRAILER_START : bad(d, "CR without LF in the trailer section");
}

static enum state after_size(struct chunked *d, unsigned char c)
{
    bool is_last = d->left == 0;
    d->n_digits = 0;
    d->n_extension = 0;
    if (c != '\n')
        return bad(d, "CR without LF behind the chunk size");
    return is_last ? STATE_TRAILER_START : STATE_DATA;
}

static enum state step(struct chunked *d, unsigned char c)
{
    switch ((enum state)d->state) {
    case STATE_SIZE:
        return step_size(d, c);
    case STATE_EXTENSION:
    case STATE_EXTENSION_QUOTED:
    case STATE_EXTENSION_ESCAPED:
        return step_extension(d, c);
    case STATE_SIZE_LF:
        return after_size(d, c);
    case STATE_DATA_CR:
        return c == '\r' ? STATE_DATA_LF : bad(d, "chunk data is not followed by CRLF");
    case STATE_DATA_LF:
        return c == '\n' ? STATE_SIZE : bad(d, "chunk data is not followed by CRLF");
    case STATE_TRAILER_START:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
    case STATE_TRAILER_LF:
        return step_trailer(d, c);
    case STATE_END_LF:
        return c == '\n' ? STATE_DONE : bad(d, "CR without LF at the end of the body");
    case STATE_DATA:
    case STATE_DONE:
    case STATE_BAD:
        break;
    }
    return d->state;
}

enum chunked_result chunked_feed(struct chunked *d, const char *buf, size_t len, size_t *ret_used,
                                 const char **ret_data, size_t *ret_n_data)
{
    size_t at = 0;
    while (d->state != STATE_DONE && d->state != STATE_BAD && at < len) {
        if (d->state == STATE_DATA) {
            size_t n = len - at < d->left ? len - at : (size_t)d->left;
            *ret_data = buf + at;
            *ret_n_data = n;
            *ret_used = at + n;
            d->left -= n;
            if (d->left == 0)
                d->state = STATE_DATA_CR;
            return CHUNKED_DATA;
        }
        d->state = (uint8_t)step(d, (unsigned char)buf[at++]);
    }
    *ret_used = at;
    if (d->state == STATE_DONE)
        return CHUNKED_DONE;
    return d->state == STATE_BAD ? CHUNKED_BAD : CHUNKED_MORE;
}

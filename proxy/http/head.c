/*
 * The HTTP/1 head parser: a small machine that looks at each byte once and may refuse at any of
 * them. What it decides at a byte depends on the bytes up to there and on nothing else, not on
 * where a read ended; so any split of the input gives the same result, and garbage (a TLS hello, a
 * bare LF) is refused when it arrives and not when a line end is found. Lines give spans into the
 * caller's buffer, nothing is copied or allocated. Fields that frame a message are judged here, in
 * one place, when their line ends; everything else is opaque.
 * Not here: what the target means (http/authority), which methods are served, bodies.
 * It is strict on purpose: what two parsers may read in two ways is refused. RFC 9112 sections 2 to
 * 6, RFC 9110 section 5.
 */
#include "proxy/http/head.h"

#include <string.h>
#include <strings.h>

enum phase {
    PHASE_LEADING, /* before a request line; CRLF may come */
    PHASE_LEADING_LF,
    PHASE_METHOD,
    PHASE_TARGET,
    PHASE_VERSION,        /* of a request */
    PHASE_ANSWER_VERSION, /* of a response, with the SP behind it */
    PHASE_STATUS,
    PHASE_STATUS_END,
    PHASE_REASON,
    PHASE_LINE_LF, /* the start line's CR was seen */
    PHASE_FIELD_START,
    PHASE_NAME,
    PHASE_VALUE,
    PHASE_VALUE_LF,
    PHASE_LAST_LF, /* the CR of the empty line was seen */
    PHASE_DONE,
    PHASE_BAD,
};

enum { METHOD_MAX = 32, VERSION_BYTES = 8, LENGTH_DIGITS_MAX = 19 };

/* Kinds of bytes; a byte may be of several. What stands in none is refused wherever it comes. */
enum { TOKEN = 1, VISIBLE = 2, TEXT = 4, HOST = 8, ANY = 15 };

static const uint8_t kinds[256] = {
    ['\t'] = TEXT,
    [' '] = TEXT,
    ['!'] = ANY,
    ['"'] = VISIBLE | TEXT,
    ['#'] = TOKEN | VISIBLE | TEXT,
    ['$' ... '\''] = ANY,
    ['(' ... ')'] = HOST | VISIBLE | TEXT,
    ['*' ... '+'] = ANY,
    [','] = VISIBLE | TEXT,
    ['-' ... '.'] = ANY,
    ['/'] = VISIBLE | TEXT,
    ['0' ... '9'] = ANY,
    [':' ... ';'] = HOST | VISIBLE | TEXT,
    ['<'] = VISIBLE | TEXT,
    ['='] = HOST | VISIBLE | TEXT,
    ['>' ... '@'] = VISIBLE | TEXT,
    ['A' ... 'Z'] = ANY,
    ['['] = HOST | VISIBLE | TEXT,
    ['\\'] = VISIBLE | TEXT,
    [']'] = HOST | VISIBLE | TEXT,
    ['^'] = TOKEN | VISIBLE | TEXT,
    ['_'] = ANY,
    ['`'] = TOKEN | VISIBLE | TEXT,
    ['a' ... 'z'] = ANY,
    ['{'] = VISIBLE | TEXT,
    ['|'] = TOKEN | VISIBLE | TEXT,
    ['}'] = VISIBLE | TEXT,
    ['~'] = ANY,
    [0x80 ... 0xff] = TEXT,
};

static bool is_kind(unsigned char c, unsigned kind)
{
    return kinds[c] & kind;
}

static enum head_result refuse(struct head *h, unsigned status, const char *why)
{
    h->phase = PHASE_BAD;
    h->bad_status = h->kind == HEAD_RESPONSE ? 502 : status;
    h->bad_why = why;
    return HEAD_BAD;
}

static enum head_result enter(struct head *h, enum phase phase)
{
    h->phase = phase;
    return HEAD_MORE;
}

void head_init(struct head *h, enum head_kind kind, uint32_t line_limit, uint32_t head_limit)
{
    *h = (struct head){
        .kind = kind,
        .line_limit = line_limit,
        .head_limit = head_limit,
        .phase = kind == HEAD_REQUEST ? PHASE_LEADING : PHASE_ANSWER_VERSION,
    };
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct head_span trim(const char *buf, struct head_span s)
{
    while (s.len > 0 && is_blank(buf[s.at])) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && is_blank(buf[s.at + s.len - 1]))
        s.len--;
    return s;
}

bool head_span_is(const char *buf, struct head_span span, const char *text)
{
    return strlen(text) == span.len && memcmp(buf + span.at, text, span.len) == 0;
}

bool head_span_is_nocase(const char *buf, struct head_span span, const char *text)
{
    return strlen(text) == span.len && strncasecmp(buf + span.at, text, span.len) == 0;
}

static bool span_is_all(const char *buf, struct head_span s, unsigned kind)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (!is_kind((unsigned char)buf[s.at + i], kind))
            return false;
    return true;
}

/* Takes the next member off a comma list; members may be empty. False when none is left. */
static bool next_member(const char *buf, struct head_span *rest, bool *is_last,
                        struct head_span *ret)
{
    if (*is_last)
        return false;
    const char *start = buf + rest->at;
    const char *comma = memchr(start, ',', rest->len);
    uint32_t len = comma ? (uint32_t)(comma - start) : rest->len;

    *is_last = !comma;
    *ret = trim(buf, (struct head_span){.at = rest->at, .len = len});
    rest->at += len + !*is_last;
    rest->len -= len + !*is_last;
    return true;
}

/* ---- fields that say where a message ends or how the connection goes on ---- */

static enum head_result take_length(struct head *h, const char *buf, struct head_span value)
{
    uint64_t length = 0;

    if (h->framing.has_length)
        return refuse(h, 400, "two Content-Length fields");
    if (h->framing.is_chunked)
        return refuse(h, 400, "Content-Length with Transfer-Encoding");
    if (value.len == 0 || value.len > LENGTH_DIGITS_MAX)
        return refuse(h, 400, "bad Content-Length");
    for (uint32_t i = 0; i < value.len; i++) {
        char c = buf[value.at + i];
        if (c < '0' || c > '9')
            return refuse(h, 400, "bad Content-Length");
        length = length * 10 + (uint64_t)(c - '0'); /* 19 digits fit 64 bits */
    }
    if (length > INT64_MAX)
        return refuse(h, 400, "bad Content-Length");
    h->framing.has_length = true;
    h->framing.length = length;
    return HEAD_MORE;
}

static enum head_result refuse_coding(struct head *h, const char *buf, struct head_span value)
{
    struct head_span member;
    bool is_last = false;
    unsigned n_chunked = 0;

    while (next_member(buf, &value, &is_last, &member)) {
        if (member.len == 0 || !span_is_all(buf, member, TOKEN))
            return refuse(h, 400, "malformed Transfer-Encoding");
        if (head_span_is_nocase(buf, member, "chunked") && ++n_chunked > 1)
            return refuse(h, 400, "chunked twice");
    }
    return refuse(h, 501, "transfer coding is not served");
}

static enum head_result take_coding(struct head *h, const char *buf, struct head_span value)
{
    if (h->minor == 0)
        return refuse(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (h->framing.is_chunked)
        return refuse(h, 400, "two Transfer-Encoding fields");
    if (h->framing.has_length)
        return refuse(h, 400, "Transfer-Encoding with Content-Length");
    if (!head_span_is_nocase(buf, value, "chunked"))
        return refuse_coding(h, buf, value);
    h->framing.is_chunked = true;
    return HEAD_MORE;
}

static enum head_result take_host(struct head *h, const char *buf, struct head_span value)
{
    if (h->kind == HEAD_RESPONSE)
        return HEAD_MORE;
    if (h->framing.n_hosts > 0)
        return refuse(h, 400, "two Host fields");
    if (!head_span_is(buf, h->method, "CONNECT") && !span_is_all(buf, value, HOST))
        return refuse(h, 400, "bad Host");
    h->framing.n_hosts++;
    h->framing.host_field = h->n_fields;
    return HEAD_MORE;
}

static void take_connection(struct head *h, const char *buf, struct head_span value)
{
    struct head_span member;
    bool is_last = false;

    while (next_member(buf, &value, &is_last, &member)) {
        if (head_span_is_nocase(buf, member, "close"))
            h->framing.wants_close = true;
        else if (head_span_is_nocase(buf, member, "keep-alive"))
            h->framing.wants_keep = true;
    }
}

static enum head_result take_field(struct head *h, const char *buf)
{
    struct head_field *f = &h->fields[h->n_fields];
    enum head_result r = HEAD_MORE;

    f->value = trim(buf, f->value);
    if (head_span_is_nocase(buf, f->name, "content-length"))
        r = take_length(h, buf, f->value);
    else if (head_span_is_nocase(buf, f->name, "transfer-encoding"))
        r = take_coding(h, buf, f->value);
    else if (head_span_is_nocase(buf, f->name, "host"))
        r = take_host(h, buf, f->value);
    else if (head_span_is_nocase(buf, f->name, "connection"))
        take_connection(h, buf, f->value);
    else if (h->kind == HEAD_REQUEST && head_span_is_nocase(buf, f->name, "proxy-connection"))
        take_connection(h, buf, f->value);
    else if (h->kind == HEAD_REQUEST && head_span_is_nocase(buf, f->name, "expect"))
        h->framing.expects_100 |= head_span_is_nocase(buf, f->value, "100-continue");
    if (r == HEAD_MORE)
        h->n_fields++;
    return r;
}

/* ---- one byte at a time; h->scanned is the place of @c ---- */

static enum head_result step_leading(struct head *h, unsigned char c)
{
    if (h->phase == PHASE_LEADING_LF) {
        if (c != '\n')
            return refuse(h, 400, "CR without LF");
        h->line_start = h->scanned + 1;
        return enter(h, PHASE_LEADING);
    }
    if (c == '\r') {
        if (h->scanned >= 2 * HEAD_LEADING_CRLF_MAX)
            return refuse(h, 400, "too many empty lines");
        return enter(h, PHASE_LEADING_LF);
    }
    if (!is_kind(c, TOKEN))
        return refuse(h, 400, "bad method");
    h->method.at = h->line_start;
    return enter(h, PHASE_METHOD);
}

static enum head_result step_method(struct head *h, unsigned char c)
{
    h->method.len = h->scanned - h->method.at;
    if (c == ' ') {
        h->target.at = h->scanned + 1;
        return enter(h, PHASE_TARGET);
    }
    if (!is_kind(c, TOKEN))
        return refuse(h, 400, "bad method");
    if (h->method.len >= METHOD_MAX)
        return refuse(h, 501, "method too long");
    return HEAD_MORE;
}

static enum head_result step_target(struct head *h, unsigned char c)
{
    h->target.len = h->scanned - h->target.at;
    if (c == ' ' && h->target.len > 0)
        return enter(h, PHASE_VERSION);
    if (c == '\r')
        return refuse(h, 400, "no HTTP version");
    if (!is_kind(c, VISIBLE))
        return refuse(h, 400, "bad byte in the target");
    return HEAD_MORE;
}

/* Whether @c may stand at place @at of "HTTP/1.1", any digits. */
static bool fits_version(uint32_t at, unsigned char c)
{
    static const char pattern[] = "HTTP/0.0";

    if (at >= VERSION_BYTES)
        return false;
    return pattern[at] == '0' ? c >= '0' && c <= '9' : (unsigned char)pattern[at] == c;
}

static bool take_version(struct head *h, const char *version)
{
    h->minor = (unsigned)(version[7] - '0');
    return version[5] == '1' && h->minor <= 1;
}

static enum head_result step_version(struct head *h, const char *buf, unsigned char c)
{
    uint32_t start = h->target.at + h->target.len + 1;
    uint32_t at = h->scanned - start;

    if (c != '\r')
        return fits_version(at, c) ? HEAD_MORE : refuse(h, 400, "bad HTTP version");
    if (at != VERSION_BYTES)
        return refuse(h, 400, "bad HTTP version");
    if (!take_version(h, buf + start))
        return refuse(h, 505, "HTTP version is not served");
    return enter(h, PHASE_LINE_LF);
}

static enum head_result step_status_line(struct head *h, const char *buf, unsigned char c)
{
    switch (h->phase) {
    case PHASE_ANSWER_VERSION:
        if (h->scanned < VERSION_BYTES)
            return fits_version(h->scanned, c) ? HEAD_MORE : refuse(h, 502, "bad status line");
        if (c != ' ' || !take_version(h, buf))
            return refuse(h, 502, "bad status line");
        return enter(h, PHASE_STATUS);
    case PHASE_STATUS:
        if (c < '0' || c > '9')
            return refuse(h, 502, "bad status code");
        h->status_code = h->status_code * 10 + (unsigned)(c - '0');
        if (h->scanned < VERSION_BYTES + 3)
            return HEAD_MORE;
        if (h->status_code < 100 || h->status_code > 599)
            return refuse(h, 502, "bad status code");
        return enter(h, PHASE_STATUS_END);
    case PHASE_STATUS_END:
        h->reason.at = h->scanned + (c == ' ');
        if (c == '\r')
            return enter(h, PHASE_LINE_LF);
        return c == ' ' ? enter(h, PHASE_REASON) : refuse(h, 502, "bad status code");
    default: /* PHASE_REASON */
        h->reason.len = h->scanned - h->reason.at;
        if (c == '\r')
            return enter(h, PHASE_LINE_LF);
        return is_kind(c, TEXT) ? HEAD_MORE : refuse(h, 502, "bad byte in the reason phrase");
    }
}

static enum head_result step_field_start(struct head *h, unsigned char c)
{
    h->line_start = h->scanned;
    if (c == '\r')
        return enter(h, PHASE_LAST_LF);
    if (is_blank((char)c))
        return refuse(h, 400, "blank at the start of a field line");
    if (!is_kind(c, TOKEN))
        return refuse(h, 400, "bad field name");
    if (h->n_fields >= HEAD_FIELDS_MAX)
        return refuse(h, 431, "too many fields");
    return enter(h, PHASE_NAME);
}

static enum head_result step_name(struct head *h, unsigned char c)
{
    struct head_field *f = &h->fields[h->n_fields];

    if (c == ':') {
        f->name = (struct head_span){.at = h->line_start, .len = h->scanned - h->line_start};
        f->value.at = h->scanned + 1;
        return enter(h, PHASE_VALUE);
    }
    return is_kind(c, TOKEN) ? HEAD_MORE : refuse(h, 400, "bad field name");
}

static enum head_result step_value(struct head *h, unsigned char c)
{
    struct head_field *f = &h->fields[h->n_fields];

    f->value.len = h->scanned - f->value.at;
    if (c == '\r')
        return enter(h, PHASE_VALUE_LF);
    return is_kind(c, TEXT) ? HEAD_MORE : refuse(h, 400, "bad byte in a field value");
}

static enum head_result step_line_end(struct head *h, const char *buf, unsigned char c)
{
    if (c != '\n')
        return refuse(h, 400, "CR without LF");
    if (h->phase == PHASE_LAST_LF) {
        h->head_bytes = h->scanned + 1;
        h->phase = PHASE_DONE;
        return HEAD_DONE;
    }
    if (h->phase == PHASE_VALUE_LF && take_field(h, buf) == HEAD_BAD)
        return HEAD_BAD;
    return enter(h, PHASE_FIELD_START);
}

static enum head_result step(struct head *h, const char *buf, unsigned char c)
{
    switch ((enum phase)h->phase) {
    case PHASE_LEADING:
    case PHASE_LEADING_LF:
        return step_leading(h, c);
    case PHASE_METHOD:
        return step_method(h, c);
    case PHASE_TARGET:
        return step_target(h, c);
    case PHASE_VERSION:
        return step_version(h, buf, c);
    case PHASE_ANSWER_VERSION:
    case PHASE_STATUS:
    case PHASE_STATUS_END:
    case PHASE_REASON:
        return step_status_line(h, buf, c);
    case PHASE_FIELD_START:
        return step_field_start(h, c);
    case PHASE_NAME:
        return step_name(h, c);
    case PHASE_VALUE:
        return step_value(h, c);
    case PHASE_LINE_LF:
    case PHASE_VALUE_LF:
    case PHASE_LAST_LF:
        return step_line_end(h, buf, c);
    case PHASE_DONE:
        return HEAD_DONE;
    case PHASE_BAD:
        return HEAD_BAD;
    }
    return HEAD_BAD;
}

enum head_result head_feed(struct head *h, const char *buf, size_t len)
{
    if (h->phase == PHASE_DONE)
        return HEAD_DONE;
    if (h->phase == PHASE_BAD)
        return HEAD_BAD;
    while (h->scanned < len) {
        unsigned char c = (unsigned char)buf[h->scanned];
        bool is_start_line = h->phase < PHASE_LINE_LF;

        if (is_start_line && c != '\r' && h->scanned - h->line_start >= h->line_limit)
            return refuse(h, 414, "request line too long");
        enum head_result r = step(h, buf, c);
        if (r == HEAD_BAD)
            return r;
        h->scanned++;
        if (r == HEAD_DONE)
            return r;
        if (h->scanned >= h->head_limit)
            return refuse(h, 431, "head too long");
    }
    return HEAD_MORE;
}

const struct head_field *head_find(const struct head *h, const char *buf, const char *name)
{
    for (uint32_t i = 0; i < h->n_fields; i++)
        if (head_span_is_nocase(buf, h->fields[i].name, name))
            return &h->fields[i];
    return NULL;
}

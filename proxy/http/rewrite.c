/*
 * Serialising. A head goes on only as what our own parser understood: the start line, framing and
 * Host are written from parsed values, the other fields from their spans, each as `Name: value`. So
 * an origin sees one spelling of everything that decides where a message ends, whatever the client
 * wrote. Connection options are collected first and are bounded; a field that one names is dropped,
 * but no option can take the framing away (RFC 9110 section 7.6.1).
 */
#include "proxy/http/rewrite.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct out {
    char *bytes;
    size_t size, len;
    bool is_full;
};

struct options {
    struct head_span items[REWRITE_OPTIONS_MAX];
    unsigned n;
};

static void put(struct out *o, const char *bytes, size_t len)
{
    if (len > o->size - o->len) {
        o->is_full = true;
        return;
    }
    memcpy(o->bytes + o->len, bytes, len);
    o->len += len;
}

static void put_text(struct out *o, const char *text)
{
    put(o, text, strlen(text));
}

static void put_number(struct out *o, uint64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    put(o, digits, (size_t)n);
}

static bool is_named(const char *buf, const struct head_field *f, const char *name)
{
    return head_span_is_nocase(buf, f->name, name);
}

/* The tokens of all Connection (and Proxy-Connection) fields. False: too many. */
static bool collect_options(const struct head *h, const char *buf, struct options *ret)
{
    ret->n = 0;
    for (uint32_t i = 0; i < h->n_fields; i++) {
        const struct head_field *f = &h->fields[i];
        if (!is_named(buf, f, "Connection") && !is_named(buf, f, "Proxy-Connection"))
            continue;
        uint32_t at = f->value.at, end = f->value.at + f->value.len;
        while (at < end) {
            uint32_t start = at;
            while (at < end && buf[at] != ',' && buf[at] != ' ' && buf[at] != '\t')
                at++;
            if (at > start) {
                if (ret->n == REWRITE_OPTIONS_MAX)
                    return false;
                ret->items[ret->n++] = (struct head_span){start, at - start};
            } else {
                at++;
            }
        }
    }
    return true;
}

static bool is_option(const struct options *options, const char *buf, struct head_span name)
{
    for (unsigned i = 0; i < options->n; i++) {
        const struct head_span *item = &options->items[i];
        if (item->len == name.len && strncasecmp(buf + item->at, buf + name.at, name.len) == 0)
            return true;
    }
    return false;
}

static bool is_hop_by_hop(const char *buf, const struct head_field *f)
{
    static const char *const names[] = {"Connection",
                                        "Proxy-Connection",
                                        "Keep-Alive",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "Proxy-Authorization",
                                        "Proxy-Authenticate",
                                        "HTTP2-Settings",
                                        "Proxy-Authentication-Info"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (f->name.len == strlen(names[i]) && is_named(buf, f, names[i]))
            return true;
    }
    return false;
}

static void put_field(struct out *o, const char *buf, const struct head_field *f)
{
    put(o, buf + f->name.at, f->name.len);
    put_text(o, ": ");
    put(o, buf + f->value.at, f->value.len);
    put_text(o, "\r\n");
}

/* RFC 9110 section 8.6: these have no Content-Length at all. */
static bool has_no_content(const struct head *h)
{
    return h->kind == HEAD_RESPONSE && (h->status_code < 200 || h->status_code == 204);
}

static void put_framing(struct out *o, const struct head *h, enum rewrite_body body)
{
    if (body == REWRITE_BODY_CHUNKED) {
        put_text(o, "Transfer-Encoding: chunked\r\n");
    } else if (h->framing.has_length && body != REWRITE_BODY_CLOSE && !has_no_content(h)) {
        put_text(o, "Content-Length: ");
        put_number(o, h->framing.length);
        put_text(o, "\r\n");
    }
}

static bool names_us(const char *buf, struct head_span value, const char *via)
{
    size_t n = strlen(via);
    for (uint32_t at = 0; value.len >= n && at <= value.len - n; at++) {
        if (strncasecmp(buf + value.at + at, via, n) == 0)
            return true;
    }
    return false;
}

static unsigned count_commas(const char *buf, struct head_span value)
{
    unsigned n = 1;
    for (uint32_t i = 0; i < value.len; i++)
        n += buf[value.at + i] == ',';
    return n;
}

static bool is_loop(const struct head *h, const char *buf, const char *via)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < h->n_fields; i++) {
        if (!is_named(buf, &h->fields[i], "Via"))
            continue;
        n += count_commas(buf, h->fields[i].value);
        if (n > REWRITE_VIA_MAX || names_us(buf, h->fields[i].value, via))
            return true;
    }
    return false;
}

static void put_via(struct out *o, unsigned minor, const char *via)
{
    put_text(o, minor ? "Via: 1.1 " : "Via: 1.0 ");
    put_text(o, via);
    put_text(o, "\r\n");
}

/* Fields that go on as they are; the caller writes framing, Host and Via. */
static void put_fields(struct out *o, const struct head *h, const char *buf,
                       const struct options *options, int max_forwards)
{
    for (uint32_t i = 0; i < h->n_fields; i++) {
        const struct head_field *f = &h->fields[i];
        if (is_hop_by_hop(buf, f) || is_named(buf, f, "Content-Length") ||
            (h->kind == HEAD_REQUEST && is_named(buf, f, "Host")) ||
            is_option(options, buf, f->name))
            continue;
        if (max_forwards >= 0 && is_named(buf, f, "Max-Forwards")) {
            put_text(o, "Max-Forwards: ");
            put_number(o, (uint64_t)max_forwards);
            put_text(o, "\r\n");
            continue;
        }
        put_field(o, buf, f);
    }
}

enum rewrite_result rewrite_request(const struct head *h, const char *buf,
                                    const struct authority *target, const char *path, size_t n_path,
                                    const char *via, int max_forwards, enum rewrite_body body,
                                    char *out, size_t size, size_t *ret_len)
{
    struct out o = {.bytes = out, .size = size};
    struct options options;
    char host[AUTHORITY_NAME_MAX + 16];
    if (!collect_options(h, buf, &options))
        return REWRITE_BAD_OPTIONS;
    if (is_loop(h, buf, via))
        return REWRITE_LOOP;
    put(&o, buf + h->method.at, h->method.len);
    if (n_path == 0 && head_span_is(buf, h->method, "OPTIONS"))
        put_text(&o, " *"); /* RFC 9112 section 3.2.4: about the origin as a whole */
    else
        put_text(&o, n_path == 0 || path[0] != '/' ? " /" : " ");
    put(&o, path, n_path);
    put_text(&o, " HTTP/1.1\r\nHost: ");
    size_t n_host = authority_text(target, host, sizeof(host));
    if (target->port == 80) /* the scheme's own port is left out, as clients do */
        n_host -= 3;
    put(&o, host, n_host);
    put_text(&o, "\r\n");
    put_fields(&o, h, buf, &options, max_forwards);
    put_framing(&o, h, body);
    put_via(&o, h->minor, via);
    put_text(&o, "\r\n");
    *ret_len = o.len;
    return o.is_full ? REWRITE_NO_ROOM : REWRITE_OK;
}

enum rewrite_result rewrite_response(const struct head *h, const char *buf, const char *via,
                                     enum rewrite_body body, bool closes, bool says_keep, char *out,
                                     size_t size, size_t *ret_len)
{
    struct out o = {.bytes = out, .size = size};
    struct options options;
    if (!collect_options(h, buf, &options))
        return REWRITE_BAD_OPTIONS;
    put_text(&o, "HTTP/1.1 ");
    put_number(&o, h->status_code);
    put_text(&o, " ");
    put(&o, buf + h->reason.at, h->reason.len);
    put_text(&o, "\r\n");
    put_fields(&o, h, buf, &options, -1);
    put_framing(&o, h, body);
    put_via(&o, h->minor, via);
    if (closes)
        put_text(&o, "Connection: close\r\n");
    else if (says_keep)
        put_text(&o, "Connection: keep-alive\r\n");
    put_text(&o, "\r\n");
    *ret_len = o.len;
    return o.is_full ? REWRITE_NO_ROOM : REWRITE_OK;
}

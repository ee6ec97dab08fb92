/*
 * Formats of the access record. Everything that a peer chose goes through escape_write(), so one
 * record is one line and a terminal that shows it is safe; a Japanese memo stays readable. Strings
 * of peers are cut at 1 KiB before they are escaped, so the line fits its buffer whatever they
 * hold. Squid's native line: time elapsed client code/status bytes method URL user hierarchy/peer
 * type (fields and codes as its documentation names them).
 */
#include "proxy/report/access.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/escape.h"

enum { TEXT_MAX = 1024 };

struct line {
    char *buf;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(l->buf + l->len, l->size - l->len, fmt, args);
    va_end(args);
    if (n > 0)
        l->len += (size_t)n < l->size - l->len ? (size_t)n : l->size - l->len - 1;
}

static void put_text(struct line *l, enum escape_style style, const char *text, size_t len)
{
    l->len += escape_write(style, text, len < TEXT_MAX ? len : TEXT_MAX, l->buf + l->len,
                           l->size - l->len);
}

static const char *event_name(enum access_event event)
{
    switch (event) {
    case ACCESS_OPEN:
        return "open";
    case ACCESS_CLOSE:
        return "close";
    case ACCESS_REQUEST:
        return "request";
    case ACCESS_REFUSED:
        return "refused";
    }
    return "";
}

/* One key with a value in either of the two keyed formats. */
struct keyed {
    struct line line;
    bool is_json;
    bool has_any;
};

static void put_key(struct keyed *k, const char *key)
{
    if (k->is_json)
        put(&k->line, "%s\"%s\":", k->has_any ? "," : "", key);
    else
        put(&k->line, "%s%s=", k->has_any ? " " : "", key);
    k->has_any = true;
}

static void put_string(struct keyed *k, const char *key, const char *text, size_t len)
{
    if (!text)
        return;
    put_key(k, key);
    put(&k->line, "\"");
    put_text(&k->line, k->is_json ? ESCAPE_JSON : ESCAPE_LOG, text, len);
    put(&k->line, "\"");
}

static void put_number(struct keyed *k, const char *key, int64_t value)
{
    if (value < 0)
        return;
    put_key(k, key);
    put(&k->line, "%lld", (long long)value);
}

static void put_endpoint(struct keyed *k, const char *key, const struct endpoint *ep)
{
    char text[ENDPOINT_TEXT_MAX];
    if (ep)
        put_string(k, key, text, strlen(endpoint_text(ep, text)));
}

static void put_rule(struct keyed *k, const struct access_record *r)
{
    if (!r->rule_line) {
        put_string(k, "rule", r->rule_words, r->rule_words ? strlen(r->rule_words) : 0);
        return;
    }
    char text[256];
    int n =
        snprintf(text, sizeof(text), "%s:%u", r->rule_file ? r->rule_file : "acl", r->rule_line);
    put_string(k, "rule", text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    if (r->memo && r->memo[0])
        put_string(k, "memo", r->memo, strlen(r->memo));
}

static size_t format_keyed(bool is_json, const struct access_record *r, char *buf, size_t size)
{
    struct keyed k = {.line = {.buf = buf, .size = size - 2}, .is_json = is_json};
    const struct reason_info *why = reason_info(r->reason);
    char source[ADDR_TEXT_MAX];
    addr_text(&r->source.addr, source);
    if (is_json)
        put(&k.line, "{");
    put_key(&k, "ts");
    put(&k.line, "%llu.%03u", (unsigned long long)(r->wall_ms / 1000),
        (unsigned)(r->wall_ms % 1000));
    put_string(&k, "event", event_name(r->event), strlen(event_name(r->event)));
    put_key(&k, "id");
    put(&k.line, is_json ? "\"%u.%llu\"" : "%u.%llu", r->worker, (unsigned long long)r->serial);
    put_string(&k, "src", source, strlen(source));
    put_number(&k, "src_port", r->source.port);
    put_string(&k, "listener", r->listener, r->listener ? strlen(r->listener) : 0);
    put_string(&k, "method", r->method, r->method ? strlen(r->method) : 0);
    put_string(&k, "host", r->host, r->host_len);
    put_number(&k, "port", r->port ? r->port : -1);
    put_endpoint(&k, "addr", r->addr);
    put_endpoint(&k, "local_addr", r->local_addr);
    put_rule(&k, r);
    put_string(&k, "user_agent", r->user_agent, r->user_agent_len);
    put_number(&k, "status", r->status ? (int64_t)r->status : -1);
    if (r->reason != REASON_NONE && r->event != ACCESS_OPEN)
        put_string(&k, "error", why->name, strlen(why->name));
    put_number(&k, "bytes_up", (int64_t)r->bytes_up);
    put_number(&k, "bytes_down", (int64_t)r->bytes_down);
    put_number(&k, "dns_ms", r->dns_ms);
    put_number(&k, "connect_ms", r->connect_ms);
    put_number(&k, "first_byte_ms", r->first_byte_ms);
    put_number(&k, "duration_ms", r->duration_ms);
    if (r->event != ACCESS_OPEN && r->reason != REASON_NONE)
        put_string(&k, "closed_by", why->closed_by, strlen(why->closed_by));
    memcpy(buf + k.line.len, is_json ? "}\n" : "\n", is_json ? 2 : 1);
    return k.line.len + (is_json ? 2 : 1);
}

static const char *squid_code(const struct access_record *r)
{
    if (r->event != ACCESS_REFUSED)
        return r->event == ACCESS_REQUEST ? "TCP_MISS" : "TCP_TUNNEL";
    switch ((int)r->reason) {
    case REASON_SOURCE_DENIED:
    case REASON_OUT_DENIED:
    case REASON_PORT_DENIED:
    case REASON_SPECIAL_USE:
    case REASON_OWN_LISTENER:
        return "TCP_DENIED";
    case REASON_CLIENT_GONE:
    case REASON_HEAD_LATE:
        return "NONE_NONE_ABORTED";
    case REASON_BAD_REQUEST:
    case REASON_LINE_TOO_LONG:
    case REASON_HEAD_TOO_LONG:
    case REASON_METHOD:
    case REASON_VERSION:
        return "NONE_NONE";
    default:
        return "TCP_TUNNEL";
    }
}

static size_t format_squid(const struct access_record *r, char *buf, size_t size)
{
    struct line l = {.buf = buf, .size = size - 1};
    char source[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
    put(&l, "%10llu.%03u %6lld %s %s/%03u %llu ", (unsigned long long)(r->wall_ms / 1000),
        (unsigned)(r->wall_ms % 1000), (long long)(r->duration_ms < 0 ? 0 : r->duration_ms),
        addr_text(&r->source.addr, source), squid_code(r), r->status,
        (unsigned long long)r->bytes_down);
    put_text(&l, ESCAPE_URL, r->method ? r->method : "-", r->method ? strlen(r->method) : 1);
    put(&l, " ");
    if (r->path)
        put(&l, "http://");
    if (r->host)
        put_text(&l, ESCAPE_URL, r->host, r->host_len);
    else
        put(&l, "error:%s", reason_info(r->reason)->name);
    if (r->port && !(r->path && r->port == 80))
        put(&l, ":%u", r->port);
    if (r->path)
        put_text(&l, ESCAPE_URL, r->path[0] ? r->path : "/", r->path[0] ? strlen(r->path) : 1);
    if (r->addr)
        put(&l, " - HIER_DIRECT/%s -", addr_text(&r->addr->addr, to));
    else
        put(&l, " - HIER_NONE/- -");
    buf[l.len] = '\n';
    return l.len + 1;
}

size_t access_format(enum conf_access_format format, const struct access_record *r, char *buf,
                     size_t size)
{
    switch (format) {
    case CONF_FORMAT_SQUID:
        return format_squid(r, buf, size);
    case CONF_FORMAT_JSON:
    case CONF_FORMAT_LOGFMT:
        return format_keyed(format == CONF_FORMAT_JSON, r, buf, size);
    case CONF_FORMAT_CUSTOM:
        break; /* refused by the configuration until it exists */
    }
    return format_squid(r, buf, size);
}

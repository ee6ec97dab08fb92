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
#include <time.h>

#include "conf/logfield.h"
#include "proxy/base/escape.h"

/* Escaped, a byte takes six at most. */
enum { TEXT_MAX = 1024, FIELD_MAX = 6 * TEXT_MAX + 64 };

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

void access_set_rule(struct access_record *r, const struct rule_place *place, const char *words)
{
    r->rule_words = place ? NULL : words;
    if (!place)
        return;
    r->rule_file = place->file;
    r->rule_line = place->line;
    r->memo = place->memo;
}

static const char *event_name(enum access_event event)
{
    switch (event) {
    case ACCESS_OPEN:
        return "open";
    case ACCESS_PERIODIC:
        return "periodic";
    case ACCESS_CLOSE:
        return "close";
    case ACCESS_REQUEST:
        return "request";
    case ACCESS_DNS:
        return "dns";
    case ACCESS_REFUSED:
        return "refused";
    case ACCESS_OBSERVED:
        return "observed";
    }
    return "";
}

/* A field's value as text; @text NULL: the record has none. */
struct value {
    const char *text;
    size_t len;
    bool is_bare;     /* a number: no quotes in the keyed formats */
    bool is_identity; /* quoted in JSON only */
    char own[256];
};

static void take_text(struct value *v, const char *text)
{
    v->text = text;
    v->len = text ? strlen(text) : 0;
}

static void take_number(struct value *v, int64_t number)
{
    if (number < 0)
        return;
    int n = snprintf(v->own, sizeof(v->own), "%lld", (long long)number);
    v->text = v->own;
    v->len = (size_t)n;
    v->is_bare = true;
}

static void take_endpoint(struct value *v, const struct endpoint *ep)
{
    _Static_assert(sizeof(v->own) >= ENDPOINT_TEXT_MAX, "an endpoint fits");
    if (ep)
        take_text(v, endpoint_text(ep, v->own));
}

static void take_rule(struct value *v, const struct access_record *r)
{
    if (!r->rule_line) {
        take_text(v, r->rule_words);
        return;
    }
    snprintf(v->own, sizeof(v->own), "%s:%u", r->rule_file ? r->rule_file : "acl", r->rule_line);
    take_text(v, v->own);
}

static void take_ts(struct value *v, const struct access_record *r)
{
    snprintf(v->own, sizeof(v->own), "%llu.%03u", (unsigned long long)(r->wall_ms / 1000),
             (unsigned)(r->wall_ms % 1000));
    take_text(v, v->own);
    v->is_bare = true;
}

/* RFC 3339, UTC. */
static void take_time(struct value *v, const struct access_record *r)
{
    time_t seconds = (time_t)(r->wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    size_t n = strftime(v->own, sizeof(v->own), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(v->own + n, sizeof(v->own) - n, ".%03uZ", (unsigned)(r->wall_ms % 1000));
    take_text(v, v->own);
}

static void take_id(struct value *v, const struct access_record *r)
{
    snprintf(v->own, sizeof(v->own), "%u.%llu", r->worker, (unsigned long long)r->serial);
    take_text(v, v->own);
    v->is_identity = true;
}

/* Open tunnels have not ended for a reason. */
static bool has_ended(const struct access_record *r)
{
    return r->reason != REASON_NONE && r->event != ACCESS_OPEN && r->event != ACCESS_PERIODIC;
}

static void take_field(struct value *v, const struct access_record *r, enum log_field field)
{
    v->text = NULL;
    v->is_bare = v->is_identity = false;
    switch (field) {
    case LOG_FIELD_TS:
        take_ts(v, r);
        break;
    case LOG_FIELD_TIME:
        take_time(v, r);
        break;
    case LOG_FIELD_EVENT:
        take_text(v, event_name(r->event));
        break;
    case LOG_FIELD_ID:
        take_id(v, r);
        break;
    case LOG_FIELD_SRC:
        take_text(v, addr_text(&r->source.addr, v->own));
        break;
    case LOG_FIELD_SRC_PORT:
        take_number(v, r->source.port);
        break;
    case LOG_FIELD_LISTENER:
        take_text(v, r->listener);
        break;
    case LOG_FIELD_METHOD:
        take_text(v, r->method);
        break;
    case LOG_FIELD_HOST:
        v->text = r->host;
        v->len = r->host_len;
        break;
    case LOG_FIELD_PORT:
        take_number(v, r->port ? r->port : -1);
        break;
    case LOG_FIELD_TYPE:
        take_text(v, r->type);
        break;
    case LOG_FIELD_RCODE:
        take_text(v, r->rcode);
        break;
    case LOG_FIELD_RESULT:
        take_text(v, r->result);
        break;
    case LOG_FIELD_ADDR:
        take_endpoint(v, r->addr);
        break;
    case LOG_FIELD_LOCAL_ADDR:
        take_endpoint(v, r->local_addr);
        break;
    case LOG_FIELD_RULE:
        take_rule(v, r);
        break;
    case LOG_FIELD_MEMO:
        take_text(v, r->rule_line && r->memo && r->memo[0] ? r->memo : NULL);
        break;
    case LOG_FIELD_USER_AGENT:
        v->text = r->user_agent;
        v->len = r->user_agent_len;
        break;
    case LOG_FIELD_STATUS:
        take_number(v, r->status ? (int64_t)r->status : -1);
        break;
    case LOG_FIELD_ERROR:
        take_text(v, has_ended(r) ? reason_info(r->reason)->name : NULL);
        break;
    case LOG_FIELD_BYTES_UP:
        take_number(v, (int64_t)r->bytes_up);
        break;
    case LOG_FIELD_BYTES_DOWN:
        take_number(v, (int64_t)r->bytes_down);
        break;
    case LOG_FIELD_DNS_MS:
        take_number(v, r->dns_ms);
        break;
    case LOG_FIELD_CONNECT_MS:
        take_number(v, r->connect_ms);
        break;
    case LOG_FIELD_FIRST_BYTE_MS:
        take_number(v, r->first_byte_ms);
        break;
    case LOG_FIELD_DURATION_MS:
        take_number(v, r->duration_ms);
        break;
    case LOG_FIELD_CLOSED_BY:
        take_text(v, has_ended(r) && r->event != ACCESS_OBSERVED ? reason_info(r->reason)->closed_by
                                                                 : NULL);
        break;
    case LOG_FIELD_PATH:
        take_text(v, r->path);
        break;
    case LOG_FIELD_N:
        break;
    }
}

static void put_keyed(struct line *l, bool is_json, enum log_field field, const struct value *v)
{
    const char *quote = v->is_bare || (v->is_identity && !is_json) ? "" : "\"";
    const char *between = field == LOG_FIELD_TS ? "" : is_json ? "," : " ";
    put(l, is_json ? "%s\"%s\":%s" : "%s%s=%s", between, logfield_name(field), quote);
    put_text(l, is_json ? ESCAPE_JSON : ESCAPE_LOG, v->text, v->len);
    put(l, "%s", quote);
}

static size_t format_keyed(bool is_json, const struct access_record *r, char *buf, size_t size)
{
    struct line l = {.buf = buf, .size = size - 2};
    struct value v;
    if (is_json)
        put(&l, "{");
    for (enum log_field f = 0; f < LOG_FIELD_N_KEYED; f++) {
        take_field(&v, r, f);
        if (v.text)
            put_keyed(&l, is_json, f, &v);
    }
    memcpy(buf + l.len, is_json ? "}\n" : "\n", is_json ? 2 : 1);
    return l.len + (is_json ? 2 : 1);
}

/* The format string was checked when it was read; a piece that is bad all the same ends the line.
 */
static size_t format_custom(const char *format, const struct access_record *r, char *buf,
                            size_t size)
{
    struct line l = {.buf = buf, .size = size - 1};
    struct log_piece piece;
    struct value v;
    while (logfield_next(&format, &piece) == LOGFIELD_PIECE) {
        if (piece.text) {
            put_text(&l, ESCAPE_TEXT, piece.text, piece.len);
            continue;
        }
        take_field(&v, r, piece.field);
        put_text(&l, ESCAPE_LOG, v.text ? v.text : "-", v.text ? v.len : 1);
    }
    buf[l.len] = '\n';
    return l.len + 1;
}

static const char *squid_code(const struct access_record *r)
{
    if (r->event == ACCESS_OBSERVED)
        return "TCP_DENIED_OBSERVED";
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
    default: /* the way to the origin failed */
        return r->path ? "TCP_MISS" : "TCP_TUNNEL";
    }
}

/* The native line has no place for a query: the code says where the answer came from and what it
 * was, the URL is that of RFC 4501. */
static size_t format_squid_dns(const struct access_record *r, char *buf, size_t size)
{
    struct line l = {.buf = buf, .size = size - 1};
    char source[ADDR_TEXT_MAX];
    put(&l, "%10llu.%03u %6lld %s DNS_%s/%s %llu %s dns:", (unsigned long long)(r->wall_ms / 1000),
        (unsigned)(r->wall_ms % 1000), (long long)r->duration_ms,
        addr_text(&r->source.addr, source), r->result, r->rcode ? r->rcode : "-",
        (unsigned long long)r->bytes_down, r->method);
    put_text(&l, ESCAPE_URL, r->host ? r->host : "-", r->host ? r->host_len : 1);
    if (r->type)
        put(&l, "?type=%s", r->type);
    put(&l, " - HIER_NONE/- -");
    buf[l.len] = '\n';
    return l.len + 1;
}

static size_t format_squid(const struct access_record *r, char *buf, size_t size)
{
    if (r->event == ACCESS_DNS)
        return format_squid_dns(r, buf, size);
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

/*
 * journald's own protocol: a field a line, the message first, an empty line behind. No value holds
 * a newline, so the simple form is enough (systemd's "Native Journal Protocol").
 */
static size_t format_journal(const struct access_log *log, const struct access_record *r, char *buf,
                             size_t size)
{
    static const char head[] = "MESSAGE=";
    struct line l = {.buf = buf, .size = size - 1, .len = sizeof(head) - 1};
    struct access_log plain = {.format = log->format, .format_text = log->format_text};
    struct value v;
    memcpy(buf, head, sizeof(head) - 1);
    l.len += access_format(&plain, r, buf + l.len, ACCESS_LINE_MAX); /* with its newline */
    put(&l, "PRIORITY=6\nSYSLOG_IDENTIFIER=ukai\n");
    for (enum log_field f = LOG_FIELD_EVENT; f < LOG_FIELD_N_KEYED; f++) {
        take_field(&v, r, f);
        if (!v.text || l.size - l.len < FIELD_MAX)
            continue;
        put(&l, "UKAI_");
        for (const char *c = logfield_name(f); *c; c++)
            put(&l, "%c", *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
        put(&l, "=");
        put_text(&l, ESCAPE_LOG, v.text, v.len);
        put(&l, "\n");
    }
    buf[l.len] = '\n';
    return l.len + 1;
}

size_t access_format(const struct access_log *log, const struct access_record *r, char *buf,
                     size_t size)
{
    if (log->is_journal)
        return format_journal(log, r, buf, size);
    switch (log->format) {
    case CONF_FORMAT_SQUID:
        return format_squid(r, buf, size);
    case CONF_FORMAT_JSON:
    case CONF_FORMAT_LOGFMT:
        return format_keyed(log->format == CONF_FORMAT_JSON, r, buf, size);
    case CONF_FORMAT_CUSTOM:
        return format_custom(log->format_text, r, buf, size);
    }
    return format_squid(r, buf, size);
}

/*
 * A request's head: what it may not be, what is kept of it for the record, and how it goes on. The
 * one that passes is written anew, then judged and sent (flow/reach).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/flow/forward_parts.h"
#include "proxy/flow/reach.h"

enum { PATH_SHOWN_MAX = 1024 };

static bool is_method(const struct forward *f, const char *name)
{
    return strcmp(f->method, name) == 0;
}

static void refuse(struct forward *f, enum reason reason, unsigned status, const char *why)
{
    conn_refuse(f->c, &(struct conn_refusal){.reason = reason, .status = status, .body = why});
}

/* ---- what it may not be ---- */

/* A Host that could not be a Host (RFC 9112 section 3.2), or none where there must be one. NULL:
 * fine. */
static const char *bad_host(const struct conn_setup *s)
{
    const struct head_framing *framing = &s->head.framing;
    if (framing->n_hosts == 0)
        return s->head.minor >= 1 ? "an HTTP/1.1 request needs a Host" : NULL;
    const struct head_span v = s->head.fields[framing->host_field].value;
    for (uint32_t i = 0; i < v.len; i++) {
        if (strchr("/\\@,?# \t\"<>", s->buf[v.at + i]) || (unsigned char)s->buf[v.at + i] >= 0x80)
            return "Host is not a host";
    }
    return NULL;
}

/* Max-Forwards of OPTIONS: the value, -1 when there is none, -2 when it is no number. */
static int max_forwards(const struct conn_setup *s)
{
    const struct head_field *f = head_find(&s->head, s->buf, "Max-Forwards");
    if (!f)
        return -1;
    int value = 0;
    for (uint32_t i = 0; i < f->value.len; i++) {
        char ch = s->buf[f->value.at + i];
        if (ch < '0' || ch > '9' || value > 100000)
            return -2;
        value = value * 10 + (ch - '0');
    }
    return f->value.len ? value : -2;
}

/* What this kind of request may not be, before it is sent anywhere. True: answered. */
static bool refused_early(struct forward *f, int n_forwards)
{
    const struct conn_setup *s = f->c->setup;
    const char *why = bad_host(s);
    if (why) {
        refuse(f, REASON_BAD_REQUEST, 400, why);
        return true;
    }
    const struct head_field *expect = head_find(&s->head, s->buf, "Expect");
    if (expect && !head_span_is_nocase(s->buf, expect->value, "100-continue")) {
        refuse(f, REASON_BAD_REQUEST, 417, "only 100-continue can be expected");
        return true;
    }
    if (is_method(f, "OPTIONS") && n_forwards == 0) {
        conn_answer_options(f->c);
        return true;
    }
    if (n_forwards == -2 && is_method(f, "OPTIONS")) {
        refuse(f, REASON_BAD_REQUEST, 400, "Max-Forwards is not a number");
        return true;
    }
    return false;
}

/* host:port belongs to CONNECT alone (RFC 9112 section 3.2.3). */
static bool is_authority_form(const char *target, size_t len)
{
    struct authority ignored;
    const char *why;
    return authority_parse_connect(target, len, &ignored, &why) == AUTHORITY_OK;
}

/* `get` is no GET (RFC 9110 section 9.1), and nobody means anything else by it. */
static bool is_misspelt(const struct forward *f)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(f->method, known[i]) == 0)
            return !is_method(f, known[i]);
    }
    return false;
}

/* ---- the head that goes on ---- */

static void frame_request(struct forward *f)
{
    const struct head_framing *framing = &f->c->setup->head.framing;
    f->up_body = (struct body){.kind = framing->is_chunked   ? BODY_CHUNKED
                                       : framing->has_length ? BODY_LENGTH
                                                             : BODY_NONE,
                               .left = framing->length};
    chunked_init(&f->up_body.chunks);
    f->has_body =
        f->up_body.kind == BODY_CHUNKED || (f->up_body.kind == BODY_LENGTH && framing->length > 0);
    f->up_body.is_done = !f->has_body;
    f->keeps_client =
        !framing->wants_close && (f->c->setup->head.minor >= 1 || framing->wants_keep);
}

/* Writes the outgoing head into f->up and takes the incoming one out of the set-up buffer. */
static bool write_request(struct forward *f, const char *path, size_t n_path, int n_forwards)
{
    struct conn_setup *s = f->c->setup;
    enum rewrite_body body = f->up_body.kind == BODY_CHUNKED  ? REWRITE_BODY_CHUNKED
                             : f->up_body.kind == BODY_LENGTH ? REWRITE_BODY_LENGTH
                                                              : REWRITE_BODY_NONE;
    size_t len;
    outbuf_clear(&f->up);
    if (outbuf_reserve(&f->up, s->head.head_bytes + 512) < 0) {
        refuse(f, REASON_INTERNAL, 0, NULL);
        return false;
    }
    switch (rewrite_request(&s->head, s->buf, &s->target, path, n_path, f->c->worker->shared->via,
                            n_forwards, body, f->up.bytes, f->up.size, &len)) {
    case REWRITE_OK:
        break;
    case REWRITE_LOOP:
        refuse(f, REASON_LOOP, 508, "this request came by here before");
        return false;
    case REWRITE_BAD_OPTIONS:
        refuse(f, REASON_BAD_REQUEST, 400, "too many connection options");
        return false;
    case REWRITE_NO_ROOM:
        refuse(f, REASON_HEAD_TOO_LONG, 431, NULL);
        return false;
    }
    f->up.len = (uint32_t)len;
    return true;
}

static void keep_path(struct forward *f, const char *path, size_t len)
{
    if (!forward_conf(f)->log.log_query_strings) {
        const char *query = memchr(path, '?', len);
        len = query ? (size_t)(query - path) : len;
    }
    len = len < PATH_SHOWN_MAX ? len : PATH_SHOWN_MAX;
    free(f->path);
    f->path = malloc(len + 1);
    if (!f->path)
        return;
    memcpy(f->path, path, len);
    f->path[len] = '\0';
}

static void reset_for(struct forward *f, const struct conn_setup *s)
{
    f->start_ms = loop_now_ms(forward_loop(f));
    size_t n = s->head.method.len < sizeof(f->method) ? s->head.method.len : sizeof(f->method) - 1;
    memcpy(f->method, s->buf + s->head.method.at, n);
    f->method[n] = '\0';
    f->is_head = is_method(f, "HEAD");
    f->is_idempotent = f->is_head || is_method(f, "GET") || is_method(f, "OPTIONS");
    f->is_retried = f->is_up_broken = false;
    f->bytes_up = 0;
    forward_down_reset(f);
}

void forward_start(struct conn *c)
{
    struct conn_setup *s = c->setup;
    struct forward *f = forward_of(c);
    if (!f) {
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_INTERNAL});
        return;
    }
    reset_for(f, s);
    const char *target = s->buf + s->head.target.at, *why = NULL;
    size_t n_target = s->head.target.len, path_at = n_target;
    if (is_misspelt(f)) {
        refuse(f, REASON_METHOD, 501, "methods are written in capitals");
        return;
    }
    if (is_method(f, "TRACE")) {
        refuse(f, REASON_METHOD, 405, "TRACE is not served");
        return;
    }
    if (is_method(f, "OPTIONS") && n_target == 1 && target[0] == '*') {
        conn_answer_options(c);
        return;
    }
    enum authority_result parsed =
        authority_parse_absolute(target, n_target, &s->target, &path_at, &why);
    if (parsed != AUTHORITY_OK) {
        /* The target is not logged: it may hold userinfo, and nobody can say where. */
        bool is_form = parsed == AUTHORITY_BAD_SCHEME || is_authority_form(target, n_target);
        refuse(f, is_form ? REASON_METHOD : REASON_BAD_REQUEST, is_form ? 501 : 400, why);
        return;
    }
    conn_keep_host(c, s->target.name, s->target.name_len);
    c->port = s->target.port;
    keep_path(f, target + path_at, n_target - path_at);
    int n_forwards = max_forwards(s);
    if (refused_early(f, n_forwards))
        return;
    frame_request(f);
    bool counts = is_method(f, "OPTIONS") && n_forwards > 0;
    if (!write_request(f, target + path_at, n_target - path_at, counts ? n_forwards - 1 : -1))
        return;
    forward_consume(s, s->head.head_bytes);
    if (conn_join(c, false))
        reach_start(c, &c->proxy->http_ports, forward_permitted);
}

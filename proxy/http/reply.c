/*
 * The proxy's own answers. All have the same shape whatever rule is behind them; only the reason
 * phrase and one sentence for a person differ. Nothing a peer sent is echoed but what passes
 * through clean(). Every one closes the connection.
 */
#include "proxy/http/reply.h"

#include <stdio.h>
#include <string.h>

enum { PHRASE_MAX = 200, ID_MAX = 64, BODY_MAX = 512, FIELDS_MAX = 512 };

const char REPLY_TUNNEL_OPEN[] = "HTTP/1.1 200 Connection established\r\n\r\n";

size_t reply_tunnel_open_bytes(void)
{
    return sizeof(REPLY_TUNNEL_OPEN) - 1;
}

const char *reply_phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *phrase;
    } phrases[] = {
        {400, "Bad Request"},
        {403, "Forbidden"},
        {405, "Method Not Allowed"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {414, "URI Too Long"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {508, "Loop Detected"},
    };
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status)
            return phrases[i].phrase;
    }
    return "Refused";
}

/* Only what a reason phrase and a text body may hold without any doubt: printable ASCII and blanks.
 */
static void clean(const char *text, char *buf, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        buf[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
    buf[n] = '\0';
}

static size_t add(char *buf, size_t size, size_t len, const char *name, const char *value)
{
    int n = value ? snprintf(buf + len, size - len, "%s: %s\r\n", name, value) : 0;
    if (n > 0 && (size_t)n < size - len)
        return len + (size_t)n;
    buf[len] = '\0'; /* a field that does not fit is left out whole */
    return len;
}

static void build_fields(const struct reply *r, char *buf, size_t size)
{
    char text[160];
    size_t len = 0;
    buf[0] = '\0';
    if (r->proxy_status) {
        snprintf(text, sizeof(text), "ukai; error=%s", r->proxy_status);
        len = add(buf, size, len, "Proxy-Status", text);
    }
    if (r->retry_after_s) {
        snprintf(text, sizeof(text), "%u", r->retry_after_s);
        len = add(buf, size, len, "Retry-After", text);
    }
    len = add(buf, size, len, "Allow", r->allow);
    add(buf, size, len, "Proxy-Authenticate", r->authenticate);
}

size_t reply_build(const struct reply *r, char *buf, size_t size)
{
    char phrase[PHRASE_MAX + 1], sentence[PHRASE_MAX + 1], body[BODY_MAX], fields[FIELDS_MAX];
    char id[ID_MAX + 1];
    clean(r->phrase ? r->phrase : reply_phrase(r->status), phrase, sizeof(phrase));
    /* Never the phrase: it may name the rule, and a body is the same for every rule. */
    clean(r->body ? r->body : reply_phrase(r->status), sentence, sizeof(sentence));
    clean(r->request_id ? r->request_id : "-", id, sizeof(id));
    int n_body = snprintf(body, sizeof(body), "%u %s\n\nrequest %s\n", r->status, sentence, id);
    build_fields(r, fields, sizeof(fields));
    int n = snprintf(buf, size,
                     "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: text/plain; "
                     "charset=utf-8\r\nContent-Length: %d\r\n%s\r\n%s",
                     r->status, phrase, n_body, fields, r->is_head ? "" : body);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

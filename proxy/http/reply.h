/* reply - the proxy's own answers: status line, fields, short text body (pure: builds bytes). */
#ifndef PROXY_HTTP_REPLY_H
#define PROXY_HTTP_REPLY_H

#include <stddef.h>
#include <stdint.h>

enum { REPLY_MAX = 1536 };

struct reply {
    unsigned status;    /* 400..599 */
    const char *phrase; /* NULL: the standard phrase. Bytes outside VCHAR and SP are replaced. Cut
                           at 200. */
    const char *proxy_status; /* RFC 9209 error type, or NULL */
    const char *request_id;   /* shown in the body */
    const char *body; /* one sentence for a person; NULL: made from the phrase's standard text */
    unsigned retry_after_s;   /* 0: none */
    const char *authenticate; /* Proxy-Authenticate value, or NULL */
    const char *allow;        /* Allow value, or NULL */
    int is_head;              /* the request was HEAD: no body is sent, its length is */
};

extern const char REPLY_TUNNEL_OPEN[]; /* "HTTP/1.1 200 Connection established\r\n\r\n" */
size_t reply_tunnel_open_bytes(void);

/* HTTP/1.1 STATUS PHRASE, Date is left out, Connection: close, Content-Type: text/plain;
 * charset=utf-8, Content-Length, Proxy-Status: ukai; error=...; X-Request-Id-free. Returns bytes
 * written (<= size; REPLY_MAX always suffices). */
size_t reply_build(const struct reply *r, char *buf, size_t size);
const char *reply_phrase(unsigned status);

#endif

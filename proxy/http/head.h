/* head - strict incremental parser of HTTP/1 request and response heads (pure). */
#ifndef PROXY_HTTP_HEAD_H
#define PROXY_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAD_FIELDS_MAX = 256, HEAD_LEADING_CRLF_MAX = 4 };

enum head_result {
    HEAD_MORE = 1, /* not complete yet; feed again with the same bytes and more */
    HEAD_DONE,     /* complete: head_bytes tells where it ends */
    HEAD_BAD,      /* refused: status and why are set */
};

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE };

/* A piece of the caller's buffer: offset from its start, so that the buffer may move between feeds.
 */
struct head_span {
    uint32_t at;
    uint32_t len;
};

struct head_field {
    struct head_span name;
    struct head_span value; /* without the white space around it */
};

/* What the fields say about framing and connection, collected and checked while parsing. */
struct head_framing {
    bool has_length; /* exactly one valid Content-Length */
    uint64_t length;
    bool is_chunked;     /* Transfer-Encoding: chunked, alone */
    bool wants_close;    /* Connection: close */
    bool wants_keep;     /* Connection: keep-alive (or Proxy-Connection, requests) */
    bool expects_100;    /* Expect: 100-continue */
    unsigned n_hosts;    /* Host fields seen */
    uint32_t host_field; /* index of the Host field when n_hosts == 1 */
};

struct head {
    enum head_kind kind;
    uint32_t line_limit; /* request or status line, bytes without CRLF */
    uint32_t head_limit; /* fields and line together, bytes */

    struct head_span method; /* request */
    struct head_span target;
    unsigned minor;       /* HTTP/1.minor: 0 or 1 */
    unsigned status_code; /* response */
    struct head_span reason;

    struct head_framing framing;
    uint32_t n_fields;
    struct head_field fields[HEAD_FIELDS_MAX];
    uint32_t head_bytes; /* length of the whole head, the empty line included */

    /* HEAD_BAD: what to answer (400, 408 never, 414, 431, 501, 505; for a response always 502) and
     * why, static text */
    unsigned bad_status;
    const char *bad_why;

    /* parser position; private */
    uint32_t scanned;
    uint32_t line_start;
    unsigned phase;
};

void head_init(struct head *h, enum head_kind kind, uint32_t line_limit, uint32_t head_limit);

/**
 * head_feed - go on parsing; any split of the input gives the same result
 * @buf, @len: all bytes of this head received so far, from its first one; may hold bytes behind the
 * head
 *
 * Work is linear in the bytes: nothing is scanned twice. Grammar: RFC 9112 sections 2-5 strictly:
 * CRLF only, one SP between the three words, no obs-fold, no blank before a colon, tokens for
 * methods and names, field values without NUL, CR, LF, controls other than HTAB; up to four leading
 * CRLF for a request. A request head needs HTTP/1.0 or HTTP/1.1 in exactly that spelling; other
 * HTTP/x.y: 505, anything else 400. Requests: Content-Length twice, list, sign or overflow 400;
 * with Transfer-Encoding 400; Transfer-Encoding other than one `chunked` 501 (malformed, twice, or
 * `chunked` repeated: 400), in HTTP/1.0 400; more than one Host 400; a Host with bytes that no host
 * has (`/`, `@`, comma, blank) 400, but CONNECT ignores its value; for HTTP/1.1 a missing Host is
 * left to the caller (CONNECT may lack it). Method with non-token bytes 400; over 32 bytes 501.
 * HEAD_MORE is never given for @head_limit bytes or more, so a buffer of that size cannot fill up
 * and wait.
 *
 * Returns: enum head_result.
 */
enum head_result head_feed(struct head *h, const char *buf, size_t len);

/* Case-insensitive look-up of the first field of that name; NULL when absent. */
const struct head_field *head_find(const struct head *h, const char *buf, const char *name);
bool head_span_is(const char *buf, struct head_span span, const char *text); /* exact */
bool head_span_is_nocase(const char *buf, struct head_span span, const char *text);

#endif

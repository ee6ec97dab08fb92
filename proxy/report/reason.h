/* reason - why a transaction ended: one enum for log, metrics, answers and Proxy-Status. */
#ifndef PROXY_REPORT_REASON_H
#define PROXY_REPORT_REASON_H

enum reason {
    REASON_NONE,
    /* relay ends */
    REASON_CLIENT_CLOSED,
    REASON_ORIGIN_CLOSED,
    REASON_CLIENT_RESET,
    REASON_ORIGIN_RESET,
    REASON_IDLE,
    REASON_HALF_CLOSED,
    REASON_LIFE,
    REASON_SHUTDOWN,
    REASON_ADMIN,
    REASON_ACL_REVOKED,
    /* before the destination is known */
    REASON_SOURCE_DENIED,
    REASON_CLIENT_GONE,   /* left before an answer */
    REASON_HEAD_LATE,     /* 408 */
    REASON_BAD_REQUEST,   /* 400 */
    REASON_LINE_TOO_LONG, /* 414 */
    REASON_HEAD_TOO_LONG, /* 431 */
    REASON_METHOD,        /* 405, 501 */
    REASON_VERSION,       /* 505 */
    /* destination refused */
    REASON_OUT_DENIED,
    REASON_PORT_DENIED,
    REASON_SPECIAL_USE,
    REASON_OWN_LISTENER,
    /* destination not reached */
    REASON_DNS_ERROR,
    REASON_DNS_TIMEOUT,
    REASON_DIAL_REFUSED,
    REASON_DIAL_UNREACHABLE,
    REASON_DIAL_TIMEOUT,
    REASON_ANSWER_TIMEOUT, /* plain HTTP: no answer head in time, 504 */
    REASON_BAD_ANSWER,     /* plain HTTP: an answer that cannot be passed on, 502 */
    REASON_LOOP,           /* plain HTTP: Via names us, 508 */
    /* us */
    REASON_LIMIT,
    REASON_SOURCE_LIMIT,
    REASON_INTERNAL, /* for want of memory: 503, since it may pass */
    REASON_MAX
};

struct reason_info {
    const char *name;         /* dial_timeout */
    unsigned status;          /* answer while none was sent yet; 0: none */
    const char *proxy_status; /* RFC 9209 section 2.3 error type, or NULL */
    const char *closed_by;    /* contract section 5: client, server, idle, ... */
};

const struct reason_info *reason_info(enum reason reason);

#endif

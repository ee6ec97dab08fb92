/* access - one line per transaction: what the admin reads, and what other programs parse (pure). */
#ifndef PROXY_REPORT_ACCESS_H
#define PROXY_REPORT_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/base/addr.h"
#include "proxy/report/reason.h"

enum { ACCESS_LINE_MAX = 8192 };

enum access_event {
    ACCESS_OPEN,    /* a tunnel was opened */
    ACCESS_CLOSE,   /* a tunnel ended */
    ACCESS_REQUEST, /* a plain HTTP request ended */
    ACCESS_REFUSED, /* anything that was refused or failed before bytes could flow */
};

/* Times in milliseconds; -1: did not happen. Strings are the peer's own bytes, borrowed, NULL when
 * unknown. */
struct access_record {
    enum access_event event;
    uint64_t wall_ms; /* since 1970 */
    unsigned worker;
    uint64_t serial; /* id is worker.serial */
    struct endpoint source;
    const char *listener;
    const char *method;
    const char *host;
    size_t host_len;
    uint16_t port;
    const char *path;                  /* plain HTTP: as it may be shown */
    const struct endpoint *addr;       /* dialled; NULL: none */
    const struct endpoint *local_addr; /* ours towards it; NULL: none */
    const char *rule_file;
    unsigned rule_line; /* 0: no rule */
    const char *memo;
    const char *rule_words; /* what decided instead of a line; NULL: nothing */
    const char *user_agent;
    size_t user_agent_len;
    unsigned status; /* what the client was told; 0: nothing */
    enum reason reason;
    uint64_t bytes_up, bytes_down; /* client to origin, origin to client */
    int64_t dns_ms, connect_ms, first_byte_ms, duration_ms;
};

/**
 * access_format - the record as one line with its newline
 * @format: squid (native), json, logfmt. Peer bytes are escaped for the format; a record never
 * exceeds ACCESS_LINE_MAX: long strings are cut. Returns: bytes written without a NUL.
 */
size_t access_format(enum conf_access_format format, const struct access_record *r, char *buf,
                     size_t size);

#endif

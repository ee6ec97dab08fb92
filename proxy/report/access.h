/* access - one line per transaction: what the admin reads, and what other programs parse (pure). */
#ifndef PROXY_REPORT_ACCESS_H
#define PROXY_REPORT_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/base/addr.h"
#include "proxy/report/reason.h"

/* A line; with journald, the line and its fields once more. */
enum { ACCESS_LINE_MAX = 8192, ACCESS_RECORD_MAX = 3 * ACCESS_LINE_MAX };

enum access_event {
    ACCESS_OPEN,     /* a tunnel was opened */
    ACCESS_PERIODIC, /* a tunnel is open still */
    ACCESS_CLOSE,    /* a tunnel ended */
    ACCESS_REQUEST,  /* a plain HTTP request ended */
    ACCESS_DNS,      /* a query was answered */
    ACCESS_REFUSED,  /* anything that was refused or failed before bytes could flow */
    ACCESS_OBSERVED, /* would have been refused, and was let pass; its own record follows */
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
    const char *type, *rcode, *result; /* DNS: in words */
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

/* How records are written. */
struct access_log {
    enum conf_access_format format;
    const char *format_text; /* of CONF_FORMAT_CUSTOM; checked (conf/logfield) */
    bool is_journal;         /* the target takes fields, the line is its message */
};

/* The line that decided, or in @words what decided instead (static, or NULL). */
void access_set_rule(struct access_record *r, const struct rule_place *place, const char *words);

/**
 * access_format - the record as one line with its newline
 * Peer bytes are escaped for the format; a line never exceeds ACCESS_LINE_MAX, a record for
 * journald never ACCESS_RECORD_MAX, which is what @size must be: long strings are cut.
 *
 * Returns: bytes written without a NUL.
 */
size_t access_format(const struct access_log *log, const struct access_record *r, char *buf,
                     size_t size);

#endif

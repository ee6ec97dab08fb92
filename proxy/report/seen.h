/* seen - which source asked for which destination, in a table that never grows past its bounds. */
#ifndef PROXY_REPORT_SEEN_H
#define PROXY_REPORT_SEEN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* Of one worker; about 5 MiB when full. */
enum { SEEN_TARGETS_MAX = 16384, SEEN_SOURCES_MAX = 2048, SEEN_PER_SOURCE_MAX = 512 };

/* Never changes once it is published, but for its counts; lives as long as the table. */
struct seen_target {
    struct addr source;
    _Atomic uint64_t n, last_ms; /* monotonic */
    uint16_t port;
    uint16_t host_len;
    char host[]; /* as asked: a name in lower case, or a literal */
};

/* Written by one thread. */
struct seen;

struct seen *seen_new(void); /* NULL: out of memory */
struct seen *seen_free(struct seen *s);
/* Once more, or for the first time; what has no place is counted as lost. The writing thread. */
void seen_note(struct seen *s, const struct addr *source, const char *host, uint16_t port,
               uint64_t now_ms);
/* Any thread. seen_at(s, i) for i below seen_count(s). */
uint32_t seen_count(const struct seen *s);
const struct seen_target *seen_at(const struct seen *s, uint32_t i);
uint64_t seen_lost(const struct seen *s);

#endif

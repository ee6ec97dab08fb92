/* human - figures as people read them (pure). */
#ifndef PROXY_BASE_HUMAN_H
#define PROXY_BASE_HUMAN_H

#include <stdint.h>

enum { HUMAN_MAX = 32 };

/* All return @buf. */
const char *human_count(uint64_t n, char buf[static HUMAN_MAX]);      /* 12,345 */
const char *human_size(double bytes, char buf[static HUMAN_MAX]);     /* 1.2 MiB */
const char *human_rate(double a_second, char buf[static HUMAN_MAX]);  /* 0.03/s, 1.2/s, 340/s */
const char *human_span(uint64_t seconds, char buf[static HUMAN_MAX]); /* 3 d 4 h, 12 s */
const char *human_time(uint64_t wall_s, char buf[static HUMAN_MAX]);  /* 2026-01-02 03:04:05, UTC */

#endif

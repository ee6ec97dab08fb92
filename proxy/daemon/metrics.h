/* metrics - /metrics: every figure of the daemon for Prometheus. */
#ifndef PROXY_DAEMON_METRICS_H
#define PROXY_DAEMON_METRICS_H

#include <stdio.h>

struct daemon;
struct roster;

enum { METRICS_RULES_MAX = 200 };

/* @r: a ROSTER_METRICS that is done. Main thread. */
void metrics_write(const struct daemon *d, const struct roster *r, FILE *out);

#endif

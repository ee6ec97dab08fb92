/* overview - what the daemon knows of itself, as the status page shows it. */
#ifndef PROXY_DAEMON_OVERVIEW_H
#define PROXY_DAEMON_OVERVIEW_H

#include <stdio.h>

struct daemon;
struct roster;

/* The status page of @d; @r: a ROSTER_OVERVIEW that is done. Main thread. */
void overview_write(const struct daemon *d, const struct roster *r, FILE *out);

#endif

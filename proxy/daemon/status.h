/* status - what the running daemon is, serves and has served. */
#ifndef PROXY_DAEMON_STATUS_H
#define PROXY_DAEMON_STATUS_H

#include <jansson.h>

struct daemon;
struct roster;

/* @r: a ROSTER_STATUS that is done. Main thread. NULL: out of memory. */
json_t *status_json(const struct daemon *d, const struct roster *r);

#endif

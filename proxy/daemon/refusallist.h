/* refusallist - the recent refusals of all workers together. */
#ifndef PROXY_DAEMON_REFUSALLIST_H
#define PROXY_DAEMON_REFUSALLIST_H

#include <jansson.h>

#include "proxy/flow/roster.h"
#include "proxy/report/refusals.h"

enum { REFUSALLIST_MAX = 64 };

/* The last first, the same ones joined; at most REFUSALLIST_MAX. @r: ROSTER_STATUS or
 * ROSTER_OVERVIEW, all parts back. Returns: the caller's, free() · NULL: out of memory, or none. */
struct refusal *refusallist_new(const struct roster *r, size_t *ret_n);

/**
 * refusallist_json - the same as a list of objects
 * Keys: first_timestamp_s, last_timestamp_s, times, source, listener, target, reason (as in logs),
 * reason_text, observed, rule, memo, explain: the command that tells more; absent where there is
 * none. @file: as for refusaltext_command(). NULL: out of memory.
 */
json_t *refusallist_json(const struct roster *r, const char *file);

#endif

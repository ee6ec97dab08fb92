/* refusaltext - a refusal in words, and as a command that tells more (pure). */
#ifndef PROXY_DAEMON_REFUSALTEXT_H
#define PROXY_DAEMON_REFUSALTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/report/refusals.h"

enum { REFUSALTEXT_MAX = 1024 };

/* For people; never NULL. */
const char *refusaltext_reason(enum reason reason);
/* "CONNECT host:port", "GET http://host/", "DNS name": as `explain` takes it where that is
 * possible. Returns false: the target is not known, or explain would not take it; @buf shows what
 * is known. */
bool refusaltext_target(const struct refusal *r, char *buf, size_t size);
/* The line that decided, or what decided instead; may be empty. */
void refusaltext_rule(const struct refusal *r, char *buf, size_t size);
/**
 * refusaltext_command - the `ukai explain` of this refusal, ready to be pasted into a shell
 * @file: ukai.conf, with an absolute path, since nobody knows where it is pasted; NULL: there is
 *        none, and the running daemon is asked. Whatever the refusal holds, a shell sees single
 *        words.
 *
 * Returns: whether there is one; else @buf is empty.
 */
bool refusaltext_command(const struct refusal *r, const char *file, char *buf, size_t size);

#endif

/* takeover - `ukai run --replace`: the listeners of the running daemon become ours, and it drains.
 */
#ifndef PROXY_DAEMON_TAKEOVER_H
#define PROXY_DAEMON_TAKEOVER_H

#include "proxy/daemon/offers.h"

/**
 * takeover_fetch - ask the daemon behind the control socket at @path for its listening sockets
 * They are added to @offers; it goes on serving by them, and so may we: they are the same sockets.
 *
 * Returns: 0 · -ENOENT, -ECONNREFUSED nobody is there · -errno it is there and did not give them.
 */
int takeover_fetch(const char *path, struct offers *offers) __attribute__((warn_unused_result));
/**
 * takeover_finish - we serve: the other one stops accepting and ends when nothing runs in it
 * Also has it tell the service manager that the service goes on in this process.
 *
 * Returns: 0 · -errno.
 */
int takeover_finish(const char *path) __attribute__((warn_unused_result));

#endif

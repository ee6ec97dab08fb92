/* check - `ukai check`: everything that `run` would read, every finding. */
#ifndef PROXY_DAEMON_CHECK_H
#define PROXY_DAEMON_CHECK_H

#include <stdbool.h>

#include "proxy/daemon/daemon.h"

/* Prints findings to standard output. EXIT_DONE (warnings included) · EXIT_CONFIG · EXIT_FAILED. */
enum exit_code check_run(const char *file);

/* The same, then asks the running daemon whom a reload would cut; nothing changes. @socket: NULL:
 * the one that @file names. EXIT_FAILED: no daemon answers. */
enum exit_code check_against_live(const char *file, const char *socket, bool is_json);

#endif

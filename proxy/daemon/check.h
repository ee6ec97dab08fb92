/* check - `ukai check`: everything that `run` would read, every finding. */
#ifndef PROXY_DAEMON_CHECK_H
#define PROXY_DAEMON_CHECK_H

#include "proxy/daemon/daemon.h"

/* Prints findings to standard output. EXIT_DONE (warnings included) · EXIT_CONFIG · EXIT_FAILED. */
enum exit_code check_run(const char *file);

#endif

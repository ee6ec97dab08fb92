/* daemon - `ukai run`: threads, signals, reload, drain. */
#ifndef PROXY_DAEMON_DAEMON_H
#define PROXY_DAEMON_DAEMON_H

#include "proxy/net/pipes.h"

/* Exit codes of every command (contract section 1). */
enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO = 3, EXIT_CONFIG = 78 };

struct daemon_options {
    const char *file;           /* NULL: the embedded default */
    unsigned workers;           /* 0: as configured */
    enum pipes_mode relay_mode; /* for tests: how tunnels move bytes */
};

/* Serves until it is told to stop. Returns an exit code. */
enum exit_code daemon_run(const struct daemon_options *options);

#endif

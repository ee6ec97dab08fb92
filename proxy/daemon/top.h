/* top - `ukai top`: who is busy in the running daemon, in a terminal or line by line. */
#ifndef PROXY_DAEMON_TOP_H
#define PROXY_DAEMON_TOP_H

#include "proxy/daemon/daemon.h"

/* Returns an exit code; the terminal is as it was, however it ends. */
enum exit_code top_run(int argc, char **argv);

#endif

/* version - `ukai version`. */
#ifndef PROXY_DAEMON_VERSION_H
#define PROXY_DAEMON_VERSION_H

#include "proxy/daemon/daemon.h"

enum exit_code version_run(void);

#endif

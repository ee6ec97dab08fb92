/* adminroutes - which pages the daemon's own HTTP server has. */
#ifndef PROXY_DAEMON_ADMINROUTES_H
#define PROXY_DAEMON_ADMINROUTES_H

#include "proxy/daemon/admin.h"

/* For admin_init(); its owner must be the struct daemon. */
const struct admin_route *adminroutes_all(void);

#endif

/* inquiries - `ukai explain --live`: stories told by the running daemon, each to a client that
 * waits at the control socket.
 */
#ifndef PROXY_DAEMON_INQUIRIES_H
#define PROXY_DAEMON_INQUIRIES_H

#include "proxy/base/list.h"
#include "proxy/daemon/control.h"

struct daemon;

enum { INQUIRIES_MAX = 16 };

/* Zero-initialised there are none. */
struct inquiries {
    struct list all;
    unsigned n;
};

void inquiries_init(struct inquiries *all);
/* The verb. @args: the verb, the source, the target; then --listener NAME, --no-resolve, --json. */
void inquiries_run(struct daemon *d, struct control_call *call, int n_args, char **args);
/* All that run end without an answer. */
void inquiries_fini(struct inquiries *all);

#endif

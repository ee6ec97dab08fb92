/* explain - `ukai explain`: the story of one decision, told by the code that makes it. */
#ifndef PROXY_DAEMON_EXPLAIN_H
#define PROXY_DAEMON_EXPLAIN_H

#include <stdbool.h>

#include "proxy/daemon/daemon.h"

struct explain_options {
    const char *file;
    const char *from;     /* address text */
    const char *listener; /* NULL: all that would be asked */
    const char *target;   /* "CONNECT host:port", ... */
    bool no_resolve;
};

/* EXIT_DONE allowed · EXIT_NO refused · EXIT_FAILED the name could not be resolved · EXIT_USAGE ·
 * EXIT_CONFIG. */
enum exit_code explain_run(const struct explain_options *options);

#endif

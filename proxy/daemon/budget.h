/* budget - how many clients there may be, and what they may cost in memory. */
#ifndef PROXY_DAEMON_BUDGET_H
#define PROXY_DAEMON_BUDGET_H

#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/flow/worker.h"

struct budget {
    unsigned n_workers;
    uint64_t cache_bytes; /* of one worker's DNS cache; as at the start */
    uint64_t said_idle_mib, said_most_mib;
};

/* For a daemon of @n_workers that starts with @conf. */
void budget_init(struct budget *b, const struct conf *conf, unsigned n_workers);
/* What [process] nofile asks for, as far as the hard limit allows; warns when it does not. Returns
 * the limit of open files. */
unsigned long budget_raise_nofile(const struct conf *conf);
/* The limits of clients, tunnels and pooled connections, from [limits] and @n_files, the limit of
 * open files. Warns when [limits] wants more than fits. */
void budget_share(const struct budget *b, const struct conf *conf, unsigned long n_files,
                  struct shared *shared);
/* Logs what that may cost, unless the same was logged last. */
void budget_say(struct budget *b, const struct conf *conf, const struct shared *shared);

#endif

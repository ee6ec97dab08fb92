/* apply - a snapshot becomes the one in force: sockets, our addresses, every worker. */
#ifndef PROXY_DAEMON_APPLY_H
#define PROXY_DAEMON_APPLY_H

#include "proxy/daemon/daemon.h"

/* Makes @snapshot the one in force, or changes nothing; d->snapshot is the caller's to set. 0 ·
 * -errno, the reason in @ret_text. */
int apply_snapshot(struct daemon *d, struct snapshot *snapshot, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
/* Interfaces or addresses changed: the listeners follow. @arg: the daemon. */
void apply_on_links_changed(void *arg);
/* Workers that could not apply all of it yet. */
unsigned apply_n_behind(const struct daemon *d);

#endif

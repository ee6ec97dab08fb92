/* reload - the files are read again while the daemon serves. */
#ifndef PROXY_DAEMON_RELOAD_H
#define PROXY_DAEMON_RELOAD_H

#include <stdio.h>

#include "conf/fileset.h"
#include "proxy/daemon/daemon.h"

/**
 * reload_run - read the files again and serve by them
 * Findings and the reason of a refusal go to @said (NULL: to the log only).
 *
 * Returns: EXIT_DONE handed to the workers, told in the log when all of them work by it ·
 * EXIT_CONFIG, EXIT_FAILED the old configuration stays in force.
 */
enum exit_code reload_run(struct daemon *d, FILE *said);
/* A worker has taken an update; the last one ends the reload. */
void reload_on_updated(struct shared *s);

/* A watched file changed. @arg: the daemon. */
void reload_on_files_changed(void *arg);

/* What a snapshot brings along, also at the start: its files are watched, its rules counted (@old:
 * the ones before, or NULL), the command line wins over it, the files that were read are the last
 * good ones. */
void reload_watch_files(struct daemon *d);
void reload_number_rules(struct daemon *d, const struct acl *old, struct acl *acl);
void reload_obey_options(const struct daemon *d, struct snapshot *s);
void reload_keep_good(struct daemon *d, const struct fileset *files);

#endif

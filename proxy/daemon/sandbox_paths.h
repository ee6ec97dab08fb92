/* sandbox_paths - the files that stay within reach, by Landlock. */
#ifndef PROXY_DAEMON_SANDBOX_PATHS_H
#define PROXY_DAEMON_SANDBOX_PATHS_H

#include "conf/snapshot.h"

/**
 * sandbox_paths_fence - from now on only the directories that @conf and the C library need
 * Reading: where the configuration and the rules are, /etc, /usr, our own /proc entry. Writing:
 * where the access log, the control socket and the last good copy are. Running a file: nowhere.
 * Holds for this thread and those it starts. @ret_abi: the kernel's version of Landlock; 0: it has
 * none or it is switched off, which is no error.
 *
 * Returns: 0 · -errno.
 */
int sandbox_paths_fence(const struct conf *conf, unsigned *ret_abi)
    __attribute__((warn_unused_result));

#endif

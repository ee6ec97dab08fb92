/* sandbox - what the process may still ask of the kernel once it serves: two fences around all its
 * threads. */
#ifndef PROXY_DAEMON_SANDBOX_H
#define PROXY_DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/snapshot.h"

struct sandbox_state {
    bool has_calls; /* seccomp: system calls by an allow-list */
    unsigned
        paths_abi; /* Landlock's version in this kernel; 0: it has none, files are not fenced */
};

/**
 * sandbox_enter - fence the calling thread and all that it starts from now on
 * @conf: borrowed; the directories of its files stay readable, those of its log, its control socket
 *        and its state stay writable, and nothing else does. A reload cannot widen them.
 *
 * Needs no_new_privs (privs_drop). No thread may run yet: Landlock holds for one thread and its
 * children. A build with sanitizers has no fence (their tools need ptrace and /proc), and says so
 * by an empty @ret_state.
 *
 * Returns: 0 · -errno with @ret_text saying what to do; what was fenced before stays fenced.
 */
int sandbox_enter(const struct conf *conf, struct sandbox_state *ret_state, char *ret_text,
                  size_t text_size) __attribute__((warn_unused_result));

#endif

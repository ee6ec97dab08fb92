/* sandbox_calls - the system calls that stay, by seccomp. */
#ifndef PROXY_DAEMON_SANDBOX_CALLS_H
#define PROXY_DAEMON_SANDBOX_CALLS_H

/**
 * sandbox_calls_fence - from now on only the calls of a proxy
 * What an intruder would reach for (another program, another process, a new namespace, executable
 * memory, io_uring, other identities) ends the process; a socket of another family than IPv4, IPv6
 * and Unix is EACCES; all the rest is ENOSYS, so that a newer C library falls back to what it used
 * before. Holds for every thread there is.
 *
 * Returns: 0 · -errno (the kernel has no seccomp, or memory).
 */
int sandbox_calls_fence(void) __attribute__((warn_unused_result));

#endif

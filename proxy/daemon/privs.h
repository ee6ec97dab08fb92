/* privs - from root to the daemon's user, with the capabilities that re-binding needs and no other.
 */
#ifndef PROXY_DAEMON_PRIVS_H
#define PROXY_DAEMON_PRIVS_H

#include <stddef.h>

#include "conf/snapshot.h"

/**
 * privs_drop - become conf.process.user (default: ukai) when started as root; no_new_privs in any
 * case. Keeps NET_BIND_SERVICE when a port below 1024 is configured, NET_ADMIN with a bypass-mark,
 * NET_RAW for binding to devices. Started without root, it
 * keeps of what it was given only these. The embedded default stays the user that started it.
 * Returns: 0 · -errno with @ret_text saying what to do.
 */
int privs_drop(const struct conf *conf, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
/* Whether what is left is enough for the marks of @conf, at a start and at each reload; else every
 * dial would fail. Returns: 0 · -errno with @ret_text saying what to do. */
int privs_check(const struct conf *conf, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
/* As root: makes the directory of @path for the user that privs_drop() will become, where its
 * parent is there and it is not. What fails is found by who needs the directory. */
void privs_make_directory(const struct conf *conf, const char *path);
/* As root: makes the file that @conf's access log goes to, if it is not there, for that user: it
 * opens the log anew when it was rotated, and at a reload. */
void privs_make_log(const struct conf *conf);
/* Raises the soft limit of open files (conf.process.nofile, or the hard limit). Returns the limit
 * in force. */
unsigned long privs_raise_nofile(uint64_t wanted);
/* Makes sure that 0, 1 and 2 are open, so that no socket becomes somebody's standard output. */
void privs_reserve_stdio(void);

#endif

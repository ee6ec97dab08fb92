/* sink - where access lines go: a bounded queue and one writing thread, so that no disk delays
 * traffic. */
#ifndef PROXY_REPORT_SINK_H
#define PROXY_REPORT_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"

enum { SINK_QUEUE_BYTES = 4 * 1024 * 1024 };

struct sink;
/* Opens the target; @conf is read for the call. Lines may be put from now on. Returns NULL with
 * @ret_error (-errno) when the target cannot be opened. */
struct sink *sink_new(const struct conf_log *conf, int *ret_error);
/* Starts the writing thread: after the daemon gave up its privileges, so that the thread has none
 * either. Once. 0 · -errno. */
int sink_start(struct sink *s) __attribute__((warn_unused_result));
/* Writes what is queued, at most about two seconds, then ends the thread. One that was never
 * started has written nothing. */
struct sink *sink_free(struct sink *s);
/* Any thread; never blocks on the target. A full queue drops the line and counts it. @line ends
 * with a newline. */
void sink_put(struct sink *s, const char *line, size_t len);
/* Opens the target of @conf (also the same path again, for log rotation); on failure the old target
 * stays. 0 · -errno. */
int sink_reopen(struct sink *s, const struct conf_log *conf) __attribute__((warn_unused_result));
/* The two halves of sink_reopen(), for who may yet decide otherwise: the target of @conf is opened
 * (-1: it has none) and given; then it is used, or dropped. sink_use() takes @fd. */
int sink_open(const struct conf_log *conf, int *ret_fd) __attribute__((warn_unused_result));
void sink_use(struct sink *s, const struct conf_log *conf, int fd);
void sink_drop(int fd);
uint64_t sink_n_dropped(struct sink *s);

#endif

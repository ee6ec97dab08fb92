/* sink - where access lines go: a bounded queue and one writing thread, so that no disk delays
 * traffic. */
#ifndef PROXY_REPORT_SINK_H
#define PROXY_REPORT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/report/logtarget.h"

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
/* What records must be now: the journal's fields, or a line. A reload may change it. */
bool sink_takes_fields(struct sink *s);
/* Any thread; never blocks on the target. A full queue drops the record and counts it. @record: a
 * line with its newline, or (@is_fields) fields with an empty line behind them. False: they are not
 * what is taken now; form it anew. */
bool sink_put(struct sink *s, const char *record, size_t len, bool is_fields)
    __attribute__((warn_unused_result));
/* Opens the target of @conf (also the same path again, for log rotation); on failure the old target
 * stays. 0 · -errno. */
int sink_reopen(struct sink *s, const struct conf_log *conf) __attribute__((warn_unused_result));
/* Writes to @target, which is taken, from here on: what was put before goes to the old one. */
void sink_use(struct sink *s, const struct logtarget *target);
uint64_t sink_n_dropped(struct sink *s);

#endif

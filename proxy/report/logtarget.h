/* logtarget - what access records are written to: a file, stderr, syslog, the journal, or nothing.
 */
#ifndef PROXY_REPORT_LOGTARGET_H
#define PROXY_REPORT_LOGTARGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/snapshot.h"

struct logtarget {
    enum conf_access_target kind;
    int fd;           /* owned unless it is stderr; -1: CONF_ACCESS_OFF, or lost */
    bool is_mid_line; /* file: our last line has no end */
    int64_t cut_at;   /* file: its size when it was opened and ended inside a line; else -1 */
    int error;        /* of the last write: 0 · -errno */
};

/* As @conf says it. A new file is 0640 (and the umask). 0 · -errno: @ret is CONF_ACCESS_OFF. */
int logtarget_open(const struct conf_log *conf, struct logtarget *ret)
    __attribute__((warn_unused_result));
/* Why it could not be opened (@rc), and what to do. */
void logtarget_explain(const struct conf *conf, int rc, char *ret_text, size_t text_size);
void logtarget_close(struct logtarget *t); /* any state */
/* Whether records are to be the journal's fields, each ended by an empty line; else lines. */
bool logtarget_takes_fields(enum conf_access_target kind);
/**
 * logtarget_write - records, whole ones
 * Waits for a target that is busy, five times a second at most, unless *@is_ending. What was cut
 * short is ended before the next record, so that one is whole.
 *
 * Returns how many records did not get there whole; t->error says why.
 */
uint64_t logtarget_write(struct logtarget *t, const char *bytes, size_t len,
                         atomic_bool *is_ending);
/* @to goes on where @from stops, and may be the same file. @from is closed. */
void logtarget_replace(struct logtarget *from, const struct logtarget *to);

#endif

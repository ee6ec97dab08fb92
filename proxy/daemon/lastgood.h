/* lastgood - a copy of the last valid files, for a start with broken ones. */
#ifndef PROXY_DAEMON_LASTGOOD_H
#define PROXY_DAEMON_LASTGOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/fileset.h"
#include "conf/snapshot.h"

/* The directory of the copies: $STATE_DIRECTORY as the service manager sets it, else
 * /var/lib/ukai. */
const char *lastgood_directory(void);
/**
 * lastgood_keep - keep @files, which @s was read from; or, with `last-good = off`, nothing
 * Written whole or not at all, and on the disk when this returns. Only into a directory that is
 * root's or ours and that nobody else may write.
 * @ret_text: what is wrong and what to do.
 *
 * Returns: 0 · -ENOENT there is no directory for it · -errno.
 */
int lastgood_keep(const struct snapshot *s, const struct fileset *files, char *ret_text,
                  size_t text_size) __attribute__((warn_unused_result));

struct lastgood {
    struct fileset files; /* a replay; owned */
    uint64_t kept_wall_s;
    uid_t owner; /* who wrote it */
};

/* The copy of @conf_file. 0, *ret is the caller's to free · -ENOENT there is none · -errno,
 * @ret_text says why it is not used. */
int lastgood_find(const char *conf_file, struct lastgood *ret, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
/**
 * lastgood_is_trusted - whether a root that starts may do what the copy says
 * A copy that another user wrote must not make us anybody but that user: the daemon writes it when
 * it has given up root, and so could whoever has broken into it.
 */
bool lastgood_is_trusted(const struct lastgood *l, const struct conf_process *process);

#endif

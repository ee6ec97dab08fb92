/* filewatch - tells when one of a few files has become another one (inotify). */
#ifndef PROXY_DAEMON_FILEWATCH_H
#define PROXY_DAEMON_FILEWATCH_H

#include "proxy/loop/loop.h"

typedef void (*filewatch_fn)(void *arg);

/* A name in a directory that a path leads through. */
struct filewatch_point;

struct filewatch {
    struct loop *loop;
    int fd; /* owned; -1: closed */
    struct event event;
    struct timer settle; /* changes come in bursts: told once they pause */
    filewatch_fn on_change;
    void *arg;
    char **files; /* owned */
    size_t n_files;
    struct filewatch_point *points; /* owned */
    size_t n_points;
};

/* Returns 0 · -errno (then nothing is watched). */
int filewatch_open(struct filewatch *f, struct loop *loop, filewatch_fn on_change, void *arg)
    __attribute__((warn_unused_result));
void filewatch_close(struct filewatch *f); /* also when it never was open */

/**
 * filewatch_set - watch these files and no others
 * @files: copied; need not exist, and neither need their directories
 * A file counts as changed when it was written and closed, replaced by rename, removed or made
 * accessible, and when a link or a directory that its path leads through was; not while somebody
 * still writes it.
 * Returns: 0 · -ENOMEM what was watched stays · -errno a directory cannot be watched: the others
 * are.
 */
int filewatch_set(struct filewatch *f, const char *const *files, size_t n_files)
    __attribute__((warn_unused_result));

#endif

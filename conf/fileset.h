/* fileset - the files that a configuration was read from: kept as they were, or read again from
 * what was kept.
 */
#ifndef CONF_FILESET_H
#define CONF_FILESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FILESET_BYTES_MAX = 160 * 1024 * 1024, FILESET_FILES_MAX = 512 };

struct fileset_file {
    char *path;  /* owned, as it was asked for */
    char *bytes; /* owned, a NUL behind */
    size_t len;
};

/* Zero-initialised: nothing is kept yet, files come from the disk. */
struct fileset {
    bool is_replay; /* files come from here, and from nowhere else */
    bool is_cut;    /* something did not fit: not to be replayed */
    struct fileset_file *files;
    size_t n_files, n_bytes;
};

void fileset_fini(struct fileset *set);

/**
 * fileset_read - as wholefile_read(), and kept
 * @set: NULL: from the disk, nothing is kept. In a replay owner and times of @ret_st are zero.
 */
int fileset_read(struct fileset *set, const char *path, size_t max_bytes, struct stat *ret_st,
                 char **ret_bytes, size_t *ret_len, const char **ret_why)
    __attribute__((warn_unused_result));
/* Whether there is such a file, here or on the disk. */
bool fileset_has(const struct fileset *set, const char *path);

/* All of it as one text: for each file a line `file BYTES PATH` and its bytes; then a checksum. 0 ·
 * -EINVAL it is cut, or a path holds a line's end · -EIO. */
int fileset_save(const struct fileset *set, FILE *out) __attribute__((warn_unused_result));
/* The way back; *ret_set is a replay. 0 · -EINVAL not what fileset_save() wrote · -ENOMEM. */
int fileset_parse(const char *bytes, size_t len, struct fileset *ret_set)
    __attribute__((warn_unused_result));

#endif

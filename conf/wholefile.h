/* wholefile - a regular file read at once and bounded, or a clear text why not. */
#ifndef CONF_WHOLEFILE_H
#define CONF_WHOLEFILE_H

#include <stddef.h>
#include <sys/stat.h>

/**
 * wholefile_read - the bytes of a regular file; waits, half a second at most, for one who writes it
 * @path:      symbolic links are followed; directories, FIFOs, devices and sockets are refused,
 * never waited for
 * @max_bytes: a larger file is refused
 * @ret_st:    of the open file, so that owner and mode belong to the bytes that were read
 * @ret_bytes: gives: NUL behind the last byte; free() it
 * @ret_why:   set on every failure: static text without the path
 *
 * Returns: 0 · -EINVAL not a regular file, too large, or it changes while it is read · -ENOMEM ·
 * the errno of open, fstat or read.
 */
int wholefile_read(const char *path, size_t max_bytes, struct stat *ret_st, char **ret_bytes,
                   size_t *ret_len, const char **ret_why) __attribute__((warn_unused_result));

#endif

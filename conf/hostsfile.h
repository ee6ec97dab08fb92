/* hostsfile - hosts(5): lines of an address and its names. */
#ifndef CONF_HOSTSFILE_H
#define CONF_HOSTSFILE_H

#include <stdbool.h>

#include "conf/hosts.h"
#include "proxy/base/findings.h"

enum {
    HOSTSFILE_BYTES_MAX = 64 * 1024 * 1024,
    HOSTSFILE_LINE_MAX = 4096,
};

/**
 * hostsfile_parse_bytes - every line, or why not
 * @file: name for the findings, and the table's
 *
 * A line that cannot be read is an error with its number, and the whole is refused; a scoped
 * address (fe80::1%eth0) is a warning and left out, since no DNS record can hold it. The same
 * record twice is fine.
 * Returns: 0 one reference to *ret_hosts is the caller's · -EINVAL findings has errors · -ENOMEM.
 */
int hostsfile_parse_bytes(const char *file, const char *bytes, size_t len,
                          struct findings *findings, struct hosts **ret_hosts)
    __attribute__((warn_unused_result));
/* The same from a file; one that cannot be read is an error. */
int hostsfile_load(const char *file, struct findings *findings, struct hosts **ret_hosts)
    __attribute__((warn_unused_result));
/* Whether @h still is what stands in its file; false also when the file cannot be looked at. */
bool hostsfile_is_current(const struct hosts *h);

#endif

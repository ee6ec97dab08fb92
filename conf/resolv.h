/* resolv - the name servers of resolv.conf(5). */
#ifndef CONF_RESOLV_H
#define CONF_RESOLV_H

#include "conf/snapshot.h"
#include "proxy/base/findings.h"

#define RESOLV_PATH "/etc/resolv.conf"

enum { RESOLV_MAX = 8 };

/**
 * resolv_parse_bytes - take the `nameserver` lines, at most RESOLV_MAX
 * @file: name for the findings
 *
 * Tolerant, since the file is not ours: what cannot be used is a warning. Nothing usable gives an
 * empty list and a warning.
 * Returns: 0, *ret_servers is the caller's · -ENOMEM.
 */
int resolv_parse_bytes(const char *file, const char *bytes, size_t len, struct findings *findings,
                       struct conf_name_servers *ret_servers) __attribute__((warn_unused_result));
/* The same from a file; one that cannot be read is a warning. */
int resolv_load(const char *path, struct findings *findings, struct conf_name_servers *ret_servers)
    __attribute__((warn_unused_result));

#endif

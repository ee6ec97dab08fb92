/* load - ukai.conf into struct conf: keys by the schema, then what keys mean together. */
#ifndef CONF_LOAD_H
#define CONF_LOAD_H

#include "conf/snapshot.h"
#include "proxy/base/findings.h"

enum { LOAD_LISTENERS_MAX = 64 }; /* of [web-proxy], and of [dns] */

/**
 * load_file - read ukai.conf
 * @resolv_conf: where name servers come from when no key names any; only read when needed
 * @ret_conf:    written always, as far as it got: load_fini() it
 *
 * Returns: 0 · -EINVAL findings has errors · -ENOMEM.
 */
int load_file(const char *file, const char *resolv_conf, struct findings *findings,
              struct conf *ret_conf) __attribute__((warn_unused_result));
/* The same from memory. @file: name for the findings; relative paths inside start at its directory.
 */
int load_bytes(const char *file, const char *bytes, size_t len, const char *resolv_conf,
               struct findings *findings, struct conf *ret_conf)
    __attribute__((warn_unused_result));
/* The servers of resolv.conf(5), without those that are @conf's own listeners. 0 · -ENOMEM. */
int load_resolv(const struct conf *conf, const char *resolv_conf, struct findings *findings,
                struct conf_name_servers *ret_servers) __attribute__((warn_unused_result));
/* Into an empty list. 0 · -ENOMEM. */
int load_copy_servers(const struct conf_name_servers *from, struct conf_name_servers *to)
    __attribute__((warn_unused_result));
/* Frees what @conf owns, not @conf. */
void load_fini(struct conf *conf);

#endif

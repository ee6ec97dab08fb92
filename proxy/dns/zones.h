/* zones - which configured suffix a name falls under: the longest one (pure). */
#ifndef PROXY_DNS_ZONES_H
#define PROXY_DNS_ZONES_H

#include <stdbool.h>

#include "conf/snapshot.h"
#include "proxy/dns/wire.h"

struct zones;

/* @conf: copied as far as needed. NULL: out of memory, or there is no zone. */
struct zones *zones_new(const struct conf_zones *conf);
struct zones *zones_free(struct zones *z); /* NULL is fine; always NULL */
/* The number in @conf of the zone that holds @name (lower case), -1: none. @z NULL: none. */
int zones_find(const struct zones *z, const struct wire_name *name);
/* Whether both have the same suffixes in the same order; NULL is the empty one. */
bool zones_equal(const struct zones *a, const struct zones *b);

#endif

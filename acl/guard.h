/* guard - destinations that are refused whatever a name says: special-use ranges, own listeners
 * (pure). */
#ifndef ACL_GUARD_H
#define ACL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* The special-use range that holds @a ("10.0.0.0/8"), or NULL. IPv4 embedded in mapped,
 * 64:ff9b::/96, 6to4, Teredo (the client's address, un-xored; and the server's) and ISATAP forms is
 * judged as that IPv4: guard_embedded_ipv4() gives it. */
const char *guard_special_use(const struct addr *a);
/* The same for the sixteen bytes alone, without what is embedded in them. */
const char *guard_special_range(const struct addr *a);
/* True when @a is an IPv6 form that carries an IPv4 address; several may be carried (Teredo): up
 * to 2. Returns how many. */
size_t guard_embedded_ipv4(const struct addr *a, struct addr ret_inner[static 2]);
/* True for 64:ff9b::/96 and 6to4: where a packet goes is decided by the embedded IPv4 address, so
 * it is that address's other name. Not so for ISATAP and Teredo: anybody may put any IPv4 address
 * into the low half of his own prefix. */
bool guard_is_ipv4_alias(const struct addr *a);
/* Whether @r lies wholly inside one range of the table (what an allow line needs to open it). */
bool guard_range_is_special(const struct addr_range *r);

/* The first range of the table that @r touches, or NULL. */
const char *guard_range_overlaps(const struct addr_range *r);

/*
 * Where this daemon listens itself: any local address with a listening port. Wildcard listeners
 * match every local address. Filled by the daemon (interfaces and their addresses change), read by
 * the verdict.
 */
struct guard_own {
    struct endpoint *listeners; /* sorted; owned by who filled it */
    size_t n_listeners;
};
bool guard_is_own(const struct guard_own *own, const struct addr *a, uint16_t port);

#endif

/* ports - a set of TCP/UDP ports (pure). */
#ifndef ACL_PORTS_H
#define ACL_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One bit a port; bit 0 (port 0) is never set. 8 KiB: held by the snapshot, not by connections. */
struct ports {
    uint64_t bits[1024];
};

/**
 * ports_parse - `443`, `1-65535`, `80, 443, 1025-65535` into a set
 * Blanks around items are fine; 0, > 65535, empty items, reversed ranges, signs are not.
 * Returns: 0 · -EINVAL with @ret_why set to a static text that says what is wrong.
 */
int ports_parse(const char *text, size_t len, struct ports *ret_ports, const char **ret_why)
    __attribute__((warn_unused_result));
/* One port or `a-b`. Returns as ports_parse(). */
int ports_parse_range(const char *text, size_t len, uint16_t *ret_first, uint16_t *ret_last,
                      const char **ret_why) __attribute__((warn_unused_result));
bool ports_has(const struct ports *p, uint16_t port);
void ports_add(struct ports *p, uint16_t first, uint16_t last);

#endif

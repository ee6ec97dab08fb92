/* rebind - answers of the outside that point inside (pure). */
#ifndef PROXY_DNS_REBIND_H
#define PROXY_DNS_REBIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * rebind_is_inward - whether an answer section holds an address of a special-use range
 * @msg: checked by wire_reply_check(); @at: where its @n_answer records begin. A, AAAA, and the
 * hints of SVCB and HTTPS (RFC 9460 section 7.3), for any owner; ranges as acl/guard has them, IPv4
 * inside mapped and translated forms included.
 */
bool rebind_is_inward(const uint8_t *msg, size_t len, size_t at, unsigned n_answer);

#endif

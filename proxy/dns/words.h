/* words - types and codes as people write them (pure). */
#ifndef PROXY_DNS_WORDS_H
#define PROXY_DNS_WORDS_H

#include <stdbool.h>
#include <stdint.h>

enum { WORDS_MAX = 16 };

/* "AAAA"; "TYPE65280" (RFC 3597) for what has no name here. @buf is used for the latter only. */
const char *words_type(uint16_t type, char buf[static WORDS_MAX]);
/* The other way round, in any case of letters. False: it is no type. */
bool words_type_from_text(const char *text, uint16_t *ret_type) __attribute__((warn_unused_result));
/* "NXDOMAIN"; "RCODE11" for what has no name here. */
const char *words_rcode(unsigned rcode, char buf[static WORDS_MAX]);

#endif

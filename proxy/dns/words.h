/* words - types and codes as people write them (pure). */
#ifndef PROXY_DNS_WORDS_H
#define PROXY_DNS_WORDS_H

#include <stdint.h>

enum { WORDS_MAX = 16 };

/* "AAAA"; "TYPE65280" (RFC 3597) for what has no name here. @buf is used for the latter only. */
const char *words_type(uint16_t type, char buf[static WORDS_MAX]);
/* "NXDOMAIN"; "RCODE11" for what has no name here. */
const char *words_rcode(unsigned rcode, char buf[static WORDS_MAX]);

#endif

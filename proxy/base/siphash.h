/* siphash - a keyed hash of short strings, for tables that peers fill (pure). */
#ifndef PROXY_BASE_SIPHASH_H
#define PROXY_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

/* SipHash-1-3 of @len bytes (Aumasson and Bernstein, 2012; one round a word and three at the end
 * suffice for tables). */
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif

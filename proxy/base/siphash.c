/*
 * SipHash-1-3: without the key nobody can find names that meet in one bucket, so a flood of chosen
 * names costs no more than a flood of any. Little-endian words; the hash never leaves the process.
 * No state, any thread.
 */
#include "proxy/base/siphash.h"

#include <endian.h>
#include <string.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void round_of(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static void take_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    round_of(s);
    s->v0 ^= word;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
    struct sip s = {
        key->k0 ^ 0x736f6d6570736575ull,
        key->k1 ^ 0x646f72616e646f6dull,
        key->k0 ^ 0x6c7967656e657261ull,
        key->k1 ^ 0x7465646279746573ull,
    };
    const uint8_t *p = data;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        take_word(&s, le64toh(word));
    }
    uint64_t last = 0;
    memcpy(&last, p, left);
    take_word(&s, le64toh(last) | (uint64_t)len << 56);
    s.v2 ^= 0xff;
    round_of(&s);
    round_of(&s);
    round_of(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

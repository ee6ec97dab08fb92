/* pieces - helpers of the fuzz targets: a claim that must hold, and sizes to cut an input by. */
#ifndef TESTS_FUZZ_PIECES_H
#define TESTS_FUZZ_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A macro, so that the line of the claim stands in the trace. */
#define expect(claim)                                                                              \
    do {                                                                                           \
        if (!(claim))                                                                              \
            abort();                                                                               \
    } while (0)

/* Zero: the whole input at once; one: byte by byte; else random pieces, short ones mostly. */
struct pieces {
    uint32_t seed;
    uint32_t state;
};

static inline struct pieces pieces_by(uint32_t seed)
{
    return (struct pieces){.seed = seed, .state = seed * 2654435761u + 1};
}

/* How many of @left bytes come next, at least one. */
static inline size_t pieces_next(struct pieces *p, size_t left)
{
    if (p->seed < 2)
        return p->seed == 0 ? left : 1;
    p->state = p->state * 1664525u + 1013904223u;
    size_t n = 1 + (p->state >> 24) % (p->state & 0x10000 ? 4 : 64);
    return n < left ? n : left;
}

/* A block of exactly @len bytes, so that a read behind it is seen. */
static inline char *pieces_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len ? len : 1);
    expect(copy);
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

#endif

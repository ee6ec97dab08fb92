/* histogram - latencies in buckets a thirty-second of their size wide. */
#ifndef TESTS_BENCH_HISTOGRAM_H
#define TESTS_BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t n;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t v)
{
    if (v < HISTOGRAM_STEPS)
        return (unsigned)v;
    unsigned shift = 58U - (unsigned)__builtin_clzll(v); /* leaves 32..63 */
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(v >> shift) - HISTOGRAM_STEPS;
}

static inline void histogram_add(struct histogram *h, uint64_t v)
{
    h->buckets[histogram_bucket(v)]++;
    h->n++;
}

/* The lower edge of the bucket that holds the value at @share (0..1) of all; 0 when empty. */
static inline uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t rank = (uint64_t)((double)h->n * share), seen = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->buckets[b];
        if (seen > rank) {
            unsigned shift = b / HISTOGRAM_STEPS;
            return shift == 0 ? b
                              : (uint64_t)(b % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << (shift - 1);
        }
    }
    return 0;
}

#endif

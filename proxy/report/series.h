/* series - the last hour of a few figures, for the charts of the status page (pure: told the time).
 */
#ifndef PROXY_REPORT_SERIES_H
#define PROXY_REPORT_SERIES_H

#include <stdbool.h>
#include <stdint.h>

enum { SERIES_PERIOD_MS = 30 * 1000, SERIES_POINTS = 120, SERIES_SPAN_MS = 60 * 60 * 1000 };

enum series_kind {
    SERIES_CONNECTIONS,
    SERIES_REFUSALS,
    SERIES_BYTES_UP,
    SERIES_BYTES_DOWN,
    SERIES_QUERIES,
    SERIES_TUNNELS,
    SERIES_KINDS
};

/* What was counted until then; SERIES_TUNNELS is a level, all others only grow. */
struct series_sample {
    uint64_t at_ms; /* monotonic */
    uint64_t values[SERIES_KINDS];
};

/* Zero-initialised is empty. Fixed in size: the oldest sample makes room. */
struct series {
    struct series_sample samples[SERIES_POINTS + 1];
    unsigned n, first;
};

struct series_point {
    uint64_t at_ms;
    double value; /* a second; SERIES_TUNNELS: as it was */
};

/* About once a SERIES_PERIOD_MS. One that is no later than the last is left out. */
void series_add(struct series *s, const struct series_sample *sample);
/* How many points there are: a rate needs two samples. */
unsigned series_count(const struct series *s);
/* The point @i, oldest first. A counter that went back counts as no growth. */
struct series_point series_at(const struct series *s, enum series_kind kind, unsigned i);
/* The largest value; 0 without points. */
double series_peak(const struct series *s, enum series_kind kind);

#endif

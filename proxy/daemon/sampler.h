/* sampler - asks the workers what they have counted, every half minute, for the charts. */
#ifndef PROXY_DAEMON_SAMPLER_H
#define PROXY_DAEMON_SAMPLER_H

#include <stdbool.h>

#include "proxy/flow/worker.h"
#include "proxy/report/series.h"

/* Main thread only; zero-initialised: stopped. */
struct sampler {
    struct loop *loop;
    struct worker *workers; /* borrowed */
    unsigned n_workers;
    struct timer timer;
    bool is_asking; /* the last question is not answered yet */
    struct series series;
};

/* The first sample is taken at once. Whatever is lost for want of memory is one point. */
void sampler_start(struct sampler *s, struct loop *loop, struct worker *workers,
                   unsigned n_workers);
void sampler_stop(struct sampler *s);

#endif

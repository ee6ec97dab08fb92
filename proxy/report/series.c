/*
 * Samples are kept as they were counted, and rates are made when somebody looks: a sample that came
 * late, or a machine that slept, then gives a rate over the time that really passed. The main
 * thread's; 121 samples of 7 numbers, whatever happens.
 */
#include "proxy/report/series.h"

static const struct series_sample *sample_at(const struct series *s, unsigned i)
{
    return &s->samples[(s->first + i) % (SERIES_POINTS + 1)];
}

void series_add(struct series *s, const struct series_sample *sample)
{
    if (s->n > 0 && sample->at_ms <= sample_at(s, s->n - 1)->at_ms)
        return;
    if (s->n == SERIES_POINTS + 1) {
        s->first = (s->first + 1) % (SERIES_POINTS + 1);
        s->n--;
    }
    s->samples[(s->first + s->n) % (SERIES_POINTS + 1)] = *sample;
    s->n++;
}

unsigned series_count(const struct series *s)
{
    return s->n > 1 ? s->n - 1 : 0;
}

struct series_point series_at(const struct series *s, enum series_kind kind, unsigned i)
{
    const struct series_sample *before = sample_at(s, i), *at = sample_at(s, i + 1);
    struct series_point point = {.at_ms = at->at_ms};
    uint64_t then = before->values[kind], now = at->values[kind];
    if (kind == SERIES_TUNNELS)
        point.value = (double)now;
    else if (now > then)
        point.value = (double)(now - then) * 1000 / (double)(at->at_ms - before->at_ms);
    return point;
}

double series_peak(const struct series *s, enum series_kind kind)
{
    double peak = 0;
    for (unsigned i = 0; i < series_count(s); i++) {
        double value = series_at(s, kind, i).value;
        peak = value > peak ? value : peak;
    }
    return peak;
}

/*
 * One mail to each worker every half minute. What tunnels that are open have carried so far is
 * counted in, since a day-long one would else be a single peak at its end. Tunnels that close while
 * the workers look may be missed by one sample; the next one has them.
 */
#include "proxy/daemon/sampler.h"

#include "proxy/flow/roster.h"

static bool is_whole(const struct roster *r)
{
    for (unsigned i = 0; i < r->n_parts; i++) {
        if (r->parts[i].is_cut_short)
            return false;
    }
    return true;
}

static void on_told(struct roster *r, void *owner)
{
    struct sampler *s = owner;
    struct roster_figures f = roster_sum(r);
    s->is_asking = false;
    if (s->loop && is_whole(r)) {
        struct series_sample sample = {.at_ms = loop_now_ms(s->loop)};
        sample.values[SERIES_CONNECTIONS] = f.n_accepted;
        sample.values[SERIES_REFUSALS] = f.n_source_denied + f.n_refused;
        sample.values[SERIES_BYTES_UP] = f.bytes_up + f.open_up;
        sample.values[SERIES_BYTES_DOWN] = f.bytes_down + f.open_down;
        sample.values[SERIES_QUERIES] = f.dns.n_udp + f.dns.n_tcp;
        sample.values[SERIES_TUNNELS] = f.n_tunnels;
        series_add(&s->series, &sample);
    }
    roster_free(r);
}

static void ask(struct sampler *s)
{
    struct roster *r =
        s->is_asking ? NULL : roster_new(s->workers, s->n_workers, ROSTER_FIGURES, on_told, s);
    if (!r)
        return;
    s->is_asking = true;
    roster_start(r);
}

static void on_period(struct timer *t)
{
    struct sampler *s = list_entry(t, struct sampler, timer);
    ask(s);
    loop_timer_start(s->loop, t, SERIES_PERIOD_MS, on_period);
}

void sampler_start(struct sampler *s, struct loop *loop, struct worker *workers, unsigned n_workers)
{
    *s = (struct sampler){.loop = loop, .workers = workers, .n_workers = n_workers};
    on_period(&s->timer);
}

void sampler_stop(struct sampler *s)
{
    if (s->loop)
        loop_timer_stop(s->loop, &s->timer);
    s->loop = NULL;
}

/* Gathers for the page (daemon/page), which knows nothing of the daemon. Main thread. */
#include "proxy/daemon/overview.h"

#include <time.h>
#include <unistd.h>

#include "proxy/daemon/daemon.h"
#include "proxy/daemon/page.h"

static uint64_t monotonic_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void overview_write(const struct daemon *d, const struct roster *r, FILE *out)
{
    char host_name[256] = "";
    gethostname(host_name, sizeof(host_name) - 1);
    struct page_view view = {
        .snapshot = d->snapshot,
        .rules = &d->rules,
        .restart = &d->restart,
        .roster = r,
        .series = &d->sampler.series,
        .host_name = host_name,
        .file = d->file,
        .now_ms = monotonic_ms(),
        .now_wall_s = (uint64_t)time(NULL),
        .started_wall_s = d->started_wall_s,
        .loaded_wall_s = d->loaded_wall_s,
        .n_workers = d->n_workers,
        .max_clients = atomic_load(&d->shared.max_clients),
        .max_tunnels = atomic_load(&d->shared.max_tunnels),
        .n_log_dropped = sink_n_dropped(d->shared.sink),
        .is_draining = d->is_draining,
        .is_last_good = d->copy_wall_s > 0,
        .refused_wall_s = d->refused_wall_s,
        .refused_reason = d->refused_reason,
    };
    page_write(&view, out);
}

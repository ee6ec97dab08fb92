/* page - the status page: everything an admin looks for first, as one HTML document. */
#ifndef PROXY_DAEMON_PAGE_H
#define PROXY_DAEMON_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proxy/daemon/restart.h"
#include "proxy/daemon/rules.h"
#include "proxy/flow/roster.h"
#include "proxy/report/series.h"

/* All that it shows; borrowed for the call. */
struct page_view {
    const struct snapshot *snapshot;
    const struct rules *rules;
    const struct restart *restart; /* NULL: nothing waits for one */
    const struct roster *roster;   /* a ROSTER_OVERVIEW that is done */
    const struct series *series;
    const char *host_name;
    const char *file; /* ukai.conf; NULL: the embedded default */
    uint64_t now_ms;  /* monotonic */
    uint64_t now_wall_s, started_wall_s, loaded_wall_s;
    unsigned n_workers, max_clients, max_tunnels;
    uint64_t n_log_dropped;
    bool is_draining;
    bool is_last_good;          /* the files are broken, this is the copy of the last valid ones */
    uint64_t refused_wall_s;    /* the last reload was refused then; 0: it was not */
    const char *refused_reason; /* for it */
};

/* Content-Security-Policy: nothing but the page's own style and script, by their hashes. */
const char *page_policy(void);
/* The document, UTF-8. Fails only as @out does. */
void page_write(const struct page_view *v, FILE *out);

#endif

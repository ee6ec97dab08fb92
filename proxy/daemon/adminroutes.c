/*
 * One row a page, and what makes it. What the main thread knows is written at once; what the
 * workers know is asked of them (flow/roster), and the call waits.
 */
#include "proxy/daemon/adminroutes.h"

#include "proxy/daemon/daemon.h"
#include "proxy/daemon/metrics.h"
#include "proxy/daemon/overview.h"
#include "proxy/daemon/pac.h"
#include "proxy/daemon/page.h"
#include "proxy/report/metrictext.h"

/* Serving by old rules, because the new files are broken, is serving: who takes the proxy out of
 * use for that turns a typing error into an outage. It is said, and counted (ukai_config_*). */
static void run_health(struct admin_call *call)
{
    const struct daemon *d = admin_owner(call);
    if (d->is_draining)
        fputs("draining\n", admin_out(call));
    else if (d->copy_wall_s > 0)
        fputs("ok, by the last good copy of the files: they are broken\n", admin_out(call));
    else if (d->refused_wall_s > 0)
        fputs("ok, by the old configuration: the last reload was refused\n", admin_out(call));
    else
        fputs("ok\n", admin_out(call));
    admin_end(call, d->is_draining ? 503 : 200);
}

static void on_told(struct roster *r, void *owner)
{
    struct admin_call *call = owner;
    bool is_awaited = admin_is_awaited(call);
    if (is_awaited)
        metrics_write(admin_owner(call), r, admin_out(call));
    roster_free(r);
    admin_end(call, is_awaited ? 200 : 503);
}

static void run_metrics(struct admin_call *call)
{
    const struct daemon *d = admin_owner(call);
    struct roster *r = roster_new(d->workers, d->n_workers, ROSTER_METRICS, on_told, call);
    if (r)
        roster_start(r);
    else
        admin_end(call, 503);
}

static void on_overview(struct roster *r, void *owner)
{
    struct admin_call *call = owner;
    bool is_awaited = admin_is_awaited(call);
    if (is_awaited)
        overview_write(admin_owner(call), r, admin_out(call));
    roster_free(r);
    admin_end(call, is_awaited ? 200 : 503);
}

static void run_page(struct admin_call *call)
{
    const struct daemon *d = admin_owner(call);
    struct roster *r = roster_new(d->workers, d->n_workers, ROSTER_OVERVIEW, on_overview, call);
    if (r)
        roster_start(r);
    else
        admin_end(call, 503);
}

static void run_pac(struct admin_call *call)
{
    const struct daemon *d = admin_owner(call);
    struct endpoint local;
    bool is_known = admin_local(call, &local) == 0;
    if (is_known)
        pac_write(&d->snapshot->conf, &local.addr, admin_out(call));
    admin_end(call, is_known ? 200 : 503);
}

const struct admin_route *adminroutes_all(void)
{
    static const struct admin_route routes[] = {
        {.path = "/", .type = "text/html; charset=utf-8", .run = run_page, .policy = page_policy},
        {.path = "/metrics", .type = METRICTEXT_TYPE, .run = run_metrics},
        {.path = "/proxy.pac", .type = PAC_TYPE, .run = run_pac, .has_any_host = true},
        {.path = "/wpad.dat", .type = PAC_TYPE, .run = run_pac, .has_any_host = true},
        {.path = "/healthz",
         .type = "text/plain; charset=utf-8",
         .run = run_health,
         .has_any_host = true},
        {0},
    };
    return routes;
}

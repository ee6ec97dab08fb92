/*
 * One row a page, and what makes it. What the main thread knows is written at once; what the
 * workers know is asked of them (flow/roster), and the call waits.
 */
#include "proxy/daemon/adminroutes.h"

#include "proxy/daemon/daemon.h"

/* Serving by old rules, because the new files are broken, is serving: who takes the proxy out of
 * use for that turns a typing error into an outage. It is said, and counted (ukai_config_*). */
static void run_health(struct admin_call *call)
{
    const struct daemon *d = admin_owner(call);
    if (d->is_draining)
        fputs("draining\n", admin_out(call));
    else if (d->refused_wall_s > 0)
        fputs("ok, by the old configuration: the last reload was refused\n", admin_out(call));
    else
        fputs("ok\n", admin_out(call));
    admin_end(call, d->is_draining ? 503 : 200);
}

const struct admin_route *adminroutes_all(void)
{
    static const struct admin_route routes[] = {
        {.path = "/healthz",
         .type = "text/plain; charset=utf-8",
         .run = run_health,
         .has_any_host = true},
        {0},
    };
    return routes;
}

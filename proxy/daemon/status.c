/* The answer to `ukai status` as one JSON object with stable keys; daemon/ctl makes text of it. */
#include "proxy/daemon/status.h"

#include <time.h>
#include <unistd.h>

#include "proxy/daemon/apply.h"
#include "proxy/daemon/daemon.h"
#include "proxy/daemon/jsonset.h"
#include "proxy/daemon/nameservers.h"
#include "proxy/daemon/refusallist.h"

static json_t *networks_json(const struct conf_listener *l)
{
    json_t *list = json_array();
    char text[ADDR_TEXT_MAX];
    for (size_t i = 0; i < l->n_networks; i++) {
        const struct conf_network *n = &l->networks[i];
        json_array_append_new(list,
                              json_string(n->ifname[0] ? n->ifname : addr_text(&n->addr, text)));
    }
    return list;
}

static json_t *listener_json(const char *kind, const struct conf_listener *l)
{
    return json_pack("{s:s, s:s, s:o, s:i, s:s}", "kind", kind, "name", l->name, "networks",
                     networks_json(l), "port", (int)l->port, "description",
                     l->description ? l->description : "");
}

static json_t *listeners_json(const struct conf *conf)
{
    json_t *list = json_array();
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        json_array_append_new(list, listener_json("web-proxy", &conf->web_proxies[i].base));
    for (size_t i = 0; i < conf->n_dns; i++)
        json_array_append_new(list, listener_json("dns", &conf->dns[i].base));
    return list;
}

static json_t *traffic_json(const struct roster_figures *f)
{
    json_t *t = json_object();
    jsonset_number(t, "clients", f->n_clients);
    jsonset_number(t, "tunnels", f->n_tunnels);
    jsonset_number(t, "requests", f->n_exchanges);
    jsonset_number(t, "accepted", f->n_accepted);
    jsonset_number(t, "sources_denied", f->n_source_denied);
    jsonset_number(t, "refused", f->n_refused);
    jsonset_number(t, "tunnels_opened", f->n_opened);
    jsonset_number(t, "tunnels_closed", f->n_closed);
    jsonset_number(t, "bytes_up", f->bytes_up + f->open_up);
    jsonset_number(t, "bytes_down", f->bytes_down + f->open_down);
    return t;
}

static json_t *dns_json(const struct roster_figures *f)
{
    json_t *t = json_object();
    jsonset_number(t, "queries_udp", f->dns.n_udp);
    jsonset_number(t, "queries_tcp", f->dns.n_tcp);
    jsonset_number(t, "hits", f->dns.n_hits);
    jsonset_number(t, "forwarded", f->dns.n_waited);
    jsonset_number(t, "errors", f->dns.n_errors);
    jsonset_number(t, "truncated", f->dns.n_truncated);
    jsonset_number(t, "denied", f->dns.n_denied);
    jsonset_number(t, "limited", f->dns.n_limited);
    jsonset_number(t, "dropped", f->dns.n_dropped);
    jsonset_number(t, "upstream_sent", f->resolver.n_sent);
    jsonset_number(t, "upstream_failed", f->resolver.n_failed);
    jsonset_number(t, "upstream_timeouts", f->resolver.n_timeouts);
    jsonset_number(t, "cache_entries", f->cache_entries);
    jsonset_number(t, "cache_bytes", f->cache_bytes);
    return t;
}

/* Nothing is counted a source while no limit needs it. */
static json_t *sources_json(const struct conf_limits *limits, struct quotas *quotas)
{
    struct quota_figures f = quotas_sum(quotas);
    char text[ADDR_TEXT_MAX];
    json_t *o = json_object();
    jsonset_number(o, "max_tunnels", limits->per_source_tunnels);
    jsonset_number(o, "max_rate", limits->per_source_rate);
    jsonset_number(o, "max_bandwidth", limits->per_source_bandwidth);
    jsonset_number(o, "now", f.n_sources);
    if (f.busiest_tunnels > 0)
        json_object_set_new(o, "busiest", json_string(addr_text(&f.busiest, text)));
    jsonset_number(o, "busiest_tunnels", f.busiest_tunnels);
    return o;
}

static json_t *restart_json(const struct restart *r)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < r->n_keys; i++) {
        const struct restart_key *k = &r->keys[i];
        if (restart_is_needed(k))
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "section",
                                                  schema_section_info(k->key->section)->name, "key",
                                                  k->key->name, "in_force", k->in_force, "wanted",
                                                  k->wanted));
    }
    return list;
}

json_t *status_json(const struct daemon *d, const struct roster *r)
{
    const struct conf *conf = &d->snapshot->conf;
    struct roster_figures f = roster_sum(r);
    uint64_t now = (uint64_t)time(NULL);
    json_t *s = json_pack("{s:s, s:s, s:b, s:s}", "version", UKAI_VERSION, "file",
                          d->file ? d->file : "", "draining", (int)d->is_draining, "mode",
                          conf->acl_observe ? "observe" : "enforce");
    if (!s)
        return NULL;
    jsonset_number(s, "pid", (uint64_t)getpid());
    jsonset_number(s, "uptime_s", now - d->started_wall_s);
    jsonset_number(s, "loaded_timestamp_s", d->loaded_wall_s);
    jsonset_number(s, "generation", d->snapshot->generation);
    jsonset_number(s, "workers", d->n_workers);
    jsonset_number(s, "rules", d->snapshot->acl->n_in);
    jsonset_number(s, "max_clients", atomic_load(&d->shared.max_clients));
    jsonset_number(s, "max_tunnels", atomic_load(&d->shared.max_tunnels));
    jsonset_number(s, "log_dropped", sink_n_dropped(d->shared.sink));
    json_object_set_new(s, "listeners", listeners_json(conf));
    json_object_set_new(s, "traffic", traffic_json(&f));
    if (d->refused_wall_s > 0) {
        jsonset_number(s, "reload_refused_timestamp_s", d->refused_wall_s);
        json_object_set_new(s, "reload_refused_reason", json_string(d->refused_reason));
    }
    json_object_set_new(s, "needs_restart", restart_json(&d->restart));
    jsonset_number(s, "workers_behind", apply_n_behind(d));
    if (d->copy_wall_s > 0)
        jsonset_number(s, "last_good_timestamp_s", d->copy_wall_s);
    json_object_set_new(s, "dns", dns_json(&f));
    json_object_set_new(s, "name_servers", nameservers_json(r));
    json_object_set_new(s, "sources", sources_json(&conf->limits, d->shared.quotas));
    json_object_set_new(s, "refusals", refusallist_json(r, d->file));
    return s;
}

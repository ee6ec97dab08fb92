/*
 * Servers are preferred in the order of the configuration, as admins expect, as long as they
 * answer. One that loses several questions in a row goes to the end; from then on one question a
 * second is sent to it beside the others, so its return is noticed within that time and no client
 * waits for it. How long to wait before asking the next one follows the median of its own recent
 * round trips (a small decaying histogram). Groups with equal settings are one group: local records
 * are not settings, they are replaced in place, since they are never in the cache. Belongs to one
 * worker.
 */
#include "proxy/dns/resolver_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/zones.h"

enum {
    HEDGE_MIN_MS = 150, /* an answer from a recursor's own upstream takes about this long: not worth
                           a second query */
    HEDGE_MAX_MS = 2000,
    HEDGE_UNKNOWN_MS =
        400, /* RFC 1123 section 6.1.3.3 leaves it open; most round trips are far below */
    HEDGE_DOWN_MS = 30,
    HEDGE_MEDIANS = 3,
    SAMPLES_NEEDED = 4,
    SAMPLES_DECAY = 64,
    LOST_IS_DOWN = 3,
    PROBE_EVERY_MS = 1000,
    ZONE_QUESTIONS_MAX = 256, /* in flight; a dead zone takes no room from the others */
};

static const struct resolver_policy default_policy = {
    .ttls = {.min_s = 0, .max_s = 86400, .negative_max_s = 3600},
};

struct resolver_policy resolver_policy_dns(const struct conf *conf, const struct conf_dns *d)
{
    return (struct resolver_policy){
        .ttls = {.min_s = d->min_ttl_s,
                 .max_s = d->max_ttl_s,
                 .negative_max_s = d->negative_max_ttl_s},
        .forwards_special = d->special_forward,
        .randomises_case = d->randomise_case,
        .prefetches = d->prefetch,
        .stale_s = d->serve_stale_s,
        .hosts = {conf->hosts, d->hosts},
        .zones = &conf->zones,
    };
}

/* Names of destinations are looked up as the first [dns] says, so that both sides share a cache. */
struct resolver_policy resolver_policy_web(const struct conf *conf, const struct conf_web_proxy *w)
{
    struct resolver_policy p =
        conf->n_dns ? resolver_policy_dns(conf, &conf->dns[0]) : default_policy;
    p.hosts[0] = conf->hosts;
    p.hosts[1] = w->hosts;
    p.zones = &conf->zones;
    return p;
}

/* Whether both are of one file, or both of none: what stands in them may differ. */
static bool is_same_file(const struct hosts *a, const struct hosts *b)
{
    const char *file_a = a ? hosts_file(a) : NULL, *file_b = b ? hosts_file(b) : NULL;
    return file_a && file_b ? strcmp(file_a, file_b) == 0 : file_a == file_b;
}

static bool is_equal_policy(const struct resolver_policy *p, const struct resolver_policy *q)
{
    return p->ttls.min_s == q->ttls.min_s && p->ttls.max_s == q->ttls.max_s &&
           p->ttls.negative_max_s == q->ttls.negative_max_s &&
           p->forwards_special == q->forwards_special && p->randomises_case == q->randomises_case &&
           p->is_zone == q->is_zone && p->prefetches == q->prefetches && p->stale_s == q->stale_s;
}

static bool is_equal_server(const struct name_server *a, const struct name_server *b)
{
    return a->peer == b->peer;
}

/* @in_order: false: the same ones, the order aside (a group has no server twice). */
static bool has_same_servers(const struct resolver_group *g, const struct resolver_group *h,
                             bool in_order)
{
    if (g->n_servers != h->n_servers)
        return false;
    for (unsigned i = 0; i < g->n_servers; i++) {
        bool is_there = is_equal_server(&g->servers[i], &h->servers[i]);
        for (unsigned j = 0; !in_order && !is_there && j < h->n_servers; j++)
            is_there = is_equal_server(&g->servers[i], &h->servers[j]);
        if (!is_there)
            return false;
    }
    return true;
}

/* After a start or a reload: others may have been set up anew too. */
static void look_for_loops(struct resolver_group *g)
{
    for (unsigned i = 0; i < g->n_servers; i++)
        loops_want(g->resolver->loops, g->servers[i].loop, loop_now_ms(g->resolver->loop));
}

/* Whether both get the same answers from outside. */
static bool is_equal_source(const struct resolver_group *g, const struct resolver_group *h)
{
    return egress_equal(&g->egress, &h->egress) && is_equal_policy(&g->policy, &h->policy) &&
           has_same_servers(g, h, false);
}

static bool is_equal(const struct resolver_group *g, const struct resolver_group *h)
{
    return is_equal_source(g, h) && has_same_servers(g, h, true) &&
           is_same_file(g->policy.hosts[1], h->policy.hosts[1]) &&
           zones_equal(g->zones, h->zones) &&
           (g->n_zone_groups == 0 || memcmp(g->zone_groups, h->zone_groups,
                                            g->n_zone_groups * sizeof(*g->zone_groups)) == 0);
}

static struct resolver_group *group_free(struct resolver_group *g)
{
    for (size_t i = 0; i < g->n_zone_groups; i++)
        resolver_group_unref(g->zone_groups[i]);
    free(g->zone_groups);
    zones_free(g->zones);
    for (unsigned i = 0; i < LOCAL_TABLES; i++)
        hosts_unref(g->policy.hosts[i]);
    for (unsigned i = 0; i < g->n_servers; i++) {
        loops_put(g->resolver->loops, g->servers[i].loop);
        upstream_peer_unref(g->servers[i].peer);
    }
    free(g);
    return NULL;
}

/* Each zone is a group like any other, so that its servers have their own health and limits, and
 * zones with the same servers share them. */
static int make_zones(struct resolver_group *g, const struct conf_zones *zones)
{
    struct resolver_policy policy = g->policy;
    if (!zones || zones->n_items == 0)
        return 0;
    policy.hosts[0] = policy.hosts[1] = NULL; /* were asked before */
    policy.forwards_special = true;           /* the admin named who knows */
    policy.is_zone = true;
    g->zones = zones_new(zones);
    g->zone_groups = calloc(zones->n_items, sizeof(*g->zone_groups));
    if (!g->zones || !g->zone_groups)
        return -ENOMEM;
    for (size_t i = 0; i < zones->n_items; i++) {
        g->zone_groups[i] =
            resolver_group_new_with(g->resolver, &zones->items[i].servers, &g->egress, &policy);
        if (!g->zone_groups[i])
            return -ENOMEM;
        g->n_zone_groups++;
    }
    return 0;
}

static void use_hosts(struct resolver_group *g, struct hosts *const hosts[static LOCAL_TABLES])
{
    for (unsigned i = 0; i < LOCAL_TABLES; i++) {
        struct hosts *old = g->policy.hosts[i];
        g->policy.hosts[i] = hosts[i] ? hosts_ref(hosts[i]) : NULL;
        hosts_unref(old);
    }
}

/* Complete, but not in the list and without an id. */
static struct resolver_group *group_new(struct resolver *r, const struct conf_name_servers *servers,
                                        const struct egress *egress,
                                        const struct resolver_policy *p)
{
    struct resolver_group *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->resolver = r;
    g->n_refs = 1;
    g->egress = *egress;
    g->policy = *p;
    g->policy.zones = NULL;
    g->policy.hosts[0] = g->policy.hosts[1] = NULL;
    use_hosts(g, p->hosts);
    for (unsigned i = 0; i < RESOLVER_BUDGETS; i++) {
        g->rooms[i].max = ZONE_QUESTIONS_MAX;
        list_init(&g->rooms[i].in_order);
    }
    for (size_t i = 0; i < servers->n_items && g->n_servers < GROUP_SERVERS_MAX; i++) {
        const struct conf_name_server *s = &servers->items[i];
        struct upstream_peer *peer =
            upstream_peer_get(r->env, &s->endpoint, s->is_tls ? s->tls_name : NULL, egress);
        if (!peer)
            return group_free(g);
        g->servers[g->n_servers++].peer = peer;
    }
    for (unsigned i = 0; r->loops && i < g->n_servers; i++)
        g->servers[i].loop = loops_get(r->loops, &g->servers[i].peer->server, egress);
    return make_zones(g, p->zones) == 0 ? g : group_free(g);
}

struct resolver_group *resolver_group_new_with(struct resolver *r,
                                               const struct conf_name_servers *servers,
                                               const struct egress *egress,
                                               const struct resolver_policy *policy)
{
    struct resolver_group *made = group_new(r, servers, egress, policy ? policy : &default_policy);
    if (!made)
        return NULL;
    list_for_each (pos, &r->groups) {
        struct resolver_group *g = list_entry(pos, struct resolver_group, node);
        if (is_equal(g, made)) {
            use_hosts(g, made->policy.hosts);
            look_for_loops(g);
            group_free(made);
            return resolver_group_ref(g);
        }
        if (is_equal_source(g, made)) {
            made->id = g->id;
            made->epoch = g->epoch;
        }
    }
    if (made->id == 0)
        made->id = ++r->last_group;
    list_append(&r->groups, &made->node);
    look_for_loops(made);
    return made;
}

struct resolver_group *resolver_group_new(struct resolver *r,
                                          const struct conf_name_servers *servers,
                                          const struct egress *egress)
{
    return resolver_group_new_with(r, servers, egress, NULL);
}

struct resolver_group *resolver_group_ref(struct resolver_group *g)
{
    g->n_refs++;
    return g;
}

struct resolver_group *resolver_group_unref(struct resolver_group *g)
{
    if (g && --g->n_refs == 0) {
        list_remove(&g->node);
        group_free(g);
    }
    return NULL;
}

struct resolver_group *resolver_group_for(struct resolver_group *g, const struct wire_name *name)
{
    int zone = zones_find(g->zones, name);
    return zone < 0 ? g : g->zone_groups[zone];
}

/* ---- health ---- */

static uint64_t median_ms(const struct name_server *s)
{
    unsigned seen = 0, i = 0;
    for (; i < GROUP_RTT_BUCKETS - 1; i++) {
        seen += s->rtt_counts[i];
        if (seen * 2 >= s->n_rtts)
            break;
    }
    return 1ull << i;
}

static bool has_another_up(const struct resolver_group *g)
{
    for (unsigned i = 0; i < g->n_servers; i++) {
        if (!g->servers[i].is_down)
            return true;
    }
    return false;
}

uint64_t resolver_group_hedge_ms(const struct resolver_group *g, unsigned server)
{
    const struct name_server *s = &g->servers[server];
    if (s->is_down && has_another_up(g))
        return HEDGE_DOWN_MS;
    if (s->n_rtts < SAMPLES_NEEDED)
        return HEDGE_UNKNOWN_MS;
    uint64_t wait = median_ms(s) * HEDGE_MEDIANS;
    return wait < HEDGE_MIN_MS ? HEDGE_MIN_MS : wait > HEDGE_MAX_MS ? HEDGE_MAX_MS : wait;
}

static void count_rtt(struct name_server *s, uint64_t rtt_ms)
{
    unsigned bucket = 0;
    while (bucket < GROUP_RTT_BUCKETS - 1 && rtt_ms >> bucket)
        bucket++;
    s->rtt_counts[bucket]++;
    if (++s->n_rtts < SAMPLES_DECAY)
        return;
    s->n_rtts = 0;
    for (unsigned i = 0; i < GROUP_RTT_BUCKETS; i++)
        s->n_rtts += s->rtt_counts[i] /= 2;
}

/* As TCP smooths it (RFC 6298 section 2). */
static void smooth_rtt(struct upstream_peer *p, uint64_t rtt_ms)
{
    p->rtt_8ms = p->n_answered++ ? p->rtt_8ms - p->rtt_8ms / 8 + rtt_ms : 8 * rtt_ms;
}

void resolver_group_note_reply(struct resolver_group *g, unsigned server, uint64_t rtt_ms)
{
    struct name_server *s = &g->servers[server];
    count_rtt(s, rtt_ms);
    smooth_rtt(s->peer, rtt_ms);
    s->n_lost = 0;
    if (s->is_down) {
        s->is_down = false;
        loops_want(g->resolver->loops, s->loop, loop_now_ms(g->resolver->loop));
        g->epoch++;
    }
}

static void mark_down(struct resolver_group *g, struct name_server *s, uint64_t now_ms)
{
    if (!s->is_down) {
        s->probe_at_ms = now_ms + PROBE_EVERY_MS;
        loops_want(g->resolver->loops, s->loop, now_ms);
    }
    s->is_down = true;
}

void resolver_group_note_loss(struct resolver_group *g, unsigned server, uint64_t now_ms)
{
    struct name_server *s = &g->servers[server];
    s->peer->n_failed++;
    if (s->n_lost < LOST_IS_DOWN)
        s->n_lost++;
    if (s->n_lost >= LOST_IS_DOWN)
        mark_down(g, s, now_ms);
}

void resolver_group_note_dead(struct resolver_group *g, unsigned server, uint64_t now_ms)
{
    g->servers[server].peer->n_failed++;
    g->servers[server].n_lost = LOST_IS_DOWN;
    mark_down(g, &g->servers[server], now_ms);
}

int resolver_group_pick(const struct resolver_group *g, uint32_t excluded, const uint8_t *n_sends,
                        unsigned sends_max)
{
    int best = -1;
    unsigned best_rank = 0;
    for (unsigned i = 0; i < g->n_servers; i++) {
        if (excluded & 1u << i || n_sends[i] >= sends_max ||
            loop_probe_is_looping(g->servers[i].loop))
            continue;
        unsigned rank = 2u * n_sends[i] + g->servers[i].is_down;
        if (best < 0 || rank < best_rank) {
            best = (int)i;
            best_rank = rank;
        }
    }
    return best;
}

int resolver_group_probe(struct resolver_group *g, uint32_t excluded, uint64_t now_ms)
{
    for (unsigned i = 0; i < g->n_servers; i++) {
        struct name_server *s = &g->servers[i];
        if (!s->is_down || excluded & 1u << i || now_ms < s->probe_at_ms ||
            loop_probe_is_looping(s->loop))
            continue;
        s->probe_at_ms = now_ms + PROBE_EVERY_MS;
        return (int)i;
    }
    return -1;
}

/*
 * Servers are preferred in the order of the configuration, as admins expect, as long as they
 * answer. One that loses several questions in a row goes to the end; from then on one question a
 * second is sent to it beside the others, so its return is noticed within that time and no client
 * waits for it. How long to wait before asking the next one follows the median of its own recent
 * round trips (a small decaying histogram). Groups with equal settings are one group. Belongs to
 * one worker.
 */
#include "proxy/dns/resolver_group.h"

#include <stdlib.h>
#include <string.h>

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
};

static const struct resolver_policy default_policy = {
    .ttls = {.min_s = 0, .max_s = 86400, .negative_max_s = 3600},
};

static bool is_equal(const struct resolver_group *g, const struct conf_name_servers *servers,
                     const struct egress *egress, const struct resolver_policy *p)
{
    const struct resolver_policy *q = &g->policy;
    if (!egress_equal(&g->egress, egress) || p->ttls.min_s != q->ttls.min_s ||
        p->ttls.max_s != q->ttls.max_s || p->ttls.negative_max_s != q->ttls.negative_max_s ||
        p->forwards_special != q->forwards_special || p->randomises_case != q->randomises_case)
        return false;
    size_t n = servers->n_items < GROUP_SERVERS_MAX ? servers->n_items : GROUP_SERVERS_MAX;
    if (n != g->n_servers)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct upstream_peer *peer = g->servers[i].peer;
        const struct conf_name_server *want = &servers->items[i];
        if (!endpoint_equal(&peer->server, &want->endpoint) ||
            (peer->tls_name != NULL) != want->is_tls ||
            (want->is_tls && strcmp(peer->tls_name, want->tls_name) != 0))
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

struct resolver_group *resolver_group_new_with(struct resolver *r,
                                               const struct conf_name_servers *servers,
                                               const struct egress *egress,
                                               const struct resolver_policy *policy)
{
    const struct resolver_policy *p = policy ? policy : &default_policy;
    list_for_each (pos, &r->groups) {
        struct resolver_group *g = list_entry(pos, struct resolver_group, node);
        if (is_equal(g, servers, egress, p)) {
            look_for_loops(g);
            return resolver_group_ref(g);
        }
    }
    struct resolver_group *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->resolver = r;
    g->n_refs = 1;
    g->id = ++r->last_group;
    g->egress = *egress;
    g->policy = *p;
    list_append(&r->groups, &g->node);
    for (size_t i = 0; i < servers->n_items && g->n_servers < GROUP_SERVERS_MAX; i++) {
        const struct conf_name_server *s = &servers->items[i];
        struct upstream_peer *peer =
            upstream_peer_get(r->env, &s->endpoint, s->is_tls ? s->tls_name : NULL, egress);
        if (!peer)
            return resolver_group_unref(g);
        g->servers[g->n_servers++].peer = peer;
    }
    for (unsigned i = 0; r->loops && i < g->n_servers; i++)
        g->servers[i].loop = loops_get(r->loops, &g->servers[i].peer->server, egress);
    look_for_loops(g);
    return g;
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
        for (unsigned i = 0; i < g->n_servers; i++) {
            loops_put(g->resolver->loops, g->servers[i].loop);
            upstream_peer_unref(g->servers[i].peer);
        }
        free(g);
    }
    return NULL;
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

void resolver_group_note_reply(struct resolver_group *g, unsigned server, uint64_t rtt_ms)
{
    struct name_server *s = &g->servers[server];
    count_rtt(s, rtt_ms);
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
    if (s->n_lost < LOST_IS_DOWN)
        s->n_lost++;
    if (s->n_lost >= LOST_IS_DOWN)
        mark_down(g, s, now_ms);
}

void resolver_group_note_dead(struct resolver_group *g, unsigned server, uint64_t now_ms)
{
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

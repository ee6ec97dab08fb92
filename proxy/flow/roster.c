/*
 * For the admin's questions. A part goes to each worker as mail, is filled there and comes back as
 * mail, so nobody reads what another thread writes. Tunnels are looked at in slices, since there
 * may be ten thousand; each is written as a line of JSON, about 300 bytes, in the memory of the
 * part.
 */
#include "proxy/flow/roster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/escape.h"
#include "proxy/dns/cache.h"
#include "proxy/dns/resolver_group.h"
#include "proxy/flow/conn.h"
#include "proxy/flow/worker.h"

enum { SLICE_CONNS = 64, LINE_MAX_BYTES = 4096, TEXT_MAX = 512 };

struct roster *roster_free(struct roster *r)
{
    for (unsigned i = 0; r && i < r->n_parts; i++) {
        free(r->parts[i].lines);
        tally_fini(&r->parts[i].tally);
        free(r->parts[i].tunnels);
        free(r->parts[i].refusals);
    }
    free(r);
    return NULL;
}

/* ---- in the worker: a line ---- */

static bool has_room(struct roster_part *p)
{
    if (p->len + LINE_MAX_BYTES <= p->capacity)
        return true;
    size_t capacity = p->capacity ? 2 * p->capacity : 16 * LINE_MAX_BYTES;
    char *lines = realloc(p->lines, capacity);
    if (!lines) {
        p->is_cut_short = true;
        return false;
    }
    p->lines = lines;
    p->capacity = capacity;
    return true;
}

__attribute__((format(printf, 2, 3))) static void put(struct roster_part *p, const char *fmt, ...)
{
    va_list args;
    size_t room = p->capacity - p->len;
    va_start(args, fmt);
    int n = vsnprintf(p->lines + p->len, room, fmt, args);
    va_end(args);
    if (n > 0)
        p->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void put_string(struct roster_part *p, const char *key, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    if (!text)
        return;
    put(p, ",\"%s\":\"", key);
    p->len += escape_write(ESCAPE_JSON, text, len < TEXT_MAX ? len : TEXT_MAX, p->lines + p->len,
                           p->capacity - p->len);
    put(p, "\"");
}

static void put_rule(struct roster_part *p, const struct in_rule *rule)
{
    char place[256];
    if (!rule)
        return;
    snprintf(place, sizeof(place), "%s:%u", rule->place.file ? rule->place.file : "acl",
             rule->place.line);
    put_string(p, "rule", place);
    put_string(p, "memo", rule->place.memo && rule->place.memo[0] ? rule->place.memo : NULL);
}

static void write_tunnel(struct roster_part *p, const struct conn *c)
{
    char text[ENDPOINT_TEXT_MAX];
    uint64_t now = loop_now_ms(&c->worker->loop);
    if (!has_room(p))
        return;
    p->n_lines++;
    put(p, "{\"id\":\"%u.%llu\"", c->worker->index, (unsigned long long)c->serial);
    put_string(p, "src", addr_text(&c->client.addr, text));
    put(p, ",\"src_port\":%u", c->client.port);
    put_string(p, "listener", c->proxy->base.name);
    put_string(p, "host", conn_host(c));
    put(p, ",\"port\":%u", c->port);
    put_string(p, "addr", c->has_origin ? endpoint_text(&c->origin, text) : NULL);
    put_rule(p, c->rule);
    put(p, ",\"age_ms\":%llu,\"idle_ms\":%llu,\"bytes_up\":%llu,\"bytes_down\":%llu}\n",
        (unsigned long long)(now - c->times.start_ms),
        (unsigned long long)(now - c->relay.last_active_ms),
        (unsigned long long)c->relay.sides[RELAY_CLIENT].bytes_in,
        (unsigned long long)c->relay.sides[RELAY_ORIGIN].bytes_in);
}

/* ---- in the worker: for a top list ---- */

static struct roster_tunnel *tunnel_new(struct roster_part *p)
{
    if (p->n_tunnels == p->tunnels_capacity) {
        size_t capacity = p->tunnels_capacity ? 2 * p->tunnels_capacity : 256;
        struct roster_tunnel *tunnels = reallocarray(p->tunnels, capacity, sizeof(*tunnels));
        if (!tunnels) {
            p->is_cut_short = true;
            return NULL;
        }
        p->tunnels = tunnels;
        p->tunnels_capacity = capacity;
    }
    return &p->tunnels[p->n_tunnels++];
}

static void keep_text(struct roster_part *p, const char *text)
{
    size_t len = text ? strnlen(text, TEXT_MAX) : 0;
    memcpy(p->lines + p->len, text ? text : "", len);
    p->lines[p->len + len] = '\0';
    p->len += len + 1;
}

static void note_tunnel(struct roster_part *p, const struct conn *c)
{
    uint64_t now = loop_now_ms(&c->worker->loop);
    struct roster_tunnel *t = has_room(p) ? tunnel_new(p) : NULL;
    if (!t)
        return;
    *t = (struct roster_tunnel){
        .serial = c->serial,
        .bytes_up = c->relay.sides[RELAY_CLIENT].bytes_in,
        .bytes_down = c->relay.sides[RELAY_ORIGIN].bytes_in,
        .age_ms = now - c->times.start_ms,
        .idle_ms = now - c->relay.last_active_ms,
        .source = c->client.addr,
        .texts = p->len,
        .worker = c->worker->index,
        .port = c->port,
    };
    keep_text(p, conn_host(c));
    keep_text(p, c->rule ? c->rule->place.memo : NULL);
}

/* ---- in the worker: the jobs ---- */

static void on_part_back(struct mail *m)
{
    struct roster *r = list_entry(m, struct roster_part, mail)->roster;
    if (--r->n_away == 0)
        r->done(r, r->owner);
}

static void send_back(struct roster_part *p)
{
    mailbox_post(p->worker->shared->main_mailbox, &p->mail, on_part_back);
}

static uint64_t relaxed(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void take_figures(struct roster_part *p)
{
    struct worker *w = p->worker;
    const struct counters *c = &w->counters;
    p->figures = (struct roster_figures){
        .n_accepted = relaxed(&c->n_accepted),
        .n_source_denied = relaxed(&c->n_source_denied),
        .n_refused = relaxed(&c->n_refused),
        .n_opened = relaxed(&c->n_opened),
        .n_closed = relaxed(&c->n_closed),
        .bytes_up = relaxed(&c->bytes_up),
        .bytes_down = relaxed(&c->bytes_down),
        .n_clients = w->n_conns,
        .dns = *dns_server_counters(w->dns),
        .resolver = w->resolver.counters,
        .cache_bytes = cache_used_bytes(w->resolver.cache),
        .cache_entries = cache_count(w->resolver.cache),
    };
}

static bool wants_line(const struct roster_part *p)
{
    enum roster_job job = p->roster->job;
    return job == ROSTER_TUNNELS || (job == ROSTER_OVERVIEW && p->n_lines < ROSTER_SOME_TUNNELS);
}

static void on_conn(struct conn *c)
{
    struct roster_part *p = c->worker->roster;
    p->figures.n_exchanges += c->state == CONN_STATE_EXCHANGE;
    if (c->state != CONN_STATE_RELAY)
        return;
    p->figures.n_tunnels++;
    if (p->roster->job == ROSTER_METRICS)
        conn_tell_bytes(c);
    p->figures.open_up += c->relay.sides[RELAY_CLIENT].bytes_in;
    p->figures.open_down += c->relay.sides[RELAY_ORIGIN].bytes_in;
    if (p->roster->job == ROSTER_TOP)
        note_tunnel(p, c);
    else if (wants_line(p))
        write_tunnel(p, c);
}

static void walk_next(struct worker *w);

static void on_walked(struct worker *w)
{
    struct roster_part *p = w->roster;
    if (p->roster->job == ROSTER_METRICS)
        tally_add_up(&p->tally, &w->tally);
    w->roster = p->next;
    send_back(p);
    walk_next(w);
}

static void walk_next(struct worker *w)
{
    if (!w->roster)
        return;
    take_figures(w->roster);
    walk_init(&w->roster->walk, w, SLICE_CONNS, on_conn, on_walked);
    walk_start(&w->roster->walk);
}

static void take_refusals(struct roster_part *p)
{
    p->refusals = calloc(REFUSALS_MAX, sizeof(*p->refusals));
    p->is_cut_short = !p->refusals;
    if (p->refusals)
        p->n_refusals = refusals_copy(p->worker->refusals, p->refusals);
}

static struct roster_server *server_of(struct roster_part *p, const struct upstream_peer *peer)
{
    bool is_tls = peer->tls_name != NULL;
    for (unsigned i = 0; i < p->n_servers; i++) {
        struct roster_server *s = &p->servers[i];
        if (s->is_tls == is_tls && endpoint_equal(&s->endpoint, &peer->server))
            return s;
    }
    if (p->n_servers == ROSTER_SERVERS_MAX)
        return NULL;
    struct roster_server *s = &p->servers[p->n_servers++];
    *s = (struct roster_server){.endpoint = peer->server, .is_tls = is_tls};
    snprintf(s->tls_name, sizeof(s->tls_name), "%s", is_tls ? peer->tls_name : "");
    return s;
}

/* One server by several ways (bypass-network) is one row. */
static void add_peer(struct roster_server *s, const struct upstream_peer *peer)
{
    uint64_t n = s->n_answered + peer->n_answered;
    if (n > 0)
        s->rtt_8ms = (s->rtt_8ms * s->n_answered + peer->rtt_8ms * peer->n_answered) / n;
    s->n_asked += peer->n_asked;
    s->n_answered = n;
    s->n_failed += peer->n_failed;
}

/* In the order of the configuration, as far as there is one. */
static void take_servers(struct roster_part *p)
{
    list_for_each (pos, &p->worker->resolver.groups) {
        const struct resolver_group *g = list_entry(pos, struct resolver_group, node);
        for (unsigned i = 0; i < g->n_servers; i++) {
            struct roster_server *s = server_of(p, g->servers[i].peer);
            if (!s)
                continue;
            s->is_down = s->is_down || g->servers[i].is_down;
            s->is_looping = s->is_looping || loop_probe_is_looping(g->servers[i].loop);
        }
    }
    list_for_each (pos, &p->worker->resolver.env->peers) {
        const struct upstream_peer *peer = list_entry(pos, struct upstream_peer, node);
        struct roster_server *s = server_of(p, peer);
        if (s)
            add_peer(s, peer);
    }
}

static bool is_meant(const struct roster_whom *whom, const struct conn *c)
{
    if (c->state == CONN_STATE_CLOSED)
        return false;
    if (whom->has_source)
        return addr_compare(&c->client.addr, &whom->source) == 0;
    return c->worker->index == whom->worker && c->serial == whom->serial;
}

/* Comparing costs nanoseconds, so this is one go; the connections stay in the list till the round
 * ends. */
static void kill(struct roster_part *p)
{
    list_for_each (pos, &p->worker->conns) {
        struct conn *c = list_entry(pos, struct conn, node);
        if (!is_meant(&p->roster->whom, c))
            continue;
        p->n_done++;
        conn_finish(c, REASON_ADMIN);
    }
}

static void walk_all(struct roster_part *p)
{
    struct worker *w = p->worker;
    struct roster_part **end = &w->roster;
    while (*end)
        end = &(*end)->next;
    *end = p;
    if (w->roster == p) /* one at a time */
        walk_next(w);
}

static void on_part(struct mail *m)
{
    struct roster_part *p = list_entry(m, struct roster_part, mail);
    const struct roster *r = p->roster;
    switch (r->job) {
    case ROSTER_STATUS:
    case ROSTER_OVERVIEW:
        take_refusals(p);
        __attribute__((fallthrough));
    case ROSTER_FIGURES:
    case ROSTER_TUNNELS:
    case ROSTER_METRICS:
    case ROSTER_TOP:
        take_servers(p);
        walk_all(p);
        return;
    case ROSTER_KILL:
        kill(p);
        break;
    case ROSTER_FLUSH:
        p->n_done = resolver_flush(&p->worker->resolver, r->has_names ? &r->names : NULL);
        break;
    }
    send_back(p);
}

void roster_part_end(struct roster_part *p)
{
    if (!p)
        return;
    struct worker *w = p->worker;
    walk_fini(&p->walk);
    w->roster = NULL;
    while (p) {
        struct roster_part *next = p->next;
        p->is_cut_short = true;
        send_back(p);
        p = next;
    }
}

void roster_forget(struct roster_part *p, const struct conn *c)
{
    if (p)
        walk_forget(&p->walk, c);
}

/* ---- on the main thread ---- */

struct roster *roster_new(struct worker *workers, unsigned n_workers, enum roster_job job,
                          roster_done_fn done, void *owner)
{
    struct roster *r = calloc(1, sizeof(*r) + n_workers * sizeof(r->parts[0]));
    if (!r)
        return NULL;
    r->job = job;
    r->done = done;
    r->owner = owner;
    r->n_parts = r->n_away = n_workers;
    for (unsigned i = 0; i < n_workers; i++) {
        r->parts[i].roster = r;
        r->parts[i].worker = &workers[i];
    }
    return r;
}

void roster_start(struct roster *r)
{
    for (unsigned i = 0; i < r->n_parts; i++)
        mailbox_post(&r->parts[i].worker->mailbox, &r->parts[i].mail, on_part);
}

static void add_dns(struct dns_server_counters *sum, const struct dns_server_counters *one)
{
    sum->n_udp += one->n_udp;
    sum->n_tcp += one->n_tcp;
    for (unsigned i = 0; i < SERVE_RESULTS; i++) {
        sum->results[0][i] += one->results[0][i];
        sum->results[1][i] += one->results[1][i];
    }
    sum->n_hits += one->n_hits;
    sum->n_waited += one->n_waited;
    sum->n_errors += one->n_errors;
    sum->n_truncated += one->n_truncated;
    sum->n_denied += one->n_denied;
    sum->n_limited += one->n_limited;
    sum->n_dropped += one->n_dropped;
    sum->n_late += one->n_late;
    sum->n_connections += one->n_connections;
    sum->n_connections_refused += one->n_connections_refused;
}

static void add_resolver(struct resolver_counters *sum, const struct resolver_counters *one)
{
    sum->n_asked += one->n_asked;
    sum->n_hits += one->n_hits;
    sum->n_local += one->n_local;
    sum->n_joined += one->n_joined;
    sum->n_started += one->n_started;
    sum->n_busy += one->n_busy;
    sum->n_sent += one->n_sent;
    sum->n_replies += one->n_replies;
    sum->n_failed += one->n_failed;
    sum->n_timeouts += one->n_timeouts;
}

struct roster_figures roster_sum(const struct roster *r)
{
    struct roster_figures sum = {0};
    for (unsigned i = 0; i < r->n_parts; i++) {
        const struct roster_figures *f = &r->parts[i].figures;
        sum.n_accepted += f->n_accepted;
        sum.n_source_denied += f->n_source_denied;
        sum.n_refused += f->n_refused;
        sum.n_opened += f->n_opened;
        sum.n_closed += f->n_closed;
        sum.bytes_up += f->bytes_up;
        sum.bytes_down += f->bytes_down;
        sum.open_up += f->open_up;
        sum.open_down += f->open_down;
        sum.n_clients += f->n_clients;
        sum.n_tunnels += f->n_tunnels;
        sum.n_exchanges += f->n_exchanges;
        sum.cache_bytes += f->cache_bytes;
        sum.cache_entries += f->cache_entries;
        add_dns(&sum.dns, &f->dns);
        add_resolver(&sum.resolver, &f->resolver);
    }
    return sum;
}

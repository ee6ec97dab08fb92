/*
 * Rows of what the workers told (proxy/flow/roster) and of what the main thread has. Every table
 * has a bound: a page of a hundred thousand rules helps nobody, and the commands show them all.
 */
#include "proxy/daemon/pagetables.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/human.h"
#include "proxy/base/markup.h"
#include "proxy/daemon/page_parts.h"
#include "proxy/daemon/refusallist.h"
#include "proxy/daemon/refusaltext.h"

enum { TEXT_MAX = MARKUP_TEXT_MAX };

static void write_heading(FILE *out, const char *id, const char *title, const char *more)
{
    markup_write(out, page_part_heading,
                 (struct markup_value[]){{"id", id}, {"title", title}, {"more", more}, {0}});
}

static void write_empty(FILE *out, const char *text)
{
    markup_write(out, page_part_empty, (struct markup_value[]){{"text", text}, {0}});
}

static const char *number(uint64_t n, char buf[static HUMAN_MAX])
{
    snprintf(buf, HUMAN_MAX, "%llu", (unsigned long long)n);
    return buf;
}

/* "3 min ago", of a wall clock that may have been set meanwhile. */
static const char *ago(uint64_t now_s, uint64_t then_s, char buf[static HUMAN_MAX + 4])
{
    char span[HUMAN_MAX];
    snprintf(buf, HUMAN_MAX + 4, "%s ago", human_span(now_s > then_s ? now_s - then_s : 0, span));
    return buf;
}

/* ---- listeners ---- */

/* Items of a list, cut where there is no more room. */
struct joined {
    char text[TEXT_MAX];
    size_t len;
};

static void join(struct joined *j, const char *item)
{
    int n = snprintf(j->text + j->len, sizeof(j->text) - j->len, "%s%s", j->len ? ", " : "", item);
    if (n > 0)
        j->len += (size_t)n < sizeof(j->text) - j->len ? (size_t)n : sizeof(j->text) - j->len - 1;
}

static void write_listener(FILE *out, const char *kind, const struct conf_listener *l)
{
    struct joined networks = {.len = 0}, servers = {.len = 0};
    char text[ENDPOINT_TEXT_MAX], server[ENDPOINT_TEXT_MAX + 16], port[HUMAN_MAX];
    for (size_t i = 0; i < l->n_networks; i++)
        join(&networks, l->networks[i].ifname[0] ? l->networks[i].ifname
                                                 : addr_text(&l->networks[i].addr, text));
    for (size_t i = 0; i < l->name_servers.n_items; i++) {
        const struct conf_name_server *s = &l->name_servers.items[i];
        snprintf(server, sizeof(server), "%s%s", s->is_tls ? "tls://" : "",
                 s->is_tls || s->endpoint.port != 53 ? endpoint_text(&s->endpoint, text)
                                                     : addr_text(&s->endpoint.addr, text));
        join(&servers, server);
    }
    const struct markup_value values[] = {{"name", l->name},
                                          {"kind", kind},
                                          {"networks", networks.text},
                                          {"port", number(l->port, port)},
                                          {"servers", servers.text},
                                          {"description", l->description},
                                          {0}};
    markup_write(out, page_part_listener, values);
}

void pagetables_listeners(const struct page_view *v, FILE *out)
{
    const struct conf *conf = &v->snapshot->conf;
    write_heading(out, "listeners", "Listeners", NULL);
    fputs(page_part_listeners_begin, out);
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        write_listener(out, "web proxy", &conf->web_proxies[i].base);
    for (size_t i = 0; i < conf->n_dns; i++)
        write_listener(out, "DNS", &conf->dns[i].base);
    fputs(page_part_table_end, out);
}

/* ---- tunnels ---- */

static const char *string_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static uint64_t number_of(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void write_tunnel(FILE *out, const json_t *t)
{
    char port[HUMAN_MAX], age[HUMAN_MAX], idle[HUMAN_MAX], up[HUMAN_MAX], down[HUMAN_MAX];
    const struct markup_value values[] = {
        {"id", string_of(t, "id")},
        {"source", string_of(t, "src")},
        {"host", string_of(t, "host")},
        {"port", number(number_of(t, "port"), port)},
        {"addr", string_of(t, "addr")},
        {"listener", string_of(t, "listener")},
        {"rule", string_of(t, "rule")},
        {"memo", string_of(t, "memo")},
        {"age", human_span(number_of(t, "age_ms") / 1000, age)},
        {"idle", human_span(number_of(t, "idle_ms") / 1000, idle)},
        {"up", human_size((double)number_of(t, "bytes_up"), up)},
        {"down", human_size((double)number_of(t, "bytes_down"), down)},
        {0}};
    markup_write(out, page_part_tunnel, values);
}

static uint64_t carried(const json_t *t)
{
    return number_of(t, "bytes_up") + number_of(t, "bytes_down");
}

static int compare_carried(const void *a, const void *b)
{
    uint64_t x = carried(*(json_t *const *)a), y = carried(*(json_t *const *)b);
    return x > y ? -1 : x < y;
}

/* The lines of one worker, as far as there is room. */
static size_t read_lines(const struct roster_part *p, json_t **items, size_t room)
{
    size_t n = 0;
    const char *at = p->lines, *end = p->lines ? p->lines + p->len : NULL;
    while (at && at < end && n < room) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            break;
        items[n] = json_loadb(at, (size_t)(stop - at), 0, NULL);
        n += items[n] != NULL;
        at = stop + 1;
    }
    return n;
}

static void write_tunnels(const struct page_view *v, FILE *out)
{
    size_t room = (size_t)v->roster->n_parts * ROSTER_SOME_TUNNELS, n = 0;
    json_t **items = calloc(room + 1, sizeof(*items));
    for (unsigned i = 0; items && i < v->roster->n_parts; i++)
        n += read_lines(&v->roster->parts[i], items + n, room - n);
    if (n > 0)
        qsort(items, n, sizeof(*items), compare_carried);
    fputs(page_part_tunnels_begin, out);
    for (size_t i = 0; i < n; i++) {
        if (i < PAGETABLES_TUNNELS_MAX)
            write_tunnel(out, items[i]);
        json_decref(items[i]);
    }
    fputs(page_part_table_end, out);
    free(items);
}

void pagetables_tunnels(const struct page_view *v, FILE *out)
{
    unsigned n = roster_sum(v->roster).n_tunnels;
    char text[64] = "";
    if (n > PAGETABLES_TUNNELS_MAX)
        snprintf(text, sizeof(text), "%d of %u; all: ukai tunnels", PAGETABLES_TUNNELS_MAX, n);
    write_heading(out, "tunnels", "Open tunnels", text);
    if (n == 0)
        write_empty(out, "No tunnel is open.");
    else
        write_tunnels(v, out);
}

/* ---- refusals ---- */

static void write_refusal(const struct page_view *v, const struct refusal *r, FILE *out)
{
    char target[TEXT_MAX], rule[TEXT_MAX], command[REFUSALTEXT_MAX], source[ADDR_TEXT_MAX];
    char last[HUMAN_MAX], when[HUMAN_MAX + 4], times[HUMAN_MAX];
    bool has_command = refusaltext_command(r, v->file, command, sizeof(command));
    (void)refusaltext_target(r, target, sizeof(target));
    refusaltext_rule(r, rule, sizeof(rule));
    const struct markup_value values[] = {
        {"class", has_command ? "has-ask" : ""},
        {"last", human_time(r->last_ms / 1000, last)},
        {"ago", ago(v->now_wall_s, r->last_ms / 1000, when)},
        {"times", human_count(r->n, times)},
        {"source", addr_text(&r->source, source)},
        {"listener", r->listener},
        {"target", r->host[0] || r->method[0] ? target : ""},
        {"reason", refusaltext_reason(r->reason)},
        {"observed", r->is_observed ? page_part_observed : "", true},
        {"rule", rule},
        {"memo", r->memo},
        {0}};
    markup_write(out, page_part_refusal, values);
    if (has_command)
        markup_write(out, page_part_ask, (struct markup_value[]){{"command", command}, {0}});
}

void pagetables_refusals(const struct page_view *v, FILE *out)
{
    size_t n;
    struct refusal *all = refusallist_new(v->roster, &n);
    write_heading(out, "refusals", "Recent refusals", "the last first, repeats counted");
    if (n > 0)
        fputs(page_part_refusals_begin, out);
    for (size_t i = 0; i < n; i++)
        write_refusal(v, &all[i], out);
    if (n > 0)
        fputs(page_part_table_end, out);
    else
        write_empty(out, "Nothing was refused since the start.");
    free(all);
}

/* ---- name servers ---- */

static unsigned count_down(const struct roster *r, const struct roster_server *server)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n_parts; i++) {
        const struct roster_part *p = &r->parts[i];
        for (unsigned k = 0; k < p->n_servers; k++)
            n += p->servers[k].is_down && p->servers[k].is_tls == server->is_tls &&
                 endpoint_equal(&p->servers[k].endpoint, &server->endpoint);
    }
    return n;
}

static void write_server(const struct page_view *v, const struct roster_server *s, FILE *out)
{
    char server[ENDPOINT_TEXT_MAX], state[64] = "up";
    unsigned n_down = count_down(v->roster, s), n = v->roster->n_parts;
    if (n_down > 0)
        snprintf(state, sizeof(state), n_down < n ? "down for %u of %u workers" : "down", n_down,
                 n);
    const struct markup_value values[] = {{"server", endpoint_text(&s->endpoint, server)},
                                          {"by", s->is_tls ? "TLS" : "UDP, TCP"},
                                          {"class", n_down ? "bad" : ""},
                                          {"state", state},
                                          {0}};
    markup_write(out, page_part_server, values);
}

/* All workers have the same servers. */
void pagetables_servers(const struct page_view *v, FILE *out)
{
    const struct roster_part *p = v->roster->n_parts ? &v->roster->parts[0] : NULL;
    if (!p || p->n_servers == 0)
        return;
    write_heading(out, "servers", "Name servers", NULL);
    fputs(page_part_servers_begin, out);
    for (unsigned i = 0; i < p->n_servers; i++)
        write_server(v, &p->servers[i], out);
    fputs(page_part_table_end, out);
}

/* ---- rules ---- */

struct rows {
    struct rules_row *items; /* owned */
    size_t n, capacity, n_never;
};

static void on_row(void *owner, const struct rules_row *row)
{
    struct rows *rows = owner;
    if (rows->n < rows->capacity)
        rows->items[rows->n++] = *row;
    rows->n_never += row->is_ours && row->sum.n == 0;
}

static int compare_hits(const void *a, const void *b)
{
    const struct rules_row *x = a, *y = b;
    if (x->sum.n != y->sum.n)
        return x->sum.n > y->sum.n ? -1 : 1;
    return x->place->line < y->place->line ? -1 : x->place->line > y->place->line;
}

static void write_rule(const struct page_view *v, const struct rules_row *row, FILE *out)
{
    char place[TEXT_MAX], hits[HUMAN_MAX], bytes[HUMAN_MAX], when[HUMAN_MAX + 4];
    const struct rule_place *p = row->place;
    uint64_t age_s = v->now_ms > row->sum.last_ms ? (v->now_ms - row->sum.last_ms) / 1000 : 0;
    bool is_never = row->sum.n == 0;
    snprintf(place, sizeof(place), "%s:%u", p->file ? p->file : "acl", p->line);
    const struct markup_value values[] = {{"class", !row->is_ours ? "foreign"
                                                    : is_never    ? "never"
                                                                  : ""},
                                          {"section", row->section},
                                          {"place", place},
                                          {"text", p->text},
                                          {"memo", p->memo},
                                          {"hits", human_count(row->sum.n, hits)},
                                          {"bytes", human_size((double)row->sum.bytes, bytes)},
                                          {"last", !row->is_ours ? "not ours"
                                                   : is_never    ? "never"
                                                                 : ago(age_s, 0, when)},
                                          {0}};
    markup_write(out, page_part_rule, values);
}

void pagetables_rules(const struct page_view *v, FILE *out)
{
    const struct acl *acl = v->snapshot->acl;
    struct rows rows = {.capacity = acl->n_in + acl->n_out};
    char text[128];
    rows.items = calloc(rows.capacity + 1, sizeof(*rows.items));
    if (!rows.items)
        rows.capacity = 0;
    rules_each(v->rules, v->snapshot, on_row, &rows);
    bool is_part = rows.n > PAGETABLES_RULES_MAX;
    if (is_part)
        qsort(rows.items, rows.n, sizeof(*rows.items), compare_hits);
    snprintf(text, sizeof(text), "%zu, %zu never hit%s", rows.n, rows.n_never,
             is_part ? "; the 300 most hit, all: ukai rules" : "");
    write_heading(out, "rules", "Rules", text);
    fputs(page_part_rules_begin, out);
    for (size_t i = 0; i < rows.n && i < PAGETABLES_RULES_MAX; i++)
        write_rule(v, &rows.items[i], out);
    fputs(page_part_table_end, out);
    free(rows.items);
}

/*
 * Each worker learns by itself whether a server answers. One that has not asked a server yet knows
 * nothing against it and has no say: a dead server is down as soon as all who tried it say so.
 */
#include "proxy/daemon/nameservers.h"

#include <stdbool.h>
#include <string.h>

struct opinion {
    struct roster_server sum;
    unsigned n_asked, n_down; /* workers */
};

static bool is_same(const struct roster_server *a, const struct roster_server *b)
{
    return a->is_tls == b->is_tls && endpoint_equal(&a->endpoint, &b->endpoint);
}

static void add(struct opinion *o, const struct roster_server *s)
{
    uint64_t n = o->sum.n_answered + s->n_answered;
    if (n > 0)
        o->sum.rtt_8ms = (o->sum.rtt_8ms * o->sum.n_answered + s->rtt_8ms * s->n_answered) / n;
    o->sum.n_answered = n;
    o->sum.n_asked += s->n_asked;
    o->sum.n_failed += s->n_failed;
    o->sum.is_looping = o->sum.is_looping || s->is_looping;
    o->n_asked += s->n_asked > 0 || s->is_down;
    o->n_down += s->is_down;
}

static const char *state_of(const struct opinion *o)
{
    if (o->sum.is_looping)
        return "loop";
    return o->n_down == 0 ? "up" : o->n_down < o->n_asked ? "partly" : "down";
}

static json_t *opinion_json(const struct opinion *o)
{
    char text[ENDPOINT_TEXT_MAX];
    json_t *json = json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:f}", "server",
                             endpoint_text(&o->sum.endpoint, text), "state", state_of(o),
                             "workers_down", (int)o->n_down, "queries", (json_int_t)o->sum.n_asked,
                             "answered", (json_int_t)o->sum.n_answered, "failures",
                             (json_int_t)o->sum.n_failed, "rtt_ms", (double)o->sum.rtt_8ms / 8);
    if (o->sum.is_tls)
        json_object_set_new(json, "tls_name", json_string(o->sum.tls_name));
    return json;
}

/* All workers have the same servers, but for the moment of a reload: the first one's count. */
json_t *nameservers_json(const struct roster *r)
{
    json_t *list = json_array();
    const struct roster_part *first = &r->parts[0];
    for (unsigned i = 0; r->n_parts > 0 && i < first->n_servers; i++) {
        struct opinion o = {
            .sum = {.endpoint = first->servers[i].endpoint, .is_tls = first->servers[i].is_tls}};
        memcpy(o.sum.tls_name, first->servers[i].tls_name, sizeof(o.sum.tls_name));
        for (unsigned k = 0; k < r->n_parts; k++) {
            for (unsigned j = 0; j < r->parts[k].n_servers; j++) {
                if (is_same(&r->parts[k].servers[j], &o.sum))
                    add(&o, &r->parts[k].servers[j]);
            }
        }
        json_array_append_new(list, opinion_json(&o));
    }
    return list;
}

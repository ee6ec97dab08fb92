/*
 * One server asked once for a question. What comes of it is noted for the server's health, told,
 * counted, and passed to the question; a probe whose question has ended goes on alone, to learn
 * whether the server is back. The servers are asked here, too, for the names that find loops.
 */
#include "proxy/dns/attempt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/report/tally.h"

enum {
    TOLD_EVERY_MS = 60000,
    LOOP_LIMIT_MS = 5000,
};

struct attempt {
    struct list node;          /* question's, or the resolver's probes */
    struct question *question; /* NULL: the question has ended */
    attempt_done_fn on_done;
    struct resolver *resolver;
    struct resolver_group *group; /* one reference */
    unsigned server;
    bool is_probe;
    bool is_late; /* counted as lost already */
    struct upstream upstream;
};

/* ---- what is known of a server ---- */

/* Whether the last word about a server still holds, and if not, the next one. */
static void tell_server(struct resolver_group *g, unsigned server, const char *reason)
{
    struct name_server *s = &g->servers[server];
    struct resolver *r = g->resolver;
    uint64_t now = loop_now_ms(r->loop);
    if (!r->on_server || s->is_down == s->is_told_down ||
        (s->is_down && s->told_ms && now < s->told_ms + TOLD_EVERY_MS))
        return;
    s->is_told_down = s->is_down;
    s->told_ms = s->is_down ? now : s->told_ms;
    r->on_server(r->owner, &(struct resolver_server_news){
                               .server = &s->peer->server,
                               .tls_name = s->peer->tls_name,
                               .is_up = !s->is_down,
                               .reason = reason,
                               .detail = strcmp(reason, "tls") == 0 ? s->peer->trouble : "",
                           });
}

/* Whatever counts against a server's health is counted for the metrics too. */
static void tally_failure(const struct attempt *a)
{
    const struct upstream_peer *peer = a->group->servers[a->server].peer;
    if (a->resolver->tally)
        tally_server_failed(a->resolver->tally, &peer->server, peer->tls_name != NULL);
}

static void note_loss(const struct attempt *a, uint64_t now)
{
    resolver_group_note_loss(a->group, a->server, now);
    tally_failure(a);
}

static void note_outcome(struct attempt *a, enum upstream_outcome outcome)
{
    struct loop *loop = a->resolver->loop;
    switch (outcome) {
    case UPSTREAM_REPLY:
        a->resolver->counters.n_replies++;
        if (a->resolver->tally)
            tally_time(&a->resolver->tally->dns_upstream,
                       loop_now_ms(loop) - a->upstream.started_ms);
        resolver_group_note_reply(a->group, a->server, loop_now_ms(loop) - a->upstream.started_ms);
        tell_server(a->group, a->server, "");
        return;
    case UPSTREAM_REFUSED:
        resolver_group_note_dead(a->group, a->server, loop_now_ms(loop));
        tally_failure(a);
        tell_server(a->group, a->server, "refused");
        return;
    case UPSTREAM_UNTRUSTED:
        resolver_group_note_dead(a->group, a->server, loop_now_ms(loop));
        tally_failure(a);
        tell_server(a->group, a->server, "tls");
        return;
    case UPSTREAM_BROKEN:
    case UPSTREAM_TIMEOUT:
        if (!a->is_late)
            note_loss(a, loop_now_ms(loop));
        tell_server(a->group, a->server, outcome == UPSTREAM_BROKEN ? "broken" : "timeout");
        return;
    }
}

/* ---- one attempt ---- */

static void attempt_free(struct attempt *a)
{
    upstream_cancel(&a->upstream);
    list_remove(&a->node);
    resolver_group_unref(a->group);
    free(a);
}

void attempts_free(struct list *attempts)
{
    for (struct list *pos; (pos = list_first(attempts));)
        attempt_free(list_entry(pos, struct attempt, node));
}

static void on_upstream_done(struct upstream *x, enum upstream_outcome outcome,
                             const struct wire_reply *reply, const uint8_t *msg)
{
    struct attempt *a = list_entry(x, struct attempt, upstream);
    struct question *q = a->question;
    attempt_done_fn on_done = a->on_done;
    struct attempt_end end = {.server = a->server,
                              .outcome = outcome,
                              .is_probe = a->is_probe,
                              .was_without_opt = x->ask.without_opt,
                              .reply = reply,
                              .msg = msg};
    note_outcome(a, outcome);
    attempt_free(a);
    if (q)
        on_done(q, &end);
}

int attempt_start(struct list *in, const struct attempt_order *order,
                  const struct upstream_request *request)
{
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    int rc = upstream_start(&a->upstream, order->group->resolver->env, request, on_upstream_done);
    if (rc < 0) {
        free(a);
        return rc;
    }
    a->question = order->question;
    a->on_done = order->on_done;
    a->resolver = order->group->resolver;
    a->group = resolver_group_ref(order->group);
    a->server = order->server;
    a->is_probe = order->is_probe;
    list_append(in, &a->node);
    return 0;
}

void attempts_are_late(struct list *attempts)
{
    list_for_each (pos, attempts) {
        struct attempt *a = list_entry(pos, struct attempt, node);
        if (!a->is_late)
            note_loss(a, loop_now_ms(a->resolver->loop));
        a->is_late = true;
        tell_server(a->group, a->server, "timeout");
    }
}

void attempts_let_probes_go(struct list *attempts)
{
    list_for_each_safe (pos, tmp, attempts) {
        struct attempt *a = list_entry(pos, struct attempt, node);
        if (!a->is_probe)
            continue;
        a->question = NULL;
        list_remove(&a->node);
        list_append(&a->resolver->probes, &a->node);
    }
}

/* ---- loops ---- */

static void tell_loop(struct resolver *r, const struct name_server *s)
{
    bool is_looping = loop_probe_is_looping(s->loop);
    if (!r->on_server)
        return;
    r->on_server(r->owner, &(struct resolver_server_news){
                               .server = &s->peer->server,
                               .tls_name = s->peer->tls_name,
                               .is_up = !is_looping,
                               .reason = "loop",
                               .detail = is_looping ? "it leads back to us" : "",
                           });
}

/* Asks @server for the name that only we know; who answers it is all that counts. */
static void ask_for_loop(struct resolver_group *g, unsigned server, const struct wire_name *name)
{
    struct resolver *r = g->resolver;
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a)
        return;
    struct wire_question question = {.name = *name, .type = WIRE_TYPE_TXT, .class = WIRE_CLASS_IN};
    struct upstream_request request = {
        .peer = g->servers[server].peer,
        .question = &question,
        .limit_ms = LOOP_LIMIT_MS,
    };
    if (upstream_start(&a->upstream, r->env, &request, on_upstream_done) < 0) {
        free(a);
        return;
    }
    a->resolver = r;
    a->group = resolver_group_ref(g);
    a->server = server;
    a->is_probe = a->is_late = true; /* silence says nothing about other names */
    list_append(&r->probes, &a->node);
}

void attempt_look_for_loops(struct resolver_group *g)
{
    struct resolver *r = g->resolver;
    for (unsigned i = 0; i < g->n_servers; i++) {
        struct name_server *s = &g->servers[i];
        struct wire_name name;
        if (loops_due(r->loops, s->loop, loop_now_ms(r->loop), &name))
            ask_for_loop(g, i, &name);
        if (loops_has_news(s->loop))
            tell_loop(r, s);
    }
}

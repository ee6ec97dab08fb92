/*
 * The way from a split target to a connected socket, the same for tunnels and plain requests: port
 * list, name, resolver, each address, dial. The name is judged before it is resolved and each
 * address before it is dialled, by the snapshot under which the request began. Whoever asks decides
 * in between whether a dial is needed at all (a pooled connection to a permitted address will do).
 */
#include "proxy/flow/reach.h"

#include <stdio.h>
#include <string.h>

#include "proxy/flow/worker.h"

enum { PHRASE_MAX = 200 };

static void on_names_resolved(struct lookup *l, enum lookup_outcome outcome,
                              const struct addr *addrs, unsigned n_addrs);
static void on_origin_connected(struct dial *d, enum dial_outcome outcome, unsigned winner);

static const struct conf *conf_of(struct conn *c)
{
    return &c->view->snapshot->conf;
}

static uint32_t step_ms(struct conn *c)
{
    return (uint32_t)(loop_now_ms(&c->worker->loop) - c->setup->step_ms);
}

void reach_cancel(struct conn *c)
{
    lookup_cancel(&c->setup->lookup);
    dial_cancel(&c->setup->dial);
}

static void refuse(struct conn *c, enum reason reason)
{
    conn_refuse(c, &(struct conn_refusal){.reason = reason});
}

/* 403 with the reason in words; the rule is named only here. */
void reach_refuse(struct conn *c, enum verdict verdict, const struct verdict_detail *detail)
{
    char phrase[PHRASE_MAX], sections[VERDICT_SECTIONS_MAX];
    /* One body for all: only the phrase names the rule. */
    struct conn_refusal why = {.phrase = phrase,
                               .body = "the rules of this proxy do not permit this destination",
                               .rule = detail->rule};
    const struct out_rule *rule = detail->rule;
    if (rule)
        hits_count(c->worker->hits, rule->place.slot, loop_now_ms(&c->worker->loop));
    switch (verdict) {
    case VERDICT_PORT:
        why.reason = REASON_PORT_DENIED;
        snprintf(phrase, sizeof(phrase), "Forbidden port %u, see %s", c->port,
                 c->is_connect ? "connect-ports" : "http-ports");
        break;
    case VERDICT_SPECIAL:
        why.reason = REASON_SPECIAL_USE;
        snprintf(phrase, sizeof(phrase), "Forbidden special-use address in %s", detail->special);
        break;
    case VERDICT_OWN:
        why.reason = REASON_OWN_LISTENER;
        snprintf(phrase, sizeof(phrase), "Forbidden own listener of the proxy");
        break;
    case VERDICT_DENY:
    case VERDICT_ALLOW:
    case VERDICT_UNDECIDED:
        why.reason = REASON_OUT_DENIED;
        if (rule)
            snprintf(phrase, sizeof(phrase), "Forbidden by rule %s:%u", rule->place.file,
                     rule->place.line);
        else
            snprintf(phrase, sizeof(phrase), "Forbidden, no allow line of %s matches",
                     verdict_sections(detail, sections));
        break;
    }
    conn_refuse(c, &why);
}

/* `mode = observe`: what [out] refuses is told and goes on. Returns whether that is so. */
static bool observe(struct conn *c, const struct verdict_detail *detail)
{
    if (!conf_of(c)->acl_observe)
        return false;
    if (detail->rule)
        hits_count(c->worker->hits, detail->rule->place.slot, loop_now_ms(&c->worker->loop));
    conn_observe(c, &(struct conn_refusal){.reason = REASON_OUT_DENIED, .rule = detail->rule});
    return true;
}

/* All are refused by lines, but observed only: those that nothing else refuses. As permit(). */
static enum verdict permit_observed(struct conn *c, const struct addr *addrs, unsigned n_addrs,
                                    unsigned *ret_n, struct verdict_detail *ret_detail)
{
    enum verdict last = VERDICT_DENY;
    unsigned n = 0;
    for (unsigned i = 0; i < n_addrs && n < DIAL_ADDRS_MAX; i++) {
        struct verdict_detail detail;
        enum verdict v = verdict_guard(c->view->snapshot->acl, &c->client.addr,
                                       &c->worker->own->own, &addrs[i], c->port, &detail);
        if (v != VERDICT_ALLOW) {
            last = v;
            *ret_detail = detail;
            continue;
        }
        c->setup->slots[n] = SLOTS_NONE;
        c->setup->to[n++] = (struct endpoint){.addr = addrs[i], .port = c->port};
    }
    *ret_n = n;
    return n > 0 ? VERDICT_ALLOW : last;
}

/* Keeps the addresses that may be dialled. With none left: the verdict that refused the first one.
 */
static enum verdict permit(struct conn *c, enum verdict by_name, const struct out_rule *name_rule,
                           const struct addr *addrs, unsigned n_addrs, unsigned *ret_n,
                           struct verdict_detail *ret_detail)
{
    const struct snapshot *s = c->view->snapshot;
    enum verdict first = VERDICT_ALLOW;
    unsigned n = 0;
    for (unsigned i = 0; i < n_addrs && n < DIAL_ADDRS_MAX; i++) {
        struct verdict_detail detail = {0};
        enum verdict v = verdict_addr(s->acl, &c->client.addr, &c->worker->own->own, by_name,
                                      &addrs[i], c->port, &detail);
        if (v == VERDICT_ALLOW) {
            const struct out_rule *rule = by_name == VERDICT_ALLOW ? name_rule : detail.rule;
            c->setup->slots[n] = rule ? rule->place.slot : SLOTS_NONE;
            c->setup->to[n++] = (struct endpoint){.addr = addrs[i], .port = c->port};
        } else if (first == VERDICT_ALLOW) {
            first = v;
            *ret_detail = detail;
        }
    }
    *ret_n = n;
    return n > 0 ? VERDICT_ALLOW : first;
}

static void permit_addresses(struct conn *c, enum verdict by_name, const struct out_rule *name_rule,
                             const struct addr *addrs, unsigned n_addrs)
{
    struct conn_setup *s = c->setup;
    struct verdict_detail detail = {0};
    unsigned n = 0;
    enum verdict v = permit(c, by_name, name_rule, addrs, n_addrs, &n, &detail);
    if (v == VERDICT_DENY && conf_of(c)->acl_observe) {
        struct verdict_detail denied = detail;
        v = permit_observed(c, addrs, n_addrs, &n, &detail);
        if (v == VERDICT_ALLOW && by_name != VERDICT_DENY) /* else it was told of the name */
            observe(c, &denied);
    }
    if (v != VERDICT_ALLOW) {
        reach_refuse(c, v, &detail);
        return;
    }
    s->n_to = n;
    s->on_permitted(c);
}

void reach_dial(struct conn *c, struct io *io, reach_connected_fn on_connected)
{
    struct conn_setup *s = c->setup;
    struct egress egress = egress_from_conf(&c->proxy->base.egress);
    s->on_connected = on_connected;
    s->step_ms = loop_now_ms(&c->worker->loop);
    conn_set_state(c, CONN_STATE_DIAL);
    if (dial_start(&s->dial, &c->worker->loop, &egress, io, s->to, s->n_to,
                   conf_of(c)->timeouts.connect_ms, on_origin_connected) < 0)
        refuse(c, REASON_INTERNAL);
}

static void on_names_resolved(struct lookup *l, enum lookup_outcome outcome,
                              const struct addr *addrs, unsigned n_addrs)
{
    struct conn *c = list_entry(l, struct conn_setup, lookup)->conn;
    c->times.dns_ms = step_ms(c);
    switch (outcome) {
    case LOOKUP_ADDRS: {
        struct verdict_detail detail = {0};
        enum verdict by_name = verdict_name(c->view->snapshot->acl, &c->client.addr,
                                            c->setup->target.name, c->port, &detail);
        permit_addresses(c, by_name, detail.rule, addrs, n_addrs);
        return;
    }
    case LOOKUP_NO_NAME:
    case LOOKUP_FAILED:
        refuse(c, REASON_DNS_ERROR);
        return;
    case LOOKUP_TIMEOUT:
        refuse(c, REASON_DNS_TIMEOUT);
        return;
    }
}

/* Destinations are only kept while the rules are being found: then each costs a look-up more. */
static void learn(struct conn *c)
{
    struct worker *w = c->worker;
    struct seen *seen = atomic_load_explicit(&w->seen, memory_order_relaxed);
    if (conf_of(c)->acl_observe && seen && conn_host(c))
        seen_note(seen, &c->client.addr, conn_host(c), c->port, loop_now_ms(&w->loop));
}

static void note_permission(struct conn *c, unsigned index)
{
    learn(c);
    c->out_slot = c->setup->slots[index];
    hits_count(c->worker->hits, c->out_slot, loop_now_ms(&c->worker->loop));
}

void reach_took(struct conn *c, const struct endpoint *to)
{
    c->origin = *to;
    c->has_origin = true;
    for (unsigned i = 0; i < c->setup->n_to; i++) {
        if (endpoint_equal(&c->setup->to[i], to)) {
            note_permission(c, i);
            return;
        }
    }
}

static enum reason reason_of_dial(enum dial_outcome outcome)
{
    switch (outcome) {
    case DIAL_REFUSED:
        return REASON_DIAL_REFUSED;
    case DIAL_UNREACHABLE:
        return REASON_DIAL_UNREACHABLE;
    case DIAL_TIMEOUT:
        return REASON_DIAL_TIMEOUT;
    case DIAL_NO_PORTS:
        return REASON_LIMIT;
    case DIAL_CONNECTED:
        break;
    }
    return REASON_INTERNAL;
}

static void on_origin_connected(struct dial *d, enum dial_outcome outcome, unsigned winner)
{
    struct conn *c = list_entry(d, struct conn_setup, dial)->conn;
    c->times.connect_ms = step_ms(c);
    c->origin = c->setup->to[outcome == DIAL_CONNECTED ? winner : 0];
    c->has_origin = true;
    if (outcome != DIAL_CONNECTED) {
        refuse(c, reason_of_dial(outcome));
        return;
    }
    tally_time(&c->worker->tally.connect, c->times.connect_ms);
    note_permission(c, winner);
    c->setup->on_connected(c);
}

static void resolve(struct conn *c)
{
    struct conn_setup *s = c->setup;
    const struct conf_egress *way = &c->proxy->base.egress;
    struct egress egress = egress_from_conf(way);
    size_t index = (size_t)(c->proxy - conf_of(c)->web_proxies);
    s->step_ms = loop_now_ms(&c->worker->loop);
    conn_set_state(c, CONN_STATE_RESOLVE);
    if (lookup_start(&s->lookup, &c->worker->resolver, c->view->groups[index], s->target.name,
                     egress_permits(&egress, true), egress_permits(&egress, false),
                     conf_of(c)->timeouts.dns_ms, on_names_resolved) < 0)
        refuse(c, REASON_INTERNAL);
}

void reach_start(struct conn *c, const struct ports *ports, reach_permitted_fn on_permitted)
{
    struct conn_setup *s = c->setup;
    struct verdict_detail detail = {0};
    s->conn = c;
    s->on_permitted = on_permitted;
    c->port = s->target.port;
    if (!ports_has(ports, c->port)) {
        reach_refuse(c, VERDICT_PORT, &detail);
        return;
    }
    if (s->target.kind == AUTHORITY_LITERAL) {
        permit_addresses(c, VERDICT_UNDECIDED, NULL, &s->target.addr, 1);
        return;
    }
    if (verdict_name(c->view->snapshot->acl, &c->client.addr, s->target.name, c->port, &detail) ==
            VERDICT_DENY &&
        !observe(c, &detail)) {
        reach_refuse(c, VERDICT_DENY, &detail);
        return;
    }
    resolve(c);
}

/*
 * What was permitted under the rules of yesterday, asked again under those of today: the same
 * questions in the same order as on the way in (listener, source, port list, name, address), but of
 * what is known now: the address that was dialled instead of all that the name had. Decides and
 * changes nothing; what follows from the answer is proxy/flow/review's.
 */
#include "proxy/flow/rejudge.h"

#include <string.h>

#include "proxy/flow/conn.h"

static bool same_networks(const struct conf_listener *a, const struct conf_listener *b)
{
    if (a->n_networks != b->n_networks)
        return false;
    for (size_t i = 0; i < a->n_networks; i++) {
        const struct conf_network *x = &a->networks[i], *y = &b->networks[i];
        if (strcmp(x->ifname, y->ifname) != 0 || addr_compare(&x->addr, &y->addr) != 0)
            return false;
    }
    return true;
}

/* A listener is the same while its port and its name, or its port and its networks stay. */
static const struct conf_web_proxy *find_listener(const struct conf *conf,
                                                  const struct conf_listener *old)
{
    const struct conf_web_proxy *found = NULL;
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        const struct conf_listener *l = &conf->web_proxies[i].base;
        if (l->port != old->port)
            continue;
        if (strcmp(l->name, old->name) == 0)
            return &conf->web_proxies[i];
        if (!found && same_networks(l, old))
            found = &conf->web_proxies[i];
    }
    return found;
}

static enum verdict judge_origin(const struct conn *c, const struct snapshot *s,
                                 const struct guard_own *own, struct rejudge *ret)
{
    const struct ports *ports =
        c->is_connect ? &ret->proxy->connect_ports : &ret->proxy->http_ports;
    const struct out_rule *by = NULL;
    enum verdict by_name = VERDICT_UNDECIDED;
    const char *host = conn_host(c);
    struct addr literal;
    if (!ports_has(ports, c->port))
        return VERDICT_PORT;
    if (host && addr_parse(host, strlen(host), &literal) < 0)
        by_name = verdict_name(s->acl, &c->client.addr, host, c->port, &ret->detail);
    if (by_name == VERDICT_DENY && !s->conf.acl_observe)
        return by_name;
    if (by_name == VERDICT_ALLOW)
        by = ret->detail.rule;
    enum verdict v =
        verdict_addr(s->acl, &c->client.addr, own, by_name, &c->origin.addr, c->port, &ret->detail);
    if (v == VERDICT_DENY && s->conf.acl_observe)
        return verdict_guard(s->acl, &c->client.addr, own, &c->origin.addr, c->port, &ret->detail);
    by = by ? by : ret->detail.rule;
    if (v == VERDICT_ALLOW && by)
        ret->out_slot = by->place.slot;
    return v;
}

bool rejudge_conn(const struct conn *c, const struct snapshot *s, const struct guard_own *own,
                  struct rejudge *ret)
{
    *ret = (struct rejudge){.verdict = VERDICT_ALLOW};
    ret->proxy = find_listener(&s->conf, &c->proxy->base);
    if (!ret->proxy)
        return false;
    ret->source_rule = in_table_ask(ret->proxy->table, &c->client.addr);
    if (!ret->source_rule && !s->conf.acl_observe)
        return false;
    if (c->has_origin)
        ret->verdict = judge_origin(c, s, own, ret);
    return ret->verdict == VERDICT_ALLOW;
}

const struct rule_place *rejudge_place(const struct rejudge *r)
{
    return r->verdict == VERDICT_DENY && r->detail.rule ? &r->detail.rule->place : NULL;
}

const char *rejudge_words(const struct rejudge *r)
{
    if (!r->proxy)
        return "no listener";
    switch (r->verdict) {
    case VERDICT_PORT:
        return "port list";
    case VERDICT_SPECIAL:
        return r->detail.special;
    case VERDICT_OWN:
        return "own listener";
    case VERDICT_ALLOW:
    case VERDICT_DENY:
    case VERDICT_UNDECIDED:
        break;
    }
    return "no rule";
}

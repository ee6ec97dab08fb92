/* The words about a decision are acl/explain's, the same as those of `ukai explain`. */
#include "proxy/daemon/expect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/explain.h"
#include "proxy/daemon/target.h"

/* One line held against one listener; why goes to @out. */
struct trial {
    const struct snapshot *snapshot;
    const struct acl_expect *expect;
    struct target target;
    FILE *out;
};

static bool is_admitted(const struct trial *t, const struct in_table *table,
                        const struct conf_listener *l, bool is_udp)
{
    const struct in_rule *rule = in_table_ask(table, &t->expect->from);
    explain_source(t->out, rule, is_udp ? IN_PROTO_UDP : IN_PROTO_TCP, l->port, &t->expect->from);
    return rule != NULL;
}

static bool may_reach(const struct trial *t)
{
    const struct acl *acl = t->snapshot->acl;
    const struct authority *a = &t->target.authority;
    struct verdict_detail detail = {0};
    if (a->kind == AUTHORITY_LITERAL) {
        enum verdict v = verdict_addr(acl, &t->expect->from, NULL, VERDICT_UNDECIDED, &a->addr,
                                      a->port, &detail);
        explain_addr(t->out, v, &detail, &a->addr, a->port);
        return v == VERDICT_ALLOW;
    }
    enum verdict v = verdict_name(acl, &t->expect->from, a->name, a->port, &detail);
    explain_name(t->out, v, &detail, a->name, a->port);
    return v != VERDICT_DENY;
}

static bool web_serves(const struct trial *t, const struct conf_web_proxy *w)
{
    bool is_connect = t->target.kind == TARGET_CONNECT;
    uint16_t port = t->target.authority.port;
    if (!is_admitted(t, w->table, &w->base, false))
        return false;
    if (!ports_has(is_connect ? &w->connect_ports : &w->http_ports, port)) {
        fprintf(t->out, "port %u is not in %s of [web-proxy %s]\n", port,
                is_connect ? "connect-ports" : "http-ports", w->base.name);
        return false;
    }
    return may_reach(t);
}

static bool dns_serves(const struct trial *t, const struct conf_dns *d)
{
    bool is_udp = t->target.kind == TARGET_DNS;
    struct verdict_detail detail = {0};
    if (!is_admitted(t, is_udp ? d->udp_table : d->tcp_table, &d->base, is_udp))
        return false;
    if (t->target.authority.name_len == 0 || !d->apply_out)
        return true;
    enum verdict v =
        verdict_query(t->snapshot->acl, &t->expect->from, t->target.authority.name, &detail);
    explain_query(t->out, v, &detail, t->target.authority.name);
    return v != VERDICT_DENY;
}

static bool is_served(const struct trial *t)
{
    const struct conf *conf = &t->snapshot->conf;
    bool is_dns = target_is_dns(&t->target), serves = false;
    size_t n = is_dns ? conf->n_dns : conf->n_web_proxies;
    if (n == 0)
        fprintf(t->out, "there is no listener for it\n");
    for (size_t i = 0; i < n && !serves; i++) {
        rewind(t->out); /* the last listener's reasons are as good as any, and shorter than all */
        serves = is_dns ? dns_serves(t, &conf->dns[i]) : web_serves(t, &conf->web_proxies[i]);
    }
    return serves;
}

/* What the decision said last is what decided. */
static const char *last_line(char *text)
{
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    char *at = strrchr(text, '\n');
    return at ? at + 1 : text;
}

static int try_line(const struct snapshot *s, const struct acl_expect *e, struct findings *findings)
{
    struct trial t = {.snapshot = s, .expect = e};
    const char *why;
    char *text = NULL;
    size_t len = 0;
    if (target_parse(e->target, &t.target, &why) < 0) {
        findings_add(findings, FINDING_ERROR, s->acl->file, e->place.line, "[expect]: %s", why);
        return -EINVAL;
    }
    t.out = open_memstream(&text, &len);
    if (!t.out)
        return -ENOMEM;
    bool serves = is_served(&t);
    if (fclose(t.out) != 0) {
        free(text);
        return -ENOMEM;
    }
    if (serves != e->is_allow)
        findings_add(findings, FINDING_ERROR, s->acl->file, e->place.line,
                     "[expect] `%s` does not hold, it is %s: %s", e->place.text,
                     serves ? "allowed" : "refused", last_line(text));
    free(text);
    return serves == e->is_allow ? 0 : -EINVAL;
}

int expect_check(const struct snapshot *s, struct findings *findings)
{
    int ret = 0;
    for (size_t i = 0; i < s->acl->n_expects; i++) {
        int rc = try_line(s, &s->acl->expects[i], findings);
        if (rc == -ENOMEM)
            return rc;
        if (rc < 0)
            ret = rc;
    }
    return ret;
}

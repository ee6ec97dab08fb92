/* The words about a decision are acl/explain's, the same as those of `ukai explain`. */
#include "proxy/daemon/expect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/explain.h"
#include "proxy/daemon/explain.h"
#include "proxy/daemon/target.h"
#include "proxy/flow/worker.h"

/* One line held against the listeners. What a listener says about it is one line of @out, the one
 * that decided. */
struct trial {
    const struct snapshot *snapshot;
    const struct guard_own *own;
    const struct acl_expect *expect;
    struct target target;
    FILE *out;
};

/* How far a listener let the request come: the farther, the more it says of the rules. */
enum progress { PROGRESS_NONE, PROGRESS_SOURCE, PROGRESS_PORT, PROGRESS_SERVED };

static bool is_admitted(const struct trial *t, const struct in_table *table,
                        const struct conf_listener *l, bool is_udp)
{
    const struct in_rule *rule = in_table_ask(table, &t->expect->from);
    explain_source(t->out, rule, is_udp ? IN_PROTO_UDP : IN_PROTO_TCP, l->port, &t->expect->from);
    return rule != NULL;
}

/* A name that only address lines could decide is not looked up: it is not refused. */
static bool may_reach(const struct trial *t, const struct conf_web_proxy *w)
{
    const struct acl *acl = t->snapshot->acl;
    const struct authority *a = &t->target.authority;
    struct verdict_detail detail = {0};
    if (a->kind == AUTHORITY_LITERAL) {
        enum verdict v = verdict_addr(acl, &t->expect->from, t->own, VERDICT_UNDECIDED, &a->addr,
                                      a->port, &detail);
        explain_addr(t->out, v, &detail, &a->addr, a->port);
        const char *why =
            v == VERDICT_ALLOW ? explain_unreachable(&w->base.egress, &a->addr) : NULL;
        if (why)
            fprintf(t->out, "%s\n", why);
        return v == VERDICT_ALLOW && !why;
    }
    enum verdict v = verdict_name(acl, &t->expect->from, a->name, a->port, &detail);
    explain_name(t->out, v, &detail, a->name, a->port);
    return v != VERDICT_DENY;
}

static enum progress web_serves(const struct trial *t, const struct conf_web_proxy *w)
{
    bool is_connect = t->target.kind == TARGET_CONNECT;
    uint16_t port = t->target.authority.port;
    if (!is_admitted(t, w->table, &w->base, false))
        return PROGRESS_NONE;
    if (!ports_has(is_connect ? &w->connect_ports : &w->http_ports, port)) {
        fprintf(t->out, "port %u is not in %s of [web-proxy %s]\n", port,
                is_connect ? "connect-ports" : "http-ports", w->base.name);
        return PROGRESS_SOURCE;
    }
    return may_reach(t, w) ? PROGRESS_SERVED : PROGRESS_PORT;
}

static enum progress dns_serves(const struct trial *t, const struct conf_dns *d)
{
    bool is_udp = t->target.kind == TARGET_DNS;
    struct verdict_detail detail = {0};
    if (!is_admitted(t, is_udp ? d->udp_table : d->tcp_table, &d->base, is_udp))
        return PROGRESS_NONE;
    if (t->target.authority.name_len == 0 || !d->apply_out)
        return PROGRESS_SERVED;
    enum verdict v =
        verdict_query(t->snapshot->acl, &t->expect->from, t->target.authority.name, &detail);
    explain_query(t->out, v, &detail, t->target.authority.name);
    return v == VERDICT_DENY ? PROGRESS_PORT : PROGRESS_SERVED;
}

/* The last line of @text is what decided. */
static char *last_line(char *text)
{
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    char *at = strrchr(text, '\n');
    return at ? at + 1 : text;
}

/* What listener @i says. *@ret_why: owned by the caller. 0 · -ENOMEM. */
static int ask_listener(struct trial *t, size_t i, enum progress *ret_progress, char **ret_why)
{
    const struct conf *conf = &t->snapshot->conf;
    char *text = NULL;
    size_t len = 0;
    t->out = open_memstream(&text, &len);
    if (!t->out)
        return -ENOMEM;
    *ret_progress = target_is_dns(&t->target) ? dns_serves(t, &conf->dns[i])
                                              : web_serves(t, &conf->web_proxies[i]);
    if (fclose(t->out) == 0)
        *ret_why = strdup(last_line(text));
    free(text);
    return *ret_why ? 0 : -ENOMEM;
}

/* The first listener that serves it, else the first that it came farthest at. *@ret_why: why so,
 * owned by the caller. Returns whether it is served · -ENOMEM. */
static int ask_all(struct trial *t, char **ret_why)
{
    const struct conf *conf = &t->snapshot->conf;
    size_t n = target_is_dns(&t->target) ? conf->n_dns : conf->n_web_proxies;
    enum progress best = PROGRESS_NONE;
    *ret_why = NULL;
    for (size_t i = 0; i < n && best != PROGRESS_SERVED; i++) {
        enum progress progress = PROGRESS_NONE;
        char *why = NULL;
        int rc = ask_listener(t, i, &progress, &why);
        if (rc < 0) {
            free(*ret_why);
            *ret_why = NULL;
            return rc;
        }
        if (!*ret_why || progress > best) {
            free(*ret_why);
            *ret_why = why;
            best = progress;
        } else {
            free(why);
        }
    }
    return best == PROGRESS_SERVED;
}

static int try_line(const struct snapshot *s, const struct guard_own *own,
                    const struct acl_expect *e, struct findings *findings)
{
    struct trial t = {.snapshot = s, .own = own, .expect = e};
    const char *wrong;
    char *why;
    if (target_parse(e->target, &t.target, &wrong) < 0) {
        findings_add(findings, FINDING_ERROR, s->acl->file, e->place.line, "[expect]: %s", wrong);
        return -EBADMSG;
    }
    int serves = ask_all(&t, &why);
    if (serves < 0)
        return serves;
    if (serves != e->is_allow)
        findings_add(findings, FINDING_ERROR, s->acl->file, e->place.line,
                     "[expect] `%s` does not hold, it is %s: %s", e->place.text,
                     serves ? "allowed" : "refused", why ? why : "there is no listener for it");
    free(why);
    return serves == e->is_allow ? 0 : -EINVAL;
}

int expect_check(const struct snapshot *s, struct own_set *own, struct findings *findings)
{
    int ret = own ? 0 : -ENOMEM;
    for (size_t i = 0; own && i < s->acl->n_expects; i++) {
        int rc = try_line(s, &own->own, &s->acl->expects[i], findings);
        if (rc < 0 && (ret == 0 || ret == -EINVAL))
            ret = rc;
    }
    own_set_unref(own);
    return ret;
}

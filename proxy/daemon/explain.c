/*
 * Tells what would happen, by asking the very functions that the data path asks: the compiled
 * source table of the listener, verdict_name(), the resolver, verdict_addr() for each address.
 * Nothing is dialled. The listeners' answers are told one by one; where they differ and none was
 * named, that is said instead of guessed.
 */
#include "proxy/daemon/explain.h"

#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "acl/explain.h"
#include "conf/snapshot.h"
#include "proxy/daemon/sockets.h"
#include "proxy/daemon/target.h"
#include "proxy/dns/lookup.h"
#include "proxy/dns/zones.h"
#include "proxy/net/egress.h"

enum answer_kind { ANSWER_ALLOWED, ANSWER_REFUSED, ANSWER_UNRESOLVED };

/* One question, and what is needed to answer it. */
struct inquiry {
    const struct explain_options *options;
    struct snapshot *snapshot;
    struct own_set *own;
    struct addr from;
    struct target target;
};

/* A look-up run to its end. */
struct resolved {
    struct lookup lookup;
    enum lookup_outcome outcome; /* 0: not yet */
    struct addr addrs[LOOKUP_ADDRS_MAX];
    unsigned n_addrs;
};

static void say(const char *what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *what, const char *fmt, ...)
{
    va_list args;
    printf("  %-9s ", what);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* The margin of a line whose rest acl/explain writes. */
static FILE *margin(const char *what)
{
    printf("  %-9s ", what);
    return stdout;
}

/* ---- source ---- */

static bool judge_source(const struct inquiry *q, const struct conf_listener *l,
                         const struct in_table *table, bool is_udp)
{
    const struct in_rule *rule = in_table_ask(table, &q->from);
    say("listener", "%s (%s %u)", l->name, is_udp ? "udp" : "tcp", l->port);
    explain_source(margin("source"), rule, is_udp ? IN_PROTO_UDP : IN_PROTO_TCP, l->port, &q->from);
    return rule != NULL;
}

/* ---- name and addresses ---- */

static bool judge_addr(const struct inquiry *q, enum verdict by_name, const struct addr *a)
{
    struct verdict_detail detail = {0};
    enum verdict v = verdict_addr(q->snapshot->acl, &q->from, &q->own->own, by_name, a,
                                  q->target.authority.port, &detail);
    explain_addr(margin("address"), v, &detail, a, q->target.authority.port);
    return v == VERDICT_ALLOW;
}

static void on_resolved(struct lookup *l, enum lookup_outcome outcome, const struct addr *addrs,
                        unsigned n_addrs)
{
    struct resolved *r = list_entry(l, struct resolved, lookup);
    r->outcome = outcome;
    r->n_addrs = n_addrs < LOOKUP_ADDRS_MAX ? n_addrs : LOOKUP_ADDRS_MAX;
    for (unsigned i = 0; i < r->n_addrs; i++)
        r->addrs[i] = addrs[i];
}

/* Asks the listener's name servers, on a loop of its own. */
static void resolve(const struct inquiry *q, const struct conf_web_proxy *w, struct resolved *r)
{
    const struct conf_listener *l = &w->base;
    struct resolver_policy policy = resolver_policy_web(&q->snapshot->conf, w);
    struct loop loop;
    struct resolver resolver;
    struct egress egress = egress_from_conf(&l->egress);
    r->outcome = LOOKUP_FAILED;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets as to files */
    if (loop_init(&loop) < 0)
        return;
    if (resolver_init(&resolver, &loop, 1024 * 1024) == 0) {
        struct resolver_group *group =
            resolver_group_new_with(&resolver, &l->name_servers, &egress, &policy);
        if (group && lookup_start(&r->lookup, &resolver, group, q->target.authority.name,
                                  egress_permits(&egress, true), egress_permits(&egress, false),
                                  q->snapshot->conf.timeouts.dns_ms, on_resolved) == 0) {
            r->outcome = 0;
            while (!r->outcome)
                loop_round(&loop, true);
        }
        resolver_group_unref(group);
        resolver_fini(&resolver);
    }
    loop_fini(&loop);
}

static void say_egress(const struct conf_egress *e)
{
    char v4[ADDR_TEXT_MAX] = "", v6[ADDR_TEXT_MAX] = "";
    if (e->has_ipv4_source)
        addr_text(&e->ipv4_source, v4);
    if (e->has_ipv6_source)
        addr_text(&e->ipv6_source, v6);
    if (e->ifname[0])
        say("leaves", "by interface %s", e->ifname);
    else if (v4[0] || v6[0])
        say("leaves", "from %s%s%s", v4, v4[0] && v6[0] ? " and " : "", v6);
    else
        say("leaves", "by the routing table");
}

/* Who answers for the name: nothing is said when it is the listener's name servers. */
static void say_source(const struct inquiry *q, struct hosts *from_file)
{
    const struct conf *conf = &q->snapshot->conf;
    const char *name = q->target.authority.name;
    struct hosts *const tables[LOCAL_TABLES] = {conf->hosts, from_file};
    struct addr addrs[HOSTS_ADDRS_MAX];
    for (unsigned i = 0; i < LOCAL_TABLES; i++) {
        if (!tables[i] || hosts_find_text(tables[i], name, addrs) == 0)
            continue;
        say("local", "%s is a local record of %s", name,
            hosts_file(tables[i]) ? hosts_file(tables[i]) : "[dns-hosts]");
        return;
    }
    struct wire_name wire;
    struct zones *zones = zones_new(&conf->zones);
    int zone = zones && wire_name_from_text(name, strlen(name), &wire) == 0
                   ? zones_find(zones, &wire)
                   : -1;
    if (zone >= 0)
        say("zone", "%s is asked of the servers of zone %s (line %u)", name,
            conf->zones.items[zone].name, conf->zones.items[zone].line);
    zones_free(zones);
}

static enum answer_kind judge_resolved(const struct inquiry *q, const struct conf_web_proxy *w,
                                       enum verdict by_name)
{
    const struct conf_listener *l = &w->base;
    struct resolved r = {0};
    say_source(q, w->hosts);
    resolve(q, w, &r);
    switch (r.outcome) {
    case LOOKUP_ADDRS:
        break;
    case LOOKUP_NO_NAME:
        say("resolve", "%s has no address here", q->target.authority.name);
        return ANSWER_UNRESOLVED;
    case LOOKUP_FAILED:
        say("resolve", "no name server could tell the address of %s", q->target.authority.name);
        return ANSWER_UNRESOLVED;
    case LOOKUP_TIMEOUT:
        say("resolve", "no name server answered in time for %s", q->target.authority.name);
        return ANSWER_UNRESOLVED;
    }
    unsigned n_allowed = 0;
    for (unsigned i = 0; i < r.n_addrs; i++)
        n_allowed += judge_addr(q, by_name, &r.addrs[i]);
    if (n_allowed == 0)
        return ANSWER_REFUSED;
    say_egress(&l->egress);
    return ANSWER_ALLOWED;
}

static enum answer_kind judge_web(const struct inquiry *q, const struct conf_web_proxy *w)
{
    bool is_connect = q->target.kind == TARGET_CONNECT;
    const char *list = is_connect ? "connect-ports" : "http-ports";
    if (!judge_source(q, &w->base, w->table, false))
        return ANSWER_REFUSED;
    bool has_port =
        ports_has(is_connect ? &w->connect_ports : &w->http_ports, q->target.authority.port);
    say("port", "%u is %sin %s", q->target.authority.port, has_port ? "" : "not ", list);
    if (!has_port)
        return ANSWER_REFUSED;
    if (q->target.authority.kind == AUTHORITY_LITERAL) {
        bool is_allowed = judge_addr(q, VERDICT_UNDECIDED, &q->target.authority.addr);
        if (is_allowed)
            say_egress(&w->base.egress);
        return is_allowed ? ANSWER_ALLOWED : ANSWER_REFUSED;
    }
    struct verdict_detail detail = {0};
    enum verdict v = verdict_name(q->snapshot->acl, &q->from, q->target.authority.name,
                                  q->target.authority.port, &detail);
    explain_name(margin("name"), v, &detail, q->target.authority.name, q->target.authority.port);
    if (v == VERDICT_DENY)
        return ANSWER_REFUSED;
    if (q->options->no_resolve) {
        say("address", "not judged: --no-resolve");
        return ANSWER_ALLOWED;
    }
    return judge_resolved(q, w, v);
}

static enum answer_kind judge_dns(const struct inquiry *q, const struct conf_dns *d)
{
    bool is_udp = q->target.kind == TARGET_DNS;
    if (!judge_source(q, &d->base, is_udp ? d->udp_table : d->tcp_table, is_udp))
        return ANSWER_REFUSED;
    if (q->target.authority.name_len == 0)
        return ANSWER_ALLOWED;
    struct verdict_detail detail = {0};
    enum verdict v = VERDICT_ALLOW;
    if (d->apply_out) {
        v = verdict_query(q->snapshot->acl, &q->from, q->target.authority.name, &detail);
        explain_query(margin("name"), v, &detail, q->target.authority.name);
    }
    if (v != VERDICT_DENY)
        say_source(q, d->hosts);
    return v == VERDICT_DENY ? ANSWER_REFUSED : ANSWER_ALLOWED;
}

/* ---- all listeners that would be asked ---- */

static const char *answer_text(enum answer_kind a)
{
    switch (a) {
    case ANSWER_ALLOWED:
        return "allowed";
    case ANSWER_REFUSED:
        return "refused";
    case ANSWER_UNRESOLVED:
        break;
    }
    return "not resolved";
}

static enum exit_code judge_all(const struct inquiry *q)
{
    const struct conf *conf = &q->snapshot->conf;
    size_t n = target_is_dns(&q->target) ? conf->n_dns : conf->n_web_proxies;
    unsigned n_asked = 0;
    bool differs = false;
    enum answer_kind first = ANSWER_ALLOWED;
    for (size_t i = 0; i < n; i++) {
        const struct conf_listener *l =
            target_is_dns(&q->target) ? &conf->dns[i].base : &conf->web_proxies[i].base;
        if (q->options->listener && strcmp(q->options->listener, l->name) != 0)
            continue;
        enum answer_kind a = target_is_dns(&q->target) ? judge_dns(q, &conf->dns[i])
                                                       : judge_web(q, &conf->web_proxies[i]);
        say("verdict", "%s", answer_text(a));
        if (n_asked++ == 0)
            first = a;
        differs = differs || a != first;
    }
    if (n_asked == 0) {
        fprintf(stderr, "ukai explain: there is no such listener%s%s\n",
                q->options->listener ? ": " : "", q->options->listener ? q->options->listener : "");
        return EXIT_USAGE;
    }
    if (differs) {
        fprintf(stderr,
                "ukai explain: the listeners answer differently: name one with --listener\n");
        return EXIT_USAGE;
    }
    return first == ANSWER_ALLOWED ? EXIT_DONE : first == ANSWER_REFUSED ? EXIT_NO : EXIT_FAILED;
}

enum exit_code explain_run(const struct explain_options *options)
{
    struct inquiry q = {.options = options};
    struct findings findings = {0};
    const char *why;
    if (addr_parse(options->from, strlen(options->from), &q.from) < 0) {
        fprintf(stderr, "ukai explain: --from takes an IP address\n");
        return EXIT_USAGE;
    }
    if (target_parse(options->target, &q.target, &why) < 0) {
        fprintf(stderr, "ukai explain: bad target: %s\n", why);
        return EXIT_USAGE;
    }
    int rc = snapshot_load(options->file, &findings, &q.snapshot);
    if (rc < 0)
        findings_print(&findings, stderr);
    findings_fini(&findings);
    if (rc < 0)
        return EXIT_CONFIG;
    enum exit_code code = EXIT_FAILED;
    q.own = sockets_own_once(&q.snapshot->conf);
    if (q.own) {
        printf("%s from %s\n", options->target, options->from);
        code = judge_all(&q);
        if (code == EXIT_NO && q.snapshot->conf.acl_observe)
            say("mode", "observe: what [in] and [out] refuse is recorded and passes; this is what "
                        "enforce would do");
    }
    own_set_unref(q.own);
    snapshot_unref(q.snapshot);
    return code;
}

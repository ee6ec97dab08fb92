/*
 * Tells what would happen, by asking the very functions that the data path asks: the compiled
 * source table of the listener, verdict_name(), the resolver, verdict_addr() for each address.
 * Nothing is dialled. The listeners' answers are told one by one; where they differ and none was
 * named, that is said instead of guessed. A listener whose answer needs a name waits for the name
 * servers on the caller's loop: the command has one of its own, the daemon its main thread's.
 */
#include "proxy/daemon/explain.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "acl/explain.h"
#include "proxy/daemon/ctl.h"
#include "proxy/daemon/sockets.h"
#include "proxy/daemon/story.h"
#include "proxy/daemon/target.h"
#include "proxy/dns/lookup.h"
#include "proxy/dns/special.h"
#include "proxy/dns/zones.h"
#include "proxy/net/egress.h"

enum { CACHE_BYTES = 1024 * 1024, ARGS_MAX = 12 };

enum explain_answer {
    ANSWER_ALLOWED,
    ANSWER_REFUSED,
    ANSWER_UNRESOLVED,
    ANSWER_UNREACHABLE, /* no address of a family that the way out has */
    ANSWER_LATER
};

struct explain {
    struct explain_place place;
    struct story story;
    explain_done_fn done;
    void *owner;
    char *listener; /* owned; NULL: all */
    bool no_resolve;
    struct addr from;
    struct target target;
    size_t at; /* of the listeners: the one at hand */
    unsigned n_asked;
    bool differs;
    enum explain_answer first;
    struct loop_task next; /* goes on with the next listener */
    bool has_resolver;
    struct resolver resolver;
    struct resolver_group *group; /* of the look-up that runs */
    struct lookup lookup;
    enum verdict by_name; /* of its name */
};

/* ---- source ---- */

static bool judge_source(struct explain *e, const struct conf_listener *l,
                         const struct in_table *table, bool is_udp)
{
    const struct in_rule *rule = in_table_ask(table, &e->from);
    story_listener(&e->story, l->name, is_udp ? "udp" : "tcp", l->port);
    explain_source(story_step(&e->story, "source"), rule, is_udp ? IN_PROTO_UDP : IN_PROTO_TCP,
                   l->port, &e->from);
    story_step_end(&e->story, rule ? "allow" : "deny", rule ? &rule->place : NULL);
    return rule != NULL;
}

/* ---- name and addresses ---- */

static const struct rule_place *place_of(const struct verdict_detail *detail)
{
    return detail->rule ? &detail->rule->place : NULL;
}

const char *explain_unreachable(const struct conf_egress *conf, const struct addr *a)
{
    struct egress egress = egress_from_conf(conf);
    bool is_ipv4 = addr_is_ipv4(a);
    if (egress_permits(&egress, is_ipv4))
        return NULL;
    return is_ipv4 ? "it is not dialled: bypass-network has no IPv4"
                   : "it is not dialled: bypass-network has no IPv6";
}

static enum explain_answer judge_addr(struct explain *e, const struct conf_web_proxy *w,
                                      enum verdict by_name, const struct addr *a)
{
    struct verdict_detail detail = {0};
    enum verdict v = verdict_addr(e->place.snapshot->acl, &e->from, &e->place.own->own, by_name, a,
                                  e->target.authority.port, &detail);
    explain_addr(story_step(&e->story, "address"), v, &detail, a, e->target.authority.port);
    story_step_end(&e->story, verdict_word(v), place_of(&detail));
    if (v != VERDICT_ALLOW)
        return ANSWER_REFUSED;
    const char *why = explain_unreachable(&w->base.egress, a);
    if (why)
        story_say(&e->story, "address", "%s", why);
    return why ? ANSWER_UNREACHABLE : ANSWER_ALLOWED;
}

static void say_egress(struct explain *x, const struct conf_egress *e)
{
    char v4[ADDR_TEXT_MAX] = "", v6[ADDR_TEXT_MAX] = "";
    if (e->has_ipv4_source)
        addr_text(&e->ipv4_source, v4);
    if (e->has_ipv6_source)
        addr_text(&e->ipv6_source, v6);
    if (e->ifname[0])
        story_say(&x->story, "leaves", "by interface %s", e->ifname);
    else if (v4[0] || v6[0])
        story_say(&x->story, "leaves", "from %s%s%s", v4, v4[0] && v6[0] ? " and " : "", v6);
    else
        story_say(&x->story, "leaves", "by the routing table");
}

/* Names that never leave. */
static void say_special(struct explain *e, const struct wire_name *name)
{
    struct answer_key key = {.question = {.name = *name, .type = e->target.type}};
    struct answer *a = NULL;
    key.question.class = WIRE_CLASS_IN;
    if (special_answer(&key, 0, &a) != 0)
        return;
    answer_unref(a);
    story_say(&e->story, "local", "%s is a special name: it is answered here, nobody is asked",
              e->target.authority.name);
}

/* Who answers for the name: nothing is said when it is the listener's name servers. */
static void say_source(struct explain *e, struct hosts *from_file, bool has_special)
{
    const struct conf *conf = &e->place.snapshot->conf;
    const char *name = e->target.authority.name;
    struct hosts *const tables[LOCAL_TABLES] = {conf->hosts, from_file};
    struct addr addrs[HOSTS_ADDRS_MAX];
    for (unsigned i = 0; i < LOCAL_TABLES; i++) {
        if (!tables[i] || hosts_find_text(tables[i], name, addrs) == 0)
            continue;
        story_say(&e->story, "local", "%s is a local record of %s", name,
                  hosts_file(tables[i]) ? hosts_file(tables[i]) : "[dns-hosts]");
        return;
    }
    struct wire_name wire;
    struct zones *zones = zones_new(&conf->zones);
    int zone = zones && wire_name_from_text(name, strlen(name), &wire) == 0
                   ? zones_find(zones, &wire)
                   : -1;
    if (zone >= 0)
        story_say(&e->story, "zone", "%s is asked of the servers of zone %s (line %u)", name,
                  conf->zones.items[zone].name, conf->zones.items[zone].line);
    else if (has_special && wire_name_from_text(name, strlen(name), &wire) == 0)
        say_special(e, &wire);
    zones_free(zones);
}

/* ---- look-up ---- */

static void listener_over(struct explain *e, enum explain_answer answer);

static void say_failure(struct explain *e, enum lookup_outcome outcome)
{
    const char *name = e->target.authority.name;
    if (outcome == LOOKUP_NO_NAME)
        story_say(&e->story, "resolve", "%s has no address here", name);
    else if (outcome == LOOKUP_TIMEOUT)
        story_say(&e->story, "resolve", "no name server answered in time for %s", name);
    else
        story_say(&e->story, "resolve", "no name server could tell the address of %s", name);
}

/* One that can be dialled is enough. */
static enum explain_answer judge_addrs(struct explain *e, const struct conf_web_proxy *w,
                                       enum verdict by_name, const struct addr *addrs,
                                       unsigned n_addrs)
{
    enum explain_answer best = ANSWER_REFUSED;
    for (unsigned i = 0; i < n_addrs; i++) {
        enum explain_answer answer = judge_addr(e, w, by_name, &addrs[i]);
        if (best != ANSWER_ALLOWED && answer != ANSWER_REFUSED)
            best = answer;
    }
    if (best == ANSWER_ALLOWED)
        say_egress(e, &w->base.egress);
    return best;
}

static void on_resolved(struct lookup *l, enum lookup_outcome outcome, const struct addr *addrs,
                        unsigned n_addrs)
{
    struct explain *e = list_entry(l, struct explain, lookup);
    enum explain_answer answer = ANSWER_UNRESOLVED;
    if (outcome == LOOKUP_ADDRS)
        answer =
            judge_addrs(e, &e->place.snapshot->conf.web_proxies[e->at], e->by_name, addrs, n_addrs);
    else
        say_failure(e, outcome);
    e->group = resolver_group_unref(e->group);
    listener_over(e, answer);
    loop_task_add(e->place.loop, &e->next);
}

/* Asks the listener's name servers; the answer comes later. */
static enum explain_answer resolve(struct explain *e, const struct conf_web_proxy *w,
                                   enum verdict by_name)
{
    const struct conf *conf = &e->place.snapshot->conf;
    struct resolver_policy policy = resolver_policy_web(conf, w);
    struct egress egress = egress_from_conf(&w->base.egress);
    e->by_name = by_name;
    say_source(e, w->hosts, true);
    if (!e->has_resolver)
        e->has_resolver = resolver_init(&e->resolver, e->place.loop, CACHE_BYTES) == 0;
    if (e->has_resolver)
        e->group = resolver_group_new_with(&e->resolver, &w->base.name_servers, &egress, &policy);
    if (e->group && lookup_start(&e->lookup, &e->resolver, e->group, e->target.authority.name,
                                 egress_permits(&egress, true), egress_permits(&egress, false),
                                 conf->timeouts.dns_ms, on_resolved) == 0)
        return ANSWER_LATER;
    e->group = resolver_group_unref(e->group);
    say_failure(e, LOOKUP_FAILED);
    return ANSWER_UNRESOLVED;
}

/* ---- one listener ---- */

static enum explain_answer judge_web(struct explain *e, const struct conf_web_proxy *w)
{
    bool is_connect = e->target.kind == TARGET_CONNECT;
    const struct authority *to = &e->target.authority;
    if (!judge_source(e, &w->base, w->table, false))
        return ANSWER_REFUSED;
    bool has_port = ports_has(is_connect ? &w->connect_ports : &w->http_ports, to->port);
    fprintf(story_step(&e->story, "port"), "%u is %sin %s", to->port, has_port ? "" : "not ",
            is_connect ? "connect-ports" : "http-ports");
    story_step_end(&e->story, has_port ? "allow" : "deny", NULL);
    if (!has_port)
        return ANSWER_REFUSED;
    if (to->kind == AUTHORITY_LITERAL)
        return judge_addrs(e, w, VERDICT_UNDECIDED, &to->addr, 1);
    struct verdict_detail detail = {0};
    enum verdict v = verdict_name(e->place.snapshot->acl, &e->from, to->name, to->port, &detail);
    explain_name(story_step(&e->story, "name"), v, &detail, to->name, to->port);
    story_step_end(&e->story, verdict_word(v), place_of(&detail));
    if (v == VERDICT_DENY)
        return ANSWER_REFUSED;
    if (!e->no_resolve)
        return resolve(e, w, v);
    story_say(&e->story, "address", "not judged: --no-resolve");
    return ANSWER_ALLOWED;
}

static enum explain_answer judge_dns(struct explain *e, const struct conf_dns *d)
{
    bool is_udp = e->target.kind == TARGET_DNS;
    if (!judge_source(e, &d->base, is_udp ? d->udp_table : d->tcp_table, is_udp))
        return ANSWER_REFUSED;
    if (e->target.authority.name_len == 0)
        return ANSWER_ALLOWED;
    struct verdict_detail detail = {0};
    enum verdict v = VERDICT_ALLOW;
    if (d->apply_out) {
        v = verdict_query(e->place.snapshot->acl, &e->from, e->target.authority.name, &detail);
        explain_query(story_step(&e->story, "name"), v, &detail, e->target.authority.name);
        story_step_end(&e->story, verdict_word(v), place_of(&detail));
    }
    if (v != VERDICT_DENY)
        say_source(e, d->hosts, !d->special_forward);
    return v == VERDICT_DENY ? ANSWER_REFUSED : ANSWER_ALLOWED;
}

/* ---- all listeners that would be asked ---- */

static const char *answer_text(enum explain_answer a)
{
    return a == ANSWER_ALLOWED       ? "allowed"
           : a == ANSWER_REFUSED     ? "refused"
           : a == ANSWER_UNREACHABLE ? "not reachable"
                                     : "not resolved";
}

static void listener_over(struct explain *e, enum explain_answer answer)
{
    story_verdict(&e->story, answer_text(answer));
    if (e->n_asked++ == 0)
        e->first = answer;
    e->differs = e->differs || answer != e->first;
    e->at++;
}

static struct explain *explain_free(struct explain *e)
{
    lookup_cancel(&e->lookup);
    loop_task_remove(&e->next);
    resolver_group_unref(e->group);
    if (e->has_resolver)
        resolver_fini(&e->resolver);
    story_fini(&e->story);
    own_set_unref(e->place.own);
    snapshot_unref(e->place.snapshot);
    free(e->listener);
    free(e);
    return NULL;
}

static enum exit_code conclude(struct explain *e)
{
    FILE *err = e->place.err;
    if (e->n_asked == 0) {
        fprintf(err, "ukai explain: there is no such listener%s%s\n", e->listener ? ": " : "",
                e->listener ? e->listener : "");
        return EXIT_USAGE;
    }
    if (e->differs)
        fprintf(err, "ukai explain: the listeners answer differently: name one with --listener\n");
    enum exit_code code = e->differs                   ? EXIT_USAGE
                          : e->first == ANSWER_ALLOWED ? EXIT_DONE
                          : e->first == ANSWER_REFUSED ? EXIT_NO
                                                       : EXIT_FAILED;
    if (code == EXIT_NO && e->place.snapshot->conf.acl_observe)
        story_note(&e->story, "mode",
                   "observe: what [in] and [out] refuse is recorded and passes; this is what "
                   "enforce would do");
    if (story_close(&e->story, e->differs ? "differs" : answer_text(e->first), code))
        return code;
    fprintf(err, "ukai explain: out of memory\n");
    return EXIT_FAILED;
}

static void go_on(struct loop_task *task)
{
    struct explain *e = list_entry(task, struct explain, next);
    const struct conf *conf = &e->place.snapshot->conf;
    bool is_dns = target_is_dns(&e->target);
    size_t n = is_dns ? conf->n_dns : conf->n_web_proxies;
    while (e->at < n) {
        const struct conf_listener *l =
            is_dns ? &conf->dns[e->at].base : &conf->web_proxies[e->at].base;
        if (e->listener && strcmp(e->listener, l->name) != 0) {
            e->at++;
            continue;
        }
        enum explain_answer a =
            is_dns ? judge_dns(e, &conf->dns[e->at]) : judge_web(e, &conf->web_proxies[e->at]);
        if (a == ANSWER_LATER)
            return;
        listener_over(e, a);
    }
    enum exit_code code = conclude(e);
    explain_done_fn done = e->done;
    void *owner = e->owner;
    explain_free(e);
    done(owner, code);
}

struct explain *explain_start(const struct explain_place *place,
                              const struct explain_options *options,
                              const struct explain_question *question, explain_done_fn done,
                              void *owner)
{
    struct explain *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->place = *place;
    snapshot_ref(place->snapshot);
    own_set_ref(place->own);
    e->done = done;
    e->owner = owner;
    e->from = question->from;
    e->target = question->target;
    e->no_resolve = options->no_resolve;
    loop_task_init(&e->next, go_on);
    e->listener = options->listener ? strdup(options->listener) : NULL;
    if (options->listener && !e->listener)
        return explain_free(e);
    story_init(&e->story, place->out, options->as_json, options->target, options->from);
    loop_task_add(place->loop, &e->next);
    return e;
}

struct explain *explain_cancel(struct explain *e)
{
    return e ? explain_free(e) : NULL;
}

bool explain_ask(const struct explain_options *options, FILE *err,
                 struct explain_question *ret_question)
{
    const char *why;
    if (addr_parse(options->from, strlen(options->from), &ret_question->from) < 0) {
        fprintf(err, "ukai explain: --from takes an IP address\n");
        return false;
    }
    if (target_parse(options->target, &ret_question->target, &why) < 0) {
        fprintf(err, "ukai explain: bad target: %s\n", why);
        return false;
    }
    return true;
}

/* ---- the command ---- */

struct offline {
    bool is_over;
    enum exit_code code;
};

static void on_over(void *owner, enum exit_code code)
{
    *(struct offline *)owner = (struct offline){.is_over = true, .code = code};
}

static enum exit_code tell(const struct explain_options *options,
                           const struct explain_question *question, struct snapshot *snapshot,
                           struct own_set *own)
{
    struct loop loop;
    struct offline offline = {.code = EXIT_FAILED};
    struct explain_place place = {
        .loop = &loop, .snapshot = snapshot, .own = own, .out = stdout, .err = stderr};
    if (loop_init(&loop) < 0)
        return EXIT_FAILED;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets as to files */
    if (explain_start(&place, options, question, on_over, &offline))
        while (!offline.is_over)
            loop_round(&loop, true);
    loop_fini(&loop);
    return offline.code;
}

static enum exit_code run_offline(const struct explain_options *options)
{
    struct explain_question question;
    struct findings findings = {0};
    struct snapshot *snapshot = NULL;
    if (!explain_ask(options, stderr, &question))
        return EXIT_USAGE;
    int rc = snapshot_load(options->file, &findings, &snapshot);
    if (rc < 0)
        findings_print(&findings, stderr);
    findings_fini(&findings);
    if (rc < 0)
        return EXIT_CONFIG;
    struct own_set *own = sockets_own_once(&snapshot->conf);
    enum exit_code code = own ? tell(options, &question, snapshot, own) : EXIT_FAILED;
    own_set_unref(own);
    snapshot_unref(snapshot);
    return code;
}

static enum exit_code run_live(const struct explain_options *o)
{
    const struct ctl_place place = {.file = o->file, .socket = o->socket};
    const char *words[ARGS_MAX] = {"explain", o->from, o->target};
    struct ask_answer answer;
    size_t n = 3;
    if (o->no_resolve)
        words[n++] = "--no-resolve";
    if (o->as_json)
        words[n++] = "--json";
    if (o->listener) {
        words[n++] = "--listener";
        words[n++] = o->listener;
    }
    enum exit_code code = ctl_ask(&place, words, &answer);
    if (code != EXIT_DONE)
        return code;
    fwrite(answer.out, 1, answer.out_len, stdout);
    fwrite(answer.err, 1, answer.err_len, stderr);
    code = (enum exit_code)answer.exit;
    ask_answer_fini(&answer);
    return code;
}

enum exit_code explain_run(const struct explain_options *options)
{
    return options->is_live ? run_live(options) : run_offline(options);
}

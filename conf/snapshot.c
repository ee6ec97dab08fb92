/*
 * A snapshot is built completely or not at all: settings, rules, and the source table of every
 * listener. Once published it never changes, so workers read it without locks; the last one that
 * lets go frees it. Files are read here and nowhere later, so a reload cannot meet half of a new
 * file.
 *
 * The embedded default is text, read like any file: there is no second way to a configuration.
 */
#include "conf/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/aclfile.h"
#include "conf/hostsfile.h"
#include "conf/load.h"
#include "conf/resolv.h"

static const char builtin_conf[] = "[web-proxy]\n"
                                   "listen-network = 127.0.0.1, ::1\n"
                                   "listen-port = 8080\n"
                                   "[dns]\n"
                                   "listen-network = 127.0.0.1\n"
                                   "listen-port = 5353\n";

static const char builtin_acl[] = "[in]\n"
                                  "any = 127.0.0.0/8 ; loopback\n"
                                  "any = ::1 ; loopback\n";

/* One table for each (protocol, port), however many listeners share it. */
struct table_key {
    enum in_proto proto;
    uint16_t port;
};

static int add_table(struct snapshot *s, struct table_key *keys, enum in_proto proto, uint16_t port,
                     const struct in_table **ret_table)
{
    for (size_t i = 0; i < s->n_tables; i++) {
        if (keys[i].proto == proto && keys[i].port == port) {
            *ret_table = s->tables[i];
            return 0;
        }
    }
    struct in_table *table = in_table_new(s->acl, proto, port);
    if (!table)
        return -ENOMEM;
    keys[s->n_tables] = (struct table_key){.proto = proto, .port = port};
    s->tables[s->n_tables++] = table;
    *ret_table = table;
    return 0;
}

static int build_tables(struct snapshot *s)
{
    struct conf *conf = &s->conf;
    size_t max = conf->n_web_proxies + 2 * conf->n_dns;
    struct table_key *keys = calloc(max, sizeof(*keys));
    int r = 0;

    s->tables = calloc(max, sizeof(struct in_table *));
    if (!keys || !s->tables)
        r = -ENOMEM;
    for (size_t i = 0; r == 0 && i < conf->n_web_proxies; i++) {
        struct conf_web_proxy *web = &conf->web_proxies[i];
        r = add_table(s, keys, IN_PROTO_TCP, web->base.port, &web->table);
    }
    for (size_t i = 0; r == 0 && i < conf->n_dns; i++) {
        struct conf_dns *dns = &conf->dns[i];
        r = add_table(s, keys, IN_PROTO_UDP, dns->base.port, &dns->udp_table);
        if (r == 0)
            r = add_table(s, keys, IN_PROTO_TCP, dns->base.port, &dns->tcp_table);
    }
    free(keys);
    return r;
}

/* What a snapshot made by snapshot_reread() has of its own. */
static struct snapshot *reread_free(struct snapshot *s)
{
    struct conf *conf = &s->conf;
    for (size_t i = 0; conf->web_proxies && i < conf->n_web_proxies; i++) {
        if (conf->web_proxies[i].base.uses_resolv_conf)
            free(conf->web_proxies[i].base.name_servers.items);
        hosts_unref(conf->web_proxies[i].hosts);
    }
    for (size_t i = 0; conf->dns && i < conf->n_dns; i++) {
        if (conf->dns[i].base.uses_resolv_conf)
            free(conf->dns[i].base.name_servers.items);
        hosts_unref(conf->dns[i].hosts);
    }
    free(conf->web_proxies);
    free(conf->dns);
    snapshot_unref(s->base);
    free(s);
    return NULL;
}

static struct snapshot *snapshot_free(struct snapshot *s)
{
    if (s->base)
        return reread_free(s);
    for (size_t i = 0; i < s->n_tables; i++)
        in_table_free(s->tables[i]);
    free(s->tables);
    acl_free(s->acl);
    load_fini(&s->conf);
    free(s);
    return NULL;
}

/* Each file once, however many [dns] name it. @old NULL: a file that cannot be used is an error;
 * else the records that @old has of it are taken instead. */
static int load_hosts(struct conf *conf, const struct conf *old, struct findings *findings)
{
    int ret = 0;
    for (size_t i = 0; i < conf->n_dns; i++) {
        struct conf_dns *dns = &conf->dns[i];
        for (size_t j = 0; j < i && dns->hosts_file && !dns->hosts; j++) {
            if (conf->dns[j].hosts && strcmp(conf->dns[j].hosts_file, dns->hosts_file) == 0)
                dns->hosts = hosts_ref(conf->dns[j].hosts);
        }
        if (!dns->hosts_file || dns->hosts)
            continue;
        bool is_current = old && hostsfile_is_current(old->dns[i].hosts);
        int r = is_current ? -EALREADY : hostsfile_load(dns->hosts_file, findings, &dns->hosts);
        if (r == -ENOMEM)
            return r;
        if (r < 0 && old)
            dns->hosts = hosts_ref(old->dns[i].hosts);
        else if (r < 0)
            ret = r;
    }
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        for (size_t j = 0; j < conf->n_dns && !conf->web_proxies[i].hosts; j++) {
            if (conf->dns[j].hosts)
                conf->web_proxies[i].hosts = hosts_ref(conf->dns[j].hosts);
        }
    }
    return ret;
}

static int load_both(const char *file, const char *resolv_conf, struct findings *findings,
                     struct snapshot *s)
{
    int r, r_acl;

    if (file)
        r = load_file(file, resolv_conf, findings, &s->conf);
    else
        r = load_bytes(SNAPSHOT_BUILTIN, builtin_conf, strlen(builtin_conf), resolv_conf, findings,
                       &s->conf);
    if (r == -ENOMEM)
        return r;
    /* The rules are read even so, that all findings come at once. */
    if (file)
        r_acl = aclfile_load(s->conf.acl_file, findings, &s->acl);
    else
        r_acl = aclfile_parse_bytes(SNAPSHOT_BUILTIN, builtin_acl, strlen(builtin_acl), findings,
                                    &s->acl);
    int r_hosts = load_hosts(&s->conf, NULL, findings);
    return r < 0 ? r : r_acl < 0 ? r_acl : r_hosts;
}

int snapshot_load_from(const char *file, const char *resolv_conf, struct findings *findings,
                       struct snapshot **ret_snapshot)
{
    struct snapshot *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->n_refs = 1;
    int r = load_both(file, resolv_conf, findings, s);
    if (r == 0 && file && !(s->conf.file = strdup(file)))
        r = -ENOMEM;
    if (r == 0)
        r = build_tables(s);
    if (r < 0) {
        snapshot_free(s);
        return r;
    }
    *ret_snapshot = s;
    return 0;
}

int snapshot_load(const char *file, struct findings *findings, struct snapshot **ret_snapshot)
{
    return snapshot_load_from(file, RESOLV_PATH, findings, ret_snapshot);
}

/* ---- files that are watched ---- */

/* The first listener whose servers come from resolv.conf; NULL: none. */
static const struct conf_listener *resolv_listener(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        if (conf->web_proxies[i].base.uses_resolv_conf)
            return &conf->web_proxies[i].base;
    }
    for (size_t i = 0; i < conf->n_dns; i++) {
        if (conf->dns[i].base.uses_resolv_conf)
            return &conf->dns[i].base;
    }
    return NULL;
}

const struct conf_name_servers *snapshot_resolv(const struct conf *conf)
{
    const struct conf_listener *l = resolv_listener(conf);
    return l ? &l->name_servers : NULL;
}

bool snapshot_same_servers(const struct conf_name_servers *a, const struct conf_name_servers *b)
{
    if (a->n_items != b->n_items)
        return false;
    for (size_t i = 0; i < a->n_items; i++) {
        if (!endpoint_equal(&a->items[i].endpoint, &b->items[i].endpoint))
            return false;
    }
    return true;
}

static struct conf_listener *listener_at(struct conf *conf, size_t i)
{
    return i < conf->n_web_proxies ? &conf->web_proxies[i].base
                                   : &conf->dns[i - conf->n_web_proxies].base;
}

/* Every listener that takes them from resolv.conf gets a copy of its own. */
static int put_servers(struct conf *conf, const struct conf_name_servers *servers)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < conf->n_web_proxies + conf->n_dns; i++) {
        struct conf_listener *l = listener_at(conf, i);
        if (l->uses_resolv_conf)
            r = load_copy_servers(servers, &l->name_servers);
    }
    return r;
}

/* resolv.conf as it is now, or, if it names nobody, what @old has. */
static int reread_servers(struct conf *conf, const struct conf *old, const char *resolv_conf,
                          bool *ret_is_bad, bool *ret_changed)
{
    const struct conf_listener *before = resolv_listener(old);
    struct conf_name_servers now = {0};
    if (!before)
        return 0;
    struct findings findings = {0}; /* lines that libc would pass over as well are not told again */
    int r = load_resolv(old, resolv_conf, &findings, &now);
    findings_fini(&findings);
    if (r < 0)
        return r;
    *ret_is_bad = now.n_items == 0;
    bool has_changed = now.n_items > 0 && !snapshot_same_servers(&now, &before->name_servers);
    *ret_changed = *ret_changed || has_changed;
    r = put_servers(conf, has_changed ? &now : &before->name_servers);
    free(now.items);
    return r;
}

static void *copy_array(const void *items, size_t n, size_t item_bytes)
{
    void *copy = calloc(n + 1, item_bytes);
    if (copy && n > 0)
        memcpy(copy, items, n * item_bytes);
    return copy;
}

/* @old's with the parts of watched files empty. */
static struct snapshot *reread_new(struct snapshot *old)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    const struct conf *from = &old->conf;
    *s = *old;
    s->n_refs = 1;
    s->base = snapshot_ref(old->base ? old->base : old);
    s->conf.web_proxies =
        copy_array(from->web_proxies, from->n_web_proxies, sizeof(*from->web_proxies));
    s->conf.dns = copy_array(from->dns, from->n_dns, sizeof(*from->dns));
    for (size_t i = 0; s->conf.web_proxies && i < from->n_web_proxies; i++)
        s->conf.web_proxies[i].hosts = NULL;
    for (size_t i = 0; s->conf.dns && i < from->n_dns; i++)
        s->conf.dns[i].hosts = NULL;
    if (!s->conf.web_proxies || !s->conf.dns) {
        s->conf.n_web_proxies = s->conf.n_dns = 0;
        return reread_free(s);
    }
    for (size_t i = 0; i < from->n_web_proxies + from->n_dns; i++) {
        struct conf_listener *l = listener_at(&s->conf, i);
        if (l->uses_resolv_conf)
            l->name_servers = (struct conf_name_servers){0};
    }
    return s;
}

int snapshot_reread(struct snapshot *old, const char *resolv_conf, struct findings *findings,
                    bool *ret_is_bad_resolv, struct snapshot **ret_snapshot)
{
    struct snapshot *s = reread_new(old);
    bool has_changed = false;
    if (!s)
        return -ENOMEM;
    int r = load_hosts(&s->conf, &old->conf, findings);
    if (r == 0)
        r = reread_servers(&s->conf, &old->conf, resolv_conf ? resolv_conf : RESOLV_PATH,
                           ret_is_bad_resolv, &has_changed);
    for (size_t i = 0; i < s->conf.n_dns; i++)
        has_changed = has_changed || s->conf.dns[i].hosts != old->conf.dns[i].hosts;
    if (r == 0 && has_changed) {
        *ret_snapshot = s;
        return 0;
    }
    reread_free(s);
    return r < 0 ? r : SNAPSHOT_SAME;
}

bool snapshot_keep_servers(struct snapshot *s, const struct snapshot *old)
{
    const struct conf_listener *now = resolv_listener(&s->conf);
    const struct conf_listener *before = resolv_listener(&old->conf);
    if (!now || now->name_servers.n_items > 0 || !before || before->name_servers.n_items == 0)
        return false;
    return put_servers(&s->conf, &before->name_servers) == 0;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    __atomic_add_fetch(&s->n_refs, 1, __ATOMIC_RELAXED);
    return s;
}

struct snapshot *snapshot_unref(struct snapshot *s)
{
    /* Release orders our last use before the count; acquire orders the free behind everybody
     * else's. */
    if (s && __atomic_sub_fetch(&s->n_refs, 1, __ATOMIC_ACQ_REL) == 0)
        snapshot_free(s);
    return NULL;
}

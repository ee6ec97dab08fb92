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

static struct snapshot *snapshot_free(struct snapshot *s)
{
    for (size_t i = 0; i < s->n_tables; i++)
        in_table_free(s->tables[i]);
    free(s->tables);
    acl_free(s->acl);
    load_fini(&s->conf);
    free(s);
    return NULL;
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
    return r < 0 ? r : r_acl;
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

/*
 * Local records and zones through the resolver on a real loop, against scripted name servers on
 * 127.0.0.1. Case ids of the DNS checklist (B..).
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/dns/lookup.h"
#include "proxy/dns/resolver.h"
#include "proxy/dns/resolver_group.h"
#include "proxy/dns/upstream_peer.h"
#include "tests/flow/dns_fake.h"

enum { CACHE_BYTES = 1 << 20, LIMIT_MS = 1500 };

static char corp[] = "corp.example", reverse[] = "168.192.in-addr.arpa", home[] = "home.arpa";

/* A default server and one for each of the zones above. */
struct rig {
    struct loop loop;
    struct resolver resolver;
    struct fake fakes[2];
    struct conf_name_server items[2];
    struct conf_name_servers servers[2];
    struct conf_zone zone_items[3];
    struct conf_zones zones;
    struct hosts *hosts;
    struct resolver_group *group;
};

static struct resolver_group *group_of(struct rig *rig)
{
    struct egress egress = {0};
    struct resolver_policy policy = {
        .ttls = {.max_s = 86400, .negative_max_s = 3600},
        .hosts = {rig->hosts},
        .zones = &rig->zones,
    };
    struct resolver_group *g =
        resolver_group_new_with(&rig->resolver, &rig->servers[0], &egress, &policy);
    cr_assert_not_null(g);
    return g;
}

static void add(struct hosts *h, const char *name, const char *text)
{
    struct addr a;
    cr_assert_eq(addr_parse(text, strlen(text), &a), 0);
    cr_assert_eq(hosts_add(h, name, strlen(name), &a), 0);
}

static struct rig *rig_new(fake_script_fn others, fake_script_fn zones)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    cr_assert_eq(loop_init(&rig->loop), 0);
    cr_assert_eq(resolver_init(&rig->resolver, &rig->loop, CACHE_BYTES), 0);
    for (unsigned i = 0; i < 2; i++) {
        fake_open(&rig->fakes[i], &rig->loop, i ? zones : others);
        rig->items[i].endpoint = rig->fakes[i].at;
        rig->servers[i] = (struct conf_name_servers){.items = &rig->items[i], .n_items = 1};
    }
    rig->zone_items[0] = (struct conf_zone){.name = corp, .servers = rig->servers[1]};
    rig->zone_items[1] = (struct conf_zone){.name = reverse, .servers = rig->servers[1]};
    rig->zone_items[2] = (struct conf_zone){.name = home, .servers = rig->servers[1]};
    rig->zones = (struct conf_zones){.items = rig->zone_items, .n_items = 3};
    rig->hosts = hosts_new(NULL);
    add(rig->hosts, "nas.corp.example", "192.168.1.5");
    rig->group = group_of(rig);
    return rig;
}

static void rig_free(struct rig *rig)
{
    resolver_group_unref(rig->group);
    resolver_fini(&rig->resolver);
    hosts_unref(rig->hosts);
    for (unsigned i = 0; i < 2; i++)
        fake_close(&rig->fakes[i]);
    loop_fini(&rig->loop);
    free(rig);
}

struct asker {
    struct resolver_ask ask;
    bool is_done;
    enum resolver_outcome outcome;
    unsigned rcode;
    bool is_local;
    struct addr addr;
    int n_addrs;
};

static void note(struct asker *a, const struct resolver_result *result)
{
    a->is_done = true;
    a->outcome = result->outcome;
    a->rcode = result->rcode;
    a->is_local = result->answer && result->answer->is_local;
    a->n_addrs = result->answer ? answer_addresses(result->answer, &a->addr, 1) : 0;
}

static void on_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    note(list_entry(ask, struct asker, ask), result);
}

static int start(struct rig *rig, struct asker *a, const char *name, unsigned type, bool rd)
{
    struct resolver_request request = {
        .budget = RESOLVER_FOR_LAN, .limit_ms = LIMIT_MS, .no_recursion = !rd};
    struct resolver_result result;
    cr_assert_eq(wire_name_from_text(name, strlen(name), &request.question.name), 0);
    request.question.type = (uint16_t)type;
    request.question.class = WIRE_CLASS_IN;
    *a = (struct asker){.is_done = false};
    int rc = resolver_ask_start(&a->ask, &rig->resolver, rig->group, &request, on_done, &result);
    if (rc == RESOLVER_DONE)
        note(a, &result);
    return rc;
}

static void ask(struct rig *rig, struct asker *a, const char *name, unsigned type)
{
    if (start(rig, a, name, type, true) != RESOLVER_DONE)
        cr_assert(run_until(&rig->loop, &a->is_done, 2 * LIMIT_MS), "%s: no answer", name);
}

Test(dns_local_flow, B2_15_special_names_in_a_zone__go_to_its_servers)
{
    static const struct {
        const char *name;
        unsigned type;
        unsigned n_others, n_zones; /* queries that leave */
    } rows[] = {
        {"www.example", WIRE_TYPE_A, 1, 0},
        {"www.corp.example", WIRE_TYPE_A, 0, 1},
        {"Corp.Example", WIRE_TYPE_A, 0, 1},
        {"xcorp.example", WIRE_TYPE_A, 1, 0},
        {"9.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, 0, 1},
        {"9.1.1.10.in-addr.arpa", WIRE_TYPE_PTR, 0, 0},
        {"x.home.arpa", WIRE_TYPE_A, 0, 1},
        {"x.test", WIRE_TYPE_A, 0, 0},
    };
    struct rig *rig = rig_new(script_answers, script_answers);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned others = rig->fakes[0].n_udp, zones = rig->fakes[1].n_udp;
        struct asker a;
        ask(rig, &a, rows[i].name, rows[i].type);
        cr_expect_eq(rig->fakes[0].n_udp - others, rows[i].n_others, "%s", rows[i].name);
        cr_expect_eq(rig->fakes[1].n_udp - zones, rows[i].n_zones, "%s", rows[i].name);
    }
    rig_free(rig);
}

Test(dns_local_flow, B2_16_local_records__never_leave_and_need_no_server)
{
    struct rig *rig = rig_new(script_silent, script_silent);
    struct asker a;
    cr_assert_eq(start(rig, &a, "NAS.corp.example", WIRE_TYPE_A, true), RESOLVER_DONE);
    cr_expect(a.is_local && a.n_addrs == 1 && addr_ipv4(&a.addr) == 0xc0a80105);
    cr_assert_eq(start(rig, &a, "nas.corp.example", 65, true), RESOLVER_DONE);
    cr_expect(a.is_local && a.rcode == WIRE_RCODE_NOERROR && a.n_addrs == 0);
    cr_assert_eq(start(rig, &a, "5.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, true), RESOLVER_DONE);
    cr_expect(a.is_local);
    cr_assert_eq(start(rig, &a, "nas.corp.example", WIRE_TYPE_A, false), RESOLVER_DONE, "RD=0");
    cr_expect_eq(a.outcome, RESOLVER_ANSWER);
    cr_expect_eq(rig->fakes[0].n_udp + rig->fakes[1].n_udp, 0);
    rig_free(rig);
}

Test(dns_local_flow, zones__have_limits_of_their_own__when_their_server_is_dead)
{
    struct rig *rig = rig_new(script_answers, script_silent);
    static struct asker lost[600];
    char name[64];
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "n%u.corp.example", i);
        cr_assert_eq(start(rig, &lost[i], name, WIRE_TYPE_A, true), 0);
    }
    struct asker a;
    ask(rig, &a, "www.example", WIRE_TYPE_A);
    cr_expect_eq(a.n_addrs, 1);
    cr_expect(lost[0].is_done && lost[0].outcome == RESOLVER_BUSY, "the oldest gives way");
    cr_expect_eq(rig->resolver.rooms[RESOLVER_FOR_LAN].n, 0);
    for (unsigned i = 0; i < 600; i++)
        resolver_ask_cancel(&lost[i].ask);
    rig_free(rig);
}

Test(dns_local_flow, new_records__replace_the_old__without_a_new_group_or_cache)
{
    struct rig *rig = rig_new(script_answers, script_answers);
    struct asker a;
    ask(rig, &a, "www.example", WIRE_TYPE_A);
    ask(rig, &a, "new.lan", WIRE_TYPE_A);
    cr_expect(!a.is_local);
    struct hosts *old = rig->hosts;
    rig->hosts = hosts_new(NULL);
    add(rig->hosts, "new.lan", "192.168.1.9");
    struct resolver_group *g = group_of(rig);
    cr_expect_eq(g, rig->group);
    hosts_unref(old);
    cr_assert_eq(start(rig, &a, "new.lan", WIRE_TYPE_A, true), RESOLVER_DONE);
    cr_expect(a.is_local, "a cached answer must not hide a local record");
    cr_assert_eq(start(rig, &a, "www.example", WIRE_TYPE_A, true), RESOLVER_DONE, "cache lost");
    resolver_group_unref(g);
    rig_free(rig);
}

Test(dns_local_flow, servers_in_another_order__keep_the_cache__others_do_not)
{
    struct rig *rig = rig_new(script_answers, script_answers);
    struct conf_name_server both[] = {rig->items[0], rig->items[1]};
    struct conf_name_server turned[] = {rig->items[1], rig->items[0]};
    struct egress egress = {0};
    struct resolver_group *g[3];
    g[0] = resolver_group_new(&rig->resolver, &(struct conf_name_servers){both, 2}, &egress);
    g[1] = resolver_group_new(&rig->resolver, &(struct conf_name_servers){turned, 2}, &egress);
    g[2] = resolver_group_new(&rig->resolver, &(struct conf_name_servers){both, 1}, &egress);
    cr_expect(g[0] != g[1] && g[0]->id == g[1]->id);
    cr_expect_neq(g[0]->id, g[2]->id);
    cr_expect(endpoint_equal(&g[1]->servers[0].peer->server, &rig->items[1].endpoint));
    for (unsigned i = 0; i < 3; i++)
        resolver_group_unref(g[i]);
    rig_free(rig);
}

struct found {
    struct lookup lookup;
    bool is_done;
    enum lookup_outcome outcome;
    struct addr addr;
};

static void on_found(struct lookup *l, enum lookup_outcome outcome, const struct addr *addrs,
                     unsigned n_addrs)
{
    struct found *f = list_entry(l, struct found, lookup);
    f->is_done = true;
    f->outcome = outcome;
    if (n_addrs > 0)
        f->addr = addrs[0];
}

Test(dns_local_flow, lookups_for_a_dial__see_local_records)
{
    struct rig *rig = rig_new(script_silent, script_silent);
    struct found f = {.is_done = false};
    cr_assert_eq(lookup_start(&f.lookup, &rig->resolver, rig->group, "nas.corp.example", true, true,
                              LIMIT_MS, on_found),
                 0);
    cr_assert(run_until(&rig->loop, &f.is_done, LIMIT_MS));
    cr_expect(f.outcome == LOOKUP_ADDRS && addr_ipv4(&f.addr) == 0xc0a80105);
    rig_free(rig);
}

/* Answers from local records, and the suffixes of zones. Case ids of the DNS checklist (B..). */
#include "proxy/dns/local.h"

#include <criterion/criterion.h>
#include <string.h>

#include "proxy/dns/zones.h"

enum { TYPE_SVCB = 64, TYPE_HTTPS = 65 };

static void add(struct hosts *h, const char *name, const char *text)
{
    struct addr a;
    cr_assert_eq(addr_parse(text, strlen(text), &a), 0);
    cr_assert_eq(hosts_add(h, name, strlen(name), &a), 0);
}

static struct hosts *some_hosts(void)
{
    struct hosts *h = hosts_new(NULL);
    add(h, "nas.lan", "192.168.1.5");
    add(h, "nas.lan", "192.168.1.6");
    add(h, "nas.lan", "fd00::5");
    add(h, "v4.lan", "192.168.1.7");
    return h;
}

static struct answer_key key_of(const char *name, unsigned type)
{
    struct answer_key key = {.question = {.type = (uint16_t)type, .class = WIRE_CLASS_IN}};
    cr_assert_eq(wire_name_from_text(name, strlen(name), &key.question.name), 0);
    wire_name_lower(&key.question.name);
    return key;
}

struct row {
    const char *name;
    unsigned type;
    int rc;
    unsigned n_answer, n_authority;
};

Test(dns_local, B2_16_answer__is_ours_for_all_types__of_a_local_name)
{
    static const struct row rows[] = {
        {"nas.lan", WIRE_TYPE_A, 0, 2, 0},
        {"NAS.lan", WIRE_TYPE_AAAA, 0, 1, 0},
        {"nas.lan", WIRE_TYPE_ANY, 0, 3, 0},
        {"v4.lan", WIRE_TYPE_AAAA, 0, 0, 1},
        {"v4.lan", TYPE_HTTPS, 0, 0, 1},
        {"v4.lan", TYPE_SVCB, 0, 0, 1},
        {"v4.lan", WIRE_TYPE_SOA, 0, 0, 1},
        {"v4.lan", 65280, 0, 0, 1},
        {"x.v4.lan", WIRE_TYPE_A, LOCAL_NOT, 0, 0},
        {"lan", WIRE_TYPE_A, LOCAL_NOT, 0, 0},
        {"5.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, 0, 1, 0},
        {"5.1.168.192.IN-ADDR.arpa", WIRE_TYPE_ANY, 0, 1, 0},
        {"5.1.168.192.in-addr.arpa", WIRE_TYPE_A, 0, 0, 1},
        {"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", WIRE_TYPE_PTR,
         0, 1, 0},
        {"8.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"05.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"1.168.192.in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"x.5.1.168.192.in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"5.1.168.192.in-addr.arpa.lan", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"255.255.255.255.255.in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"in-addr.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {"ip6.arpa", WIRE_TYPE_PTR, LOCAL_NOT, 0, 0},
        {".", WIRE_TYPE_A, LOCAL_NOT, 0, 0},
    };
    struct hosts *tables[LOCAL_TABLES] = {some_hosts(), NULL};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct answer_key key = key_of(rows[i].name, rows[i].type);
        struct answer *a = NULL;
        int rc = local_answer(tables, &key, 1000, &a);
        cr_expect_eq(rc, rows[i].rc, "%s %u", rows[i].name, rows[i].type);
        if (rc != 0)
            continue;
        cr_expect(a->is_local && a->rcode == WIRE_RCODE_NOERROR);
        cr_expect_eq(a->n_answer, rows[i].n_answer, "%s %u", rows[i].name, rows[i].type);
        cr_expect_eq(a->n_authority, rows[i].n_authority, "%s %u", rows[i].name, rows[i].type);
        answer_unref(a);
    }
    hosts_unref(tables[0]);
}

Test(dns_local, answer__is_of_the_first_table__that_has_the_name)
{
    struct hosts *tables[LOCAL_TABLES] = {hosts_new(NULL), some_hosts()};
    add(tables[0], "nas.lan", "192.0.2.1");
    struct answer_key key = key_of("nas.lan", WIRE_TYPE_A);
    struct answer *a = NULL;
    struct addr addrs[4];
    cr_assert_eq(local_answer(tables, &key, 0, &a), 0);
    cr_assert_eq(answer_addresses(a, addrs, 4), 1);
    cr_expect_eq(addr_ipv4(&addrs[0]), 0xc0000201);
    answer_unref(a);
    key = key_of("v4.lan", WIRE_TYPE_A);
    cr_assert_eq(local_answer(tables, &key, 0, &a), 0);
    answer_unref(a);
    key.question.class = WIRE_CLASS_CH;
    cr_expect_eq(local_answer(tables, &key, 0, &a), LOCAL_NOT);
    hosts_unref(tables[0]);
    hosts_unref(tables[1]);
}

/* ---- zones ---- */

static char name_corp[] = "corp.example", name_sub[] = "eu.corp.example", name_lan[] = "lan",
            name_reverse[] = "168.192.in-addr.arpa";

static struct zones *some_zones(void)
{
    struct conf_zone items[] = {
        {.name = name_corp}, {.name = name_sub}, {.name = name_lan}, {.name = name_reverse}};
    struct conf_zones conf = {.items = items, .n_items = 4};
    struct zones *z = zones_new(&conf);
    cr_assert_not_null(z);
    return z;
}

Test(dns_zones, find__gives_the_longest_suffix__at_label_boundaries)
{
    static const struct {
        const char *name;
        int zone;
    } rows[] = {
        {"corp.example", 0},
        {"www.corp.example", 0},
        {"WWW.Corp.EXAMPLE", 0},
        {"a.b.c.d.e.f.corp.example", 0},
        {"eu.corp.example", 1},
        {"x.eu.corp.example", 1},
        {"xeu.corp.example", 0},
        {"xcorp.example", -1},
        {"example", -1},
        {"corp.example.com", -1},
        {"lan", 2},
        {"nas.lan", 2},
        {"wlan", -1},
        {".", -1},
        {"1.168.192.in-addr.arpa", 3},
        {"1.169.192.in-addr.arpa", -1},
        {"corp\\.example", -1},
        {"lan.", 2},
    };
    struct zones *z = some_zones();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_name name = key_of(rows[i].name, 1).question.name;
        cr_expect_eq(zones_find(z, &name), rows[i].zone, "%s", rows[i].name);
        cr_expect_eq(zones_find(NULL, &name), -1);
    }
    zones_free(z);
}

Test(dns_zones, equal__compares__names_and_their_order)
{
    struct zones *a = some_zones(), *b = some_zones();
    struct conf_zone item = {.name = name_corp};
    struct zones *c = zones_new(&(struct conf_zones){.items = &item, .n_items = 1});
    cr_expect(zones_equal(a, b) && !zones_equal(a, c) && !zones_equal(a, NULL));
    cr_expect(zones_equal(NULL, NULL));
    zones_free(a);
    zones_free(b);
    zones_free(c);
}

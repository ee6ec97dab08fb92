/* Every row of the schema, and every type's good and bad values (G11, G17, G18). */
#include "conf/schema.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "conf/load.h"
#include "conf/snapshot.h"

Test(conf_schema, preset__parses_under_its_own_type__for_every_key)
{
    for (size_t i = 0; i < schema_n_keys(); i++) {
        const struct schema_key *key = schema_key_at(i);
        char why[SCHEMA_WHY_MAX] = "";
        cr_expect(key->preset || key->preset_doc, "%s has no default to show", key->name);
        if (key->preset)
            cr_expect_eq(schema_parse(key, key->preset, NULL, why), 0, "%s = %s: %s", key->name,
                         key->preset, why);
    }
}

Test(conf_schema, rows__are_complete_and_distinct__for_every_key)
{
    for (size_t i = 0; i < schema_n_keys(); i++) {
        const struct schema_key *key = schema_key_at(i);
        size_t index;
        cr_expect_eq(schema_find(key->section, key->name, &index), key);
        cr_expect_eq(index, i, "%s stands twice", key->name);
        cr_expect(key->doc && strlen(key->doc) > 10, "%s", key->name);
        cr_expect_not_null(schema_type_text(key), "%s", key->name);
        cr_expect_leq(key->min, key->max, "%s", key->name);
        cr_expect_eq(schema_nearest_key(key->section, key->name), key->name);
    }
}

Test(conf_schema, table__has_every_key__of_the_contract)
{
    static const struct {
        enum schema_section section;
        const char *names; /* blank-separated */
    } rows[] = {
        {SCHEMA_WEB_PROXY,
         "listen-network listen-port bypass-network bypass-mark name-server connect-ports "
         "http-ports description "
         "tls-certificate tls-key tls-client-ca auth-file proxy-protocol-from parent-proxy"},
        {SCHEMA_DNS,
         "listen-network listen-port bypass-network bypass-mark name-server description cache-size "
         "min-ttl max-ttl "
         "negative-max-ttl serve-stale prefetch apply-out rebind-protection special-names "
         "any-queries "
         "randomise-case trust-ad per-client-rate over-limit version-answer hosts-file"},
        {SCHEMA_DNS_ZONES, "zone"},
        {SCHEMA_DNS_HOSTS, "host"},
        {SCHEMA_ACL, "file deny-answer deny-answer-dns mode on-reload"},
        {SCHEMA_LIMITS,
         "max-clients max-tunnels per-source-tunnels per-source-rate per-source-bandwidth "
         "request-line-size head-size"},
        {SCHEMA_TIMEOUTS,
         "head dns connect tunnel-idle half-closed tunnel-life http-idle http-response drain"},
        {SCHEMA_LOG, "level access access-format periodic log-queries log-query-strings"},
        {SCHEMA_ADMIN, "control-socket listen allow"},
        {SCHEMA_PROCESS, "workers user group sandbox nofile last-good"},
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char names[600], *save = NULL;
        size_t index;
        snprintf(names, sizeof(names), "%s", rows[i].names);
        for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save), n++)
            cr_expect_not_null(schema_find(rows[i].section, name, &index), "%s", name);
    }
    cr_expect_eq(n, schema_n_keys(), "%zu keys in the contract, %zu in the table", n,
                 schema_n_keys());
}

struct row {
    enum schema_section section;
    const char *key;
    const char *value;
    const char *why; /* part of the refusal; NULL: accepted */
};

static const struct row rows[] = {
    /* networks */
    {SCHEMA_WEB_PROXY, "listen-network", "eth0", NULL},
    {SCHEMA_WEB_PROXY, "listen-network", "eth0, 192.168.1.254,2001:db8::1", NULL},
    {SCHEMA_WEB_PROXY, "listen-network", "exactly15bytes0", NULL},
    {SCHEMA_WEB_PROXY, "listen-network", "sixteen-bytes-ab", "at most 15"},
    {SCHEMA_WEB_PROXY, "listen-network", "192.168.1.300", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "192.168.1.0/24", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "127.1", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "010.0.0.1", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "[::1]", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "eth0:1", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "eth 0", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "..", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "eth0,", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "eth0,,eth1", "neither"},
    {SCHEMA_WEB_PROXY, "listen-network", "eth0, eth1, eth0", "twice"},
    {SCHEMA_WEB_PROXY, "listen-network", "::1, 0:0::1", "twice"},
    {SCHEMA_WEB_PROXY, "listen-network", "224.0.0.1", "multicast"},
    {SCHEMA_WEB_PROXY, "listen-network", "ff02::1", "multicast"},
    {SCHEMA_WEB_PROXY, "listen-network", "fe80::1", "link-local"},
    {SCHEMA_WEB_PROXY, "listen-network", "", "empty"},
    /* numbers */
    {SCHEMA_WEB_PROXY, "listen-port", "1", NULL},
    {SCHEMA_WEB_PROXY, "listen-port", "65535", NULL},
    {SCHEMA_WEB_PROXY, "listen-port", "0", "1 to 65535"},
    {SCHEMA_WEB_PROXY, "listen-port", "65536", "1 to 65535"},
    {SCHEMA_WEB_PROXY, "listen-port", "18446744073709551617", "1 to 65535"},
    {SCHEMA_WEB_PROXY, "listen-port", "-1", "1 to 65535"},
    {SCHEMA_WEB_PROXY, "listen-port", "8080 8081", "1 to 65535"},
    {SCHEMA_PROCESS, "workers", "auto", NULL},
    {SCHEMA_PROCESS, "workers", "64", NULL},
    {SCHEMA_PROCESS, "workers", "0", "or `auto`"},
    {SCHEMA_PROCESS, "workers", "65", "1 to 64"},
    {SCHEMA_PROCESS, "nofile", "63", "64 to"},
    {SCHEMA_LIMITS, "max-clients", "off", "or `auto`"},
    /* egress */
    {SCHEMA_DNS, "bypass-network", "eth0", NULL},
    {SCHEMA_DNS, "bypass-network", "198.51.100.1", NULL},
    {SCHEMA_DNS, "bypass-network", "198.51.100.1, 2001:db8::1", NULL},
    {SCHEMA_DNS, "bypass-network", "2001:db8::1, 198.51.100.1", NULL},
    {SCHEMA_DNS, "bypass-network", "eth0, eth1", "one interface"},
    {SCHEMA_DNS, "bypass-network", "eth0, 198.51.100.1", "one interface"},
    {SCHEMA_DNS, "bypass-network", "198.51.100.1, eth0", "one interface"},
    {SCHEMA_DNS, "bypass-network", "198.51.100.1, 198.51.100.2", "more than one IPv4"},
    {SCHEMA_DNS, "bypass-network", "::2, ::3", "more than one IPv6"},
    {SCHEMA_DNS, "bypass-network", "0.0.0.0", "unspecified"},
    {SCHEMA_DNS, "bypass-network", "::", "unspecified"},
    {SCHEMA_DNS, "bypass-mark", "0x10", NULL},
    {SCHEMA_DNS, "bypass-mark", "4294967295", NULL},
    {SCHEMA_DNS, "bypass-mark", "4294967296", "1 to 4294967295"},
    {SCHEMA_DNS, "bypass-mark", "0", "1 to 4294967295"},
    /* name servers */
    {SCHEMA_DNS, "name-server", "192.0.2.53", NULL},
    {SCHEMA_DNS, "name-server", "192.0.2.53:5353, [2001:db8::53]:53, 2001:db8::54", NULL},
    {SCHEMA_DNS, "name-server", "tls://9.9.9.9#dns.quad9.net", NULL},
    {SCHEMA_DNS, "name-server", "tls://[2620:fe::fe]:853#dns.quad9.net", NULL},
    {SCHEMA_DNS, "name-server", "tls://9.9.9.9", "#"},
    {SCHEMA_DNS, "name-server", "tls://9.9.9.9#", "#"},
    {SCHEMA_DNS, "name-server", "tls://#name", "tls://ADDR"},
    {SCHEMA_DNS, "name-server", "tls://9.9.9.9#a..b", "#"},
    {SCHEMA_DNS, "name-server", "tls://9.9.9.9#a.b, tls://9.9.9.9#c.d", "twice"},
    {SCHEMA_DNS, "name-server", "dns.example.com", "no name server"},
    {SCHEMA_DNS, "name-server", "192.0.2.53:0", "no name server"},
    {SCHEMA_DNS, "name-server", "192.0.2.53:65536", "no name server"},
    {SCHEMA_DNS, "name-server", "192.0.2.53, 192.0.2.53:53", "twice"},
    {SCHEMA_DNS, "name-server", "224.0.0.251", "multicast"},
    {SCHEMA_DNS, "name-server", "192.0.2.53,", "no name server"},
    /* ports: G17 */
    {SCHEMA_WEB_PROXY, "connect-ports", "443", NULL},
    {SCHEMA_WEB_PROXY, "connect-ports", "443 , 8000-8999", NULL},
    {SCHEMA_WEB_PROXY, "connect-ports", "1-65535", NULL},
    {SCHEMA_WEB_PROXY, "connect-ports", "0", "write for example"},
    {SCHEMA_WEB_PROXY, "connect-ports", "65536", "write for example"},
    {SCHEMA_WEB_PROXY, "connect-ports", "443-", "write for example"},
    {SCHEMA_WEB_PROXY, "connect-ports", "500-400", "write for example"},
    {SCHEMA_WEB_PROXY, "connect-ports", "443,,80", "write for example"},
    {SCHEMA_WEB_PROXY, "connect-ports", "https", "write for example"},
    /* text */
    {SCHEMA_WEB_PROXY, "description", "", NULL},
    {SCHEMA_WEB_PROXY, "description",
     "四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字", NULL},
    {SCHEMA_WEB_PROXY, "description",
     "四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字四十文字一",
     "at most 40"},
    {SCHEMA_WEB_PROXY, "tls-key", "", "empty"},
    /* times: G18 */
    {SCHEMA_TIMEOUTS, "head", "15s", NULL},
    {SCHEMA_TIMEOUTS, "head", "-1", "10ms to 1h"},
    {SCHEMA_TIMEOUTS, "head", "0s", "10ms to 1h"},
    {SCHEMA_TIMEOUTS, "head", "1000000000000000000s", "10ms to 1h"},
    {SCHEMA_TIMEOUTS, "head", "15", "unit"},
    {SCHEMA_TIMEOUTS, "head", "off", "10ms to 1h"},
    {SCHEMA_TIMEOUTS, "drain", "5m", NULL},
    {SCHEMA_TIMEOUTS, "drain", "0s", NULL},
    {SCHEMA_TIMEOUTS, "tunnel-life", "off", NULL},
    {SCHEMA_DNS, "min-ttl", "500ms", "whole seconds"},
    {SCHEMA_DNS, "min-ttl", "61s", "to 1m"},
    {SCHEMA_DNS, "max-ttl", "8d", "to 7d"},
    {SCHEMA_DNS, "negative-max-ttl", "181m", "to 3h"},
    {SCHEMA_DNS, "serve-stale", "off", NULL},
    /* sizes: G18 */
    {SCHEMA_LIMITS, "head-size", "64K", NULL},
    {SCHEMA_LIMITS, "head-size", "18446744073709551616", "1K to 1M"},
    {SCHEMA_LIMITS, "head-size", "17592186044417M", "1K to 1M"},
    {SCHEMA_LIMITS, "head-size", "1", "1K to 1M"},
    {SCHEMA_DNS, "cache-size", "64K", NULL},
    {SCHEMA_DNS, "cache-size", "1K", "64K to"},
    /* words: G11 */
    {SCHEMA_DNS, "prefetch", "yes", NULL},
    {SCHEMA_DNS, "prefetch", "ture", "`true`"},
    {SCHEMA_DNS, "prefetch", "maybe", "yes or no"},
    {SCHEMA_DNS, "any-queries", "minimal", NULL},
    {SCHEMA_DNS, "any-queries", "minmal", "`minimal`"},
    {SCHEMA_ACL, "deny-answer", "403", NULL},
    {SCHEMA_ACL, "deny-answer", "404", "`403`"},
    {SCHEMA_ACL, "on-reload", "grace=30s", NULL},
    {SCHEMA_ACL, "on-reload", "grace=30", "unit"},
    {SCHEMA_ACL, "on-reload", "grace=0s", "unit"},
    {SCHEMA_ACL, "on-reload", "kep", "`keep`"},
    {SCHEMA_LOG, "level", "debug", NULL},
    {SCHEMA_LOG, "level", "verbose", "notice"},
    {SCHEMA_LOG, "access", "/var/log/ukai/access.log", NULL},
    {SCHEMA_LOG, "access", "sdterr", "`stderr`"},
    {SCHEMA_LOG, "access", "somewhere", "or a path"},
    {SCHEMA_LOG, "access", "/var/log/", "directory"},
    {SCHEMA_LOG, "access-format", "jsno", "`json`"},
    {SCHEMA_LOG, "access-format", "%{src} \"%{host}\" 100%%", NULL},
    {SCHEMA_LOG, "access-format", "%h %t", "no field"},
    {SCHEMA_LOG, "access-format", "%{src", "no field"},
    {SCHEMA_LOG, "access-format", "%{}", "no field"},
    {SCHEMA_LOG, "access-format", "%{srcs}", "no field"},
    {SCHEMA_LOG, "access-format", "%{src} %", "no field"},
    {SCHEMA_LOG, "access-format", "%n", "no field"},
    {SCHEMA_LOG, "access-format", "%s", "no field"},
    /* checked for keys that come later */
    {SCHEMA_WEB_PROXY, "proxy-protocol-from", "10.0.0.0/8, 2001:db8::/32", NULL},
    {SCHEMA_WEB_PROXY, "proxy-protocol-from", "10.0.0.1/8", "host bits"},
    {SCHEMA_WEB_PROXY, "proxy-protocol-from", "lb", "neither"},
    {SCHEMA_WEB_PROXY, "parent-proxy", "http://u:p@proxy.example:3128, http://[2001:db8::1]:8080",
     NULL},
    {SCHEMA_WEB_PROXY, "parent-proxy", "https://proxy.example:3128", "http://host:port"},
    {SCHEMA_WEB_PROXY, "parent-proxy", "http://proxy.example", "port is missing"},
    {SCHEMA_WEB_PROXY, "parent-proxy", "http://", "http://host:port"},
    {SCHEMA_DNS, "rebind-protection", "on, corp.example", NULL},
    {SCHEMA_DNS, "rebind-protection", "off, corp.example", "SUFFIX"},
    {SCHEMA_DNS, "trust-ad", "off", NULL},
    {SCHEMA_DNS_ZONES, "zone", "corp.example 10.0.0.53, 10.0.0.54:5353", NULL},
    {SCHEMA_DNS_ZONES, "zone", "corp.example", "nothing behind"},
    {SCHEMA_DNS_ZONES, "zone", "-! 10.0.0.53", "domain name"},
    {SCHEMA_DNS_HOSTS, "host", "www.corp.example. 10.0.0.80, 2001:db8::80", NULL},
    {SCHEMA_DNS_HOSTS, "host", "www 10.0.0.800", "no address"},
    {SCHEMA_ADMIN, "listen", "127.0.0.1:9100", NULL},
    {SCHEMA_ADMIN, "listen", "off", NULL},
    {SCHEMA_ADMIN, "listen", "127.0.0.1:9100, [::1]:9100", NULL},
    {SCHEMA_ADMIN, "listen", "127.0.0.1", "ADDR:PORT"},
    {SCHEMA_ADMIN, "listen", "127.0.0.1:0", "ADDR:PORT"},
    {SCHEMA_ADMIN, "listen", "127.0.0.1:9100, 127.0.0.1:9100", "twice"},
    {SCHEMA_ADMIN, "listen", "224.0.0.1:9100", "cannot be listened on"},
    {SCHEMA_ADMIN, "allow", "192.168.1.0/24, ::1", NULL},
    {SCHEMA_ADMIN, "allow", "192.168.1.1/24", "host bits"},
};

static void base_init(enum schema_section section, struct conf *conf, struct conf_web_proxy *web,
                      struct conf_dns *dns, void **ret_base)
{
    *ret_base = section == SCHEMA_WEB_PROXY ? (void *)web
                : section == SCHEMA_DNS     ? (void *)dns
                                            : (void *)conf;
    cr_assert_eq(schema_preset(section, *ret_base), 0);
}

static void base_fini(struct conf *conf, struct conf_web_proxy *web, struct conf_dns *dns)
{
    /* load_fini() frees what the arrays hold, so give them what lives on the stack here. */
    conf->web_proxies = malloc(sizeof(*web));
    conf->dns = malloc(sizeof(*dns));
    cr_assert(conf->web_proxies && conf->dns);
    *conf->web_proxies = *web;
    *conf->dns = *dns;
    conf->n_web_proxies = conf->n_dns = 1;
    load_fini(conf);
}

Test(conf_schema, parse__accepts_or_says_why__for_every_type)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf conf = {0};
        struct conf_web_proxy web = {0};
        struct conf_dns dns = {0};
        void *base;
        size_t index;
        const struct schema_key *key = schema_find(rows[i].section, rows[i].key, &index);
        cr_assert_not_null(key, "%s", rows[i].key);
        base_init(rows[i].section, &conf, &web, &dns, &base);
        void *const bases[] = {base, NULL};
        for (int b = 0; b < 2; b++) {
            char why[SCHEMA_WHY_MAX] = "";
            int r = schema_parse(key, rows[i].value, bases[b], why);
            cr_expect_eq(r, rows[i].why ? -EINVAL : 0, "%s = %s gives %d (%s)", rows[i].key,
                         rows[i].value, r, why);
            cr_expect(!rows[i].why || strstr(why, rows[i].why), "%s = %s: %s", rows[i].key,
                      rows[i].value, why);
        }
        base_fini(&conf, &web, &dns);
    }
}

Test(conf_schema, parse__stores_nothing__when_refused)
{
    struct conf conf = {.timeouts.head_ms = 4711};
    char why[SCHEMA_WHY_MAX];
    size_t index;

    const struct schema_key *key = schema_find(SCHEMA_TIMEOUTS, "head", &index);
    cr_expect_eq(schema_parse(key, "2d", &conf, why), -EINVAL);
    cr_expect_eq(conf.timeouts.head_ms, 4711);
    cr_expect_eq(schema_parse(key, "2s", &conf, why), 0);
    cr_expect_eq(conf.timeouts.head_ms, 2000);
}

Test(conf_schema, nearest__names_the_known_word__G11)
{
    cr_expect_str_eq(schema_nearest_key(SCHEMA_WEB_PROXY, "listen_port"), "listen-port");
    cr_expect_str_eq(schema_nearest_key(SCHEMA_TIMEOUTS, "tunel-idle"), "tunnel-idle");
    cr_expect_null(schema_nearest_key(SCHEMA_WEB_PROXY, "frobnicate"));
    cr_expect_str_eq(schema_nearest_section("webproxy"), "web-proxy");
    cr_expect_str_eq(schema_nearest_section("DNS"), "dns");
}

/* ukai.conf: what is stored, and what keys mean together (G02, G10, G11). */
#include "conf/load.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "found.h"

#define NO_RESOLV "/nonexistent/resolv.conf"
#define WEB       "[web-proxy]\nlisten-network = 127.0.0.1\nname-server = 192.0.2.53\n"

struct row {
    const char *id;
    const char *text;
    enum finding_level level;
    unsigned line;
    const char *why;
};

/* Each row gives exactly this one error, or no error and this one warning. */
static const struct row rows[] = {
    {"G10 key twice", WEB "listen-port = 1\nlisten-port = 2\n", FINDING_ERROR, 5,
     "first in line 4"},
    {"G10 section twice", WEB "[log]\n[limits]\n[log]\n", FINDING_ERROR, 6, "first in line 4"},
    {"G10 listener twice", WEB "[web-proxy]\nlisten-network = ::1\n", FINDING_ERROR, 4,
     "another name"},
    {"G10 same name",
     WEB "[web-proxy a]\nlisten-network = ::1\n[web-proxy a]\nlisten-network = ::2\n",
     FINDING_ERROR, 6, "first in line 4"},
    {"G11 key", WEB "listen_port = 1\n", FINDING_ERROR, 4, "did you mean listen-port?"},
    {"G11 far key", WEB "frobnicate = 1\n", FINDING_ERROR, 4, "ukai.conf(5)"},
    {"G11 key of another section", WEB "cache-size = 1M\n", FINDING_ERROR, 4, "unknown key"},
    {"G11 section", WEB "[timeout]\n", FINDING_ERROR, 4, "did you mean [timeouts]?"},
    {"G11 case", WEB "[Log]\n", FINDING_ERROR, 4, "did you mean [log]?"},
    {"G11 bool", WEB "[log]\nlog-query-strings = ture\n", FINDING_ERROR, 5, "`true`"},
    {"G18 negative", WEB "[timeouts]\nhead = -1\n", FINDING_ERROR, 5, "head = \"-1\""},
    {"name of a single section", WEB "[log x]\n", FINDING_ERROR, 4, "write [log]"},
    {"name with a slash", WEB "[dns a/b]\n", FINDING_ERROR, 4, "may hold"},
    {"name with a blank", WEB "[dns a b]\n", FINDING_ERROR, 4, "may hold"},
    {"before a section", "listen-port = 1\n" WEB, FINDING_ERROR, 1, "before the first section"},
    {"nothing to serve", "[log]\nlevel = info\n", FINDING_ERROR, 0, "nothing to serve"},
    {"G02 empty", "\n", FINDING_ERROR, 0, "nothing to serve"},
    {"no network", "[web-proxy]\nlisten-port = 8080\nname-server = 192.0.2.53\n", FINDING_ERROR, 1,
     "listen-network"},
    {"same port", WEB "[web-proxy b]\nlisten-network = ::1, 127.0.0.1\n", FINDING_ERROR, 4,
     "line 1"},
    {"same port of dns", WEB "[dns]\nlisten-network = 127.0.0.1\nlisten-port = 8080\n",
     FINDING_ERROR, 4, "line 1"},
    {"dns wildcard", WEB "[dns]\nlisten-network = 0.0.0.0\n", FINDING_ERROR, 5, "wildcard"},
    {"dns wildcard v6", WEB "[dns]\nlisten-network = ::\n", FINDING_ERROR, 5, "wildcard"},
    {"web wildcard", "[web-proxy]\nlisten-network = 0.0.0.0\nname-server = 192.0.2.53\n",
     FINDING_WARNING, 2, "wildcard"},
    {"asks itself", WEB "[dns]\nlisten-network = 127.0.0.1\nname-server = 192.0.2.1, 127.0.0.1\n",
     FINDING_ERROR, 6, "ask itself"},
    {"asks itself from another",
     "[web-proxy]\nlisten-network = ::1\nname-server = 127.0.0.1:5353\n"
     "[dns]\nlisten-network = 127.0.0.1\nlisten-port = 5353\nname-server = 192.0.2.1\n",
     FINDING_ERROR, 3, "ask itself"},
    {"cache of the second", "[dns a]\nlisten-network = ::1\nname-server = 192.0.2.1\n"
                            "[dns b]\nlisten-network = ::2\nname-server = 192.0.2.1\n"
                            "cache-size = 1M\n",
     FINDING_WARNING, 7, "of the first of them holds"},
    {"ttl order", WEB "[dns]\nlisten-network = ::1\nmin-ttl = 1m\nmax-ttl = 30s\n", FINDING_ERROR, 4,
     "longer than max-ttl"},
    {"head order", WEB "[limits]\nrequest-line-size = 32K\nhead-size = 16K\n", FINDING_ERROR, 4,
     "swap"},
    {"observe", WEB "[acl]\nmode = observe\n", FINDING_WARNING, 5, "lets pass"},
    {"format", WEB "[log]\naccess-format = %h\n", FINDING_ERROR, 5, "is no field"},
    {"later", WEB "auth-file = /etc/ukai/users\n", FINDING_WARNING, 4, "not available yet"},
    {"later but wrong", WEB "parent-proxy = proxy\n", FINDING_ERROR, 4, "http://host:port"},
    {"host twice", WEB "[dns-hosts]\nhost = a.b 10.0.0.1\nhost = A.b. 10.0.0.2, 10.0.0.1\n",
     FINDING_ERROR, 6, "the same record twice"},
    {"host of no address", WEB "[dns-hosts]\nhost = a.b 10.0.0\n", FINDING_ERROR, 5,
     "is no address"},
    {"host of no name", WEB "[dns-hosts]\nhost = a..b 10.0.0.1\n", FINDING_ERROR, 5,
     "starts with a domain name"},
    {"zone twice",
     WEB "[dns-zones]\nzone = corp.example 192.0.2.1\nzone = CORP.example. "
         "192.0.2.2\n",
     FINDING_ERROR, 6, "given twice"},
    {"zone of the root", WEB "[dns-zones]\nzone = . 192.0.2.1\n", FINDING_ERROR, 5,
     "starts with a domain name"},
    {"zone that is ourselves",
     WEB "[dns]\nlisten-network = 127.0.0.1\nlisten-port = 53\n"
         "[dns-zones]\nzone = lan 192.0.2.1, 127.0.0.1\n",
     FINDING_ERROR, 8, "zone: 127.0.0.1:53 is our own [dns]"},
};

Test(conf_load, load__gives_one_finding__in_each_row)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct findings findings = {0};
        struct conf conf;
        char text[4096];
        int r = load_bytes("t.conf", row->text, strlen(row->text), NO_RESOLV, &findings, &conf);
        found_text(&findings, text, sizeof(text));
        cr_expect_eq(r, row->level == FINDING_ERROR ? -EINVAL : 0, "%s gives %d:\n%s", row->id, r,
                     text);
        cr_expect(found(&findings, row->level, row->line, row->why), "%s:\n%s", row->id, text);
        cr_expect_eq(findings.n_errors, row->level == FINDING_ERROR, "%s:\n%s", row->id, text);
        load_fini(&conf);
        findings_fini(&findings);
    }
}

Test(conf_load, load__shares_tls_servers__with_names_of_their_own)
{
    struct findings findings = {0};
    struct conf conf;
    static const char text[] = "[web-proxy]\nlisten-network = ::1\n[dns]\nlisten-network = ::1\n"
                               "name-server = tls://192.0.2.1#a.b, tls://192.0.2.2#2001:db8::2\n";

    cr_expect_eq(load_bytes("t", text, strlen(text), NO_RESOLV, &findings, &conf), 0);
    const struct conf_name_servers *mine = &conf.web_proxies[0].base.name_servers;
    cr_assert_eq(mine->n_items, 2);
    cr_expect(mine->items[0].is_tls && mine->items[0].endpoint.port == 853);
    cr_expect_str_eq(mine->items[0].tls_name, "a.b");
    cr_expect_str_eq(mine->items[1].tls_name, "2001:db8::2");
    cr_expect_neq(mine->items[0].tls_name, conf.dns[0].base.name_servers.items[0].tls_name);
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__never_prints_a_password__of_a_parent_proxy)
{
    struct findings findings = {0};
    struct conf conf;
    static const char text[] = WEB "parent-proxy = http://user:sesame@proxy\n";
    char all[4096];

    cr_expect_eq(load_bytes("t", text, strlen(text), NO_RESOLV, &findings, &conf), -EINVAL);
    cr_expect_null(strstr(found_text(&findings, all, sizeof(all)), "sesame"), "%s", all);
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__says_all__when_several_lines_are_wrong)
{
    struct findings findings = {0};
    struct conf conf;
    static const char text[] =
        "[web-proxy]\nlisten-port = 0\n  x = y\n[dsn]\n[log]\nlevel = loud\n";

    cr_expect_eq(load_bytes("t", text, strlen(text), NO_RESOLV, &findings, &conf), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 2, "1 to 65535"));
    cr_expect(found(&findings, FINDING_ERROR, 3, "indented"));
    cr_expect(found(&findings, FINDING_ERROR, 4, "[dns]"));
    cr_expect(found(&findings, FINDING_ERROR, 6, "notice"));
    cr_expect(found(&findings, FINDING_ERROR, 1, "no listen-network"));
    cr_expect_eq(findings.n_errors, 5);
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__stores_defaults__for_what_is_not_written)
{
    struct findings findings = {0};
    struct conf conf;

    cr_assert_eq(load_bytes("t", WEB, strlen(WEB), NO_RESOLV, &findings, &conf), 0);
    cr_assert_eq(conf.n_web_proxies, 1);
    const struct conf_web_proxy *web = &conf.web_proxies[0];
    cr_expect_str_eq(web->base.name, "web-proxy");
    cr_expect_eq(web->base.port, 8080);
    cr_expect(ports_has(&web->connect_ports, 443) && !ports_has(&web->connect_ports, 80));
    cr_expect(ports_has(&web->http_ports, 80) && ports_has(&web->http_ports, 65535) &&
              !ports_has(&web->http_ports, 25));
    cr_expect_eq(conf.limits.request_line_bytes, 8192);
    cr_expect_eq(conf.limits.head_bytes, 32768);
    cr_expect_eq(conf.timeouts.head_ms, 15000);
    cr_expect_eq(conf.timeouts.tunnel_idle_ms, 3600000);
    cr_expect_eq(conf.timeouts.tunnel_life_ms, 0);
    cr_expect_eq(conf.timeouts.drain_ms, 300000);
    cr_expect_eq(conf.log.level, LOG_LEVEL_INFO);
    cr_expect_eq(conf.log.access, CONF_ACCESS_STDERR);
    cr_expect_eq(conf.on_reload, CONF_RELOAD_REVOKE);
    cr_expect_eq(conf.process.workers, 0);
    cr_expect(conf.process.sandbox && conf.process.last_good && !conf.acl_observe &&
              !conf.acl_deny_403);
    cr_expect_str_eq(conf.acl_file, "acl.conf");
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__stores_what_is_written__for_both_listeners)
{
    struct findings findings = {0};
    struct conf conf;
    char text[4096];
    static const char file[] = "[web-proxy lan2]\n"
                               "listen-network = eth1, 192.168.1.254\n"
                               "listen-port = 3128\n"
                               "bypass-network = 198.51.100.7, 2001:db8::7\n"
                               "bypass-mark = 0x20\n"
                               "connect-ports = 443, 8443\n"
                               "description = 迂回\n"
                               "[dns]\n"
                               "listen-network = eth1\n"
                               "bypass-network = eth0\n"
                               "name-server = 192.0.2.53, [2001:db8::53]:5353\n"
                               "cache-size = 1M\n"
                               "max-ttl = 2h\n"
                               "any-queries = minimal\n"
                               "[acl]\nfile = rules/acl.conf\ndeny-answer = 403\non-reload = keep\n"
                               "[log]\naccess = /var/log/ukai.log\naccess-format = json\n"
                               "[process]\nworkers = 3\nuser = proxy\n";

    cr_assert_eq(load_bytes("/etc/ukai/t.conf", file, strlen(file), NO_RESOLV, &findings, &conf), 0,
                 "%s", found_text(&findings, text, sizeof(text)));
    cr_expect_eq(findings.n_items, 0, "%s", found_text(&findings, text, sizeof(text)));
    const struct conf_listener *web = &conf.web_proxies[0].base;
    cr_expect_str_eq(web->name, "lan2");
    cr_expect_eq(web->line, 1);
    cr_expect_eq(web->n_networks, 2);
    cr_expect_str_eq(web->networks[0].ifname, "eth1");
    cr_expect_str_eq(web->networks[1].ifname, "");
    cr_expect_eq(addr_ipv4(&web->networks[1].addr), 0xc0a801fe);
    cr_expect_eq(web->port, 3128);
    cr_expect(web->egress.has_ipv4_source && web->egress.has_ipv6_source && web->egress.has_mark);
    cr_expect_eq(web->egress.mark, 32);
    cr_expect_str_eq(web->description, "迂回");
    cr_expect_eq(web->name_servers.n_items, 2, "those of [dns]");
    cr_expect(!web->uses_resolv_conf);
    const struct conf_dns *dns = &conf.dns[0];
    cr_expect_str_eq(dns->base.egress.ifname, "eth0");
    cr_expect_eq(dns->base.port, 53);
    cr_expect_eq(dns->base.name_servers.items[1].endpoint.port, 5353);
    cr_expect_eq(dns->cache_size_bytes, 1 << 20);
    cr_expect_eq(dns->max_ttl_s, 7200);
    cr_expect(dns->any_minimal && conf.acl_deny_403);
    cr_expect_str_eq(conf.acl_file, "/etc/ukai/rules/acl.conf");
    cr_expect_eq(conf.on_reload, CONF_RELOAD_KEEP);
    cr_expect_eq(conf.log.access, CONF_ACCESS_FILE);
    cr_expect_str_eq(conf.log.access_path, "/var/log/ukai.log");
    cr_expect_eq(conf.log.format, CONF_FORMAT_JSON);
    cr_expect_eq(conf.process.workers, 3);
    cr_expect_str_eq(conf.process.user, "proxy");
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__takes_host_servers_but_not_itself__without_name_server)
{
    struct findings findings = {0};
    struct conf conf;
    char dir[32], path[64];
    static const char resolv[] = "nameserver 127.0.0.1\nnameserver 192.0.2.53\n";
    static const char file[] =
        "[web-proxy]\nlisten-network = ::1\n[dns]\nlisten-network = 127.0.0.1\n";

    found_dir(dir);
    snprintf(path, sizeof(path), "%s/resolv.conf", dir);
    found_write(path, resolv, strlen(resolv));
    cr_assert_eq(load_bytes("t", file, strlen(file), path, &findings, &conf), 0);
    cr_expect(found(&findings, FINDING_WARNING, 0, "our own"));
    cr_expect_eq(conf.web_proxies[0].base.name_servers.n_items, 1);
    cr_expect(conf.web_proxies[0].base.uses_resolv_conf && conf.dns[0].base.uses_resolv_conf);
    cr_expect_eq(conf.dns[0].base.name_servers.n_items, 1);
    load_fini(&conf);
    findings_fini(&findings);
}

Test(conf_load, load__bounds_listeners__in_a_hostile_file)
{
    struct findings findings = {0};
    struct conf conf;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    for (int i = 0; i < 200; i++)
        fprintf(out,
                "[web-proxy w%d]\nlisten-network = 127.0.0.1\nlisten-port = %d\nname-server = "
                "192.0.2.1\n",
                i, i + 1);
    fclose(out);
    cr_expect_eq(load_bytes("t", text, len, NO_RESOLV, &findings, &conf), -EINVAL);
    cr_expect_eq(conf.n_web_proxies, LOAD_LISTENERS_MAX);
    cr_expect_eq(findings.n_errors, 200 - LOAD_LISTENERS_MAX);
    load_fini(&conf);
    findings_fini(&findings);
    free(text);
}

/* One complete configuration or none: embedded default, files on disk, references (G02, G16, G22).
 */
#include "conf/snapshot.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "found.h"

#define NO_RESOLV "/nonexistent/resolv.conf"

static const char good_conf[] =
    "[web-proxy]\nlisten-network = 127.0.0.1\nname-server = 192.0.2.53\n"
    "[dns]\nlisten-network = 127.0.0.1\nlisten-port = 5353\nname-server = 192.0.2.53\n";
static const char good_acl[] = "[in]\ntcp 8080 = 127.0.0.1 ; proxy\nudp 5353 = 127.0.0.2 ; dns\n";

static struct addr address(const char *text)
{
    struct addr addr;

    cr_assert_eq(addr_parse(text, strlen(text), &addr), 0, "%s", text);
    return addr;
}

static bool admits(const struct in_table *table, const char *text)
{
    struct addr addr = address(text);
    return in_table_ask(table, &addr) != NULL;
}

/* Both files into a new directory; gives the path of ukai.conf. */
static const char *write_files(const char *conf, const char *acl, char path[static 64])
{
    char dir[32], acl_path[64];

    found_dir(dir);
    snprintf(path, 64, "%s/ukai.conf", dir);
    snprintf(acl_path, sizeof(acl_path), "%s/acl.conf", dir);
    found_write(path, conf, strlen(conf));
    if (acl)
        found_write(acl_path, acl, strlen(acl));
    return path;
}

Test(conf_snapshot, load__gives_loopback_only__without_a_file)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;

    cr_assert_eq(snapshot_load_from(NULL, NO_RESOLV, &findings, &s), 0);
    cr_expect_null(s->conf.file);
    cr_assert_eq(s->conf.n_web_proxies, 1);
    cr_assert_eq(s->conf.n_dns, 1);
    const struct conf_listener *web = &s->conf.web_proxies[0].base;
    const struct conf_listener *dns = &s->conf.dns[0].base;
    char text[ADDR_TEXT_MAX];
    cr_expect_eq(web->n_networks, 2);
    cr_expect_str_eq(addr_text(&web->networks[0].addr, text), "127.0.0.1");
    cr_expect_str_eq(addr_text(&web->networks[1].addr, text), "::1");
    cr_expect_eq(web->port, 8080);
    cr_expect_eq(dns->n_networks, 1);
    cr_expect_str_eq(addr_text(&dns->networks[0].addr, text), "127.0.0.1");
    cr_expect_eq(dns->port, 5353);
    cr_expect(web->uses_resolv_conf && dns->uses_resolv_conf);
    cr_expect_eq(web->name_servers.n_items, 0);
    const struct in_table *tables[] = {s->conf.web_proxies[0].table, s->conf.dns[0].udp_table,
                                       s->conf.dns[0].tcp_table};
    for (size_t i = 0; i < 3; i++) {
        cr_expect(admits(tables[i], "127.0.0.1") && admits(tables[i], "127.255.255.255") &&
                  admits(tables[i], "::1"));
        cr_expect(!admits(tables[i], "192.168.1.10") && !admits(tables[i], "::2") &&
                  !admits(tables[i], "128.0.0.0"));
    }
    cr_expect_null(snapshot_unref(s));
    findings_fini(&findings);
}

Test(conf_snapshot, load__gives_each_listener_its_table__from_files)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;
    char path[64], text[2048];

    write_files(good_conf, good_acl, path);
    cr_assert_eq(snapshot_load_from(path, NO_RESOLV, &findings, &s), 0, "%s",
                 found_text(&findings, text, sizeof(text)));
    cr_expect_str_eq(s->conf.file, path);
    cr_expect(admits(s->conf.web_proxies[0].table, "127.0.0.1"));
    cr_expect(!admits(s->conf.web_proxies[0].table, "127.0.0.2"));
    cr_expect(admits(s->conf.dns[0].udp_table, "127.0.0.2"));
    cr_expect(!admits(s->conf.dns[0].tcp_table, "127.0.0.2"));
    snapshot_unref(s);
    findings_fini(&findings);
}

Test(conf_snapshot, load__shares_tables__of_one_protocol_and_port)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;
    char path[64];

    write_files("[web-proxy a]\nlisten-network = 127.0.0.1\nname-server = 192.0.2.53\n"
                "[web-proxy b]\nlisten-network = 127.0.0.2\nname-server = 192.0.2.53\n",
                good_acl, path);
    cr_assert_eq(snapshot_load_from(path, NO_RESOLV, &findings, &s), 0);
    cr_expect_eq(s->n_tables, 1);
    cr_expect_eq(s->conf.web_proxies[0].table, s->conf.web_proxies[1].table);
    snapshot_unref(s);
    findings_fini(&findings);
}

Test(conf_snapshot, load__says_both_files__and_gives_nothing_when_broken)
{
    static const struct {
        const char *id, *conf, *acl, *why;
    } rows[] = {
        {"G02 no rules", good_conf, "[in]\n", "[in]"},
        {"G02 no acl file", good_conf, NULL, "No such file"},
        {"G02 empty conf", "", good_acl, "nothing to serve"},
        {"broken conf, broken acl",
         "[web-proxy]\nlisten-network = 127.0.0.1\nname-server = 192.0.2.1\nx = y\n",
         "[in]\nany = 10.0.0.5/8\n", "host bits"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct snapshot *s = NULL;
        char path[64], text[2048];
        write_files(rows[i].conf, rows[i].acl, path);
        cr_expect_eq(snapshot_load_from(path, NO_RESOLV, &findings, &s), -EINVAL, "%s", rows[i].id);
        cr_expect_null(s, "%s", rows[i].id);
        cr_expect(found(&findings, FINDING_ERROR, 0, rows[i].why), "%s:\n%s", rows[i].id,
                  found_text(&findings, text, sizeof(text)));
        findings_fini(&findings);
    }
}

Test(conf_snapshot, load__is_an_error__when_ukai_conf_is_missing)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;

    cr_expect_eq(snapshot_load_from("/nonexistent/ukai.conf", NO_RESOLV, &findings, &s), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 0, "No such file"));
    findings_fini(&findings);
}

static void *on_thread(void *arg)
{
    for (int i = 0; i < 10000; i++)
        snapshot_unref(snapshot_ref(arg));
    return NULL;
}

Test(conf_snapshot, unref__frees_with_the_last_one__from_any_thread)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;
    pthread_t threads[2];

    cr_assert_eq(snapshot_load_from(NULL, NO_RESOLV, &findings, &s), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, on_thread, s), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(s->n_refs, 1);
    cr_expect_null(snapshot_unref(s));
    cr_expect_null(snapshot_unref(NULL));
    findings_fini(&findings);
}

/* ---- watched files ---- */

static const char watched_conf[] =
    "[web-proxy]\nlisten-network = 127.0.0.1\n"
    "[dns]\nlisten-network = 127.0.0.1\nlisten-port = 5353\nhosts-file = hosts\n"
    "[dns-hosts]\nhost = box.lan 192.168.1.1\n";

struct watched {
    char conf[64], hosts[64], resolv[64];
    struct snapshot *s;
};

static void put_text(const char *path, const char *text)
{
    char fresh[80];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    found_write(fresh, text, strlen(text));
    cr_assert_eq(rename(fresh, path), 0);
}

static struct watched watched_open(void)
{
    struct watched w = {.s = NULL};
    struct findings findings = {0};
    char text[4096];
    write_files(watched_conf, good_acl, w.conf);
    snprintf(w.hosts, sizeof(w.hosts), "%.*s/hosts", (int)(strrchr(w.conf, '/') - w.conf), w.conf);
    snprintf(w.resolv, sizeof(w.resolv), "%.*s/resolv", (int)(strrchr(w.conf, '/') - w.conf),
             w.conf);
    put_text(w.hosts, "192.168.1.5 nas.lan\n");
    put_text(w.resolv, "nameserver 192.0.2.53\n");
    cr_assert_eq(snapshot_load_from(w.conf, w.resolv, &findings, &w.s), 0, "%s",
                 found_text(&findings, text, sizeof(text)));
    findings_fini(&findings);
    return w;
}

/* Takes the new snapshot, if there is one. Returns what snapshot_reread() did. */
static int reread(struct watched *w, size_t *ret_errors, bool *ret_is_bad)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;
    *ret_is_bad = false;
    int r = snapshot_reread(w->s, w->resolv, &findings, ret_is_bad, &s);
    *ret_errors = findings.n_errors;
    findings_fini(&findings);
    if (r == 0) {
        snapshot_unref(w->s);
        w->s = s;
    }
    return r;
}

static unsigned n_addrs(struct hosts *h, const char *name)
{
    struct addr addrs[HOSTS_ADDRS_MAX];
    return h ? hosts_find_text(h, name, addrs) : 0;
}

Test(conf_snapshot, reread__changes_the_records_and_nothing_else)
{
    struct watched w = watched_open();
    const struct acl *acl = w.s->acl;
    size_t n_errors;
    bool is_bad;
    cr_expect_eq(n_addrs(w.s->conf.hosts, "box.lan"), 1);
    cr_expect_eq(w.s->conf.web_proxies[0].hosts, w.s->conf.dns[0].hosts);
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME);
    for (int i = 0; i < 3; i++) {
        put_text(w.hosts, i % 2 ? "192.168.1.5 nas.lan\n" : "192.168.1.6 new.lan\n");
        cr_assert_eq(reread(&w, &n_errors, &is_bad), 0);
        cr_expect_eq(n_addrs(w.s->conf.dns[0].hosts, "new.lan"), i % 2 ? 0 : 1);
        cr_expect_eq(w.s->conf.web_proxies[0].hosts, w.s->conf.dns[0].hosts);
        cr_expect_eq(w.s->acl, acl);
        cr_expect_null(w.s->base->base, "snapshots must not pile up");
        cr_expect_eq(w.s->conf.web_proxies[0].base.name_servers.n_items, 1);
    }
    snapshot_unref(w.s);
}

Test(conf_snapshot, reread__keeps_the_last_good_records__of_a_bad_file)
{
    struct watched w = watched_open();
    size_t n_errors;
    bool is_bad;
    put_text(w.hosts, "192.168.1.5 nas.lan\n192.168.1\n");
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME);
    cr_expect_eq(n_errors, 1);
    unlink(w.hosts);
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME);
    cr_expect_eq(n_addrs(w.s->conf.dns[0].hosts, "nas.lan"), 1);
    put_text(w.hosts, "");
    cr_expect_eq(reread(&w, &n_errors, &is_bad), 0);
    cr_expect_eq(n_addrs(w.s->conf.dns[0].hosts, "nas.lan"), 0);
    snapshot_unref(w.s);
}

Test(conf_snapshot, reread__follows_resolv_conf__but_never_to_nobody)
{
    struct watched w = watched_open();
    size_t n_errors;
    bool is_bad;
    put_text(w.resolv, "# empty\n");
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME);
    cr_expect(is_bad);
    unlink(w.resolv);
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME);
    cr_expect(is_bad);
    put_text(w.resolv, "search lan\nnameserver 192.0.2.53\n");
    cr_expect_eq(reread(&w, &n_errors, &is_bad), SNAPSHOT_SAME, "the same servers");
    cr_expect(!is_bad);
    put_text(w.resolv, "nameserver 192.0.2.54\nnameserver 192.0.2.53\n");
    cr_assert_eq(reread(&w, &n_errors, &is_bad), 0);
    cr_expect_eq(w.s->conf.dns[0].base.name_servers.n_items, 2);
    cr_expect_eq(w.s->conf.web_proxies[0].base.name_servers.n_items, 2);
    snapshot_unref(w.s);
}

Test(conf_snapshot, keep_servers__saves_those_of_before__at_a_reload)
{
    struct watched w = watched_open();
    struct findings findings = {0};
    struct snapshot *s = NULL;
    put_text(w.resolv, "");
    cr_assert_eq(snapshot_load_from(w.conf, w.resolv, &findings, &s), 0);
    cr_expect(snapshot_keep_servers(s, w.s));
    cr_expect_eq(s->conf.dns[0].base.name_servers.n_items, 1);
    cr_expect(!snapshot_keep_servers(s, w.s));
    snapshot_unref(s);
    snapshot_unref(w.s);
    findings_fini(&findings);
}

Test(conf_snapshot, load__refuses__a_hosts_file_with_a_bad_line)
{
    struct watched w = watched_open();
    struct findings findings = {0};
    struct snapshot *s = NULL;
    put_text(w.hosts, "192.168.1.5 nas.lan\n\n192.168.1.5 n/s\n");
    cr_expect_eq(snapshot_load_from(w.conf, w.resolv, &findings, &s), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 3, "no host name"));
    unlink(w.hosts);
    cr_expect_eq(snapshot_load_from(w.conf, w.resolv, &findings, &s), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 0, "No such file"));
    snapshot_unref(w.s);
    findings_fini(&findings);
}

/* What is printed reads back as the same settings; the examples that we ship are free of findings.
 */
#include "conf/print.h"

#include <criterion/criterion.h>
#include <string.h>

#include "conf/load.h"
#include "conf/schema.h"
#include "found.h"

#define NO_RESOLV "/nonexistent/resolv.conf"

static char *printed(const struct conf *conf, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    cr_assert_not_null(out);
    print_conf(conf, out);
    fclose(out);
    return text;
}

Test(conf_print, conf__reads_back_the_same__for_all_types)
{
    static const char file[] =
        "[web-proxy lan2]\nlisten-network = eth1, 192.168.1.254, 2001:db8::1\nlisten-port = 3128\n"
        "bypass-network = 198.51.100.7, 2001:db8::7\nbypass-mark = 32\nconnect-ports = 443, "
        "8000-8999, 65535\n"
        "name-server = 192.0.2.53, [2001:db8::53]:5353\ndescription = 迂回\n"
        "[dns]\nlisten-network = eth1\nbypass-network = eth0\nname-server = 192.0.2.53\ncache-size "
        "= 1000000\n"
        "min-ttl = 50s\nany-queries = minimal\n"
        "[acl]\nfile = /etc/a.conf\ndeny-answer = 403\non-reload = grace=90s\n"
        "[limits]\nmax-clients = 17\nhead-size = 48K\n[timeouts]\ntunnel-life = 1500ms\n"
        "[log]\nlevel = debug\naccess = /var/log/x\naccess-format = logfmt\nlog-query-strings = "
        "yes\n"
        "[process]\nworkers = 3\nuser = proxy\nnofile = 1024\n";
    struct findings findings = {0};
    struct conf first, second;
    size_t len, len2;
    char all[4096];

    cr_assert_eq(load_bytes("t", file, strlen(file), NO_RESOLV, &findings, &first), 0, "%s",
                 found_text(&findings, all, sizeof(all)));
    char *text = printed(&first, &len);
    cr_assert_eq(load_bytes("t", text, len, NO_RESOLV, &findings, &second), 0, "%s\n%s", text,
                 found_text(&findings, all, sizeof(all)));
    char *again = printed(&second, &len2);
    cr_expect_str_eq(text, again);
    static const char *const parts[] = {"[web-proxy lan2]",
                                        "eth1, 192.168.1.254, 2001:db8::1",
                                        "443, 8000-8999, 65535",
                                        "0x20",
                                        "90s",
                                        "1500ms",
                                        "grace=90s",
                                        "[dns]",
                                        "48K"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        cr_expect_not_null(strstr(text, parts[i]), "%s is not in\n%s", parts[i], text);
    free(text);
    free(again);
    load_fini(&first);
    load_fini(&second);
    findings_fini(&findings);
}

Test(conf_print, examples__load_without_a_finding__as_shipped)
{
    static const char *const names[] = {EXAMPLES "/ukai.conf", EXAMPLES "/full.conf",
                                        EXAMPLES "/minimal.conf"};
    static const char resolv[] = "nameserver 192.0.2.53\n";
    char dir[32], path[64];

    found_dir(dir);
    snprintf(path, sizeof(path), "%s/resolv.conf", dir);
    found_write(path, resolv, strlen(resolv));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct findings findings = {0};
        struct snapshot *s = NULL;
        char text[4096];
        int r = snapshot_load_from(names[i], path, &findings, &s);
        cr_expect_eq(r, 0, "%s: %s", names[i], found_text(&findings, text, sizeof(text)));
        for (size_t k = 0; k < findings.n_items; k++)
            cr_expect_not_null(strstr(findings.items[k].text, "chmod"), "%s: %s", names[i],
                               findings.items[k].text);
        snapshot_unref(s);
        findings_fini(&findings);
    }
}

Test(conf_print, full_example__names_every_key__of_the_schema)
{
    char *text = NULL;
    size_t len = 0;
    FILE *in = fopen(EXAMPLES "/full.conf", "re");

    cr_assert_not_null(in);
    cr_assert_gt(getdelim(&text, &len, '\0', in), 0);
    fclose(in);
    const char *at = text;
    for (size_t i = 0; i < schema_n_keys(); i++) {
        char line[128];
        const char *section = schema_section_info(schema_key_at(i)->section)->name;
        if (i == 0 || schema_key_at(i)->section != schema_key_at(i - 1)->section) {
            snprintf(line, sizeof(line), "\n[%s]\n", section);
            at = strstr(text, line);
            cr_assert_not_null(at, "[%s]", section);
        }
        snprintf(line, sizeof(line), "%s = ", schema_key_at(i)->name);
        const char *next = strstr(at, line);
        cr_expect_not_null(next, "[%s] %s: write the file anew with `schema_doc example`", section,
                           schema_key_at(i)->name);
        at = next ? next : at;
    }
    free(text);
}

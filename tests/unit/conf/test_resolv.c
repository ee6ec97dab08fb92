/* resolv.conf(5) as it is found in the field. */
#include "conf/resolv.h"

#include <criterion/criterion.h>
#include <string.h>

#include "found.h"

struct row {
    const char *bytes;
    const char *servers; /* endpoint texts, a blank behind each */
    const char *warning;
};

Test(conf_resolv, parse__takes_what_libc_takes__in_each_row)
{
    static const struct row rows[] = {
        {"nameserver 192.0.2.53\n", "192.0.2.53:53 ", NULL},
        {"# c\nsearch example.com\nnameserver\t192.0.2.53\noptions ndots:2\nnameserver "
         "2001:db8::53",
         "192.0.2.53:53 [2001:db8::53]:53 ", NULL},
        {"nameserver 192.0.2.53   # trailing\r\n", "192.0.2.53:53 ", NULL},
        {"nameserver 192.0.2.1\nnameserver 192.0.2.1\n", "192.0.2.1:53 ", NULL},
        {"nameserver 127.0.0.53\nnameserver dns.example\n", "127.0.0.53:53 ", "no address"},
        {"nameserver 192.0.2.1\nnameserver fe80::1\n", "192.0.2.1:53 ", "link-local"},
        {"nameserver 192.0.2.1\nnameserver fe80::1%no-such-if0\n", "192.0.2.1:53 ", "link-local"},
        {"", "", "no usable"},
        {"nameservers 192.0.2.1\n nameserver 192.0.2.2\n;nameserver 192.0.2.3\n", "", "no usable"},
        {"nameserver\n", "", "no usable"},
        {"nameserver \n", "", "no address"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf_name_servers servers;
        struct findings findings = {0};
        char seen[512] = "", text[ENDPOINT_TEXT_MAX];
        cr_assert_eq(
            resolv_parse_bytes("r", rows[i].bytes, strlen(rows[i].bytes), &findings, &servers), 0);
        for (size_t k = 0; k < servers.n_items; k++) {
            size_t len = strlen(seen);
            snprintf(seen + len, sizeof(seen) - len, "%s ",
                     endpoint_text(&servers.items[k].endpoint, text));
        }
        cr_expect_str_eq(seen, rows[i].servers, "row %zu: %s", i, seen);
        cr_expect_eq(findings.n_errors, 0, "row %zu", i);
        cr_expect_eq(findings.n_warnings > 0, rows[i].warning != NULL, "row %zu", i);
        cr_expect(!rows[i].warning || found(&findings, FINDING_WARNING, 0, rows[i].warning),
                  "row %zu", i);
        free(servers.items);
        findings_fini(&findings);
    }
}

Test(conf_resolv, parse__keeps_the_scope__of_a_link_local_server)
{
    struct conf_name_servers servers;
    struct findings findings = {0};
    static const char bytes[] = "nameserver fe80::1%7\n";

    cr_assert_eq(resolv_parse_bytes("r", bytes, strlen(bytes), &findings, &servers), 0);
    cr_assert_eq(servers.n_items, 1);
    cr_expect_eq(servers.items[0].endpoint.scope_id, 7);
    free(servers.items);
    findings_fini(&findings);
}

Test(conf_resolv, parse__takes_eight__of_many)
{
    struct conf_name_servers servers;
    struct findings findings = {0};
    char bytes[1024] = "";

    for (int i = 1; i <= 20; i++)
        snprintf(bytes + strlen(bytes), sizeof(bytes) - strlen(bytes), "nameserver 192.0.2.%d\n",
                 i);
    cr_assert_eq(resolv_parse_bytes("r", bytes, strlen(bytes), &findings, &servers), 0);
    cr_expect_eq(servers.n_items, RESOLV_MAX);
    free(servers.items);
    findings_fini(&findings);
}

Test(conf_resolv, load__warns_and_goes_on__without_a_file)
{
    struct conf_name_servers servers;
    struct findings findings = {0};

    cr_expect_eq(resolv_load("/nonexistent/resolv.conf", &findings, &servers), 0);
    cr_expect_eq(servers.n_items, 0);
    cr_expect(found(&findings, FINDING_WARNING, 0, "set name-server"));
    findings_fini(&findings);
}

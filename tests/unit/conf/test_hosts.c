/* Local records by name and by address, and how they are read from hosts(5). */
#include "conf/hosts.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "conf/hostsfile.h"
#include "found.h"

static struct addr addr_of(const char *text)
{
    struct addr a;
    cr_assert_eq(addr_parse(text, strlen(text), &a), 0, "%s", text);
    return a;
}

static int add(struct hosts *h, const char *name, const char *addr)
{
    struct addr a = addr_of(addr);
    return hosts_add(h, name, strlen(name), &a);
}

/* "192.0.2.1 2001:db8::1 " */
static const char *addrs_of(const struct hosts *h, const char *name, char buf[static 4096])
{
    struct addr addrs[HOSTS_ADDRS_MAX];
    char text[ADDR_TEXT_MAX];
    size_t len = 0;
    unsigned n = hosts_find_text(h, name, addrs);
    buf[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(buf + len, 4096 - len, "%s ", addr_text(&addrs[i], text));
    return buf;
}

static const char *reverse_of(const struct hosts *h, const char *addr)
{
    struct addr a = addr_of(addr);
    size_t len;
    const char *wire = (const char *)hosts_reverse(h, &a, &len);
    return wire;
}

Test(conf_hosts, find__gives_addresses_in_order__any_case_and_final_dot)
{
    struct hosts *h = hosts_new(NULL);
    char buf[4096], name[HOSTS_NAME_MAX];
    cr_assert_eq(add(h, "Nas.LAN", "192.168.1.5"), 0);
    cr_assert_eq(add(h, "nas.lan.", "fd00::5"), 0);
    cr_assert_eq(add(h, "nas", "192.168.1.5"), 0);
    cr_expect_str_eq(addrs_of(h, "NAS.lan", buf), "192.168.1.5 fd00::5 ");
    cr_expect_str_eq(addrs_of(h, "lan", buf), "");
    cr_expect_str_eq(addrs_of(h, "x.nas.lan", buf), "");
    cr_expect_str_eq(reverse_of(h, "192.168.1.5"), "\x03nas\x03lan");
    cr_expect_null(reverse_of(h, "192.168.1.6"));
    cr_expect_eq(hosts_count(h), 3);
    cr_expect_eq(addr_compare(hosts_at(h, 1, name), (struct addr[]){addr_of("fd00::5")}), 0);
    cr_expect_str_eq(name, "nas.lan");
    hosts_unref(h);
}

Test(conf_hosts, find__gives_nothing__in_an_empty_table)
{
    struct hosts *h = hosts_new("f");
    char buf[4096];
    cr_expect_str_eq(addrs_of(h, "nas", buf), "");
    cr_expect_null(reverse_of(h, "192.0.2.1"));
    hosts_unref(h);
}

Test(conf_hosts, add__refuses__what_is_no_host_name)
{
    static const char *const names[] = {"",    ".",   "a..b", ".a",    "a b",  "a/b", "\xc3\xa4",
                                        "a:b", "a\n", "*.a",  "a.b..", "a\\b", "a%b"};
    struct hosts *h = hosts_new(NULL);
    char longest[300];
    struct addr a = addr_of("192.0.2.1");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cr_expect_eq(add(h, names[i], "192.0.2.1"), -EINVAL, "%s", names[i]);
    cr_expect_eq(hosts_add(h, "a\0b", 3, &a), -EINVAL);
    memset(longest, 'a', sizeof(longest));
    cr_expect_eq(hosts_add(h, longest, 63, &a), 0);
    cr_expect_eq(hosts_add(h, longest, 64, &a), -EINVAL);
    for (size_t i = 1; i < 254; i += 2)
        longest[i] = '.';
    cr_expect_eq(hosts_add(h, longest, 253, &a), 0);
    cr_expect_eq(hosts_add(h, longest, 255, &a), -EINVAL);
    hosts_unref(h);
}

Test(conf_hosts, add__is_bounded__for_one_name)
{
    struct hosts *h = hosts_new(NULL);
    for (uint32_t i = 0; i < HOSTS_ADDRS_MAX; i++)
        cr_assert_eq(hosts_add(h, "a", 1, (struct addr[]){addr_from_ipv4(0xc0000200 + i)}), 0);
    cr_expect_eq(add(h, "a", "192.0.2.0"), -EEXIST);
    cr_expect_eq(add(h, "a", "203.0.113.1"), -ENOSPC);
    hosts_unref(h);
}

Test(conf_hosts, reverse__is_silent__for_the_addresses_of_block_lists)
{
    struct hosts *h = hosts_new(NULL);
    cr_assert_eq(add(h, "ads.example", "0.0.0.0"), 0);
    cr_assert_eq(add(h, "ads.example", "::"), 0);
    cr_expect_null(reverse_of(h, "0.0.0.0"));
    cr_expect_null(reverse_of(h, "::"));
    hosts_unref(h);
}

/* ---- hosts(5) ---- */

struct row {
    const char *bytes;
    unsigned line; /* of the error; 0: none */
    const char *error;
    const char *nas; /* addresses of "nas" */
};

Test(conf_hosts, parse__takes_or_refuses__each_row)
{
    static const struct row rows[] = {
        {"192.0.2.1 nas\n", 0, NULL, "192.0.2.1 "},
        {"192.0.2.1\tnas.lan   nas # the box\r\n2001:db8::1 NAS", 0, NULL,
         "192.0.2.1 2001:db8::1 "},
        {"\xef\xbb\xbf# comment\n\n   \n\t192.0.2.1 nas#x\n", 0, NULL, "192.0.2.1 "},
        {"192.0.2.1 nas nas\n192.0.2.1 nas\n", 0, NULL, "192.0.2.1 "},
        {"", 0, NULL, ""},
        {"::ffff:192.0.2.1 nas\n", 0, NULL, "192.0.2.1 "},
        {"fe80::1%lo0 nas\n192.0.2.1 nas\n", 0, NULL, "192.0.2.1 "},
        {"192.0.2.1 nas\n192.0.2\n", 2, "is no address", NULL},
        {"192.0.2.1\n", 1, "without a name", NULL},
        {"192.0.2.1 # nas\n", 1, "without a name", NULL},
        {"192.0.2.1 na/s\n", 1, "no host name", NULL},
        {"nas 192.0.2.1\n", 1, "is no address", NULL},
        {"192.0.2.1 nas\n\n\n127.1 x\n", 4, "is no address", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct hosts *h = NULL;
        char all[4096], buf[4096];
        int r = hostsfile_parse_bytes("h", rows[i].bytes, strlen(rows[i].bytes), &findings, &h);
        cr_expect_eq(r, rows[i].error ? -EINVAL : 0, "row %zu: %s", i,
                     found_text(&findings, all, sizeof(all)));
        if (rows[i].error)
            cr_expect(found(&findings, FINDING_ERROR, rows[i].line, rows[i].error), "row %zu: %s",
                      i, found_text(&findings, all, sizeof(all)));
        else
            cr_expect_str_eq(addrs_of(h, "nas", buf), rows[i].nas, "row %zu: %s", i, buf);
        hosts_unref(h);
        findings_fini(&findings);
    }
}

Test(conf_hosts, parse__refuses__a_line_that_is_too_long)
{
    size_t len = HOSTSFILE_LINE_MAX + 100;
    char *bytes = malloc(len);
    struct findings findings = {0};
    struct hosts *h = NULL;
    memset(bytes, 'a', len);
    memcpy(bytes, "192.0.2.1 ", 10);
    cr_expect_eq(hostsfile_parse_bytes("h", bytes, len, &findings, &h), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 1, "longer than"));
    findings_fini(&findings);
    free(bytes);
}

Test(conf_hosts, load__refuses__what_is_no_file_of_ours)
{
    struct findings findings = {0};
    struct hosts *h = NULL;
    cr_expect_eq(hostsfile_load("/nonexistent/hosts", &findings, &h), -EINVAL);
    cr_expect_eq(hostsfile_load("/tmp", &findings, &h), -EINVAL);
    cr_expect_eq(findings.n_errors, 2);
    cr_expect_null(h);
    findings_fini(&findings);
}

Test(conf_hosts, is_current__notices__every_change)
{
    char dir[32], path[64], other[64];
    struct findings findings = {0};
    struct hosts *h = NULL;
    found_dir(dir);
    snprintf(path, sizeof(path), "%s/hosts", dir);
    snprintf(other, sizeof(other), "%s/new", dir);
    found_write(path, "192.0.2.1 a\n", 12);
    cr_assert_eq(hostsfile_load(path, &findings, &h), 0);
    cr_expect(hostsfile_is_current(h));
    found_write(other, "192.0.2.2 a\n", 12);
    rename(other, path);
    cr_expect(!hostsfile_is_current(h));
    unlink(path);
    cr_expect(!hostsfile_is_current(h));
    hosts_unref(h);
    findings_fini(&findings);
}

/* Chains as long as the table would run into the test's time limit. */
Test(conf_hosts, find__finds_each__of_100000_names)
{
    enum { N = 100000 };
    struct findings findings = {0};
    struct hosts *h = NULL;
    char *bytes = NULL, name[32];
    size_t len;
    FILE *out = open_memstream(&bytes, &len);
    for (unsigned i = 0; i < N; i++)
        fprintf(out, "10.%u.%u.%u host%u.lan host%u\n", i >> 16, i >> 8 & 255, i & 255, i, i);
    fclose(out);
    cr_assert_eq(hostsfile_parse_bytes("h", bytes, len, &findings, &h), 0);
    cr_expect_eq(hosts_count(h), 2 * N);
    struct addr addrs[HOSTS_ADDRS_MAX];
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "host%u.lan", i);
        cr_assert_eq(hosts_find_text(h, name, addrs), 1);
        cr_assert_eq(addr_ipv4(&addrs[0]), 0x0a000000 + i);
    }
    hosts_unref(h);
    findings_fini(&findings);
    free(bytes);
}

/* Patterns of [out]: what each form means, and every mistake with what to write instead (A02-A08, G08, G14-G17). */
#include "acl/rule.h"

#include <errno.h>

#include "lines.h"

static const struct {
    const char *text;
    enum out_kind kind;
    const char *what;  /* the name, or the range */
    const char *ports; /* "" for every port */
} good[] = {
    {"*", OUT_KIND_ANY, "", ""},
    {"*:443", OUT_KIND_ANY, "", "443"},
    {"www.example.com", OUT_KIND_NAME, "www.example.com", ""},
    {"WWW.Example.COM.", OUT_KIND_NAME, "www.example.com", ""},
    {"intranet", OUT_KIND_NAME, "intranet", ""},
    {"a_b.example:80", OUT_KIND_NAME, "a_b.example", "80"},
    {"xn--wgv71a.example", OUT_KIND_NAME, "xn--wgv71a.example", ""},
    {"3com.example", OUT_KIND_NAME, "3com.example", ""},
    {"1.2.3.4.example", OUT_KIND_NAME, "1.2.3.4.example", ""},
    {"*.deepsecurity.trendmicro.com:443", OUT_KIND_BELOW, "deepsecurity.trendmicro.com", "443"},
    {".example.com:8000-8090", OUT_KIND_SUFFIX, "example.com", "8000-8090"},
    {"example.com:{80,443}", OUT_KIND_NAME, "example.com", "80 443"},
    {"example.com:{ 80, 8000-8090 ,443 }", OUT_KIND_NAME, "example.com", "80 8000-8090 443"},
    {"10.1.2.0/24:443", OUT_KIND_RANGE, "10.1.2.0/24", "443"},
    {"10.1.2.3", OUT_KIND_RANGE, "10.1.2.3", ""},
    {"10.1.2.3:{80,443}", OUT_KIND_RANGE, "10.1.2.3", "80 443"},
    {"10.1.2.3-10.1.2.9:1-65535", OUT_KIND_RANGE, "10.1.2.3-10.1.2.9", "1-65535"},
    {"0.0.0.0/0", OUT_KIND_RANGE, "0.0.0.0/0", ""},
    {"2001:db8::/32", OUT_KIND_RANGE, "2001:db8::/32", ""},
    {"2001:db8::1", OUT_KIND_RANGE, "2001:db8::1", ""},
    {"[2001:db8::/32]:443", OUT_KIND_RANGE, "2001:db8::/32", "443"},
    {"[2001:db8::1]", OUT_KIND_RANGE, "2001:db8::1", ""},
    {"[2001:db8::1:443]", OUT_KIND_RANGE, "2001:db8::1:443", ""},
    {"[2001:db8::1-2001:db8::9]:{80,443}", OUT_KIND_RANGE, "2001:db8::1-2001:db8::9", "80 443"},
    {"[::/0]", OUT_KIND_RANGE, "::/0", ""},
    {"::ffff:10.0.0.1", OUT_KIND_RANGE, "10.0.0.1", ""},
    {"[::ffff:10.0.0.0/104]:443", OUT_KIND_RANGE, "10.0.0.0/8", "443"},
};

static const char *ports_text(const struct out_rule *rule, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; rule->has_ports && i < rule->n_ports && len < size; i++) {
        unsigned first = rule->ports[i].first, last = rule->ports[i].last;
        len += (size_t)snprintf(buf + len, size - len, first == last ? "%s%u" : "%s%u-%u", i ? " " : "", first, last);
    }
    return buf;
}

Test(acl_pattern, parse__gives_kind_name_range_and_ports__in_each_row)
{
    for (size_t i = 0; i < N_ROWS(good); i++) {
        struct findings f = {0};
        struct acl *acl = acl_new("acl.conf");
        char said[2048], range[2 * ADDR_TEXT_MAX] = "", ports[128];
        int r = acl_add_out(acl, i % 2 ? "allow" : "deny", good[i].text, "", 1, &f);
        cr_assert_eq(r, 0, "%s: %s", good[i].text, found_text(&f, said, sizeof(said)));
        cr_expect_eq(f.n_items, 0, "%s: %s", good[i].text, found_text(&f, said, sizeof(said)));
        const struct out_rule *rule = &acl->out[0];
        cr_expect_eq(rule->is_allow, i % 2 == 1);
        cr_expect_eq(rule->kind, good[i].kind, "%s", good[i].text);
        if (rule->kind == OUT_KIND_RANGE)
            addr_range_text(&rule->range, range, sizeof(range));
        cr_expect_str_eq(rule->name ? rule->name : range, good[i].what, "%s", good[i].text);
        cr_expect_str_eq(ports_text(rule, ports, sizeof(ports)), good[i].ports, "%s", good[i].text);
        cr_expect_eq(rule->has_ports, good[i].ports[0] != '\0', "%s", good[i].text);
        acl_free(acl);
        findings_fini(&f);
    }
}

static const struct {
    const char *text;
    const char *why;
    const char *hint;
} bad[] = {
    {"", "missing", "write *"},
    {":443", "missing in front", "write *"},
    {"example.com:", "port is missing", "leave the colon off"},
    {"example.com:0", "`0`", "1 to 65535"},
    {"example.com:65536", "`65536`", "1 to 65535"},
    {"example.com:443-", "both ends", "8080-8090"},
    {"example.com:500-400", "ends before", "lower port first"},
    {"example.com:80,443", "one destination a line", "another line"},
    {"a.example,b.example", "one destination a line", "another line"},
    {"a.example b.example", "blank inside", "one destination a line"},
    {"example.com:{80,443", "list of ports", ":{80,443}"},
    {"example.com:{}", "list of ports", ":{80,443}"},
    {"example.com:{80,}", "port is missing", ""},
    {"example.com:{80,,443}", "port is missing", ""},
    {"example.com:{0}", "`0`", "1 to 65535"},
    {"example.com:*", "every port", "leave :* off"},
    {"example.com:443/", "no path", "host and its port"},
    {"example.com:https", "`https`", "decimal number"},
    {"https://example.com/", "no URL", "www.example.com:443"},
    {"example.com/path", "no path", "host and its port"},
    {"2001:db8::/32:443", "in brackets", "write [2001:db8::/32]:443"},
    {"2001:db8::1:{80,443}", "in brackets", "write [2001:db8::1]:{80,443}"},
    {"1:2:3:4:5:6:7:8:443", "in brackets", "write [1:2:3:4:5:6:7:8]:443"},
    {"[2001:db8::1", "not closed", "[2001:db8::/32]:443"},
    {"[2001:db8::1]443", "behind the bracket", "[2001:db8::/32]:443"},
    {"[2001:db8::1]:", "port is missing", ":443"},
    {"[10.0.0.1]:443", "for IPv6", "10.0.0.1:443"},
    {"[example.com]:443", "for IPv6", "example.com:443"},
    {"[fe80::1%eth0]:443", "zone", "leave"},
    {"fe80::1%eth0", "zone", "leave"},
    {"a:b:443", "more than one colon", "name:443"},
    {"10.0.0.5/8", "host bits", "10.0.0.0/8 for the network"},
    {"10.0.0.5/8:443", "host bits", "10.0.0.0/8 for the network"},
    {"[2001:db8::1/32]:443", "host bits", "2001:db8::/32"},
    {"10.0.0.9-10.0.0.1", "ends before", "10.0.0.1-10.0.0.9"},
    {"10.0.0.0/33", "prefix length", "0 to 32"},
    {"10.0.0/8", "no address", "in full"},
    {"127.1", "no IPv4 address", "four decimal numbers"},
    {"010.0.0.1", "no IPv4 address", "leading zeros"},
    {"0x7f.1", "no IPv4 address", "four decimal numbers"},
    {"0x7f000001", "no IPv4 address", "four decimal numbers"},
    {"2130706433:443", "no IPv4 address", "four decimal numbers"},
    {"1.2.3.4.5", "no IPv4 address", "four decimal numbers"},
    {"10.0.0.1.", "no IPv4 address", "four decimal numbers"},
    {"*.1.2.3.4", "no IPv4 address", "no * or dot in front"},
    {"a..b", "empty label", "one dot"},
    {"..example.com", "empty label", "one dot"},
    {"*..example.com", "empty label", "one dot"},
    {"*.", "name is missing", "write *"},
    {".", "name is missing", "write *"},
    {"example.com..", "empty label", "one dot"},
    {"**.example.com", "a * is written alone", "*.example.com"},
    {"www.*.com", "a * is written alone", "*.example.com"},
    {"*example.com", "a * is written alone", "*.example.com"},
    {"*.*", "a * is written alone", "*.example.com"},
    {"-a.example", "hyphen", ""},
    {"a-.example", "hyphen", ""},
    {"a%b.example", "letters, digits", ""},
    {"a@b.example", "letters, digits", ""},
    {"@agents", "a group lists sources", ""},
    {"b\xc3\xbc" "cher.example", "not ASCII", "xn--"},
};

Test(acl_pattern, parse__says_what_is_wrong_and_what_to_write__in_each_row)
{
    for (size_t i = 0; i < N_ROWS(bad); i++) {
        struct findings f = {0};
        struct acl *acl = acl_new("acl.conf");
        char said[2048];
        int r = acl_add_out(acl, "allow", bad[i].text, "", 9, &f);
        found_text(&f, said, sizeof(said));
        cr_expect_eq(r, -EINVAL, "`%s` gives %d", bad[i].text, r);
        cr_expect_eq(acl->n_out, 0);
        cr_expect(found(&f, FINDING_ERROR, 9, bad[i].why), "`%s`: %s", bad[i].text, said);
        cr_expect(found(&f, FINDING_ERROR, 9, bad[i].hint), "`%s`: %s", bad[i].text, said);
        acl_free(acl);
        findings_fini(&f);
    }
}

Test(acl_pattern, parse__warns__of_ipv6_that_looks_as_if_it_had_a_port)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");

    cr_expect_eq(acl_add_out(acl, "allow", "2001:db8::1:443", "", 1, &f), 0);
    cr_expect(found(&f, FINDING_WARNING, 1, "for port 443 write [2001:db8::1]:443"));
    cr_expect_eq(acl_add_out(acl, "allow", "2001:db8::1:2", "", 2, &f), 0);
    cr_expect_eq(acl_add_out(acl, "allow", "2001:db8::443", "", 3, &f), 0);
    cr_expect_eq(acl_add_out(acl, "allow", "2001:db8::1-2001:db8::2:443", "", 4, &f), 0);
    cr_expect(found(&f, FINDING_WARNING, 4, "write [2001:db8::1-2001:db8::2]:443"));
    cr_expect_eq(f.n_items, 2);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_pattern, parse__keeps_the_limits_of_names__at_their_ends)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    char name[300];

    memset(name, 'a', sizeof(name));
    memcpy(name + 63, ".b", 3);
    cr_expect_eq(acl_add_out(acl, "deny", name, "", 1, &f), 0, "a label of 63");
    memset(name, 'a', sizeof(name));
    memcpy(name + 64, ".b", 3);
    cr_expect_eq(acl_add_out(acl, "deny", name, "", 1, &f), -EINVAL, "a label of 64");
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 ? '.' : 'a';
    name[253] = '\0';
    cr_expect_eq(acl_add_out(acl, "deny", name, "", 1, &f), 0, "a name of 253");
    name[253] = '.';
    name[254] = 'a';
    name[255] = '\0';
    cr_expect_eq(acl_add_out(acl, "deny", name, "", 1, &f), -EINVAL, "a name of 255");
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_pattern, opens_special__needs_an_allow_line_inside_one_range__in_each_row)
{
    static const struct {
        const char *key;
        const char *text;
        bool opens;
    } rows[] = {
        {"allow", "10.1.2.0/24:443", true},
        {"allow", "10.0.0.0/8", true},
        {"allow", "fd00:1::/32", true},
        {"allow", "::ffff:10.1.2.3", true},
        {"deny", "10.1.2.0/24", false},
        {"allow", "10.0.0.0/7", false},
        {"allow", "9.255.255.255-10.1.2.3", false},
        {"allow", "223.255.255.0-255.255.255.255", false},
        {"allow", "224.0.0.0-240.0.0.0", false}, /* two ranges side by side */
        {"allow", "0.0.0.0/0", false},
        {"allow", "8.8.8.8", false},
        {"allow", "*", false},
        {"allow", "localhost", false},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct findings f = {0};
        struct acl *acl = acl_new("acl.conf");
        cr_assert_eq(acl_add_out(acl, rows[i].key, rows[i].text, "", 1, &f), 0, "%s", rows[i].text);
        cr_expect_eq(acl->out[0].opens_special, rows[i].opens, "%s = %s", rows[i].key, rows[i].text);
        acl_free(acl);
        findings_fini(&f);
    }
}

Test(acl_pattern, add_out__refuses__other_keys)
{
    static const char *const keys[] = {"alow", "Allow", "permit", "", "preset"};

    for (size_t i = 0; i < N_ROWS(keys); i++) {
        struct findings f = {0};
        struct acl *acl = acl_new("acl.conf");
        cr_expect_eq(acl_add_out(acl, keys[i], "*", "", 1, &f), -EINVAL, "%s", keys[i]);
        cr_expect(found(&f, FINDING_ERROR, 1, "write allow = DESTINATION"), "%s", keys[i]);
        acl_free(acl);
        findings_fini(&f);
    }
}

/* Lines of [in] and [group]: every word, every mistake with what to write instead, whole-file checks (G14-G17, G25). */
#include "acl/rule.h"

#include <errno.h>

#include "lines.h"

struct in_row {
    const char *key;
    enum in_proto proto;
    const char *word;
    uint16_t first;
    uint16_t last;
};

Test(acl_rule, add_in__knows_every_word__in_any_case)
{
    static const struct in_row rows[] = {
        {"tcp 8080", IN_PROTO_TCP, "tcp", 8080, 8080},
        {"TCP 8080", IN_PROTO_TCP, "tcp", 8080, 8080},
        {"Udp 53", IN_PROTO_UDP, "udp", 53, 53},
        {"tcp 8080-8090", IN_PROTO_TCP, "tcp", 8080, 8090},
        {"tcp\t 443", IN_PROTO_TCP, "tcp", 443, 443},
        {"udp 1-65535", IN_PROTO_UDP, "udp", 1, 65535},
        {"any", IN_PROTO_ANY, "any", 1, 65535},
        {"ANY", IN_PROTO_ANY, "any", 1, 65535},
        {"icmp", IN_PROTO_OTHER, "icmp", 0, 0},
        {"ICMPv6-all", IN_PROTO_OTHER, "icmpv6-all", 0, 0},
        {"gre", IN_PROTO_OTHER, "gre", 0, 0},
        {"ESP", IN_PROTO_OTHER, "esp", 0, 0},
        {"ah", IN_PROTO_OTHER, "ah", 0, 0},
        {"VRRP", IN_PROTO_OTHER, "vrrp", 0, 0},
        {"L2TP", IN_PROTO_UDP, "l2tp", 1701, 1701},
        {"SSH", IN_PROTO_TCP, "ssh", 22, 22},
        {"HTTP", IN_PROTO_TCP, "http", 80, 80},
        {"https", IN_PROTO_TCP, "https", 443, 443},
        {"RDP", IN_PROTO_TCP, "rdp", 3389, 3389},
    };
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");

    for (size_t i = 0; i < N_ROWS(rows); i++) {
        cr_assert_eq(acl_add_in(acl, rows[i].key, "10.0.0.1", "", 1, &f), 0, "%s", rows[i].key);
        const struct in_rule *rule = &acl->in[i];
        cr_expect_eq(rule->proto, rows[i].proto, "%s", rows[i].key);
        cr_expect_str_eq(rule->proto_word, rows[i].word, "%s", rows[i].key);
        cr_expect(rule->port_first == rows[i].first && rule->port_last == rows[i].last, "%s is %u-%u", rows[i].key,
                  rule->port_first, rule->port_last);
        cr_expect_eq(rule->index, i);
    }
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, add_in__keeps_how_it_was_written__with_memo_and_line)
{
    struct acl *acl = acl_good("[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ利用でのDSaaS通信用\nudp 53 = 192.168.1.10\n");

    cr_assert_eq(acl->n_in, 2);
    cr_expect_str_eq(acl->in[0].place.text, "tcp 8080 = 192.168.1.10");
    cr_expect_str_eq(acl->in[0].place.memo, "Webプロキシ利用でのDSaaS通信用");
    cr_expect_str_eq(acl->in[0].place.file, "acl.conf", "without its folder");
    cr_expect_eq(acl->in[0].place.line, 2);
    cr_expect_str_eq(acl->in[1].place.memo, "");
    acl_free(acl);
}

static void expect_sources(const char *value, const char *expected)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    char text[512] = "", one[2 * ADDR_TEXT_MAX];

    cr_assert_eq(acl_add_in(acl, "any", value, "", 1, &f), 0, "%s", value);
    for (size_t i = 0; i < acl->in[0].n_sources; i++) {
        addr_range_text(&acl->in[0].sources[i], one, sizeof(one));
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", one);
    }
    for (size_t i = 0; i < acl->in[0].n_groups; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " @%s", acl->in[0].groups[i]);
    cr_expect_str_eq(text, expected, "`%s` gives `%s`", value, text);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, add_in__takes_all_forms_of_sources__in_lists)
{
    expect_sources("192.168.1.10", "192.168.1.10");
    expect_sources("192.168.2.0/24, 192.168.4.0/24", "192.168.2.0/24 192.168.4.0/24");
    expect_sources("192.168.3.5-192.168.3.9", "192.168.3.5-192.168.3.9");
    expect_sources("0.0.0.0/0", "0.0.0.0/0");
    expect_sources("2001:db8:1::/64 ,2001:DB8::1", "2001:db8::1 2001:db8:1::/64");
    expect_sources("2001:db8::5-2001:db8::9", "2001:db8::5-2001:db8::9");
    expect_sources("::ffff:10.0.0.0/104", "10.0.0.0/8");
    expect_sources("::ffff:10.0.0.1", "10.0.0.1");
    expect_sources("@b, 10.0.0.1, @a,@b", "10.0.0.1 @a @b");
    expect_sources("10.0.0.1,10.0.0.1", "10.0.0.1");
}

/* @why: part of the finding that says what is wrong; @hint: part that says what to write. */
struct bad_row {
    const char *key;
    const char *value;
    const char *why;
    const char *hint;
};

static const struct bad_row bad_in[] = {
    {"tpc 8080", "10.0.0.1", "unknown protocol `tpc`", "write tcp 8080, udp 8080"},
    {"", "10.0.0.1", "unknown protocol", "write tcp"},
    {"8080", "10.0.0.1", "no protocol", "tcp 8080"},
    {"tcp/8080", "10.0.0.1", "tcp/8080", "blank between"},
    {"tcp:8080", "10.0.0.1", "tcp:8080", "blank between"},
    {"tcp", "10.0.0.1", "port is missing", "tcp 8080"},
    {"any 8080", "10.0.0.1", "takes no port", "tcp 8080"},
    {"ssh 22", "10.0.0.1", "takes no port", "tcp 22"},
    {"tcp 0", "10.0.0.1", "`0`", "1 to 65535"},
    {"tcp 65536", "10.0.0.1", "`65536`", "1 to 65535"},
    {"tcp 443-", "10.0.0.1", "both ends", "8080-8090"},
    {"tcp 500-400", "10.0.0.1", "ends before", "lower port first"},
    {"tcp 80,443", "10.0.0.1", "one port or range a line", "a line for each"},
    {"tcp 80 443", "10.0.0.1", "`80 443`", "decimal number"},
    {"tcp http", "10.0.0.1", "`http`", "decimal number"},
    {"any", "", "missing", "192.168.1.10"},
    {"any", "10.0.0.1,", "missing", "192.168.1.10"},
    {"any", ",10.0.0.1", "missing", "192.168.1.10"},
    {"any", "10.0.0.1,,10.0.0.2", "missing", "192.168.1.10"},
    {"any", "10.0.0.1 10.0.0.2", "blank inside", "commas"},
    {"any", "10.0.0.1 - 10.0.0.2", "blank inside", "A-B"},
    {"any", "*", "`*`", "0.0.0.0/0"},
    {"any", "@", "name is missing", "@"},
    {"any", "10.0.0.5/8", "host bits", "10.0.0.0/8 for the network, or 10.0.0.5"},
    {"any", "2001:db8::1/32", "host bits", "2001:db8::/32"},
    {"any", "::ffff:10.0.0.0/8", "mapped", "write 10.0.0.0/8"},
    {"any", "10.0.0.9-10.0.0.1", "ends before", "write 10.0.0.1-10.0.0.9"},
    {"any", "10.0.0.1-2001:db8::1", "mixes", "one range for each"},
    {"any", "10.0.0.0/33", "prefix length", "0 to 32"},
    {"any", "10.0.0.0/-1", "prefix length", "0 to 32"},
    {"any", "10.0.0.0/", "prefix length", "0 to 32"},
    {"any", "::/129", "prefix length", "0 to 128"},
    {"any", "10.0.0.0/8/8", "prefix length", "0 to 32"},
    {"any", "10.0.0.0/255.0.0.0", "mask", "10.0.0.0/8"},
    {"any", "10.0.0/8", "no address", "in full"},
    {"any", "010.0.0.0/8", "no address", "in full"},
    {"any", "010.0.0.1", "no IPv4 address", "without leading zeros"},
    {"any", "127.1", "no IPv4 address", "four decimal numbers"},
    {"any", "0x7f000001", "no IPv4 address", "four decimal numbers"},
    {"any", "2130706433", "no IPv4 address", "four decimal numbers"},
    {"any", "10.0.0.256", "no IPv4 address", "0 to 255"},
    {"any", "fe80::1%eth0", "zone", "leave"},
    {"any", "[2001:db8::1]", "brackets", "without"},
    {"any", "server.example.com", "no address", "192.168.1.10"},
    {"any", "2001:db8:::1", "no address", "2001:db8::/64"},
};

Test(acl_rule, add_in__says_what_is_wrong_and_what_to_write__in_each_row)
{
    for (size_t i = 0; i < N_ROWS(bad_in); i++) {
        struct findings f = {0};
        struct acl *acl = acl_new("acl.conf");
        char said[2048];
        int r = acl_add_in(acl, bad_in[i].key, bad_in[i].value, "", 7, &f);
        found_text(&f, said, sizeof(said));
        cr_expect_eq(r, -EINVAL, "%s = %s gives %d", bad_in[i].key, bad_in[i].value, r);
        cr_expect_eq(acl->n_in, 0);
        cr_expect(found(&f, FINDING_ERROR, 7, bad_in[i].why), "%s = %s: %s", bad_in[i].key, bad_in[i].value, said);
        cr_expect(found(&f, FINDING_ERROR, 7, bad_in[i].hint), "%s = %s: %s", bad_in[i].key, bad_in[i].value, said);
        acl_free(acl);
        findings_fini(&f);
    }
}

Test(acl_rule, add_in__tells_every_mistake_of_a_line__not_the_first_only)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");

    cr_expect_eq(acl_add_in(acl, "tcp 0", "10.0.0.5/8, x", "\xff", 3, &f), -EINVAL);
    cr_expect_eq(f.n_errors, 4);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, add__refuses__a_memo_that_is_not_utf8)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");

    cr_assert_eq(acl_add_group(acl, "g", 1, &f), 0);
    cr_expect_eq(acl_add_in(acl, "any", "10.0.0.1", "\x83\x81", 2, &f), -EINVAL);
    cr_expect_eq(acl_add_out(acl, "deny", "*", "\xc0\xaf", 3, &f), -EINVAL);
    cr_expect_eq(acl_add_member(acl, "g", "member", "10.0.0.1", "\xed\xa0\x80", 4, &f), -EINVAL);
    cr_expect_eq(n_found(&f, FINDING_ERROR, "save the file in UTF-8"), 3);
    cr_expect(acl->n_in == 0 && acl->n_out == 0 && acl->groups[0].n_members == 0);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, groups__become_sources__wherever_they_stand)
{
    struct acl *acl = acl_good("[in]\ntcp 8080 = @agents, 10.0.0.1, @others\nudp 53 = @agents\n[group agents]\n"
                               "member = 192.168.1.30, 192.168.2.0/24\nmember = 192.168.1.31 ; memo\n"
                               "[group others]\nmember = 2001:db8::1\n");

    cr_expect_eq(acl->in[0].n_sources, 5);
    cr_expect_eq(acl->in[1].n_sources, 3);
    struct addr_range last = acl->in[1].sources[2];
    struct addr expected = addr_of("192.168.1.31");
    cr_expect_eq(addr_compare(&last.first, &expected), 0);
    acl_free(acl);
}

Test(acl_rule, groups__are_refused__in_each_row)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *why;
    } rows[] = {
        {"[in]\nany = @nobody\n", 2, "unknown group @nobody; write [group nobody]"},
        {"[in]\nany = @Agents\n[group agents]\nmember = ::1\n", 2, "unknown group @Agents"},
        {"[in]\nany = @a\n[group a]\nmember = ::1\n[group a]\nmember = ::2\n", 5, "first in line 3"},
        {"[in]\nany = ::1\n[group @a]\n", 3, "write [group NAME]"},
        {"[in]\nany = ::1\n[group a b]\n", 3, "one word"},
        {"[in]\nany = ::1\n[group a,b]\n", 3, "one word"},
        {"[in]\nany = ::1\n[group a]\nmembr = ::1\n", 4, "write member = "},
        {"[in]\nany = ::1\n[group a]\nmember = @b\n", 4, "addresses, not groups"},
        {"[in]\nany = ::1\n[group a]\nmember = 10.0.0.5/8\n", 4, "host bits"},
        {"[in]\nany = ::1\n[group a]\nmember = \n", 4, "missing"},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct findings f = {0};
        char said[2048];
        int r;
        struct acl *acl = acl_of(rows[i].text, &f, &r);
        cr_expect(found(&f, FINDING_ERROR, rows[i].line, rows[i].why), "row %zu: %s", i,
                  found_text(&f, said, sizeof(said)));
        acl_free(acl);
        findings_fini(&f);
    }
}

Test(acl_rule, finish__warns__of_what_is_the_same)
{
    static const char text[] = "[in]\ntcp 22 = 10.0.0.1, 10.0.0.2\nany = ::1\nSSH = 10.0.0.2,10.0.0.1 ; again\n"
                               "tcp 22 = 10.0.0.1\nudp 22 = 10.0.0.1, 10.0.0.2\ngre = ::1\nesp = ::1\ngre = ::1\n"
                               "any = @g\n[group g]\n[out]\ndeny = *.A.example:443\ndeny = .a.example:443\n"
                               "deny = *.a.example.:{443}\nallow = *.a.example:443\ndeny = 10.0.0.0/8\ndeny = 10.0.0.0-10.255.255.255\n";
    struct findings f = {0};
    char said[2048];
    int r;
    struct acl *acl = acl_of(text, &f, &r);

    found_text(&f, said, sizeof(said));
    cr_expect_eq(r, 0, "%s", said);
    cr_expect(found(&f, FINDING_WARNING, 4, "the same as line 2"), "%s", said);
    cr_expect(found(&f, FINDING_WARNING, 9, "the same as line 7"), "%s", said);
    cr_expect(found(&f, FINDING_WARNING, 15, "the same as line 13"), "%s", said);
    cr_expect(found(&f, FINDING_WARNING, 18, "the same as line 17"), "%s", said);
    cr_expect(found(&f, FINDING_WARNING, 10, "no members"), "%s", said);
    cr_expect_eq(n_found(&f, FINDING_WARNING, "the same"), 4, "%s", said);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, finish__refuses__a_proxy_for_nobody)
{
    struct findings f = {0};
    int r;
    struct acl *acl = acl_of("[in]\n[out]\nallow = *\n", &f, &r);

    cr_expect_eq(r, -EINVAL);
    cr_expect(found(&f, FINDING_ERROR, 0, "no rule in [in]"));
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_rule, finish__is_bounded__when_lines_name_a_big_group_again_and_again)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    char member[32];

    cr_assert_eq(acl_add_group(acl, "big", 1, &f), 0);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(member, sizeof(member), "10.0.%u.%u", i >> 8, i & 255);
        cr_assert_eq(acl_add_member(acl, "big", "member", member, "", 2, &f), 0);
    }
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(acl_add_in(acl, "any", "@big", "", 10 + i, &f), 0);
    cr_expect_eq(acl_finish(acl, &f), -EINVAL);
    cr_expect(found(&f, FINDING_ERROR, 0, "more than 4000000 sources"));
    acl_free(acl);
    findings_fini(&f);
}

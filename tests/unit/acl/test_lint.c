/* What `check` adds: not ours, nobody, everybody, DNS without TCP, overlaps, allow lines that open nothing. */
#include "acl/lint.h"

#include "acl/verdict.h"

#include "lines.h"

static const struct lint_port listeners[] = {
    {IN_PROTO_TCP, 8080, "web-proxy"}, {IN_PROTO_UDP, 53, "dns"}, {IN_PROTO_TCP, 53, "dns"}};

/* All three reached, nothing to say: what the rows below add is what they find. */
#define BASE "tcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 53 = 192.168.1.10\n"

struct row {
    const char *text;
    enum finding_level level;
    unsigned line;
    const char *part; /* NULL: no finding at all */
};

static void expect_lint(const struct row *row)
{
    struct findings f = {0};
    struct acl *acl = acl_good(row->text);
    char said[4096];

    acl_lint(acl, listeners, N_ROWS(listeners), NULL, &f);
    found_text(&f, said, sizeof(said));
    if (row->part)
        cr_expect(found(&f, row->level, row->line, row->part), "`%s` without `%s`:\n%s", row->text, row->part, said);
    else
        cr_expect_eq(f.n_items, 0, "`%s`:\n%s", row->text, said);
    cr_expect_eq(f.n_errors, 0);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_lint, lint__says_it__in_each_row)
{
    static const struct row rows[] = {
        {"[in]\n" BASE, FINDING_NOTE, 0, NULL},
        {"[in]\n" BASE "tcp 22 = 10.0.0.1\n", FINDING_NOTE, 5, "not ours: no listener is on tcp 22"},
        {"[in]\n" BASE "SSH = 10.0.0.1\n", FINDING_NOTE, 5, "not ours: no listener is on tcp 22"},
        {"[in]\n" BASE "udp 8080 = 10.0.0.1\n", FINDING_NOTE, 5, "not ours: no listener is on udp 8080"},
        {"[in]\n" BASE "tcp 1-52 = 10.0.0.1\n", FINDING_NOTE, 5, "not ours: no listener is on tcp 1-52"},
        {"[in]\n" BASE "gre = 10.0.0.1\n", FINDING_NOTE, 5, "not ours: gre"},
        {"[in]\n" BASE "tcp 53-60 = 10.0.0.1\n", FINDING_NOTE, 0, NULL},
        {"[in]\n" BASE "any = 10.0.0.1\n", FINDING_NOTE, 0, NULL},
        {"[in]\nudp 53 = 10.0.0.1\ntcp 53 = 10.0.0.1\n", FINDING_WARNING, 0, "nobody may use web-proxy (tcp 8080)"},
        {"[in]\ntcp 8080 = 10.0.0.1\n", FINDING_WARNING, 0, "write udp 53 = ADDRESS"},
        {"[in]\n" BASE "tcp 8080 = 0.0.0.0/0\n", FINDING_WARNING, 5, "every IPv4 address"},
        {"[in]\n" BASE "tcp 8080 = 0.0.0.0/1\ntcp 8000-9000 = 128.0.0.0/1\n", FINDING_WARNING, 0,
         "together the lines for tcp 8080 admit every IPv4 address"},
        {"[in]\n" BASE "tcp 8080 = ::/1, 8000::/1\n", FINDING_WARNING, 0, "tcp 8080 admit every IPv6 address"},
        {"[in]\n" BASE "tcp 8080 = 0.0.0.0-255.255.255.254\n", FINDING_NOTE, 2, "admitted by line 5"},
        {"[in]\n" BASE "any = ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n", FINDING_WARNING, 5, "every IPv6 address"},
        {"[in]\n" BASE "udp 53 = 10.0.0.1\n", FINDING_WARNING, 5, "10.0.0.1 may ask by udp 53 but not by tcp 53"},
        {"[in]\n" BASE "udp 53 = 10.0.0.0/30\ntcp 53 = 10.0.0.0/31\ntcp 1-60 = 10.0.0.2\n", FINDING_WARNING, 5,
         "10.0.0.0/30 may ask"},
        {"[in]\n" BASE "udp 53 = 10.0.0.0/30\ntcp 53 = 10.0.0.0/31\ntcp 50-60 = 10.0.0.2/31\n", FINDING_NOTE, 0, NULL},
        {"[in]\n" BASE "tcp 8080 = 192.168.1.0/24\n", FINDING_NOTE, 2, "admitted by line 5 already (192.168.1.0/24)"},
        {"[in]\n" BASE "tcp 8000-8100 = 192.168.1.0/24\n", FINDING_NOTE, 2, "this line adds nothing"},
        {"[in]\n" BASE "any = 192.168.1.10\n", FINDING_NOTE, 3, "admitted by line 5 already"},
        {"[in]\n" BASE "tcp 8080 = 192.168.1.10, 10.0.0.1\n", FINDING_NOTE, 5, "of its sources, 192.168.1.10 is admitted by line 2"},
        {"[in]\n" BASE "tcp 8080 = 10.0.0.1-10.0.0.5\ntcp 8080 = 10.0.0.4-10.0.0.9\n", FINDING_NOTE, 6,
         "10.0.0.4-10.0.0.9 overlaps 10.0.0.1-10.0.0.5 of line 5"},
        {"[in]\n" BASE "tcp 8080 = 10.0.0.0/8, 10.1.0.0/16\n", FINDING_NOTE, 0, NULL},
        {"[in]\n" BASE "tcp 8080 = 10.1.0.0/16, 11.0.0.1\ntcp 8080 = 10.0.0.0/8, 11.0.0.0/8\n", FINDING_NOTE, 5,
         "other lines admit all of its sources"},
        {"[in]\n" BASE "tcp 8080 = ::/1\ntcp 8080 = 10.0.0.1\n", FINDING_NOTE, 0, NULL},
        {"[in]\n" BASE "[out]\nallow = 10.0.0.0/7\n", FINDING_WARNING, 6, "reaches into the special-use range 10.0.0.0/8"},
        {"[in]\n" BASE "[out]\nallow = 10.0.0.0/9\nallow = 0.0.0.0/0\n", FINDING_NOTE, 0, NULL},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_lint(&rows[i]);
}

Test(acl_lint, lint__says_once__that_a_dns_port_lacks_tcp)
{
    struct findings f = {0};
    struct acl *acl = acl_good("[in]\ntcp 8080 = 10.0.0.1\nudp 53 = 10.0.0.1\n");

    acl_lint(acl, listeners, N_ROWS(listeners), NULL, &f);
    cr_expect(found(&f, FINDING_WARNING, 3, "but not by tcp 53"));
    cr_expect_eq(f.n_warnings, 1);
    acl_free(acl);
    findings_fini(&f);
}

Test(acl_lint, lint__shows_twenty_and_a_count__of_one_kind)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    char value[32];

    for (unsigned i = 0; i < 50; i++) {
        snprintf(value, sizeof(value), "10.0.0.%u", i);
        cr_assert_eq(acl_add_in(acl, "rdp", value, "", i + 1, &f), 0);
    }
    cr_assert_eq(acl_finish(acl, &f), 0);
    acl_lint(acl, NULL, 0, NULL, &f);
    cr_expect_eq(n_found(&f, FINDING_NOTE, "not ours: "), LINT_EACH_MAX);
    cr_expect(found(&f, FINDING_NOTE, 0, "30 more lines: not ours"));
    acl_free(acl);
    findings_fini(&f);
}

/* Whatever is said to add nothing can be taken out, all of it at once, and nobody is admitted less or more. */
Test(acl_lint, lint__names_only_what_adds_nothing__for_random_rules)
{
    static const char *const services[] = {"tcp 8080", "tcp 8000-8100", "any", "tcp 8080-8081"};
    uint64_t seed = 0x5eed0005;
    size_t n_superfluous = 0;

    for (unsigned round = 0; round < 300; round++) {
        struct findings f = {0}, ignored = {0};
        struct acl *all = acl_new("acl.conf"), *fewer = acl_new("acl.conf");
        char values[16][2 * ADDR_TEXT_MAX];
        unsigned which[16];
        for (unsigned i = 0; i < 16; i++) {
            struct addr_range range = random_range(&seed);
            addr_range_text(&range, values[i], sizeof(values[i]));
            which[i] = random_below(&seed, N_ROWS(services));
            cr_assert_eq(acl_add_in(all, services[which[i]], values[i], "", i + 1, &ignored), 0);
        }
        cr_assert_eq(acl_finish(all, &ignored), 0);
        acl_lint(all, NULL, 0, NULL, &f);
        for (unsigned i = 0; i < 16; i++) {
            if (found(&f, FINDING_NOTE, i + 1, "adds nothing"))
                n_superfluous++;
            else
                cr_assert_eq(acl_add_in(fewer, services[which[i]], values[i], "", i + 1, &ignored), 0);
        }
        cr_assert_eq(acl_finish(fewer, &ignored), 0);
        for (unsigned k = 0; k < 500; k++) {
            struct addr a = near_edge(&seed, &all->in[random_below(&seed, 16)].sources[0]);
            uint16_t port = (uint16_t)(8079 + random_below(&seed, 4));
            char text[ADDR_TEXT_MAX];
            cr_assert_eq(in_ask_naive(all, IN_PROTO_TCP, port, &a) != NULL,
                         in_ask_naive(fewer, IN_PROTO_TCP, port, &a) != NULL, "round %u: %s port %u", round,
                         addr_text(&a, text), port);
        }
        acl_free(all);
        acl_free(fewer);
        findings_fini(&f);
        findings_fini(&ignored);
    }
    cr_expect_gt(n_superfluous, 50);
}

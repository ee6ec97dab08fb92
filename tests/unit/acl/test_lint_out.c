/* What `check` says of [out]: lines that do nothing, ports nobody has, groups, and that it says so only where it is so. */
#include "acl/lint_out.h"

#include "acl/verdict.h"

#include "lines.h"

#define IN "[in]\ntcp 8080 = 192.168.1.10\n"

struct row {
    const char *text;
    enum finding_level level;
    unsigned line;
    const char *part; /* NULL: no finding at all */
};

static void expect_lint(const struct row *row)
{
    struct findings f = {0};
    struct ports reach = {0};
    struct acl *acl = acl_good(row->text);
    char said[4096] = "";

    ports_add(&reach, 80, 80);
    ports_add(&reach, 443, 443);
    ports_add(&reach, 1025, 65535);
    cr_assert_eq(acl_lint_out(acl, &reach, &f), 0);
    found_text(&f, said, sizeof(said));
    if (row->part)
        cr_expect(found(&f, row->level, row->line, row->part) && f.n_items == 1, "`%s` without `%s`:\n%s", row->text,
                  row->part, said);
    else
        cr_expect_eq(f.n_items, 0, "`%s`:\n%s", row->text, said);
    acl_free(acl);
    findings_fini(&f);
}

#define DEAD FINDING_WARNING
#define IDLE FINDING_NOTE
#define NOTHING FINDING_NOTE, 0, NULL

/* The first line of [out] is 4. */
Test(acl_lint_out, cover__is_said__in_each_row)
{
    static const struct row rows[] = {
        {IN "[out]\nallow = a.example\ndeny = a.example\n", DEAD, 4, "line 5 (deny = a.example) denies all of it"},
        {IN "[out]\nallow = a.example\ndeny = .example\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = a.example\ndeny = *.example\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = *.b.example\ndeny = *.example\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = *.example\ndeny = .example\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = a.example:443\ndeny = *\n", DEAD, 4, "(deny = *)"},
        {IN "[out]\nallow = 192.0.2.0/25\ndeny = 192.0.2.0/24\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = 2001:db8::1\ndeny = 2001:db8::/32\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = *\ndeny = *\n", DEAD, 4, "allows nothing"},
        {IN "[out]\nallow = a.example:443\ndeny = a.example:{80,443}\n", DEAD, 4, "allows nothing"},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\ndeny = .bad.example\n[out @g]\nallow = a.bad.example\n", DEAD, 8,
         "line 6"},
        {IN "[group g]\nmember = 10.0.0.1\n[out @g]\nallow = a.bad.example\ndeny = .bad.example\n", DEAD, 6, "line 7"},
        /* Not all of it. */
        {IN "[out]\nallow = .example\ndeny = *.example\n", NOTHING},
        {IN "[out]\nallow = .example\ndeny = a.example\n", NOTHING},
        {IN "[out]\nallow = example\ndeny = *.example\n", NOTHING},
        {IN "[out]\nallow = badexample\ndeny = .example\n", NOTHING},
        {IN "[out]\nallow = a.example\ndeny = a.example:443\n", NOTHING},
        {IN "[out]\nallow = a.example:1025-1030\ndeny = a.example:{1025-1027,1028-1030}\n", NOTHING},
        {IN "[out]\nallow = 192.0.2.0/24\ndeny = 192.0.2.0/25\n", NOTHING},
        {IN "[out]\nallow = a.example\ndeny = 192.0.2.0/24\n", NOTHING},
        {IN "[out]\nallow = 192.0.2.5-192.0.2.20\ndeny = 192.0.2.0-192.0.2.9\n", NOTHING},
        {IN "[out]\nallow = *\ndeny = .example\n", NOTHING},
        /* Only for some sources. */
        {IN "[group g]\nmember = 10.0.0.1\n[out]\nallow = a.example\n[out @g]\nallow = b.example\ndeny = a.example\n",
         NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n[group h]\nmember = 10.0.0.1\n[out @g]\nallow = a.example\n[out @h]\n"
            "allow = b.example\ndeny = a.example\n",
         NOTHING},
        /* Allowed twice. */
        {IN "[out]\nallow = a.example\nallow = .example\n", IDLE, 4, "line 5 (allow = .example) says it already"},
        {IN "[out]\nallow = a.example:443\nallow = a.example\n", IDLE, 4, "adds nothing"},
        {IN "[out]\nallow = a.example\nallow = a.example:443\n", IDLE, 5, "adds nothing"},
        {IN "[out]\nallow = 192.0.2.7\nallow = 192.0.2.0/24\n", IDLE, 4, "adds nothing"},
        {IN "[out]\nallow = 192.0.2.7:443\nallow = 192.0.2.7\n", IDLE, 4, "adds nothing"},
        {IN "[out]\nallow = 192.0.2.0/24\nallow = *\n", IDLE, 4, "adds nothing"},
        {IN "[out]\nallow = a.example:80-80\nallow = a.example:80\n", IDLE, 5, "adds nothing"},
        {IN "[out]\nallow = 10.1.0.0/16\nallow = 10.0.0.0/8\n", IDLE, 4, "adds nothing"},
        /* What opens a special-use range says more than a wider line that does not. */
        {IN "[out]\nallow = 10.1.0.0/16\nallow = 0.0.0.0/0\n", NOTHING},
        {IN "[out]\nallow = 10.1.0.0/16\nallow = *\n", NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\nallow = .example\n[out @g]\nallow = a.example\n", NOTHING},
        {IN "[out]\nallow = 192.0.2.0/25\nallow = 192.0.2.64/26\nallow = 192.0.2.128/25\n", IDLE, 5, "line 4"},
        /* Denied twice. */
        {IN "[out]\ndeny = a.example\ndeny = .example\n", IDLE, 4, "adds nothing"},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\ndeny = .bad.example\n[out @g]\ndeny = .bad.example\n", NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\ndeny = .bad.example\n[out @g]\ndeny = a.bad.example:443\n", IDLE, 8,
         "line 6 (deny = .bad.example)"},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\ndeny = a.bad.example\n[out @g]\ndeny = .bad.example\n", NOTHING},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_lint(&rows[i]);
}

Test(acl_lint_out, ports_and_groups__are_said__in_each_row)
{
    static const struct row rows[] = {
        {IN "[out]\nallow = a.example:22\n", FINDING_WARNING, 4, "no web proxy has the port"},
        {IN "[out]\nallow = a.example:{22,444-1024}\n", FINDING_WARNING, 4, "nobody gets there"},
        {IN "[out]\nallow = a.example:{22,443}\n", NOTHING},
        {IN "[out]\nallow = a.example:1-65535\n", NOTHING},
        {IN "[out]\nallow = a.example\n", NOTHING},
        {IN "[out]\ndeny = a.example:22\n", NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n", FINDING_NOTE, 3, "no line names @g"},
        {IN "tcp 8080 = @g\n[group g]\nmember = 10.0.0.1\n", NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n[out @g]\ndeny = a.example\n", NOTHING},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\nallow = b.example\n[out @g]\ndeny = a.example\n", FINDING_WARNING, 7,
         "@g may go wherever nothing denies it"},
        {IN "[group g]\nmember = 10.0.0.1\n[out]\nallow = b.example\n[out @g]\nallow = c.example\n", NOTHING},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_lint(&rows[i]);
}

Test(acl_lint_out, ports__are_not_looked_at__without_a_list)
{
    struct findings f = {0};
    struct acl *acl = acl_good(IN "[out]\nallow = a.example:22\n");
    cr_assert_eq(acl_lint_out(acl, NULL, &f), 0);
    cr_expect_eq(f.n_items, 0);
    acl_free(acl);
    findings_fini(&f);
}

/* Several lines from one line of the file: the preset's author meant them for others too. */
Test(acl_lint_out, lines_of_a_preset__are_left_alone)
{
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    int r = acl_add_in(acl, "tcp 8080", "10.0.0.1", "", 2, &f);
    r = r ? r : acl_open_out(acl, NULL, 3, &f);
    r = r ? r : acl_add_out(acl, "allow", "a.example:22", "preset p:1", 4, &f);
    r = r ? r : acl_add_out(acl, "allow", "b.example", "preset p:2", 4, &f);
    r = r ? r : acl_add_out(acl, "deny", "b.example", "", 5, &f);
    r = r ? r : acl_add_out(acl, "allow", "*.a.example", "", 6, &f);
    r = r ? r : acl_add_out(acl, "allow", "x.a.example", "", 7, &f);
    cr_assert_eq(r ? r : acl_finish(acl, &f), 0);
    struct ports reach = {0};
    ports_add(&reach, 443, 443);
    cr_assert_eq(acl_lint_out(acl, &reach, &f), 0);
    cr_expect_eq(f.n_items, 1);
    cr_expect(found(&f, FINDING_NOTE, 7, "line 6"));
    acl_free(acl);
    findings_fini(&f);
}

/* ---- whatever is said is so ---- */

enum { N_LINES = 14, N_GROUPS = 2 };

static const char *const patterns[] = {"*",          "example",      ".example",      "*.example",    "a.example",
                                       ".a.example", "*.a.example",  "b.a.example",   "192.0.2.0/24", "192.0.2.0/25",
                                       "192.0.2.9",  "10.0.0.0/8",   "10.0.0.0/9",    "10.9.0.1",     "0.0.0.0/0",
                                       "192.0.2.4-192.0.2.12", "192.0.2.8-192.0.2.20"};
static const char *const port_lists[] = {"", ":443", ":{80,443}", ":80-443", ":80"};

struct random_line {
    unsigned section; /* 0: [out] */
    bool is_allow;
    char pattern[64];
};

static struct acl *acl_from(const struct random_line *lines, const bool *is_left_out)
{
    struct findings ignored = {0};
    struct acl *acl = acl_new("acl.conf");
    int r = acl_add_in(acl, "tcp 8080", "10.0.0.1", "", 1, &ignored);
    r = r ? r : acl_add_group(acl, "g", 2, &ignored);
    r = r ? r : acl_add_member(acl, "g", "member", "10.0.0.1, 10.0.0.3", "", 3, &ignored);
    r = r ? r : acl_add_group(acl, "h", 4, &ignored);
    r = r ? r : acl_add_member(acl, "h", "member", "10.0.0.2, 10.0.0.3", "", 5, &ignored);
    for (unsigned section = 0; section <= N_GROUPS && r == 0; section++) {
        static const char *const names[] = {NULL, "g", "h"};
        r = acl_open_out(acl, names[section], 10 + section, &ignored);
        for (unsigned i = 0; i < N_LINES && r == 0; i++)
            if (lines[i].section == section && !(is_left_out && is_left_out[i]))
                r = acl_add_out(acl, lines[i].is_allow ? "allow" : "deny", lines[i].pattern, "", 100 + i, &ignored);
    }
    cr_assert_eq(r ? r : acl_finish(acl, &ignored), 0);
    findings_fini(&ignored);
    return acl;
}

struct target {
    const char *name; /* NULL: the address */
    const char *addr;
};

/* By name first, then by address, as the way out is judged. Returns the line that decided, 0: none. */
static enum verdict judge(const struct acl *acl, const struct addr *from, const struct target *t, uint16_t port,
                          unsigned *ret_line)
{
    struct verdict_detail d = {0};
    struct addr a = addr_of(t->addr);
    enum verdict v = t->name ? verdict_name(acl, from, t->name, port, &d) : VERDICT_UNDECIDED;
    if (v != VERDICT_DENY)
        v = verdict_addr(acl, from, NULL, v, &a, port, &d);
    *ret_line = d.rule ? d.rule->place.line : 0;
    return v;
}

static void expect_same(const struct acl *all, const struct acl *fewer, const bool *is_dead)
{
    static const struct target targets[] = {{"example", "192.0.2.9"},     {"a.example", "192.0.2.200"},
                                            {"b.a.example", "10.9.0.1"},  {"c.b.a.example", "203.0.113.1"},
                                            {"other.test", "203.0.113.1"}, {NULL, "192.0.2.9"},
                                            {NULL, "192.0.2.5"},          {NULL, "192.0.2.200"},
                                            {NULL, "10.9.0.1"},           {NULL, "10.200.0.1"},
                                            {NULL, "203.0.113.1"}};
    static const char *const sources[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"};
    static const uint16_t ports[] = {80, 200, 443, 444};
    for (size_t s = 0; s < N_ROWS(sources); s++)
        for (size_t t = 0; t < N_ROWS(targets); t++)
            for (size_t p = 0; p < N_ROWS(ports); p++) {
                struct addr from = addr_of(sources[s]);
                unsigned line, line_fewer;
                enum verdict v = judge(all, &from, &targets[t], ports[p], &line);
                const char *what = targets[t].name ? targets[t].name : targets[t].addr;
                cr_assert_eq(judge(fewer, &from, &targets[t], ports[p], &line_fewer), v, "%s to %s:%u", sources[s], what,
                             ports[p]);
                cr_assert(line < 100 || !is_dead[line - 100], "line %u decides %s to %s:%u", line, sources[s], what,
                          ports[p]);
            }
}

Test(acl_lint_out, lint__names_only_what_does_nothing__for_random_lines)
{
    uint64_t seed = 0x5eed0007;
    size_t n_idle = 0, n_dead = 0;

    for (unsigned round = 0; round < 1500; round++) {
        struct random_line lines[N_LINES];
        bool is_idle[N_LINES] = {false}, is_dead[N_LINES] = {false};
        struct findings f = {0};
        for (unsigned i = 0; i < N_LINES; i++) {
            lines[i] = (struct random_line){.section = random_below(&seed, N_GROUPS + 1), .is_allow = random_below(&seed, 3) > 0};
            snprintf(lines[i].pattern, sizeof(lines[i].pattern), "%s%s", patterns[random_below(&seed, N_ROWS(patterns))],
                     port_lists[random_below(&seed, N_ROWS(port_lists))]);
        }
        struct acl *all = acl_from(lines, NULL);
        cr_assert_eq(acl_lint_out(all, NULL, &f), 0);
        for (unsigned i = 0; i < N_LINES; i++) {
            is_idle[i] = found(&f, FINDING_NOTE, 100 + i, "adds nothing");
            is_dead[i] = found(&f, FINDING_WARNING, 100 + i, "allows nothing");
            n_idle += is_idle[i];
            n_dead += is_dead[i];
        }
        struct acl *fewer = acl_from(lines, is_idle);
        expect_same(all, fewer, is_dead);
        acl_free(all);
        acl_free(fewer);
        findings_fini(&f);
    }
    cr_expect_gt(n_idle, 500);
    cr_expect_gt(n_dead, 500);
}

/* Verdicts: tables for the meaning of [out], and compiled against naive for both sides (A08-A18, A20-A22, A26, A30). */
#include "acl/verdict.h"

#include "lines.h"

#define IN "[in]\nany = 10.0.0.1\n[out]\n"

/* "allow", "allow 4" (line), "deny", "deny 4", "special 10.0.0.0/8", "undecided" */
static const char *verdict_text(enum verdict v, const struct verdict_detail *d, char *buf, size_t size)
{
    if (v == VERDICT_SPECIAL)
        snprintf(buf, size, "special %s", d->special);
    else if (d->rule)
        snprintf(buf, size, "%s %u", verdict_word(v), d->rule->place.line);
    else
        snprintf(buf, size, "%s", verdict_word(v));
    return buf;
}

struct row {
    const char *out;    /* lines of [out]; the first is line 4 of the file */
    const char *target; /* name or literal */
    uint16_t port;
    const char *verdict;
};

static void expect_name(const struct row *row)
{
    char text[512], got[128];
    struct verdict_detail d = {0};

    snprintf(text, sizeof(text), IN "%s", row->out);
    struct acl *acl = acl_good(text);
    enum verdict v = verdict_name(acl, NULL, row->target, row->port, &d);
    verdict_text(v, &d, got, sizeof(got));
    cr_expect_str_eq(got, row->verdict, "%s port %u under `%s` is %s", row->target, row->port, row->out, got);
    acl_free(acl);
}

Test(acl_verdict, name__has_the_meaning_of_the_contract__in_each_row)
{
    static const struct row rows[] = {
        {"", "www.example.com", 443, "allow"},
        {"deny = *.example.net\n", "www.example.net", 443, "deny 4"},
        {"deny = *.example.net\n", "a.b.example.net", 443, "deny 4"},
        {"deny = *.example.net\n", "example.net", 443, "allow"},
        {"deny = *.example.net\n", "evilexample.net", 443, "allow"},
        {"deny = *.example.net\n", "example.net.evil", 443, "allow"},
        {"deny = example.net\n", "example.net", 443, "deny 4"},
        {"deny = example.net\n", "www.example.net", 443, "allow"},
        {"deny = .example.net\n", "example.net", 443, "deny 4"},
        {"deny = .example.net\n", "www.example.net", 443, "deny 4"},
        {"deny = .example.net\n", "wwwexample.net", 443, "allow"},
        {"deny = example.net\n", "EXAMPLE.net.", 443, "deny 4"},
        {"deny = Example.NET.\n", "example.net", 443, "deny 4"},
        {"deny = *\n", "www.example.com", 443, "deny 4"},
        {"deny = *:80\n", "www.example.com", 443, "allow"},
        {"deny = a.example:{80,8000-8010}\n", "a.example", 8005, "deny 4"},
        {"deny = a.example:{80,8000-8010}\n", "a.example", 443, "allow"},
        {"deny = a.example:80\ndeny = a.example:443\n", "a.example", 443, "deny 5"},
        {"allow = *\ndeny = a.example\n", "a.example", 443, "deny 5"},
        {"allow = *\ndeny = a.example\n", "b.example", 443, "allow 4"},
        {"deny = *.example\nallow = a.example\n", "a.example", 443, "deny 4"},
        {"allow = a.example\n", "a.example", 443, "allow 4"},
        {"allow = a.example\n", "b.example", 443, "deny"},
        {"allow = a.example:443\n", "a.example", 80, "deny"},
        {"allow = *.example\nallow = a.example\n", "a.example", 443, "allow 4"},
        {"allow = a.example\nallow = 192.0.2.0/24\n", "b.example", 443, "undecided"},
        {"allow = a.example\nallow = 192.0.2.0/24:80\n", "b.example", 443, "deny"},
        {"allow = 192.0.2.0/24\n", "b.example", 443, "undecided"},
        {"deny = 192.0.2.0/24\n", "b.example", 443, "allow"},
        {"deny = *.b.example\ndeny = *.example\n", "a.b.example", 443, "deny 4"},
        {"deny = *.example\ndeny = *.b.example\n", "a.b.example", 443, "deny 4"},
        {"deny = a.example\n", "", 443, "deny"},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_name(&rows[i]);
}

static void expect_addr(const struct row *row, enum verdict by_name)
{
    char text[512], got[128];
    struct verdict_detail d = {0};
    struct addr a = addr_of(row->target);
    struct endpoint mine[] = {{.addr = addr_of("192.168.1.254"), .port = 8080}};
    struct guard_own own = {mine, 1};

    snprintf(text, sizeof(text), IN "%s", row->out);
    struct acl *acl = acl_good(text);
    enum verdict v = verdict_addr(acl, NULL, &own, by_name, &a, row->port, &d);
    verdict_text(v, &d, got, sizeof(got));
    cr_expect_str_eq(got, row->verdict, "%s port %u (name: %s) under `%s` is %s", row->target, row->port,
                     verdict_word(by_name), row->out, got);
    acl_free(acl);
}

Test(acl_verdict, addr__has_the_meaning_of_the_contract__for_literals)
{
    static const struct row rows[] = {
        {"", "192.0.2.1", 443, "allow"},
        {"", "10.0.0.1", 443, "special 10.0.0.0/8"},
        {"", "::ffff:10.0.0.1", 443, "special 10.0.0.0/8"},
        {"", "64:ff9b::10.0.0.1", 443, "special 10.0.0.0/8"},
        {"", "64:ff9b::8.8.8.8", 443, "allow"},
        {"", "2002:7f00:1::", 443, "special 127.0.0.0/8"},
        {"", "::", 443, "special ::/96"},
        {"", "192.168.1.254", 8080, "own-listener"},
        {"", "192.168.1.254", 443, "special 192.168.0.0/16"},
        {"allow = 192.168.0.0/16\n", "192.168.1.254", 8080, "own-listener"},
        {"allow = 192.168.0.0/16\n", "64:ff9b::192.168.1.254", 8080, "own-listener"},
        {"deny = 192.0.2.0/24\n", "192.0.2.1", 443, "deny 4"},
        {"deny = 192.0.2.0/24\n", "64:ff9b::192.0.2.1", 443, "deny 4"},
        {"deny = 192.0.2.0/24\n", "2002:c000:201::", 443, "deny 4"},
        {"deny = 192.0.2.0/24\n", "2001:db8::5efe:192.0.2.1", 443, "deny 4"},
        {"deny = 64:ff9b::/96\n", "64:ff9b::192.0.2.1", 443, "deny 4"},
        {"deny = 192.0.2.0/24:80\n", "192.0.2.1", 443, "allow"},
        {"deny = ::/0\n", "192.0.2.1", 443, "allow"},
        {"deny = ::/0\n", "2001:db8::1", 443, "deny 4"},
        {"deny = *:443\n", "192.0.2.1", 443, "deny 4"},
        {"deny = 10.0.0.0/8\n", "10.0.0.1", 443, "deny 4"},
        {"allow = *\n", "192.0.2.1", 443, "allow 4"},
        {"allow = *\n", "10.0.0.1", 443, "special 10.0.0.0/8"},
        {"allow = 0.0.0.0/0\n", "10.0.0.1", 443, "special 10.0.0.0/8"},
        {"allow = 10.0.0.0/7\n", "10.0.0.1", 443, "special 10.0.0.0/8"},
        {"allow = 10.1.2.0/24:443\n", "10.1.2.3", 443, "allow 4"},
        {"allow = 10.1.2.0/24:443\n", "10.1.2.3", 80, "special 10.0.0.0/8"},
        {"allow = 10.1.2.0/24:443\n", "10.1.3.0", 443, "special 10.0.0.0/8"},
        {"allow = 10.1.2.0/24:443\n", "10.1.1.255", 443, "special 10.0.0.0/8"},
        {"allow = 10.1.2.0/24:443\n", "192.0.2.1", 443, "deny"},
        {"allow = *\nallow = 10.1.2.0/24:443\n", "10.1.2.3", 443, "allow 4"},
        {"allow = 10.1.2.0/24\ndeny = 10.1.2.3\n", "10.1.2.3", 443, "deny 5"},
        {"allow = 10.1.2.0/24\n", "64:ff9b::10.1.2.3", 443, "allow 4"},
        {"allow = 10.1.2.0/24\n", "2002:a01:203::1", 443, "allow 4"},
        {"allow = 10.1.2.0/24\n", "2001:db8::5efe:10.1.2.3", 443, "deny"},
        {"allow = 192.0.2.0/24\n", "2001:db8::5efe:192.0.2.1", 443, "deny"},
        {"allow = *\nallow = 10.1.2.0/24\n", "2001:0:a00:1::f5fe:fdfc", 443, "special 10.0.0.0/8"}, /* server 10.0.0.1 */
        {"allow = fe80::/10\n", "fe80::5efe:10.0.0.1", 443, "allow 4"},
        {"allow = 10.0.0.0/8\n", "fe80::5efe:10.0.0.1", 443, "special fe80::/10"},
        {"allow = www.example.com\n", "192.0.2.1", 443, "deny"},
        {"deny = www.example.com\n", "192.0.2.1", 443, "allow"},
        {"allow = 192.0.2.0/24\n", "64:ff9b::192.0.2.1", 443, "allow 4"},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_addr(&rows[i], VERDICT_UNDECIDED);
}

Test(acl_verdict, addr__needs_the_address_too__for_names_that_are_allowed)
{
    static const struct row rows[] = {
        {"allow = a.example\n", "192.0.2.1", 443, "allow"},
        {"allow = a.example\n", "10.1.2.3", 443, "special 10.0.0.0/8"},
        {"allow = a.example\nallow = 10.1.2.0/24:443\n", "10.1.2.3", 443, "allow"},
        {"allow = a.example\nallow = 10.1.2.0/24:80\n", "10.1.2.3", 443, "special 10.0.0.0/8"},
        {"allow = a.example\ndeny = 192.0.2.1\n", "192.0.2.1", 443, "deny 5"},
        {"allow = a.example\n", "192.168.1.254", 8080, "own-listener"},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_addr(&rows[i], VERDICT_ALLOW);
    expect_addr(&(struct row){"allow = 192.0.2.0/24\n", "192.0.2.1", 443, "deny"}, VERDICT_DENY);
}

Test(acl_verdict, query__is_judged_without_a_port__in_each_row)
{
    static const struct row rows[] = {
        {"", "a.example", 0, "allow"},
        {"deny = a.example\n", "a.example", 0, "deny 4"},
        {"deny = a.example:443\n", "a.example", 0, "allow"},
        {"deny = a.example:443\ndeny = *.example\n", "a.example", 0, "deny 5"},
        {"deny = *\n", "a.example", 0, "deny 4"},
        {"deny = *:443\n", "a.example", 0, "allow"},
        {"allow = a.example:443\n", "a.example", 0, "allow"},
        {"allow = a.example:443\n", "b.example", 0, "deny"},
        {"allow = *.example:443\n", "example", 0, "deny"},
        {"allow = *\n", "b.example", 0, "allow"},
        {"allow = *\nallow = a.example\n", "b.example", 0, "allow"},
        {"allow = 192.0.2.0/24\n", "b.example", 0, "allow"},
        {"allow = 192.0.2.0/24\nallow = a.example\n", "b.example", 0, "deny"},
        {"deny = 192.0.2.0/24\n", "b.example", 0, "allow"},
        {"deny = a.example\n", "", 0, "allow"},
        {"deny = *\n", "", 0, "deny 4"},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        char text[512], got[128];
        struct verdict_detail d = {0};
        snprintf(text, sizeof(text), IN "%s", rows[i].out);
        struct acl *acl = acl_good(text);
        enum verdict v = verdict_query(acl, NULL, rows[i].target, &d);
        verdict_text(v, &d, got, sizeof(got));
        cr_expect_str_eq(got, rows[i].verdict, "%s under `%s` is %s", rows[i].target, rows[i].out, got);
        acl_free(acl);
    }
}

Test(acl_verdict, in_table__has_the_routers_meaning__in_each_row)
{
    static const char text[] = "[in]\ntcp 8080 = 192.168.1.10\nudp 53 = 192.168.1.10\ntcp 8000-8100 = 192.168.1.0/24\n"
                               "any = 2001:db8:1::/64\ngre = 192.168.9.9\ntcp 8080 = @agents\n[group agents]\n"
                               "member = 10.9.9.9\n";
    static const struct {
        enum in_proto proto;
        uint16_t port;
        const char *source;
        unsigned line;
    } rows[] = {
        {IN_PROTO_TCP, 8080, "192.168.1.10", 2},
        {IN_PROTO_TCP, 8080, "192.168.1.11", 4},
        {IN_PROTO_TCP, 8080, "192.168.2.0", 0},
        {IN_PROTO_TCP, 8080, "192.168.0.255", 0},
        {IN_PROTO_TCP, 8081, "192.168.1.10", 4},
        {IN_PROTO_TCP, 8101, "192.168.1.10", 0},
        {IN_PROTO_TCP, 53, "192.168.1.10", 0},
        {IN_PROTO_UDP, 53, "192.168.1.10", 3},
        {IN_PROTO_UDP, 53, "2001:db8:1::1", 5},
        {IN_PROTO_TCP, 8080, "2001:db8:1:1::1", 0},
        {IN_PROTO_TCP, 8080, "::ffff:192.168.1.10", 2},
        {IN_PROTO_TCP, 8080, "::192.168.1.10", 0},
        {IN_PROTO_TCP, 8080, "192.168.9.9", 0},
        {IN_PROTO_TCP, 8080, "10.9.9.9", 7},
    };
    struct acl *acl = acl_good(text);

    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct addr a = addr_of(rows[i].source);
        struct in_table *t = in_table_new(acl, rows[i].proto, rows[i].port);
        const struct in_rule *rule = in_table_ask(t, &a);
        unsigned line = rule ? rule->place.line : 0;
        cr_expect_eq(line, rows[i].line, "row %zu: line %u", i, line);
        in_table_free(t);
    }
    acl_free(acl);
}

/* ---- compiled against naive ---- */

static void add_random_in(struct acl *acl, uint64_t *seed, struct findings *f)
{
    static const char *const services[] = {"tcp 8080", "udp 53", "tcp 8000-8100", "any", "tcp 1-65535", "tcp 53", "gre",
                                           "tcp 8081-9000"};
    struct addr_range range = random_range_in(seed, 21);
    char text[2 * ADDR_TEXT_MAX];

    addr_range_text(&range, text, sizeof(text));
    cr_assert_eq(acl_add_in(acl, services[random_below(seed, N_ROWS(services))], text, "", (unsigned)acl->n_in + 1, f), 0,
                 "%s", text);
}

/* A30: a naive evaluator is right, and slow. */
Test(acl_verdict, in_table__equals_a_walk__for_10000_random_rules, .timeout = 120)
{
    enum { N_RULES = 10000, N_ADDRS = 100000 };
    static const struct {
        enum in_proto proto;
        uint16_t port;
    } asks[] = {{IN_PROTO_TCP, 8080}, {IN_PROTO_UDP, 53}, {IN_PROTO_TCP, 53}};
    uint64_t seed = 0x5eed0003;
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    struct in_table *tables[N_ROWS(asks)];

    printf("seed %#llx\n", (unsigned long long)seed);
    while (acl->n_in < N_RULES)
        add_random_in(acl, &seed, &f);
    cr_assert_eq(acl_finish(acl, &f), 0);
    for (size_t i = 0; i < N_ROWS(asks); i++)
        cr_assert_not_null(tables[i] = in_table_new(acl, asks[i].proto, asks[i].port));
    size_t n_admitted = 0;
    for (unsigned k = 0; k < N_ADDRS; k++) {
        const struct in_rule *some = &acl->in[random_below(&seed, N_RULES)];
        struct addr a = near_edge(&seed, &some->sources[0]);
        size_t i = k % N_ROWS(asks);
        const struct in_rule *fast = in_table_ask(tables[i], &a);
        const struct in_rule *slow = in_ask_naive(acl, asks[i].proto, asks[i].port, &a);
        char text[ADDR_TEXT_MAX];
        cr_assert_eq(fast, slow, "%s: line %u, not %u", addr_text(&a, text), fast ? fast->place.line : 0,
                     slow ? slow->place.line : 0);
        n_admitted += fast != NULL;
    }
    cr_expect(n_admitted > N_ADDRS / 10 && n_admitted < N_ADDRS - N_ADDRS / 10, "%zu admitted: nothing was proved",
              n_admitted);
    for (size_t i = 0; i < N_ROWS(asks); i++)
        in_table_free(tables[i]);
    acl_free(acl);
    findings_fini(&f);
}

/* The contract's words, once more, without any table. */
static bool has_port(const struct out_rule *rule, uint16_t port)
{
    for (size_t i = 0; i < rule->n_ports; i++)
        if (rule->ports[i].first <= port && port <= rule->ports[i].last)
            return true;
    return !rule->has_ports;
}

static bool names(const struct out_rule *rule, const char *name)
{
    if (rule->kind == OUT_KIND_ANY)
        return true;
    if (rule->kind == OUT_KIND_RANGE)
        return false;
    size_t len = strlen(name), rule_len = strlen(rule->name);
    bool is_self = strcmp(name, rule->name) == 0;
    bool is_below = len > rule_len && name[len - rule_len - 1] == '.' && strcmp(name + len - rule_len, rule->name) == 0;
    return rule->kind == OUT_KIND_NAME ? is_self : rule->kind == OUT_KIND_BELOW ? is_below : is_self || is_below;
}

static const struct out_rule *first_named(const struct acl *acl, bool is_allow, const char *name, uint16_t port)
{
    for (size_t i = 0; i < acl->n_out; i++)
        if (acl->out[i].is_allow == is_allow && names(&acl->out[i], name) && has_port(&acl->out[i], port))
            return &acl->out[i];
    return NULL;
}

static enum verdict name_naive(const struct acl *acl, const char *name, uint16_t port, const struct out_rule **ret_rule)
{
    bool has_allow = false, may_by_addr = false;

    if ((*ret_rule = first_named(acl, false, name, port)))
        return VERDICT_DENY;
    for (size_t i = 0; i < acl->n_out; i++) {
        has_allow |= acl->out[i].is_allow;
        may_by_addr |= acl->out[i].is_allow && acl->out[i].kind == OUT_KIND_RANGE && has_port(&acl->out[i], port);
    }
    if (!has_allow || (*ret_rule = first_named(acl, true, name, port)))
        return VERDICT_ALLOW;
    return may_by_addr ? VERDICT_UNDECIDED : VERDICT_DENY;
}

/* For addresses without IPv4 inside. */
static enum verdict literal_naive(const struct acl *acl, const struct addr *a, uint16_t port,
                                  const struct out_rule **ret_rule)
{
    const struct out_rule *allow = NULL;
    bool has_allow = false, is_open = !guard_special_use(a);

    *ret_rule = NULL;
    for (size_t i = 0; i < acl->n_out; i++) {
        const struct out_rule *rule = &acl->out[i];
        bool holds = rule->kind == OUT_KIND_RANGE && addr_range_has(&rule->range, a);
        bool matches = (rule->kind == OUT_KIND_ANY || holds) && has_port(rule, port);
        has_allow |= rule->is_allow;
        if (matches && !rule->is_allow) {
            *ret_rule = rule;
            return VERDICT_DENY;
        }
        if (matches && !allow)
            allow = rule;
        is_open |= matches && holds && guard_range_is_special(&rule->range);
    }
    if (!is_open)
        return VERDICT_SPECIAL;
    *ret_rule = allow;
    return allow || !has_allow ? VERDICT_ALLOW : VERDICT_DENY;
}

static void random_name(uint64_t *seed, char *buf, size_t size)
{
    static const char *const labels[] = {"a", "b", "aa", "x-1", "_c", "example"};
    size_t len = 0;

    for (unsigned i = 1 + random_below(seed, 4); i > 0; i--)
        len += (size_t)snprintf(buf + len, size - len, "%s.", labels[random_below(seed, N_ROWS(labels))]);
    buf[len - 1] = '\0';
}

static const uint16_t some_ports[] = {443, 80, 8080, 1, 65535, 442};

static void random_pattern(uint64_t *seed, char *buf, size_t size)
{
    static const char *const ports[] = {"", "", ":443", ":80", ":1-65535", ":{80,443}", ":8000-9000", ":443-65535"};
    static const char *const kinds[] = {"", "*.", "."};
    char text[2 * ADDR_TEXT_MAX + 2];

    if (random_below(seed, 2)) {
        struct addr_range range = random_range(seed);
        addr_range_text(&range, text, sizeof(text));
        bool is_ipv4 = addr_is_ipv4(&range.first);
        snprintf(buf, size, "%s%s%s", is_ipv4 ? "" : "[", text, is_ipv4 ? "" : "]");
    } else if (random_below(seed, 100) == 0) {
        snprintf(buf, size, "*:%u", 1 + random_below(seed, 65535));
    } else {
        random_name(seed, text, sizeof(text));
        snprintf(buf, size, "%s%s", kinds[random_below(seed, N_ROWS(kinds))], text);
    }
    if (buf[0] != '*' || buf[1] != ':')
        snprintf(buf + strlen(buf), size - strlen(buf), "%s", ports[random_below(seed, N_ROWS(ports))]);
}

static struct acl *random_out(uint64_t *seed, size_t n, struct findings *f)
{
    struct acl *acl = acl_new("acl.conf");
    bool has_allow = random_below(seed, 4) > 0;

    cr_assert_eq(acl_add_in(acl, "any", "10.0.0.1", "", 1, f), 0);
    while (acl->n_out < n) {
        char pattern[256];
        random_pattern(seed, pattern, sizeof(pattern));
        const char *key = has_allow && random_below(seed, 2) ? "allow" : "deny";
        cr_assert_eq(acl_add_out(acl, key, pattern, "", (unsigned)acl->n_out + 1, f), 0, "%s", pattern);
    }
    cr_assert_eq(acl_finish(acl, f), 0);
    return acl;
}

static void compare_round(struct acl *acl, uint64_t *seed, unsigned n_asks)
{
    for (unsigned k = 0; k < n_asks; k++) {
        char name[64], text[ADDR_TEXT_MAX];
        uint16_t port = some_ports[random_below(seed, N_ROWS(some_ports))];
        struct verdict_detail d = {0};
        const struct out_rule *rule = NULL;
        random_name(seed, name, sizeof(name));
        enum verdict fast = verdict_name(acl, NULL, name, port, &d);
        enum verdict slow = name_naive(acl, name, port, &rule);
        cr_assert(fast == slow && d.rule == rule, "%s port %u: %s, not %s", name, port, verdict_word(fast),
                  verdict_word(slow));

        const struct out_rule *some = &acl->out[random_below(seed, (uint32_t)acl->n_out)];
        struct addr_range anywhere = random_range(seed);
        struct addr a = near_edge(seed, some->kind == OUT_KIND_RANGE ? &some->range : &anywhere);
        struct addr inner[2];
        if (guard_embedded_ipv4(&a, inner) > 0)
            continue;
        fast = verdict_addr(acl, NULL, NULL, VERDICT_UNDECIDED, &a, port, &d);
        slow = literal_naive(acl, &a, port, &rule);
        cr_assert(fast == slow && d.rule == rule, "%s port %u: %s, not %s", addr_text(&a, text), port,
                  verdict_word(fast), verdict_word(slow));
    }
}

Test(acl_verdict, out__equals_a_walk__for_random_rules, .timeout = 120)
{
    uint64_t seed = 0x5eed0004;
    struct findings f = {0};

    printf("seed %#llx\n", (unsigned long long)seed);
    for (unsigned round = 0; round < 300; round++) {
        struct acl *acl = random_out(&seed, 1 + random_below(&seed, 30), &f);
        compare_round(acl, &seed, 300);
        acl_free(acl);
    }
    struct acl *big = random_out(&seed, 10000, &f);
    compare_round(big, &seed, 5000);
    acl_free(big);
    findings_fini(&f);
}

/* ---- [out @group] ---- */

#define GROUPS                                                                                     \
    "[in]\nany = 10.0.0.0/8\n"                                                                     \
    "[group a]\nmember = 10.1.0.0/16\nmember = 10.9.0.1\n"                                         \
    "[group b]\nmember = 10.2.0.0/16\nmember = 10.1.5.0/24\nmember = 10.9.0.1\n"                   \
    "[out]\nallow = *.plain.example\ndeny = bad.example\ndeny = *.a.example:8443\n"                \
    "[out @a]\nallow = *.a.example\nallow = 10.77.0.0/24:443\ndeny = no.b.example\n"               \
    "[out @b]\nallow = *.b.example\n"

Test(acl_verdict, name__is_judged_by_the_sections_of_the_sources_groups)
{
    static const struct {
        const char *from, *name;
        uint16_t port;
        bool is_allowed;
    } rows[] = {
        /* nobody's group: [out] */
        {"10.3.0.1", "www.plain.example", 443, true},
        {"10.3.0.1", "www.a.example", 443, false},
        {"10.3.0.1", "bad.example", 443, false},
        /* group a: its allow lines in place of [out]'s, deny lines of both */
        {"10.1.0.1", "www.a.example", 443, true},
        {"10.1.0.1", "www.a.example", 8443, false},
        {"10.1.0.1", "bad.example", 443, false},
        {"10.2.0.1", "www.b.example", 443, true},
        {"10.2.0.1", "no.b.example", 443, true},
        {"10.2.0.1", "www.plain.example", 443, false},
        /* both: together, and a deny of either wins */
        {"10.1.5.7", "www.a.example", 443, true},
        {"10.1.5.7", "www.b.example", 443, true},
        {"10.1.5.7", "no.b.example", 443, false},
        {"10.9.0.1", "www.b.example", 443, true},
        {"10.1.6.0", "www.b.example", 443, false},
        {"10.1.4.255", "www.b.example", 443, false},
        {"10.1.5.0", "www.b.example", 443, true},
        {"10.1.5.255", "www.b.example", 443, true},
    };
    struct acl *acl = acl_good(GROUPS);
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct addr from = addr_of(rows[i].from);
        struct verdict_detail d;
        enum verdict v = verdict_name(acl, &from, rows[i].name, rows[i].port, &d);
        cr_expect_eq(v == VERDICT_ALLOW, rows[i].is_allowed, "%s to %s:%u is %s", rows[i].from,
                     rows[i].name, rows[i].port, verdict_word(v));
    }
    acl_free(acl);
}

Test(acl_verdict, addr__opens_special_use__for_the_group_that_names_it)
{
    struct acl *acl = acl_good(GROUPS);
    struct addr to = addr_of("10.77.0.9"), member = addr_of("10.1.0.1"), other = addr_of("10.2.0.1");
    struct verdict_detail d;
    cr_expect_eq(verdict_addr(acl, &member, NULL, VERDICT_UNDECIDED, &to, 443, &d), VERDICT_ALLOW);
    cr_expect_eq(verdict_addr(acl, &member, NULL, VERDICT_UNDECIDED, &to, 80, &d), VERDICT_SPECIAL);
    cr_expect_eq(verdict_addr(acl, &other, NULL, VERDICT_UNDECIDED, &to, 443, &d), VERDICT_SPECIAL);
    acl_free(acl);
}

Test(acl_verdict, query__is_judged_by_the_sections_of_the_sources_groups)
{
    struct acl *acl = acl_good(GROUPS);
    struct addr a = addr_of("10.1.0.1"), b = addr_of("10.2.0.1"), none = addr_of("10.3.0.1");
    struct verdict_detail d;
    cr_expect_eq(verdict_query(acl, &a, "www.a.example", &d), VERDICT_ALLOW);
    cr_expect_eq(verdict_query(acl, &b, "www.a.example", &d), VERDICT_DENY);
    cr_expect_eq(verdict_query(acl, &none, "www.plain.example", &d), VERDICT_ALLOW);
    cr_expect_eq(verdict_query(acl, &none, "www.b.example", &d), VERDICT_DENY);
    cr_expect_eq(verdict_query(acl, &a, "bad.example", &d), VERDICT_DENY);
    acl_free(acl);
}

/* Random groups inside and beside each other, against a walk over all lines. */
enum { N_GROUPS = 12, N_NAMES = 6 };

static bool walk_allows(const struct acl *acl, const struct addr *from, const char *name)
{
    bool has_allow = false, is_allowed = false, has_group = false;
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t s = 0; s < acl->n_sections; s++) {
            bool holds = s == 0;
            for (size_t g = 0; g < acl->n_groups && s > 0; g++) {
                const struct acl_group *group = &acl->groups[g];
                if (strcmp(group->name, acl->sections[s].group) != 0)
                    continue;
                for (size_t m = 0; m < group->n_members; m++)
                    holds |= addr_range_has(&group->members[m], from);
            }
            has_group |= holds && s > 0;
            if (!holds || pass == 0)
                continue;
            for (size_t i = 0; i < acl->sections[s].n; i++) {
                const struct out_rule *r = &acl->out[acl->sections[s].first + i];
                bool is_match = strstr(r->place.text, name) != NULL;
                if (!r->is_allow && is_match)
                    return false;
                if (r->is_allow && (s > 0 || !has_group)) {
                    has_allow = true;
                    is_allowed |= is_match;
                }
            }
        }
    }
    return is_allowed || !has_allow;
}

Test(acl_verdict, groups__equal_a_walk__for_random_sections, .timeout = 120)
{
    uint64_t seed = 20261123;
    for (unsigned round = 0; round < 200; round++) {
        static char text[16384];
        size_t n = (size_t)snprintf(text, sizeof(text), "[in]\nany = 10.0.0.0/8\n[out]\n");
        for (unsigned g = 0; g <= N_GROUPS; g++) {
            if (g > 0) {
                n += (size_t)snprintf(text + n, sizeof(text) - n, "[group g%u]\n", g);
                for (unsigned m = 0; m <= next_random(&seed) % 3; m++) {
                    unsigned first = (unsigned)(next_random(&seed) % 200);
                    n += (size_t)snprintf(text + n, sizeof(text) - n, "member = 10.0.0.%u-10.0.0.%u\n",
                                          first, first + (unsigned)(next_random(&seed) % 40));
                }
                if (next_random(&seed) % 3 == 0)
                    continue;
                n += (size_t)snprintf(text + n, sizeof(text) - n, "[out @g%u]\n", g);
            }
            for (unsigned i = 0; i < next_random(&seed) % 4; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s = n%u.example%s\n",
                                      next_random(&seed) % 4 ? "allow" : "deny",
                                      (unsigned)(next_random(&seed) % N_NAMES), i ? ":443" : "");
        }
        struct findings f = {0};
        int rc;
        struct acl *acl = acl_of(text, &f, &rc);
        findings_fini(&f);
        cr_assert_eq(rc, 0, "%s", text);
        for (unsigned i = 0; i < 256; i++) {
            struct addr from = addr_from_ipv4(0x0a000000 + i);
            char name[32];
            struct verdict_detail d;
            snprintf(name, sizeof(name), "n%u.example", (unsigned)(next_random(&seed) % N_NAMES));
            bool is_allowed = verdict_name(acl, &from, name, 443, &d) == VERDICT_ALLOW;
            cr_assert_eq(is_allowed, walk_allows(acl, &from, name), "10.0.0.%u to %s under\n%s", i,
                         name, text);
        }
        acl_free(acl);
    }
}

/* Two tables compared: every point of the drift list is one that one side admits and the other does not, and no other. */
#include "acl/firewall_diff.h"

#include "tables.h"

static const char *const point_protos[] = {"tcp", "udp", "icmp", "esp", "other"};

struct pair {
    struct findings findings;
    struct firewall left, right;
    struct firewall_drift *drifts;
    size_t n;
};

static void pair_init(struct pair *p)
{
    *p = (struct pair){0};
    p->left = (struct firewall){.file = "left", .findings = &p->findings};
    p->right = (struct firewall){.file = "right", .findings = &p->findings};
}

static void pair_fini(struct pair *p)
{
    firewall_fini(&p->left);
    firewall_fini(&p->right);
    findings_fini(&p->findings);
    free(p->drifts);
}

static void add(struct firewall *fw, const char *word, uint16_t first, uint16_t last, const char *source)
{
    struct firewall_rule rule;

    cr_assert_eq(firewall_word(word, &rule), 0);
    if (first) {
        rule.port_first = first;
        rule.port_last = last;
    }
    cr_assert_eq(addr_parse_range(source, strlen(source), &rule.source), 0, "%s", source);
    cr_assert_eq(firewall_add(fw, &rule, "w", 0, ""), 0);
}

/* How many drifts hold the point, those of the left and those of the right. */
static void count(const struct pair *p, const char *proto, uint16_t port, const struct addr *source, unsigned n[2])
{
    n[0] = n[1] = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct firewall_drift *d = &p->drifts[i];
        if (strcmp(d->proto_word, proto) == 0 && d->port_first <= port && port <= d->port_last &&
            addr_range_has(&d->source, source))
            n[d->is_left ? 0 : 1]++;
    }
}

static void expect_point(const struct pair *p, const char *proto, uint16_t port, const struct addr *source,
                         const struct firewall_served *served)
{
    char text[ADDR_TEXT_MAX];
    bool left = firewall_admits(&p->left, proto, port, source), right = firewall_admits(&p->right, proto, port, source);
    unsigned n[2];

    count(p, proto, port, source, n);
    if (served && !(strcmp(proto, "tcp") == 0 && ports_has(&served->tcp, port)) &&
        !(strcmp(proto, "udp") == 0 && ports_has(&served->udp, port)))
        left = right = false;
    cr_expect_eq(n[0], left && !right, "%s %u %s", proto, port, addr_text(source, text));
    cr_expect_eq(n[1], right && !left, "%s %u %s", proto, port, addr_text(source, text));
}

static void ask_points(uint64_t *state, const struct pair *p, const struct firewall_served *served)
{
    for (unsigned i = 0; i < 300; i++) {
        const struct firewall *fw = random_below(state, 2) ? &p->left : &p->right;
        const struct addr source = near_edge(state, &fw->rules[random_below(state, (uint32_t)fw->n_rules)].source);
        const char *proto = point_protos[random_below(state, 5)];
        bool has_port = strcmp(proto, "tcp") == 0 || strcmp(proto, "udp") == 0;
        uint16_t port = has_port ? (uint16_t)(random_below(state, 8) ? 1 + random_below(state, 100) : UINT16_MAX) : 0;
        expect_point(p, proto, port, &source, served);
    }
}

/* Half of the rules in common. */
static void random_pair(uint64_t *state, struct pair *p)
{
    pair_init(p);
    for (unsigned i = 0; i < 12; i++)
        add_random_rule(state, random_below(state, 2) ? &p->left : &p->right);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t copy = *state;
        add_random_rule(state, &p->left);
        add_random_rule(&copy, &p->right);
    }
}

Test(acl_firewall_diff, diff__is_what_one_side_alone_admits__for_random_tables)
{
    uint64_t state = 77;

    for (unsigned round = 0; round < 300; round++) {
        struct pair p;
        random_pair(&state, &p);
        cr_assert_eq(firewall_diff(&p.left, &p.right, NULL, &p.drifts, &p.n), 0);
        ask_points(&state, &p, NULL);
        pair_fini(&p);
    }
}

Test(acl_firewall_diff, diff__is_cut_to_served_ports)
{
    uint64_t state = 78;
    struct firewall_served served = {0};

    ports_add(&served.tcp, 20, 22);
    ports_add(&served.tcp, 53, 53);
    ports_add(&served.udp, 53, 53);
    for (unsigned round = 0; round < 100; round++) {
        struct pair p;
        random_pair(&state, &p);
        cr_assert_eq(firewall_diff(&p.left, &p.right, &served, &p.drifts, &p.n), 0);
        ask_points(&state, &p, &served);
        pair_fini(&p);
    }
}

Test(acl_firewall_diff, diff__is_symmetric_and_empty_with_itself)
{
    uint64_t state = 79;

    for (unsigned round = 0; round < 100; round++) {
        struct pair p;
        struct firewall_drift *back;
        size_t n_back;
        random_pair(&state, &p);
        cr_assert_eq(firewall_diff(&p.left, &p.right, NULL, &p.drifts, &p.n), 0);
        cr_assert_eq(firewall_diff(&p.right, &p.left, NULL, &back, &n_back), 0);
        cr_assert_eq(p.n, n_back);
        for (size_t i = 0; i < n_back; i++) {
            cr_expect_neq(p.drifts[i].is_left, back[i].is_left);
            cr_expect_eq(p.drifts[i].admits, back[i].admits);
            cr_expect_eq(memcmp(&p.drifts[i].source, &back[i].source, sizeof(back[i].source)), 0);
        }
        free(back);
        cr_assert_eq(firewall_diff(&p.left, &p.left, NULL, &back, &n_back), 0);
        cr_expect_eq(n_back, 0);
        free(back);
        pair_fini(&p);
    }
}

Test(acl_firewall_diff, diff__names_the_first_rule_and_joins_ports)
{
    struct pair p;

    pair_init(&p);
    add(&p.left, "tcp", 80, 90, "10.0.0.0/24");
    add(&p.left, "tcp", 85, 85, "10.0.0.0/24");
    add(&p.right, "tcp", 80, 90, "10.0.0.0/25");
    add(&p.right, "any", 0, 0, "10.0.0.200");
    cr_assert_eq(firewall_diff(&p.left, &p.right, NULL, &p.drifts, &p.n), 0);
    cr_expect_eq(p.drifts[0].admits, &p.right.rules[1], "tcp 1-79 of any");
    cr_expect_eq(p.drifts[1].admits, &p.left.rules[0]);
    cr_expect_eq(p.drifts[1].port_first, 80);
    cr_expect_eq(p.drifts[1].port_last, 90);
    pair_fini(&p);
}

Test(acl_firewall_diff, diff__is_done_at_once__for_100000_rules_that_mostly_agree, .timeout = 20)
{
    struct pair p;
    char source[32];

    pair_init(&p);
    for (unsigned i = 0; i < 50000; i++) {
        snprintf(source, sizeof(source), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        add(&p.left, "any", 0, 0, source);
        if (i != 777)
            add(&p.right, "any", 0, 0, source);
        add(&p.left, "tcp", (uint16_t)(i + 1), (uint16_t)(i + 1), "11.0.0.1");
        add(&p.right, "tcp", (uint16_t)(i + 1), (uint16_t)(i + 1), "11.0.0.1");
    }
    cr_assert_eq(firewall_diff(&p.left, &p.right, NULL, &p.drifts, &p.n), 0);
    cr_assert_eq(p.n, 9, "each protocol once, not %zu", p.n);
    cr_expect_eq(p.drifts[0].port_first, 1);
    cr_expect_eq(p.drifts[0].port_last, UINT16_MAX);
    pair_fini(&p);
}

/* tables - helpers of the tests of firewall tables: a text is read, and what comes of it. */
#ifndef TESTS_UNIT_ACL_TABLES_H
#define TESTS_UNIT_ACL_TABLES_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/firewall.h"
#include "lines.h"

struct row {
    const char *table;
    const char *acl;   /* NULL: refused */
    size_t n_warnings;
    unsigned line; /* of a finding; 0: not asked */
};

static inline char *acl_text(const struct firewall *fw)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    cr_assert(out);
    firewall_write_acl(out, fw);
    fclose(out);
    return text;
}

static inline void expect_row(const struct row *row, int (*read)(struct firewall *, const char *, size_t))
{
    struct findings findings = {0};
    struct firewall_group group;
    cr_assert_eq(firewall_group_parse("web=10.1.0.0/16,10.2.0.9", &group), 0);
    struct firewall fw = {.file = "t", .findings = &findings, .groups = &group, .n_groups = 1};
    int r = read(&fw, row->table, strlen(row->table));

    char said[2048];
    cr_expect_eq(r, row->acl ? 0 : -EINVAL, "%s gives %d\n%s", row->table, r, found_text(&findings, said, sizeof(said)));
    cr_expect_eq(findings.n_errors > 0, !row->acl, "%s", row->table);
    if (row->acl) {
        char *text = acl_text(&fw);
        cr_expect_str_eq(text, row->acl, "%s gives %s", row->table, text);
        cr_expect_eq(findings.n_warnings, row->n_warnings, "%s has %zu", row->table, findings.n_warnings);
        free(text);
    }
    unsigned line = row->line + (row->table[0] == '#'); /* a first comment is not counted */
    cr_expect(row->line == 0 || found(&findings, row->acl ? FINDING_WARNING : FINDING_ERROR, line, ""),
              "no finding in line %u of %s\n%s", row->line, row->table, found_text(&findings, said, sizeof(said)));
    firewall_fini(&fw);
    firewall_group_fini(&group);
    findings_fini(&findings);
}

/* Whether the rules admit it; @port 0: a protocol without ports. */
static inline bool firewall_admits(const struct firewall *fw, const char *proto, uint16_t port, const struct addr *source)
{
    for (size_t i = 0; i < fw->n_rules; i++) {
        const struct firewall_rule *rule = &fw->rules[i];
        bool is_proto = rule->proto == IN_PROTO_ANY || (rule->proto == IN_PROTO_TCP && strcmp(proto, "tcp") == 0) ||
                        (rule->proto == IN_PROTO_UDP && strcmp(proto, "udp") == 0) ||
                        (rule->proto == IN_PROTO_OTHER && strcmp(proto, rule->proto_word) == 0);
        bool is_port = port == 0 || (rule->port_first <= port && port <= rule->port_last);
        if (is_proto && is_port && addr_range_has(&rule->source, source))
            return true;
    }
    return false;
}

/* A rule of any kind, its source a CIDR, a range or a host. */
static inline void add_random_rule(uint64_t *state, struct firewall *fw)
{
    static const char *const words[] = {"tcp", "tcp", "tcp", "udp", "any", "icmp", "esp", "ssh", "icmpv6-all", "l2tp"};
    static const char *const memos[] = {"", "Webプロキシ利用でのDSaaS通信用", "a ; b", "；全角　メモ"};
    char where[32];
    struct firewall_rule rule;

    cr_assert_eq(firewall_word(words[random_below(state, 10)], &rule), 0);
    if (strcmp(rule.proto_word, "tcp") == 0 || strcmp(rule.proto_word, "udp") == 0) {
        rule.port_first = (uint16_t)(random_below(state, 10) ? 1 + random_below(state, 60) : 1);
        uint32_t last = rule.port_first + random_below(state, 30);
        rule.port_last = (uint16_t)(random_below(state, 10) ? last : UINT16_MAX);
    }
    rule.source = random_range(state);
    snprintf(where, sizeof(where), "t:%zu", fw->n_rules);
    cr_assert_eq(firewall_add(fw, &rule, where, 0, memos[random_below(state, 4)]), 0);
}

#endif

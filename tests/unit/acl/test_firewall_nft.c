/* The nftables text, read back by a naive eye: each listener's port admits what the evaluator admits, and nothing is said of others. */
#include "acl/firewall_nft.h"

#include <stdio.h>

#include "acl/verdict.h"
#include "tables.h"

static const struct lint_port listeners[] = {{IN_PROTO_TCP, 20, ""}, {IN_PROTO_UDP, 53, ""}, {IN_PROTO_TCP, 53, ""}, {IN_PROTO_TCP, 20, ""}};

static char *nft_text(const struct firewall *fw)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    cr_assert(out);
    cr_assert_eq(firewall_nft_write(out, fw, listeners, N_ROWS(listeners)), 0);
    fclose(out);
    return text;
}

/* Whether an element of the list behind @list, up to `}`, holds @source. */
static bool is_listed(const char *list, const struct addr *source)
{
    struct addr_range range;

    for (const char *at = list + strspn(list, " \n"); *at != '}'; at += strspn(at, " ,\n")) {
        size_t len = strcspn(at, " ,\n}");
        cr_assert_eq(addr_parse_range(at, len, &range), 0, "%.60s", at);
        if (addr_range_has(&range, source))
            return true;
        at += len;
    }
    return false;
}

static bool nft_admits(const char *text, const struct lint_port *port, const struct addr *source)
{
    const char *proto = port->proto == IN_PROTO_TCP ? "tcp" : "udp", *family = addr_is_ipv4(source) ? "ip" : "ip6";
    char rule[96];

    snprintf(rule, sizeof(rule), "meta nfproto %s %s dport %u accept", addr_is_ipv4(source) ? "ipv4" : "ipv6", proto, port->port);
    if (strstr(text, rule))
        return true;
    snprintf(rule, sizeof(rule), "%s dport %u %s saddr {", proto, port->port, family);
    const char *at = strstr(text, rule);
    return at && is_listed(at + strlen(rule), source);
}

Test(acl_firewall_nft, write__admits_what_the_evaluator_admits__for_random_tables)
{
    uint64_t state = 91;

    for (unsigned round = 0; round < 200; round++) {
        struct findings findings = {0};
        struct firewall fw = {.file = "t", .findings = &findings};
        for (unsigned i = 0; i < 30; i++)
            add_random_rule(&state, &fw);
        char *lines = acl_text(&fw), *text = nft_text(&fw);
        struct acl *acl = acl_good(lines);
        for (unsigned i = 0; i < 300; i++) {
            const struct lint_port *port = &listeners[random_below(&state, 3)];
            struct addr source = near_edge(&state, &fw.rules[random_below(&state, 30)].source);
            bool want = in_ask_naive(acl, port->proto, port->port, &source) != NULL;
            char shown[ADDR_TEXT_MAX];
            cr_expect_eq(nft_admits(text, port, &source), want, "%u %s", port->port, addr_text(&source, shown));
        }
        acl_free(acl);
        free(lines);
        free(text);
        firewall_fini(&fw);
        findings_fini(&findings);
    }
}

Test(acl_firewall_nft, write__spares_replies_and_loopback_and_drops_each_port_once)
{
    struct firewall fw = {.file = "t"};
    char *text = nft_text(&fw);

    cr_expect_str_eq(text, "# Written by `ukai export --format nftables`; load it with `nft -f`.\n"
                           "table inet ukai\ndelete table inet ukai\ntable inet ukai {\n    chain input {\n"
                           "        type filter hook input priority -10; policy accept;\n"
                           "        iif lo accept\n        ct state established,related accept\n"
                           "        tcp dport 20 drop\n        udp dport 53 drop\n        tcp dport 53 drop\n    }\n}\n");
    free(text);
}

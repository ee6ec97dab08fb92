/*
 * One chain hooked at input before the usual filter chains, with policy accept. Loopback and what
 * conntrack knows already pass: a reply to a connection of the host's own may come to a port that a
 * listener has, and only the opening of a flow is the rules' matter. For each port that a listener
 * has: accept what the rules admit (which ends this table only; the host's own firewall is asked as
 * before), then drop the rest of that port. Sources that overlap are joined, since an nft interval
 * set takes none. IPv4 and IPv6 are apart, as everywhere.
 */
#include "acl/firewall_nft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/sweep.h"

static bool is_for(const struct firewall_rule *rule, const struct lint_port *port)
{
    return (rule->proto == port->proto || rule->proto == IN_PROTO_ANY) &&
           rule->port_first <= port->port && port->port <= rule->port_last;
}

static void write_elements(FILE *out, const struct lint_port *port, bool is_ipv4,
                           const struct sweep_span *spans, size_t n)
{
    const char *proto = port->proto == IN_PROTO_TCP ? "tcp" : "udp";
    char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX];

    fprintf(out, "        %s dport %u %s saddr {", proto, port->port, is_ipv4 ? "ip" : "ip6");
    for (size_t i = 0; i < n; i++) {
        const struct addr a = sweep_addr(spans[i].first), b = sweep_addr(spans[i].last);
        fprintf(out, "%s\n            %s", i ? "," : "", addr_text(&a, first));
        if (spans[i].first != spans[i].last)
            fprintf(out, "-%s", addr_text(&b, last));
    }
    fputs("\n        } accept\n", out);
}

static int write_family(FILE *out, const struct firewall *fw, const struct lint_port *port,
                        bool is_ipv4)
{
    struct sweep_span *spans = calloc(fw->n_rules + 1, sizeof(*spans)), *joined = NULL;
    size_t n = 0, n_joined = 0;

    if (!spans)
        return -ENOMEM;
    for (size_t i = 0; i < fw->n_rules; i++) {
        const struct firewall_rule *rule = &fw->rules[i];
        if (is_for(rule, port) && addr_is_ipv4(&rule->source.first) == is_ipv4)
            spans[n++] = (struct sweep_span){sweep_number(&rule->source.first),
                                             sweep_number(&rule->source.last)};
    }
    int r = sweep_lowest(spans, n, &joined, &n_joined);
    const struct addr last = addr_from_ipv4(UINT32_MAX);
    unsigned __int128 whole = is_ipv4 ? UINT32_MAX : ~(unsigned __int128)0;
    if (r == 0 && n_joined == 1 && joined[0].last - joined[0].first == whole &&
        (!is_ipv4 || joined[0].last == sweep_number(&last)))
        fprintf(out, "        meta nfproto %s %s dport %u accept\n", is_ipv4 ? "ipv4" : "ipv6",
                port->proto == IN_PROTO_TCP ? "tcp" : "udp", port->port);
    else if (r == 0 && n_joined > 0)
        write_elements(out, port, is_ipv4, joined, n_joined);
    free(joined);
    free(spans);
    return r;
}

static bool is_seen(const struct lint_port *ports, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (ports[k].proto == ports[i].proto && ports[k].port == ports[i].port)
            return true;
    return false;
}

int firewall_nft_write(FILE *out, const struct firewall *fw, const struct lint_port *ports,
                       size_t n_ports)
{
    int r = 0;

    fputs("# Written by `ukai export --format nftables`; load it with `nft -f`.\n"
          "table inet ukai\ndelete table inet ukai\ntable inet ukai {\n    chain input {\n"
          "        type filter hook input priority -10; policy accept;\n"
          "        iif lo accept\n        ct state established,related accept\n",
          out);
    for (size_t i = 0; i < n_ports && r == 0; i++) {
        if (is_seen(ports, i))
            continue;
        r = write_family(out, fw, &ports[i], true);
        if (r == 0)
            r = write_family(out, fw, &ports[i], false);
        fprintf(out, "        %s dport %u drop\n", ports[i].proto == IN_PROTO_TCP ? "tcp" : "udp",
                ports[i].port);
    }
    fputs("    }\n}\n", out);
    return r;
}

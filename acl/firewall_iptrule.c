/*
 * The options of one iptables rule, as far as a packet that opens a flow from another host meets
 * them: protocol, ports and source are kept as sets, negated ones as their complement; a state list
 * and TCP flags are decided for such a packet, and so is `-i lo`. Every other option, known or not,
 * narrows the rule in a way no ACL line can say: its name becomes the match's condition, and what
 * that means is judged by firewall_chain. So an option of tomorrow is never read as nothing.
 */
#include "acl/firewall_iptrule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/escape.h"

enum { LIST_MAX = 64 };

/* Options that may be given once. */
enum once {
    ONCE_PROTO = 1 << 0,
    ONCE_SOURCE = 1 << 1,
    ONCE_PORTS = 1 << 2,
    ONCE_TARGET = 1 << 3,
    ONCE_COMMENT = 1 << 4,
    ONCE_SRC_RANGE = 1 << 5,
};

struct parser {
    struct iptrule *rule;
    char *why;
    unsigned seen;
    bool is_port_proto; /* -p names one that has ports */
};

struct option {
    const char *name;
    const char *args[2];
    size_t n_args;
    bool is_negated;
};

static int refuse(struct parser *p, const char *what, const char *text)
{
    char shown[96];

    escape_write(ESCAPE_TEXT, text, strlen(text), shown, sizeof(shown));
    snprintf(p->why, IPTRULE_WHY_MAX, "%s `%s`", what, shown);
    return -EINVAL;
}

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One word from @from on, moved down to @to; false: its quote stays open. */
static bool take_word(char **from, char **to, bool *ret_is_quoted)
{
    bool is_open = false;

    *ret_is_quoted = **from == '"';
    for (; **from && (is_open || !is_blank(**from)); (*from)++) {
        if (**from == '"') {
            is_open = !is_open;
            continue;
        }
        if (is_open && **from == '\\' && (*from)[1] != '\0')
            (*from)++;
        *(*to)++ = **from;
    }
    return !is_open;
}

int firewall_iptrule_split(char *line, struct iptrule_words *ret_words,
                           char why[static IPTRULE_WHY_MAX])
{
    char *from = line, *to = line;

    ret_words->n = 0;
    for (;;) {
        while (is_blank(*from))
            from++;
        if (*from == '\0')
            return 0;
        if (ret_words->n >= IPTRULE_WORDS_MAX) {
            snprintf(why, IPTRULE_WHY_MAX, "more than %d words in a line", IPTRULE_WORDS_MAX);
            return -EINVAL;
        }
        ret_words->items[ret_words->n] = to;
        if (!take_word(&from, &to, &ret_words->is_quoted[ret_words->n])) {
            snprintf(why, IPTRULE_WHY_MAX, "a quote stays open");
            return -EINVAL;
        }
        ret_words->n++;
        if (*from)
            from++; /* the blank: room for the NUL */
        *to++ = '\0';
    }
}

/* ---- sets ---- */

static void narrow(struct parser *p, const char *condition)
{
    char *to = p->rule->match.condition;

    if (to[0] == '\0') {
        escape_write(ESCAPE_TEXT, condition, strlen(condition), to, MATCH_CONDITION_MAX);
        if (to[0] == '\0') /* never empty: that means exact */
            to[0] = '?';
    }
}

static int set_once(struct parser *p, enum once what, const char *name)
{
    if (p->seen & what)
        return refuse(p, "given twice:", name);
    p->seen |= what;
    return 0;
}

static int parse_port(const char *text, size_t len, uint32_t *ret_port)
{
    uint32_t port = 0;

    if (len == 0 || len > 5 || strspn(text, "0123456789") < len)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (uint32_t)(text[i] - '0');
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = port;
    return 0;
}

/* `a`, `a:b`, `:b`, `a:`; port 0 is nobody's and falls away. An empty range: first > last. */
static int parse_ports(const char *text, size_t len, struct match_ports *ret)
{
    const char *colon = memchr(text, ':', len);
    size_t first_len = colon ? (size_t)(colon - text) : len;
    uint32_t first = 0, last = UINT16_MAX;

    if (!colon || first_len > 0) {
        if (parse_port(text, first_len, &first) < 0)
            return -EINVAL;
    }
    if (!colon)
        last = first;
    else if (first_len + 1 < len && parse_port(colon + 1, len - first_len - 1, &last) < 0)
        return -EINVAL;
    if (last < first)
        return -EINVAL;
    *ret = (struct match_ports){(uint16_t)(first == 0 ? 1 : first), (uint16_t)last};
    return 0;
}

static int compare_ports(const void *a, const void *b)
{
    return ((const struct match_ports *)a)->first - ((const struct match_ports *)b)->first;
}

/* @list, of @n ranges in any order, as a sorted, disjoint set, or what it leaves out. */
static int set_ports(struct parser *p, struct match_ports *list, size_t n, bool is_negated)
{
    struct firewall_match *m = &p->rule->match;
    uint32_t next = 1;

    m->ports = calloc(n + 2, sizeof(*m->ports));
    if (!m->ports)
        return -ENOMEM;
    qsort(list, n, sizeof(*list), compare_ports);
    for (size_t i = 0; i < n; i++) {
        uint32_t first = list[i].first < next ? next : list[i].first;
        if (first > list[i].last)
            continue;
        if (is_negated && first > next)
            m->ports[m->n_ports++] = (struct match_ports){(uint16_t)next, (uint16_t)(first - 1)};
        if (!is_negated)
            m->ports[m->n_ports++] = (struct match_ports){(uint16_t)first, list[i].last};
        next = list[i].last + 1U;
    }
    if (is_negated && next <= UINT16_MAX)
        m->ports[m->n_ports++] = (struct match_ports){(uint16_t)next, UINT16_MAX};
    return 0;
}

static int parse_destination_ports(struct parser *p, const struct option *o)
{
    struct match_ports list[LIST_MAX];
    size_t n = 0;
    int r = set_once(p, ONCE_PORTS, o->name);

    for (const char *at = o->args[0]; at && r == 0;) {
        size_t len = strcspn(at, ",");
        if (n >= LIST_MAX || parse_ports(at, len, &list[n]) < 0)
            return refuse(p, "no list of ports by number:", o->args[0]);
        n++;
        at = at[len] ? at + len + 1 : NULL;
    }
    return r == 0 ? set_ports(p, list, n, o->is_negated) : r;
}

/* An address, a CIDR, or an address with a mask in dots; host bits are masked, as iptables does. */
static int parse_net(const char *text, size_t len, struct addr_range *ret)
{
    const char *slash = memchr(text, '/', len);
    struct addr address, mask;

    if (!slash) {
        if (addr_parse(text, len, &address) < 0)
            return -EINVAL;
        *ret = (struct addr_range){address, address};
        return 0;
    }
    size_t head = (size_t)(slash - text);
    if (!memchr(slash, '.', len - head)) {
        int r = addr_parse_cidr(text, len, ret);
        return r == -ERANGE ? 0 : r;
    }
    if (addr_parse(text, head, &address) < 0 || addr_parse(slash + 1, len - head - 1, &mask) < 0 ||
        !addr_is_ipv4(&address) || !addr_is_ipv4(&mask))
        return -EINVAL;
    uint32_t host = ~addr_ipv4(&mask);
    if (host & (host + 1)) /* holes in the mask */
        return -EINVAL;
    *ret = (struct addr_range){addr_from_ipv4(addr_ipv4(&address) & ~host),
                               addr_from_ipv4(addr_ipv4(&address) | host)};
    return 0;
}

static int note_family(struct parser *p, const struct addr *a, const char *text)
{
    unsigned family = addr_is_ipv4(a) ? 4 : 6;

    if (p->rule->family && p->rule->family != family)
        return refuse(p, "IPv4 and IPv6 in one rule:", text);
    p->rule->family = family;
    return 0;
}

/* Keeps @list, or the two ends that the one range in it leaves. */
static int set_sources(struct parser *p, const struct addr_range *list, size_t n, bool is_negated)
{
    struct firewall_match *m = &p->rule->match;
    struct addr lowest = addr_from_ipv4(0), highest = addr_from_ipv4(UINT32_MAX);

    if (p->rule->family == 6) {
        lowest = (struct addr){{0}};
        memset(highest.bytes, 0xff, sizeof(highest.bytes));
    }
    m->sources = calloc(n + 2, sizeof(*m->sources));
    if (!m->sources)
        return -ENOMEM;
    if (!is_negated) {
        memcpy(m->sources, list, n * sizeof(*list));
        m->n_sources = n;
        return 0;
    }
    if (addr_compare(&list[0].first, &lowest) > 0)
        m->sources[m->n_sources++] = (struct addr_range){lowest, addr_prev(&list[0].first)};
    if (addr_compare(&list[0].last, &highest) < 0)
        m->sources[m->n_sources++] = (struct addr_range){addr_next(&list[0].last), highest};
    return 0;
}

static int parse_sources(struct parser *p, const struct option *o)
{
    struct addr_range list[LIST_MAX];
    size_t n = 0;
    int r = set_once(p, ONCE_SOURCE, o->name);

    for (const char *at = o->args[0]; at && r == 0;) {
        size_t len = strcspn(at, ",");
        if (n >= LIST_MAX || parse_net(at, len, &list[n]) < 0)
            return refuse(p, "no address and no network:", o->args[0]);
        r = note_family(p, &list[n++].first, o->args[0]);
        at = at[len] ? at + len + 1 : NULL;
    }
    if (r == 0 && o->is_negated && n != 1)
        return refuse(p, "a negated list:", o->args[0]);
    return r == 0 ? set_sources(p, list, n, o->is_negated) : r;
}

static int parse_source_range(struct parser *p, const struct option *o)
{
    struct addr_range range;
    int r = set_once(p, ONCE_SOURCE, o->name);

    if (r == 0 && addr_parse_range(o->args[0], strlen(o->args[0]), &range) < 0)
        return refuse(p, "no address range:", o->args[0]);
    if (r == 0)
        r = note_family(p, &range.first, o->args[0]);
    return r == 0 ? set_sources(p, &range, 1, o->is_negated) : r;
}

/* ---- the other options ---- */

static int parse_proto(struct parser *p, const struct option *o)
{
    static const struct {
        const char *name, *word;
    } known[] = {{"6", "tcp"},
                 {"17", "udp"},
                 {"1", "icmp"},
                 {"ipv6-icmp", "icmpv6-all"},
                 {"icmpv6", "icmpv6-all"},
                 {"58", "icmpv6-all"},
                 {"47", "gre"},
                 {"50", "esp"},
                 {"51", "ah"},
                 {"112", "vrrp"}};
    const char *word = o->args[0];
    int r = set_once(p, ONCE_PROTO, o->name);

    if (r < 0)
        return r;
    if (strcmp(word, "all") == 0 || strcmp(word, "0") == 0) {
        if (o->is_negated)
            p->rule->match.is_never = true;
        return 0;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(word, known[i].name) == 0)
            word = known[i].word;
    if (strcmp(word, "icmpv6-all") == 0 && !o->is_negated)
        p->rule->family = 6; /* an IPv4 table has no such rule */
    unsigned bit = firewall_match_proto(word);
    p->rule->match.protos = o->is_negated ? MATCH_PROTOS_ALL & ~bit : bit;
    if (bit == MATCH_PROTOS_OTHERS) { /* one of many */
        p->rule->match.protos = o->is_negated ? MATCH_PROTOS_ALL : bit;
        narrow(p, "-p");
    }
    p->is_port_proto = !o->is_negated && (bit & MATCH_PROTOS_WITH_PORTS);
    return 0;
}

/* A packet that opens a flow is NEW. */
static int parse_states(struct parser *p, const struct option *o)
{
    static const char *const known[] = {"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"};
    bool has_new = false;

    for (const char *at = o->args[0]; at;) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < 5 && (strlen(known[i]) != len || strncmp(known[i], at, len) != 0))
            i++;
        if (i == 5) { /* DNAT, SNAT: another thing than the state */
            narrow(p, o->name);
            return 0;
        }
        has_new = has_new || i == 0;
        at = at[len] ? at + len + 1 : NULL;
    }
    if (has_new == o->is_negated)
        p->rule->match.is_never = true;
    return 0;
}

static int parse_flag_list(const char *text, unsigned *ret_flags)
{
    static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG"};

    *ret_flags = strcmp(text, "ALL") == 0 ? 63 : 0;
    if (*ret_flags || strcmp(text, "NONE") == 0)
        return 0;
    for (const char *at = text; at;) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < 6 && (strlen(names[i]) != len || strncmp(names[i], at, len) != 0))
            i++;
        if (i == 6)
            return -EINVAL;
        *ret_flags |= 1U << i;
        at = at[len] ? at + len + 1 : NULL;
    }
    return 0;
}

/* A TCP packet that opens a connection has SYN of these flags and no other. */
static int parse_flags(struct parser *p, const struct option *o)
{
    enum { SYN = 2 };
    unsigned mask, set;

    if (o->n_args < 2 || parse_flag_list(o->args[0], &mask) < 0 ||
        parse_flag_list(o->args[1], &set) < 0)
        return refuse(p, "no TCP flags:", o->args[0]);
    if (((mask & SYN) == set) == o->is_negated)
        p->rule->match.is_never = true;
    return 0;
}

static int parse_icmp_type(struct parser *p, const struct option *o)
{
    if (o->is_negated || strcmp(o->args[0], "any") != 0)
        narrow(p, o->name);
    return 0;
}

static int parse_syn(struct parser *p, const struct option *o)
{
    if (o->is_negated)
        p->rule->match.is_never = true;
    return 0;
}

static int parse_interface(struct parser *p, const struct option *o)
{
    if (strcmp(o->args[0], "lo") != 0)
        narrow(p, o->name);
    else if (!o->is_negated)
        p->rule->match.is_never = true;
    return 0;
}

static int parse_destination(struct parser *p, const struct option *o)
{
    struct addr_range range;

    if (parse_net(o->args[0], strlen(o->args[0]), &range) < 0) {
        narrow(p, o->name);
        return 0;
    }
    bool is_every = strcmp(o->args[0], "0.0.0.0/0") == 0 || strcmp(o->args[0], "::/0") == 0;
    if (!is_every || o->is_negated)
        narrow(p, o->name);
    return note_family(p, &range.first, o->args[0]);
}

static int parse_module(struct parser *p, const struct option *o)
{
    static const char *const plain[] = {"tcp",       "udp",   "icmp",      "icmp6",  "comment",
                                        "conntrack", "state", "multiport", "iprange"};

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (strcmp(plain[i], o->args[0]) == 0)
            return 0;
    narrow(p, o->args[0]);
    return 0;
}

static int parse_target(struct parser *p, const struct option *o)
{
    p->rule->target = o->args[0];
    p->rule->is_goto = o->name[1] == 'g' || strcmp(o->name, "--goto") == 0;
    return set_once(p, ONCE_TARGET, o->name);
}

static int parse_comment(struct parser *p, const struct option *o)
{
    p->rule->comment = o->args[0];
    return set_once(p, ONCE_COMMENT, o->name);
}

static int parse_nothing(struct parser *p, const struct option *o)
{
    return 0;
}

static int parse_unknown(struct parser *p, const struct option *o)
{
    narrow(p, o->name);
    return 0;
}

struct known_option {
    const char *names[3];
    int (*parse)(struct parser *p, const struct option *o);
    size_t n_args;
    bool has_no_negation;
};

static const struct known_option *find_option(const char *name)
{
    static const struct known_option unknown = {{NULL}, parse_unknown, 0, false};
    static const struct known_option known[] = {
        {{"-p", "--protocol", "--proto"}, parse_proto, 1},
        {{"-s", "--source", "--src"}, parse_sources, 1},
        {{"-d", "--destination", "--dst"}, parse_destination, 1},
        {{"-i", "--in-interface"}, parse_interface, 1},
        {{"-m", "--match"}, parse_module, 1, true},
        {{"-j", "--jump"}, parse_target, 1, true},
        {{"-g", "--goto"}, parse_target, 1, true},
        {{"-c", "--set-counters"}, parse_nothing, 2, true},
        {{"--dport", "--destination-port"}, parse_destination_ports, 1},
        {{"--dports", "--destination-ports"}, parse_destination_ports, 1},
        {{"--src-range"}, parse_source_range, 1},
        {{"--state", "--ctstate"}, parse_states, 1},
        {{"--tcp-flags"}, parse_flags, 2},
        {{"--syn"}, parse_syn, 0},
        {{"--icmp-type"}, parse_icmp_type, 1},
        {{"--comment"}, parse_comment, 1, true},
        {{"--reject-with"}, parse_nothing, 1, true},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        for (size_t k = 0; k < 3 && known[i].names[k]; k++) {
            if (strcmp(known[i].names[k], name) == 0)
                return &known[i];
        }
    }
    return &unknown;
}

static bool is_option(const struct iptrule_words *words, size_t i)
{
    const char *word = words->items[i];

    return !words->is_quoted[i] && (word[0] == '-' || strcmp(word, "!") == 0);
}

/* One option with its arguments; @at moves behind them. */
static int parse_option(struct parser *p, const struct iptrule_words *words, size_t *at)
{
    struct option o = {.is_negated = strcmp(words->items[*at], "!") == 0};
    size_t n_given = 0;

    *at += o.is_negated;
    if (*at >= words->n || words->is_quoted[*at] || words->items[*at][0] != '-')
        return refuse(p, "no option:", words->items[*at < words->n ? *at : words->n - 1]);
    o.name = words->items[(*at)++];
    const struct known_option *known = find_option(o.name);
    while (*at < words->n && !is_option(words, *at)) {
        if (n_given < 2)
            o.args[n_given] = words->items[*at];
        n_given++;
        (*at)++;
    }
    o.n_args = n_given < 2 ? n_given : 2;
    if (known->parse != parse_unknown && n_given != known->n_args)
        return refuse(p, "wrong number of words behind", o.name);
    if (o.is_negated && known->has_no_negation)
        return refuse(p, "nothing that can be negated:", o.name);
    return known->parse(p, &o);
}

int firewall_iptrule_parse(const struct iptrule_words *words, size_t first,
                           struct iptrule *ret_rule, char why[static IPTRULE_WHY_MAX])
{
    struct parser p = {.rule = ret_rule, .why = why};
    struct firewall_match *m = &ret_rule->match;
    int r = 0;

    *ret_rule = (struct iptrule){.match = {.protos = MATCH_PROTOS_ALL}};
    for (size_t at = first; at < words->n && r == 0;)
        r = parse_option(&p, words, &at);
    if (r == 0 && m->ports && !p.is_port_proto) {
        if (m->protos & MATCH_PROTOS_WITH_PORTS)
            return refuse(&p, "ports without", "-p tcp or -p udp");
        free(m->ports); /* sctp and the like: their ports are part of the condition */
        m->ports = NULL;
        m->n_ports = 0;
    }
    if ((m->ports && m->n_ports == 0) || (m->sources && m->n_sources == 0))
        m->is_never = true;
    return r;
}

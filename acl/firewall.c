/*
 * The neutral model between the formats: a list of what is admitted, one source a rule. The readers
 * hand over texts (struct firewall_item) and the judging is here, once: which word is which
 * protocol, what a missing port means, what cannot be an ACL line. A rule is never left out without
 * a finding that names it; what cannot be understood is an error, and then nothing of the table
 * may be used. Not here: formats (firewall_*.c), comparing (firewall_diff.c), files (daemon).
 */
#include "acl/firewall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/base/escape.h"

static const struct firewall_rule words[] = {
    {IN_PROTO_TCP, "tcp", 0, 0},          {IN_PROTO_UDP, "udp", 0, 0},
    {IN_PROTO_ANY, "any", 1, UINT16_MAX}, {IN_PROTO_OTHER, "icmp", 0, 0},
    {IN_PROTO_OTHER, "icmpv6-all", 0, 0}, {IN_PROTO_OTHER, "gre", 0, 0},
    {IN_PROTO_OTHER, "esp", 0, 0},        {IN_PROTO_OTHER, "ah", 0, 0},
    {IN_PROTO_OTHER, "vrrp", 0, 0},       {IN_PROTO_UDP, "l2tp", 1701, 1701},
    {IN_PROTO_TCP, "ssh", 22, 22},        {IN_PROTO_TCP, "http", 80, 80},
    {IN_PROTO_TCP, "https", 443, 443},    {IN_PROTO_TCP, "rdp", 3389, 3389},
};

static bool is_given(const char *text)
{
    return text && *text;
}

/* Text of the table, safe and short enough for a finding. */
static const char *shown(const char *text, char buf[static 128])
{
    escape_write(ESCAPE_TEXT, text, strlen(text), buf, 128);
    return buf;
}

static void say(struct firewall *fw, enum finding_level level, const struct firewall_item *item,
                const char *what, const char *text)
{
    char where[128], quoted[128];

    findings_add(fw->findings, level, fw->file, item->line, "%s: %s%s%s%s",
                 shown(item->where, where), what, text ? " `" : "", text ? shown(text, quoted) : "",
                 text ? "`" : "");
}

int firewall_word(const char *text, struct firewall_rule *ret_rule)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(words[i].proto_word, text) != 0)
            continue;
        *ret_rule = words[i];
        return 0;
    }
    return -EINVAL;
}

/* A port in decimal, 1-65535. */
static int parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned long)(text[i] - '0');
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

static void *grow(void *items, size_t n, size_t size)
{
    if (n & (n - 1))
        return items;
    return reallocarray(items, n ? n * 2 : 1, size);
}

/* ---- groups ---- */

void firewall_group_fini(struct firewall_group *group)
{
    free(group->name);
    free(group->members);
    *group = (struct firewall_group){0};
}

int firewall_group_parse(const char *text, struct firewall_group *ret_group)
{
    const char *equals = strchr(text, '=');
    struct firewall_group group = {0};
    struct addr_range range;
    int r = equals && equals > text ? 0 : -EINVAL;

    if (r == 0 && !(group.name = strndup(text, (size_t)(equals - text))))
        r = -ENOMEM;
    for (const char *at = r == 0 ? equals + 1 : NULL; at && r == 0;) {
        size_t len = strcspn(at, ",");
        r = addr_parse_range(at, len, &range);
        r = r == 0 || r == -ERANGE ? 0 : -EINVAL;
        struct addr_range *grown = grow(group.members, group.n_members, sizeof(*grown));
        if (!grown)
            r = -ENOMEM;
        else
            group.members = grown;
        if (r == 0)
            grown[group.n_members++] = range;
        at = at[len] ? at + len + 1 : NULL;
    }
    if (r == 0)
        *ret_group = group;
    else
        firewall_group_fini(&group);
    return r;
}

static struct firewall_group *find_group(const struct firewall *fw, const char *name)
{
    for (size_t i = 0; i < fw->n_groups; i++)
        if (strcmp(fw->groups[i].name, name) == 0)
            return &fw->groups[i];
    return NULL;
}

/* ---- one rule ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A memo as an ACL line can hold it: control bytes become blanks, none at the ends. True when more
 * than the blanks around it changed. */
static bool fit_memo(char *memo)
{
    bool is_changed = false;
    size_t len = strlen(memo), start = 0;

    bool is_utf8 = escape_is_utf8(memo, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)memo[i];
        bool is_control = (c < 0x20 && c != '\t') || c == 0x7f;
        if (!is_control && (is_utf8 || c < 0x80))
            continue;
        memo[i] = is_control ? ' ' : '?';
        is_changed = true;
    }
    while (len > 0 && is_blank(memo[len - 1]))
        len--;
    while (start < len && is_blank(memo[start]))
        start++;
    memmove(memo, memo + start, len - start);
    memo[len - start] = '\0';
    return is_changed;
}

int firewall_add(struct firewall *fw, const struct firewall_rule *like, const char *where,
                 unsigned line, const char *memo)
{
    const struct firewall_item item = {.where = where, .line = line};
    struct firewall_rule rule = *like;

    if (fw->n_rules >= FIREWALL_RULES_MAX)
        return -E2BIG;
    struct firewall_rule *grown = grow(fw->rules, fw->n_rules, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    fw->rules = grown;
    rule.memo = strdup(memo ? memo : "");
    rule.where = strdup(where);
    if (!rule.memo || !rule.where) {
        free(rule.memo);
        free(rule.where);
        return -ENOMEM;
    }
    if (fit_memo(rule.memo))
        say(fw, FINDING_WARNING, &item, "the memo has bytes that no ACL line holds; it becomes",
            rule.memo);
    fw->rules[fw->n_rules++] = rule;
    return 0;
}

/* A port of a rule; 0, as some tools write for none, is 0. */
static int parse_item_port(const char *text, uint16_t *ret_port)
{
    *ret_port = 0;
    return !is_given(text) || strcmp(text, "0") == 0 ? 0 : parse_port(text, ret_port);
}

/* The ports of a rule, or why they cannot be understood. Nobody has port 0: 0-65535 is 1-65535. */
static const char *judge_ports(const struct firewall_item *item, struct firewall_rule *rule)
{
    bool is_given_first = is_given(item->port_first);
    bool wants_port =
        (rule->proto == IN_PROTO_TCP || rule->proto == IN_PROTO_UDP) && rule->port_first == 0;
    uint16_t first, last;

    if (parse_item_port(item->port_first, &first) < 0)
        return "the first port is no number from 0 to 65535";
    if (parse_item_port(item->port_last, &last) < 0)
        return "the last port is no number from 0 to 65535";
    if (first == 0 && last == 0)
        return wants_port ? "a rule for tcp or udp without a port" : NULL;
    if (!is_given_first)
        return "a last port without a first one";
    first = first == 0 ? 1 : first;
    last = last == 0 ? first : last;
    if (last < first)
        return "the port range is reversed";
    if (!wants_port && (first != rule->port_first || last != rule->port_last))
        return "ports on a protocol that takes none";
    rule->port_first = first;
    rule->port_last = last;
    return NULL;
}

static int add_range(struct firewall *fw, const struct firewall_item *item,
                     struct firewall_rule *rule, const char *text)
{
    int r = addr_parse_cidr(text, strlen(text), &rule->source);

    if (r == -EINVAL && addr_parse(text, strlen(text), &rule->source.first) == 0) {
        rule->source.last = rule->source.first;
        r = 0;
    }
    if (r == -ERANGE)
        say(fw, FINDING_WARNING, item, "host bits are set, they are masked:", text);
    else if (r < 0) {
        say(fw, FINDING_ERROR, item, "no address and no CIDR:", text);
        return 0;
    }
    return firewall_add(fw, rule, item->where, item->line, item->memo);
}

static int add_group(struct firewall *fw, const struct firewall_item *item,
                     struct firewall_rule *rule, const char *name)
{
    struct firewall_group *group = find_group(fw, name);
    int r = 0;

    if (group)
        group->is_used = true;
    else
        say(fw, FINDING_WARNING, item,
            "matches nothing without --group NAME=CIDR,...: firewall group", name);
    for (size_t i = 0; group && i < group->n_members && r == 0; i++) {
        rule->source = group->members[i];
        r = firewall_add(fw, rule, item->where, item->line, item->memo);
    }
    return r;
}

int firewall_add_item(struct firewall *fw, const struct firewall_item *item)
{
    struct firewall_rule rule;
    int r = 0;

    if (is_given(item->in_out) && strcasecmp(item->in_out, "OUT") == 0) {
        say(fw, FINDING_NOTE, item, "an OUT rule; ukai mirrors IN rules only, left out", NULL);
        return 0;
    }
    if (is_given(item->in_out) && strcasecmp(item->in_out, "IN") != 0) {
        say(fw, FINDING_ERROR, item, "neither IN nor OUT:", item->in_out);
        return 0;
    }
    if (!is_given(item->proto) || firewall_word(item->proto, &rule) < 0) {
        say(fw, FINDING_ERROR, item, "unknown protocol", item->proto ? item->proto : "");
        return 0;
    }
    const char *why = judge_ports(item, &rule);
    if (why) {
        say(fw, FINDING_ERROR, item, why, NULL);
        return 0;
    }
    if (item->n_ranges == 0 && item->n_groups == 0)
        say(fw, FINDING_WARNING, item, "a rule without a source; it matches nothing", NULL);
    for (size_t i = 0; i < item->n_ranges && r == 0; i++)
        r = add_range(fw, item, &rule, item->ranges[i]);
    for (size_t i = 0; i < item->n_groups && r == 0; i++)
        r = add_group(fw, item, &rule, item->groups[i]);
    return r;
}

void firewall_fini(struct firewall *fw)
{
    for (size_t i = 0; i < fw->n_rules; i++) {
        free(fw->rules[i].memo);
        free(fw->rules[i].where);
    }
    free(fw->rules);
    free(fw->extra);
    fw->rules = NULL;
    fw->n_rules = 0;
    fw->extra = NULL;
}

/* ---- to and from the ACL ---- */

int firewall_from_acl(struct firewall *fw, const struct acl *acl)
{
    int r = 0;

    for (size_t i = 0; i < acl->n_in && r == 0; i++) {
        const struct in_rule *in = &acl->in[i];
        char *where;
        if (asprintf(&where, "%s:%u", in->place.file, in->place.line) < 0)
            return -ENOMEM;
        for (size_t k = 0; k < in->n_sources && r == 0; k++) {
            const struct firewall_rule rule = {in->proto, in->proto_word, in->port_first,
                                               in->port_last, in->sources[k]};
            r = firewall_add(fw, &rule, where, in->place.line, in->place.memo);
        }
        free(where);
    }
    return r;
}

static void write_line(FILE *out, const struct firewall_rule *rule)
{
    char range[2 * ADDR_TEXT_MAX];
    bool has_port = strcmp(rule->proto_word, "tcp") == 0 || strcmp(rule->proto_word, "udp") == 0;

    fputs(rule->proto_word, out);
    if (has_port)
        fprintf(out, " %u", rule->port_first);
    if (has_port && rule->port_last != rule->port_first)
        fprintf(out, "-%u", rule->port_last);
    fprintf(out, " = %s", addr_range_text(&rule->source, range, sizeof(range)));
    fprintf(out, rule->memo[0] ? "   ; %s\n" : "\n%s", rule->memo);
}

void firewall_write_acl(FILE *out, const struct firewall *fw)
{
    fputs("[in]\n", out);
    for (size_t i = 0; i < fw->n_rules; i++)
        write_line(out, &fw->rules[i]);
    if (fw->extra)
        fputs(fw->extra, out);
}

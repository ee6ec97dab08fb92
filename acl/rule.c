/*
 * acl.conf as data. Each line is read on its own and either adds one rule or one finding;
 * acl_finish() does what needs the whole file: groups become addresses, duplicates are found by
 * sorting, [out] is compiled. The rules keep the text, line and memo they were written with,
 * because every refusal and every `explain` answers with them. Not here: files and sections
 * (conf/aclfile), asking (acl/verdict), style of the rules (acl/lint). Owned by the snapshot, const
 * after acl_finish(). The words of [in] are those of the router's own firewall form.
 */
#include "acl/rule.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "acl/guard.h"
#include "acl/names.h"
#include "acl/outindex.h"
#include "acl/outviews.h"
#include "acl/pattern.h"
#include "acl/ports.h"
#include "acl/rangetext.h"
#include "acl/slots.h"
#include "proxy/base/escape.h"

struct word {
    const char *name;
    enum in_proto proto;
    uint16_t port; /* 0: none, or written behind the word */
    bool takes_port;
};

static const struct word words[] = {
    {"tcp", IN_PROTO_TCP, 0, true},           {"udp", IN_PROTO_UDP, 0, true},
    {"any", IN_PROTO_ANY, 0, false},          {"icmp", IN_PROTO_OTHER, 0, false},
    {"icmpv6-all", IN_PROTO_OTHER, 0, false}, {"gre", IN_PROTO_OTHER, 0, false},
    {"esp", IN_PROTO_OTHER, 0, false},        {"ah", IN_PROTO_OTHER, 0, false},
    {"vrrp", IN_PROTO_OTHER, 0, false},       {"l2tp", IN_PROTO_UDP, 1701, false},
    {"ssh", IN_PROTO_TCP, 22, false},         {"http", IN_PROTO_TCP, 80, false},
    {"https", IN_PROTO_TCP, 443, false},      {"rdp", IN_PROTO_TCP, 3389, false},
};

enum { QUOTE_MAX = 80, GROUP_NAME_MAX = 64 };

struct text {
    const char *start;
    size_t len;
};

#define QUOTE(t) (int)((t).len > QUOTE_MAX ? QUOTE_MAX : (t).len), (t).start
#define ACL_ERROR(acl, line, findings, ...)                                                        \
    findings_add(findings, FINDING_ERROR, (acl)->file, line, __VA_ARGS__)
#define ACL_WARNING(acl, line, findings, ...)                                                      \
    findings_add(findings, FINDING_WARNING, (acl)->file, line, __VA_ARGS__)

/* ---- memory ---- */

/* Room for one more in an array that holds @n; it doubles at powers of two, so it needs no capacity
 * beside it. */
static void *grow(void *items, size_t n, size_t size)
{
    if (n & (n - 1))
        return items;
    return reallocarray(items, n ? n * 2 : 1, size);
}

static const char *without_folder(const char *file)
{
    const char *slash = strrchr(file, '/');

    return slash ? slash + 1 : file;
}

static void place_fini(struct rule_place *place)
{
    free(place->text);
    free(place->memo);
}

static void in_rule_fini(struct in_rule *rule)
{
    place_fini(&rule->place);
    free(rule->sources);
    for (size_t i = 0; i < rule->n_groups; i++)
        free(rule->groups[i]);
    free(rule->groups);
}

void out_rule_fini(struct out_rule *rule)
{
    place_fini(&rule->place);
    free(rule->name);
    free(rule->ports);
}

struct acl *acl_new(const char *file)
{
    struct acl *acl = calloc(1, sizeof(*acl));

    if (!acl)
        return NULL;
    acl->file = strdup(file ? file : "acl.conf");
    acl->group_names = names_new();
    acl->sections = calloc(1, sizeof(*acl->sections));
    acl->n_sections = acl->sections ? 1 : 0;
    return acl->file && acl->group_names && acl->sections ? acl : acl_free(acl);
}

struct acl *acl_free(struct acl *acl)
{
    if (!acl)
        return NULL;
    for (size_t i = 0; i < acl->n_in; i++)
        in_rule_fini(&acl->in[i]);
    for (size_t i = 0; i < acl->n_out; i++)
        out_rule_fini(&acl->out[i]);
    names_free(acl->group_names);
    for (size_t i = 0; i < acl->n_groups; i++) {
        free(acl->groups[i].name);
        free(acl->groups[i].members);
    }
    free(acl->in);
    free(acl->out);
    free(acl->groups);
    out_views_free(acl->out_views);
    for (size_t i = 0; i < acl->n_sections; i++) {
        out_index_free(acl->sections[i].index);
        free(acl->sections[i].group);
    }
    free(acl->sections);
    for (size_t i = 0; i < acl->n_expects; i++) {
        place_fini(&acl->expects[i].place);
        free(acl->expects[i].target);
    }
    free(acl->expects);
    slots_lease_free(acl->lease);
    free(acl->file);
    free(acl);
    return NULL;
}

/* ---- lines ---- */

static int check_memo(const struct acl *acl, const char *memo, unsigned line,
                      struct findings *findings)
{
    if (!memo || escape_is_utf8(memo, strlen(memo)))
        return 0;
    ACL_ERROR(acl, line, findings, "the memo is not UTF-8; save the file in UTF-8");
    return -EINVAL;
}

static int place_init(struct rule_place *place, const struct acl *acl, const char *key,
                      const char *value, const char *memo, unsigned line)
{
    *place = (struct rule_place){.file = without_folder(acl->file), .line = line};
    if (asprintf(&place->text, "%s = %s", key, value) < 0)
        place->text = NULL;
    place->memo = strdup(memo ? memo : "");
    return place->text && place->memo ? 0 : -ENOMEM;
}

static struct text trimmed(struct text t)
{
    while (t.len > 0 && (t.start[0] == ' ' || t.start[0] == '\t')) {
        t.start++;
        t.len--;
    }
    while (t.len > 0 && (t.start[t.len - 1] == ' ' || t.start[t.len - 1] == '\t'))
        t.len--;
    return t;
}

/* The next item of a comma list; false behind the last one. */
static bool next_item(struct text *rest, struct text *ret_item)
{
    if (!rest->start)
        return false;
    const char *comma = memchr(rest->start, ',', rest->len);
    size_t len = comma ? (size_t)(comma - rest->start) : rest->len;
    *ret_item = trimmed((struct text){rest->start, len});
    *rest = comma ? (struct text){comma + 1, rest->len - len - 1} : (struct text){NULL, 0};
    return true;
}

static int add_range(struct addr_range **items, size_t *n, const struct addr_range *range)
{
    struct addr_range *grown = grow(*items, *n, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    *items = grown;
    grown[(*n)++] = *range;
    return 0;
}

/* ---- [in] ---- */

static const struct word *find_word(struct text t)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].name) == t.len && strncasecmp(words[i].name, t.start, t.len) == 0)
            return &words[i];
    return NULL;
}

static int refuse_word(const struct acl *acl, struct text word, struct text port, unsigned line,
                       struct findings *findings)
{
    bool is_number = word.len > 0 && strspn(word.start, "0123456789") >= word.len;

    if (is_number)
        ACL_ERROR(acl, line, findings,
                  "`%.*s` is no protocol; write it in front of the port: tcp %.*s", QUOTE(word),
                  QUOTE(word));
    else if (memchr(word.start, '/', word.len) || memchr(word.start, ':', word.len))
        ACL_ERROR(acl, line, findings,
                  "`%.*s`: write protocol and port with a blank between them, as in tcp 8080",
                  QUOTE(word));
    else
        ACL_ERROR(acl, line, findings,
                  "unknown protocol `%.*s`; write tcp%s%.*s, udp%s%.*s, any, icmp, icmpv6-all, "
                  "gre, esp, ah, vrrp, l2tp, "
                  "ssh, http, https or rdp",
                  QUOTE(word), port.len ? " " : "", QUOTE(port), port.len ? " " : "", QUOTE(port));
    return -EINVAL;
}

static int parse_rule_ports(const struct acl *acl, const struct word *word, struct text port,
                            struct in_rule *rule, unsigned line, struct findings *findings)
{
    const char *why;

    if (!word->takes_port) {
        rule->port_first = word->proto == IN_PROTO_ANY ? 1 : word->port;
        rule->port_last = word->proto == IN_PROTO_ANY ? UINT16_MAX : word->port;
        if (port.len == 0)
            return 0;
        ACL_ERROR(acl, line, findings, "%s takes no port; write %s alone, or tcp %.*s", word->name,
                  word->name, QUOTE(port));
        return -EINVAL;
    }
    if (port.len == 0) {
        ACL_ERROR(acl, line, findings,
                  "the port is missing; write %s 8080, or %s 1-65535 for every port", word->name,
                  word->name);
        return -EINVAL;
    }
    if (memchr(port.start, ',', port.len)) {
        ACL_ERROR(acl, line, findings,
                  "port `%.*s`: one port or range a line; write a line for each", QUOTE(port));
        return -EINVAL;
    }
    if (ports_parse_range(port.start, port.len, &rule->port_first, &rule->port_last, &why)) {
        ACL_ERROR(acl, line, findings, "port `%.*s`: %s", QUOTE(port), why);
        return -EINVAL;
    }
    return 0;
}

/* `tcp 8080`: the word, blanks, the rest. */
static int parse_service(const struct acl *acl, const char *key, struct in_rule *rule,
                         unsigned line, struct findings *findings)
{
    struct text word = trimmed((struct text){key, strlen(key)});
    size_t word_len = 0;

    while (word_len < word.len && word.start[word_len] != ' ' && word.start[word_len] != '\t')
        word_len++;
    struct text port = trimmed((struct text){word.start + word_len, word.len - word_len});
    word.len = word_len;
    const struct word *known = find_word(word);
    if (!known)
        return refuse_word(acl, word, port, line, findings);
    rule->proto = known->proto;
    rule->proto_word = known->name;
    return parse_rule_ports(acl, known, port, rule, line, findings);
}

static int add_group_name(struct in_rule *rule, struct text name)
{
    char **grown = grow(rule->groups, rule->n_groups, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    rule->groups = grown;
    grown[rule->n_groups] = strndup(name.start, name.len);
    return grown[rule->n_groups] ? (rule->n_groups++, 0) : -ENOMEM;
}

static int parse_source(const struct acl *acl, struct text item, struct in_rule *rule,
                        unsigned line, struct findings *findings)
{
    char why[RANGETEXT_WHY_MAX] = "";
    struct addr_range range;

    if (item.len == 0) {
        ACL_ERROR(acl, line, findings,
                  "a source is missing; write 192.168.1.10, a network, a range or @group");
        return -EINVAL;
    }
    if (item.start[0] == '@' && item.len > 1)
        return add_group_name(rule, (struct text){item.start + 1, item.len - 1});
    if (item.start[0] == '@') {
        ACL_ERROR(acl, line, findings, "the group's name is missing behind @");
        return -EINVAL;
    }
    if (item.len == 1 && item.start[0] == '*') {
        ACL_ERROR(acl, line, findings,
                  "`*` is no source; write 0.0.0.0/0 for all of IPv4, ::/0 for all of IPv6");
        return -EINVAL;
    }
    if (rangetext_parse(item.start, item.len, &range, why)) {
        ACL_ERROR(acl, line, findings, "source %s", why);
        return -EINVAL;
    }
    return add_range(&rule->sources, &rule->n_sources, &range);
}

static int compare_ranges(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct addr_range));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, so that lines can be compared; a source written twice in one line stays once. */
static void tidy_sources(const struct acl *acl, struct in_rule *rule, struct findings *findings)
{
    size_t n = 0, n_names = 0;

    if (rule->n_sources > 1)
        qsort(rule->sources, rule->n_sources, sizeof(*rule->sources), compare_ranges);
    for (size_t i = 0; i < rule->n_sources; i++)
        if (n == 0 || compare_ranges(&rule->sources[n - 1], &rule->sources[i]) != 0)
            rule->sources[n++] = rule->sources[i];
    if (rule->n_groups > 1)
        qsort(rule->groups, rule->n_groups, sizeof(*rule->groups), compare_names);
    for (size_t i = 0; i < rule->n_groups; i++) {
        if (n_names > 0 && strcmp(rule->groups[n_names - 1], rule->groups[i]) == 0)
            free(rule->groups[i]);
        else
            rule->groups[n_names++] = rule->groups[i];
    }
    if (n < rule->n_sources || n_names < rule->n_groups)
        ACL_WARNING(acl, rule->place.line, findings,
                    "a source is listed twice in this line; write it once");
    rule->n_sources = n;
    rule->n_groups = n_names;
}

static int fill_in_rule(const struct acl *acl, struct in_rule *rule, const char *key,
                        const char *value, const char *memo, unsigned line,
                        struct findings *findings)
{
    struct text rest = {value, strlen(value)}, item;
    int r_memo = check_memo(acl, memo, line, findings);
    int r = parse_service(acl, key, rule, line, findings);

    if (r == 0)
        r = r_memo;
    while (r != -ENOMEM && next_item(&rest, &item)) {
        int r_source = parse_source(acl, item, rule, line, findings);
        if (r_source < 0)
            r = r_source;
    }
    if (r == 0)
        r = place_init(&rule->place, acl, key, value, memo, line);
    return r;
}

int acl_add_in(struct acl *acl, const char *key, const char *value, const char *memo, unsigned line,
               struct findings *findings)
{
    struct in_rule rule = {.index = acl->n_in};
    struct in_rule *grown = grow(acl->in, acl->n_in, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    acl->in = grown;
    int r = fill_in_rule(acl, &rule, key, value, memo, line, findings);
    if (r < 0) {
        acl->n_in_refused++;
        in_rule_fini(&rule);
        return r;
    }
    tidy_sources(acl, &rule, findings);
    acl->in[acl->n_in++] = rule;
    return 0;
}

/* ---- [group] ---- */

static const char *wrong_group_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0)
        return "the group has no name; write [group NAME]";
    if (name[0] == '@')
        return "the @ stands in front of the name only where a line uses the group; write [group "
               "NAME]";
    if (len > GROUP_NAME_MAX)
        return "the group's name is longer than 64 bytes";
    if (strpbrk(name, " \t,@[]{}\"`") || !escape_is_utf8(name, len))
        return "a group's name is one word in UTF-8 without blanks, commas, @, quotes and brackets";
    return NULL;
}

int acl_add_group(struct acl *acl, const char *name, unsigned line, struct findings *findings)
{
    const char *why = wrong_group_name(name);
    uint32_t id;

    if (why) {
        ACL_ERROR(acl, line, findings, "%s", why);
        return -EINVAL;
    }
    if (names_find(acl->group_names, name, strlen(name), &id)) {
        ACL_ERROR(acl, line, findings,
                  "group %s is given twice, first in line %u; put its members into one", name,
                  acl->groups[id].line);
        return -EINVAL;
    }
    struct acl_group *grown = grow(acl->groups, acl->n_groups, sizeof(*grown));
    char *copy = strdup(name);
    if (grown)
        acl->groups = grown;
    if (!grown || !copy || names_add(acl->group_names, copy, strlen(copy), &id)) {
        free(copy);
        return -ENOMEM;
    }
    acl->groups[acl->n_groups++] = (struct acl_group){.name = copy, .line = line};
    return 0;
}

static int parse_member(const struct acl *acl, struct text item, struct acl_group *group,
                        unsigned line, struct findings *findings)
{
    char why[RANGETEXT_WHY_MAX] = "";
    struct addr_range range;

    if (item.len > 0 && item.start[0] == '@') {
        ACL_ERROR(acl, line, findings,
                  "`%.*s`: a group holds addresses, not groups; name both groups in the [in] line",
                  QUOTE(item));
        return -EINVAL;
    }
    if (rangetext_parse(item.start, item.len, &range, why)) {
        ACL_ERROR(acl, line, findings, "member %s", why);
        return -EINVAL;
    }
    return add_range(&group->members, &group->n_members, &range);
}

int acl_add_member(struct acl *acl, const char *group, const char *key, const char *value,
                   const char *memo, unsigned line, struct findings *findings)
{
    struct text rest = {value, strlen(value)}, item;
    uint32_t id;
    int r = check_memo(acl, memo, line, findings);

    if (!names_find(acl->group_names, group, strlen(group), &id)) {
        ACL_ERROR(acl, line, findings, "group %s is not open; write [group %s] above its members",
                  group, group);
        return -EINVAL;
    }
    if (strcmp(key, "member") != 0) {
        ACL_ERROR(acl, line, findings, "unknown key `%.*s` in a group; write member = ADDRESS",
                  QUOTE_MAX, key);
        return -EINVAL;
    }
    size_t n_before = acl->groups[id].n_members;
    while (r != -ENOMEM && next_item(&rest, &item)) {
        int r_item = parse_member(acl, item, &acl->groups[id], line, findings);
        if (r_item < 0)
            r = r_item;
    }
    if (r < 0) /* a line with an error adds nothing */
        acl->groups[id].n_members = n_before;
    return r;
}

/* ---- [expect] ---- */

static const char *split_expect(const char *key, const char *value, struct acl_expect *ret,
                                const char **ret_target)
{
    size_t len = strcspn(value, " \t");

    ret->is_allow = strcmp(key, "allow") == 0;
    if (!ret->is_allow && strcmp(key, "deny") != 0)
        return "write `allow = ` or `deny = `";
    if (addr_parse(value, len, &ret->from) < 0)
        return "the line starts with the client's address: `allow = ADDR CONNECT host:port`";
    *ret_target = value + len + strspn(value + len, " \t");
    return NULL;
}

int acl_add_expect(struct acl *acl, const char *key, const char *value, const char *memo,
                   unsigned line, struct findings *findings)
{
    struct acl_expect expect = {0};
    const char *target = NULL;
    const char *why = split_expect(key, value, &expect, &target);

    if (why) {
        ACL_ERROR(acl, line, findings, "[expect]: %s", why);
        return -EINVAL;
    }
    struct acl_expect *grown = grow(acl->expects, acl->n_expects, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    acl->expects = grown;
    int r = place_init(&expect.place, acl, key, value, memo, line);
    if (r < 0)
        return r;
    expect.target = strdup(target);
    if (!expect.target) {
        place_fini(&expect.place);
        return -ENOMEM;
    }
    acl->expects[acl->n_expects++] = expect;
    return 0;
}

/* ---- [out] ---- */

static int open_plain_out(struct acl *acl, unsigned line, struct findings *findings)
{
    struct out_section *plain = &acl->sections[0];

    if (plain->line != 0) {
        ACL_ERROR(acl, line, findings,
                  "section [out] is given twice, first in line %u; put all into one", plain->line);
        return -EINVAL;
    }
    plain->line = line;
    plain->first = acl->n_out;
    acl->open_section = 0;
    return 0;
}

static int open_group_out(struct acl *acl, const char *group, unsigned line,
                          struct findings *findings)
{
    const char *why = wrong_group_name(group);

    if (why) {
        ACL_ERROR(acl, line, findings, "%s", why);
        return -EINVAL;
    }
    for (size_t i = 1; i < acl->n_sections; i++) {
        if (strcmp(acl->sections[i].group, group) != 0)
            continue;
        ACL_ERROR(acl, line, findings,
                  "section [out @%s] is given twice, first in line %u; put all into one", group,
                  acl->sections[i].line);
        return -EINVAL;
    }
    struct out_section *grown = grow(acl->sections, acl->n_sections, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    acl->sections = grown;
    struct out_section section = {.group = strdup(group), .line = line, .first = acl->n_out};
    if (!section.group)
        return -ENOMEM;
    acl->open_section = acl->n_sections;
    acl->sections[acl->n_sections++] = section;
    return 0;
}

int acl_open_out(struct acl *acl, const char *group, unsigned line, struct findings *findings)
{
    return group ? open_group_out(acl, group, line, findings) : open_plain_out(acl, line, findings);
}

static int fill_out_rule(const struct acl *acl, struct out_rule *rule, const char *key,
                         const char *value, const char *memo, unsigned line,
                         struct findings *findings)
{
    char why[PATTERN_WHY_MAX];
    struct text pattern = trimmed((struct text){value, strlen(value)});
    int r_memo = check_memo(acl, memo, line, findings);

    rule->is_allow = strcmp(key, "allow") == 0;
    if (!rule->is_allow && strcmp(key, "deny") != 0) {
        ACL_ERROR(acl, line, findings,
                  "unknown key `%.*s` in [out]; write allow = DESTINATION or deny = DESTINATION",
                  QUOTE_MAX, key);
        return -EINVAL;
    }
    int r = pattern_parse(pattern.start, pattern.len, rule, why);
    if (r == -EINVAL)
        ACL_ERROR(acl, line, findings, "%s", why);
    else if (r == 0 && why[0])
        ACL_WARNING(acl, line, findings, "%s", why);
    if (r == 0)
        r = r_memo;
    rule->opens_special = r == 0 && rule->is_allow && rule->kind == OUT_KIND_RANGE &&
                          guard_range_is_special(&rule->range);
    return r < 0 ? r : place_init(&rule->place, acl, key, value, memo, line);
}

int acl_add_out(struct acl *acl, const char *key, const char *value, const char *memo,
                unsigned line, struct findings *findings)
{
    struct out_rule rule = {.index = acl->n_out, .section = (uint32_t)acl->open_section};
    struct out_rule *grown = grow(acl->out, acl->n_out, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    acl->out = grown;
    int r = fill_out_rule(acl, &rule, key, value, memo, line, findings);
    if (r < 0) {
        out_rule_fini(&rule);
        return r;
    }
    acl->out[acl->n_out++] = rule;
    acl->sections[acl->open_section].n++;
    return 0;
}

/* ---- the whole file ---- */

int in_rule_compare(const struct in_rule *a, const struct in_rule *b)
{
    if (a->proto != b->proto)
        return a->proto < b->proto ? -1 : 1;
    if (a->proto == IN_PROTO_OTHER && strcmp(a->proto_word, b->proto_word) != 0)
        return strcmp(a->proto_word, b->proto_word);
    if (a->port_first != b->port_first)
        return a->port_first < b->port_first ? -1 : 1;
    if (a->port_last != b->port_last)
        return a->port_last < b->port_last ? -1 : 1;
    if (a->n_sources != b->n_sources)
        return a->n_sources < b->n_sources ? -1 : 1;
    if (a->n_groups != b->n_groups)
        return a->n_groups < b->n_groups ? -1 : 1;
    for (size_t i = 0; i < a->n_sources; i++) {
        int order = compare_ranges(&a->sources[i], &b->sources[i]);
        if (order)
            return order;
    }
    for (size_t i = 0; i < a->n_groups; i++) {
        int order = strcmp(a->groups[i], b->groups[i]);
        if (order)
            return order;
    }
    return 0;
}

static int compare_in(const void *a, const void *b)
{
    const struct in_rule *x = *(const struct in_rule *const *)a,
                         *y = *(const struct in_rule *const *)b;
    int order = in_rule_compare(x, y);

    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int compare_out_meaning(const struct out_rule *a, const struct out_rule *b)
{
    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    if (a->is_allow != b->is_allow)
        return a->is_allow ? 1 : -1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->has_ports != b->has_ports)
        return a->has_ports ? 1 : -1;
    if (a->n_ports != b->n_ports)
        return a->n_ports < b->n_ports ? -1 : 1;
    int order = a->n_ports ? memcmp(a->ports, b->ports, a->n_ports * sizeof(*a->ports)) : 0;
    if (order)
        return order;
    if (a->kind == OUT_KIND_RANGE)
        return compare_ranges(&a->range, &b->range);
    return a->name && b->name ? strcmp(a->name, b->name) : 0;
}

static int compare_out(const void *a, const void *b)
{
    const struct out_rule *x = *(const struct out_rule *const *)a,
                          *y = *(const struct out_rule *const *)b;
    int order = compare_out_meaning(x, y);

    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int warn_in_twice(const struct acl *acl, struct findings *findings)
{
    const struct in_rule **sorted = calloc(acl->n_in + 1, sizeof(*sorted));

    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_in; i++)
        sorted[i] = &acl->in[i];
    qsort(sorted, acl->n_in, sizeof(*sorted), compare_in);
    for (size_t i = 1; i < acl->n_in; i++)
        if (in_rule_compare(sorted[i - 1], sorted[i]) == 0)
            ACL_WARNING(acl, sorted[i]->place.line, findings,
                        "the same as line %u; remove one of them", sorted[i - 1]->place.line);
    free(sorted);
    return 0;
}

static int warn_out_twice(const struct acl *acl, struct findings *findings)
{
    const struct out_rule **sorted = calloc(acl->n_out + 1, sizeof(*sorted));

    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_out; i++)
        sorted[i] = &acl->out[i];
    qsort(sorted, acl->n_out, sizeof(*sorted), compare_out);
    for (size_t i = 1; i < acl->n_out; i++)
        if (compare_out_meaning(sorted[i - 1], sorted[i]) == 0)
            ACL_WARNING(acl, sorted[i]->place.line, findings,
                        "the same as line %u; remove one of them", sorted[i - 1]->place.line);
    free(sorted);
    return 0;
}

/* Adds the members of all groups of @rule to its sources. */
static int resolve_groups(const struct acl *acl, struct in_rule *rule, size_t *n_total,
                          struct findings *findings)
{
    size_t n_more = 0;
    uint32_t id;

    for (size_t i = 0; i < rule->n_groups; i++) {
        if (!names_find(acl->group_names, rule->groups[i], strlen(rule->groups[i]), &id)) {
            ACL_ERROR(acl, rule->place.line, findings,
                      "unknown group @%s; write [group %s] with its members, or correct "
                      "the name",
                      rule->groups[i], rule->groups[i]);
            return -EINVAL;
        }
        if (acl->groups[id].n_members == 0)
            ACL_WARNING(acl, rule->place.line, findings,
                        "group @%s has no members (line %u), so it admits nobody", rule->groups[i],
                        acl->groups[id].line);
        n_more += acl->groups[id].n_members;
    }
    *n_total += rule->n_sources + n_more;
    if (*n_total > ACL_SOURCES_MAX) {
        ACL_ERROR(acl, rule->place.line, findings,
                  "more than %d sources up to this line, groups counted for each line "
                  "that names them; write networks in place of single addresses",
                  ACL_SOURCES_MAX);
        return -E2BIG;
    }
    if (n_more == 0)
        return 0;
    struct addr_range *sources =
        reallocarray(rule->sources, rule->n_sources + n_more, sizeof(*sources));
    if (!sources)
        return -ENOMEM;
    rule->sources = sources;
    for (size_t i = 0; i < rule->n_groups; i++) {
        names_find(acl->group_names, rule->groups[i], strlen(rule->groups[i]), &id);
        const struct acl_group *group = &acl->groups[id];
        if (group->n_members > 0)
            memcpy(sources + rule->n_sources, group->members, group->n_members * sizeof(*sources));
        rule->n_sources += group->n_members;
    }
    return 0;
}

static int resolve_all(struct acl *acl, struct findings *findings)
{
    size_t n_total = 0;
    int r = 0;

    for (size_t i = 0; i < acl->n_in; i++) {
        int r_rule = resolve_groups(acl, &acl->in[i], &n_total, findings);
        if (r_rule == -ENOMEM)
            return r_rule;
        if (r_rule < 0)
            r = -EINVAL;
        if (r_rule == -E2BIG)
            break;
    }
    return r;
}

static int check_out_groups(const struct acl *acl, struct findings *findings)
{
    uint32_t id;
    int r = 0;

    for (size_t i = 1; i < acl->n_sections; i++) {
        const struct out_section *s = &acl->sections[i];
        if (names_find(acl->group_names, s->group, strlen(s->group), &id))
            continue;
        ACL_ERROR(acl, s->line, findings,
                  "unknown group @%s; write [group %s] with its members, or correct the name",
                  s->group, s->group);
        r = -EINVAL;
    }
    return r;
}

static int compile_out(struct acl *acl, struct findings *findings)
{
    for (size_t i = 0; i < acl->n_sections; i++) {
        struct out_section *s = &acl->sections[i];
        out_index_free(s->index);
        s->index = out_index_new(acl->out ? acl->out + s->first : NULL, s->n);
        if (!s->index)
            return -ENOMEM;
    }
    acl->out_views = out_views_free(acl->out_views);
    int r = out_views_new(acl, &acl->out_views);
    if (r != -E2BIG)
        return r;
    ACL_ERROR(acl, 0, findings,
              "too many sources are in too many groups with an [out @group] section at once; put "
              "such lines into [out], or into fewer groups");
    return -EINVAL;
}

int acl_finish(struct acl *acl, struct findings *findings)
{
    if (warn_in_twice(acl, findings) || warn_out_twice(acl, findings))
        return -ENOMEM;
    int r = resolve_all(acl, findings);
    int r_out = check_out_groups(acl, findings);
    if (r < 0 || r_out < 0)
        return r < 0 ? r : r_out;
    if (acl->n_in == 0 && acl->n_in_refused == 0)
        ACL_ERROR(
            acl, 0, findings,
            "no rule in [in], so nobody may come in; write one, as in tcp 8080 = 192.168.1.10");
    if (acl->n_in == 0)
        return -EINVAL;
    return compile_out(acl, findings);
}

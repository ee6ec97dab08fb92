/*
 * The JSON form of a firewall group: a tree of known depth, each list walked once, every value of
 * another type than the API's refused with its path. Writing is the same tree the other way, an
 * item a line and one item in memory at a time; a source that is no CIDR becomes as many as it
 * takes, since the API knows no ranges, and an item ends where the reader would call it too long.
 */
#include "acl/firewall_nifcloud_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "acl/firewall_json.h"
#include "proxy/base/escape.h"

enum { WHERE_MAX = 256, SOURCES_MAX = 4096, MEMO_MAX = 40, GROUP_RULES_MAX = 100, FRAME_MAX = 128 };

/* Texts of one rule; the strings belong to the tree. */
struct sources {
    const char *items[SOURCES_MAX];
    size_t n;
};

/* `[{"CidrIp": "..."}, ...]`; nothing, null and "" are empty. */
static void collect(struct firewall *fw, const json_t *item, const char *list, const char *key,
                    const char *where, struct sources *ret_sources)
{
    const json_t *array = json_object_get(item, list);
    size_t i;
    const json_t *entry;

    const char *const known[] = {key, NULL};
    ret_sources->n = 0;
    if (!array || json_is_null(array) || (json_is_string(array) && json_string_length(array) == 0))
        return;
    if (!json_is_array(array) || json_array_size(array) > SOURCES_MAX) {
        firewall_json_refuse(fw, where, "its sources are no list, or too long a one");
        return;
    }
    json_array_foreach(array, i, entry)
    {
        firewall_json_check_keys(fw, entry, where, known);
        const char *text = json_string_value(json_object_get(entry, key));
        if (text && *text)
            ret_sources->items[ret_sources->n++] = text;
        else
            firewall_json_refuse(fw, where, "a source without its text");
    }
}

static int read_rule(struct firewall *fw, const json_t *rule, const char *where,
                     struct sources work[static 2])
{
    static const char *const known[] = {"IpProtocol",  "FromPort", "ToPort", "InOut",
                                        "Description", "IpRanges", "Groups", NULL};
    char first[FIREWALL_JSON_NUMBER_MAX], last[FIREWALL_JSON_NUMBER_MAX],
        other[3][FIREWALL_JSON_NUMBER_MAX];

    if (!json_is_object(rule)) {
        firewall_json_refuse(fw, where, "no object");
        return 0;
    }
    firewall_json_check_keys(fw, rule, where, known);
    collect(fw, rule, "IpRanges", "CidrIp", where, &work[0]);
    collect(fw, rule, "Groups", "GroupName", where, &work[1]);
    const struct firewall_item item = {
        .where = where,
        .proto = firewall_json_text(fw, rule, "IpProtocol", where, other[0]),
        .port_first = firewall_json_text(fw, rule, "FromPort", where, first),
        .port_last = firewall_json_text(fw, rule, "ToPort", where, last),
        .in_out = firewall_json_text(fw, rule, "InOut", where, other[1]),
        .memo = firewall_json_text(fw, rule, "Description", where, other[2]),
        .ranges = work[0].items,
        .n_ranges = work[0].n,
        .groups = work[1].items,
        .n_groups = work[1].n,
    };
    return firewall_add_item(fw, &item);
}

static int read_group(struct firewall *fw, const json_t *group, size_t index,
                      struct sources work[static 2])
{
    static const char *const known[] = {"GroupName", "GroupStatus", "IpPermissions", NULL};
    char where[WHERE_MAX], buf[2][FIREWALL_JSON_NUMBER_MAX];
    size_t i;
    const json_t *rule;
    int r = 0;

    snprintf(where, sizeof(where), "SecurityGroupInfo[%zu]", index);
    firewall_json_check_keys(fw, group, where, known);
    const char *name = firewall_json_text(fw, group, "GroupName", where, buf[0]);
    const char *status = firewall_json_text(fw, group, "GroupStatus", where, buf[1]);
    if (status && *status && strcasecmp(status, "applied") != 0)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%s: group %.64s has the status %.32s: its rules are still changing", where,
                     name ? name : "", status);
    const json_t *rules = json_object_get(group, "IpPermissions");
    if (!rules)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%s: group %.64s has no IpPermissions", where, name ? name : "");
    if (!rules || json_is_null(rules))
        return 0;
    if (!json_is_array(rules)) {
        firewall_json_refuse(fw, where, "IpPermissions is no list");
        return 0;
    }
    json_array_foreach(rules, i, rule)
    {
        snprintf(where, sizeof(where), "%.64s IpPermissions[%zu]", name ? name : "", i);
        if (r == 0)
            r = read_rule(fw, rule, where, work);
    }
    return r;
}

int firewall_nifcloud_json_read(struct firewall *fw, const char *bytes, size_t len)
{
    json_t *root = firewall_json_load(fw, bytes, len);
    const json_t *groups = json_object_get(root, "SecurityGroupInfo"), *group;
    struct sources *work = calloc(2, sizeof(*work));
    size_t i;
    int r = work ? 0 : -ENOMEM;

    if (root && !json_is_array(groups))
        firewall_json_refuse(fw, "SecurityGroupInfo",
                             "missing, or no list: not DescribeSecurityGroups' answer");
    if (json_array_size(groups) > 1)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%zu firewall groups in one file; their rules are taken together",
                     json_array_size(groups));
    json_array_foreach(groups, i, group)
    {
        if (r == 0 && json_is_object(group))
            r = read_group(fw, group, i, work);
        else if (r == 0)
            firewall_json_refuse(fw, "SecurityGroupInfo", "an entry that is no object");
    }
    free(work);
    json_decref(root);
    return r < 0 ? r : fw->findings->n_errors > 0 ? -EINVAL : 0;
}

/* ---- writing ---- */

static const char *api_word(const char *word)
{
    static const char *const known[] = {"TCP", "UDP",  "ANY",   "ICMP", "ICMPv6-all",
                                        "GRE", "ESP",  "AH",    "VRRP", "L2TP",
                                        "SSH", "HTTP", "HTTPS", "RDP"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcasecmp(known[i], word) == 0)
            return known[i];
    return word;
}

/* The last address of the largest CIDR that starts at @first and ends by @last. */
static struct addr cidr_end(const struct addr *first, const struct addr *last)
{
    struct addr end = *first;

    for (unsigned bit = 0; bit < (addr_is_ipv4(first) ? 32U : 128U); bit++) {
        struct addr wider = end;
        uint8_t mask = (uint8_t)(1U << (bit % 8));
        if (first->bytes[15 - bit / 8] & mask)
            break;
        wider.bytes[15 - bit / 8] |= mask;
        if (addr_compare(&wider, last) > 0)
            break;
        end = wider;
    }
    return end;
}

/* The sources in the order in which they are written; all zero but @fw: before the first. */
struct walk {
    const struct firewall *fw;
    const struct firewall_rule *rule; /* at hand */
    struct addr_range part;           /* of its source: one CIDR */
    bool begins_item;
    size_t n_in_item;
    size_t n_items;
    size_t n_sources;
    size_t n_rules;
};

/* Moves on to the next source. Rules that come from one line are one item, or as few as can be. */
static bool walk_next(struct walk *w)
{
    const struct firewall_rule *before = w->rule;

    if (before && addr_compare(&w->part.last, &before->source.last) < 0) {
        w->part.first = addr_next(&w->part.last);
    } else if (w->n_rules < w->fw->n_rules) {
        w->rule = &w->fw->rules[w->n_rules++];
        w->part.first = w->rule->source.first;
    } else {
        return false;
    }
    w->part.last = cidr_end(&w->part.first, &w->rule->source.last);
    w->begins_item =
        !before || strcmp(before->where, w->rule->where) != 0 || w->n_in_item == SOURCES_MAX;
    w->n_items += w->begins_item;
    w->n_in_item = w->begins_item ? 1 : w->n_in_item + 1;
    w->n_sources++;
    return true;
}

static void check_memo(struct firewall *fw, const struct firewall_rule *rule)
{
    if (escape_utf8_length(rule->memo, strlen(rule->memo)) > MEMO_MAX)
        findings_add(fw->findings, FINDING_WARNING, NULL, 0,
                     "%s: the memo is longer than the 40 characters that NIFCLOUD takes",
                     rule->where);
}

void firewall_nifcloud_json_check(struct firewall *fw)
{
    struct walk w = {.fw = fw};

    while (walk_next(&w))
        if (w.begins_item)
            check_memo(fw, w.rule);
    if (w.n_items > GROUP_RULES_MAX)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%zu rules; a firewall group of NIFCLOUD takes 100", w.n_items);
    if (w.n_sources > FIREWALL_RULES_MAX)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%zu sources; import and diff take %d", w.n_sources, FIREWALL_RULES_MAX);
}

static json_t *new_item(const struct firewall_rule *rule)
{
    json_t *item =
        json_pack("{s:s, s:s, s:[], s:[], s:s}", "IpProtocol", api_word(rule->proto_word), "InOut",
                  "IN", "Groups", "IpRanges", "Description", rule->memo);
    bool has_port = strcmp(rule->proto_word, "tcp") == 0 || strcmp(rule->proto_word, "udp") == 0;

    if (item && has_port &&
        (json_object_set_new(item, "FromPort", json_integer(rule->port_first)) < 0 ||
         json_object_set_new(item, "ToPort", json_integer(rule->port_last)) < 0)) {
        json_decref(item);
        return NULL;
    }
    return item;
}

static int add_source(json_t *item, const struct addr_range *source)
{
    char text[2 * ADDR_TEXT_MAX];

    addr_range_text(source, text, sizeof(text));
    return json_array_append_new(json_object_get(item, "IpRanges"),
                                 json_pack("{s:s}", "CidrIp", text));
}

/* The item as a line; 0 or negative: no memory. */
static int write_item(FILE *out, const json_t *item, const char *before, size_t *n_bytes)
{
    char *text = item ? json_dumps(item, JSON_COMPACT) : NULL;

    if (!text)
        return -ENOMEM;
    fputs(before, out);
    fputs(text, out);
    *n_bytes += strlen(before) + strlen(text);
    free(text);
    return 0;
}

static int write_items(FILE *out, const struct firewall *fw, size_t *ret_bytes)
{
    struct walk w = {.fw = fw};
    json_t *item = NULL;
    size_t n_bytes = 0;
    int r = 0;

    while (r == 0 && walk_next(&w)) {
        if (w.begins_item) {
            if (item)
                r = write_item(out, item, w.n_items == 2 ? "\n" : ",\n", &n_bytes);
            json_decref(item);
            item = new_item(w.rule);
        }
        if (r == 0 && add_source(item, &w.part) < 0)
            r = -ENOMEM;
    }
    if (r == 0 && w.n_items > 0)
        r = write_item(out, item, w.n_items == 1 ? "\n" : ",\n", &n_bytes);
    json_decref(item);
    *ret_bytes = n_bytes;
    return r;
}

int firewall_nifcloud_json_write(FILE *out, const struct firewall *fw)
{
    size_t n_bytes = 0;

    fputs("{\"SecurityGroupInfo\":[{\"GroupName\":\"ukai\",\"GroupStatus\":\"applied\","
          "\"IpPermissions\":[",
          out);
    int r = write_items(out, fw, &n_bytes);
    fputs("\n]}]}\n", out);
    if (n_bytes > FIREWALL_FILE_MAX - FRAME_MAX)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "the table has %zu MiB; import and diff take %d", n_bytes >> 20,
                     FIREWALL_FILE_MAX >> 20);
    return r;
}

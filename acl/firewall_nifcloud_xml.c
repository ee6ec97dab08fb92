/*
 * The XML form of a firewall group, through expat's events: a path of local names (prefixes and
 * namespaces are ignored, two occur), and the texts of the rule that is open. A document type is
 * refused, and with it every entity of the document's own; so is nesting over a bound that the
 * format never reaches. A rule's place is its line.
 */
#include "acl/firewall_nifcloud_xml.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PATH_MAX_BYTES = 1024, DEPTH_MAX = 32, TEXT_MAX = 4096, SOURCES_MAX = 4096 };

enum field { FIELD_PROTO, FIELD_FIRST, FIELD_LAST, FIELD_IN_OUT, FIELD_MEMO, N_FIELDS };

static const char *const field_names[N_FIELDS] = {"ipProtocol", "fromPort", "toPort", "inOut",
                                                  "description"};

struct list {
    char *items[SOURCES_MAX]; /* owned */
    size_t n;
};

struct reader {
    struct firewall *fw;
    XML_Parser parser;
    char path[PATH_MAX_BYTES]; /* "/a/b/c" of local names */
    unsigned depth;
    char text[TEXT_MAX];
    size_t text_len;
    char group[128];
    char *fields[N_FIELDS]; /* owned */
    struct list ranges, groups;
    unsigned rule_line;
    bool has_root;
    bool has_source; /* the open source has its text */
    bool has_rules;  /* the open group has its list, be it empty */
    unsigned n_groups;
    int result;
};

static void stop(struct reader *rd, int result, const char *what)
{
    if (what)
        findings_add(rd->fw->findings, FINDING_ERROR, rd->fw->file,
                     (unsigned)XML_GetCurrentLineNumber(rd->parser), "%s", what);
    if (rd->result == 0)
        rd->result = result;
    XML_StopParser(rd->parser, XML_FALSE);
}

/* What stands behind /securityGroupInfo in the path; NULL: not there yet. */
static const char *tail_of(const struct reader *rd)
{
    const char *root = strstr(rd->path, "/securityGroupInfo");
    return root ? root + strlen("/securityGroupInfo") : NULL;
}

/* Whether the open element is SecurityGroupInfo's @tail ("/item/ipPermissions/item"). */
static bool is_at(const struct reader *rd, const char *tail)
{
    const char *own = tail_of(rd);
    return own && strcmp(own, tail) == 0;
}

static const char text_in_place_of_elements[] = "a text where the API has elements";

/* Every element that means something: lists hold nothing but items, leaves nothing but text. */
enum shape { SHAPE_LIST, SHAPE_ITEM, SHAPE_LEAF };
static const struct element {
    const char *tail;
    enum shape shape;
} elements[] = {
    {"", SHAPE_LIST},
    {"/item", SHAPE_ITEM},
    {"/item/groupName", SHAPE_LEAF},
    {"/item/groupStatus", SHAPE_LEAF},
    {"/item/ipPermissions", SHAPE_LIST},
    {"/item/ipPermissions/item", SHAPE_ITEM},
    {"/item/ipPermissions/item/ipProtocol", SHAPE_LEAF},
    {"/item/ipPermissions/item/fromPort", SHAPE_LEAF},
    {"/item/ipPermissions/item/toPort", SHAPE_LEAF},
    {"/item/ipPermissions/item/inOut", SHAPE_LEAF},
    {"/item/ipPermissions/item/description", SHAPE_LEAF},
    {"/item/ipPermissions/item/ipRanges", SHAPE_LIST},
    {"/item/ipPermissions/item/ipRanges/item", SHAPE_ITEM},
    {"/item/ipPermissions/item/ipRanges/item/cidrIp", SHAPE_LEAF},
    {"/item/ipPermissions/item/groups", SHAPE_LIST},
    {"/item/ipPermissions/item/groups/item", SHAPE_ITEM},
    {"/item/ipPermissions/item/groups/item/groupName", SHAPE_LEAF},
};

static const struct element *find_element(const char *tail)
{
    for (size_t i = 0; tail && i < sizeof(elements) / sizeof(elements[0]); i++)
        if (strcasecmp(elements[i].tail, tail) == 0)
            return &elements[i];
    return NULL;
}

/* The text since the last tag, without the white space around it. */
static const char *take_text(struct reader *rd)
{
    static const char blanks[] = " \t\r\n";
    char *start = rd->text;

    while (rd->text_len > 0 && strchr(blanks, rd->text[rd->text_len - 1]))
        rd->text_len--;
    rd->text[rd->text_len] = '\0';
    rd->text_len = 0;
    return start + strspn(start, blanks);
}

/* A table of another spelling must not be read as one with fewer rules, or wider ones. */
static bool has_place(struct reader *rd, const struct element *parent, const char *text_before)
{
    const char *tail = tail_of(rd);
    const struct element *own = find_element(tail);

    if (own && strcmp(own->tail, tail) != 0)
        stop(rd, -EINVAL, "an element that differs from the API's in upper and lower case only");
    else if (parent && parent->shape == SHAPE_LEAF)
        stop(rd, -EINVAL, "an element where the API has a text");
    else if (parent && parent->shape == SHAPE_LIST && !own)
        stop(rd, -EINVAL, "an element other than <item> in a list");
    else if (parent && *text_before)
        stop(rd, -EINVAL, text_in_place_of_elements);
    else
        return true;
    return false;
}

static void clear_rule(struct reader *rd)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        free(rd->fields[i]);
        rd->fields[i] = NULL;
    }
    for (size_t i = 0; i < rd->ranges.n; i++)
        free(rd->ranges.items[i]);
    for (size_t i = 0; i < rd->groups.n; i++)
        free(rd->groups.items[i]);
    rd->ranges.n = rd->groups.n = 0;
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *rd = arg;
    const char *colon = strrchr(name, ':'), *local = colon ? colon + 1 : name;
    size_t used = strlen(rd->path), len = strlen(local);

    if (rd->result < 0)
        return;
    if (++rd->depth > DEPTH_MAX || used + len + 2 > sizeof(rd->path)) {
        stop(rd, -EINVAL, "nested deeper than any firewall table");
        return;
    }
    const struct element *parent = find_element(tail_of(rd));
    rd->path[used] = '/';
    memcpy(rd->path + used + 1, local, len + 1);
    if (!has_place(rd, parent, take_text(rd)))
        return;
    if (is_at(rd, ""))
        rd->has_root = true;
    if (is_at(rd, "/item")) {
        rd->group[0] = '\0';
        rd->has_rules = false;
        rd->n_groups++;
    }
    if (is_at(rd, "/item/ipPermissions"))
        rd->has_rules = true;
    if (is_at(rd, "/item/ipPermissions/item/ipRanges/item") ||
        is_at(rd, "/item/ipPermissions/item/groups/item"))
        rd->has_source = false;
    if (is_at(rd, "/item/ipPermissions/item")) {
        clear_rule(rd);
        rd->rule_line = (unsigned)XML_GetCurrentLineNumber(rd->parser);
    }
}

static void on_text(void *arg, const XML_Char *bytes, int len)
{
    struct reader *rd = arg;

    if (rd->result < 0 || len < 0)
        return;
    if ((size_t)len >= sizeof(rd->text) - rd->text_len) {
        stop(rd, -EINVAL, "a text longer than any firewall table's");
        return;
    }
    memcpy(rd->text + rd->text_len, bytes, (size_t)len);
    rd->text_len += (size_t)len;
}

static void add_source(struct reader *rd, struct list *list, const char *text)
{
    if (list->n >= SOURCES_MAX) {
        stop(rd, -EINVAL, "more sources in a rule than any firewall takes");
        return;
    }
    if (*text == '\0') {
        stop(rd, -EINVAL, "a source without its text");
        return;
    }
    rd->has_source = true;
    list->items[list->n] = strdup(text);
    if (list->items[list->n])
        list->n++;
    else
        stop(rd, -ENOMEM, NULL);
}

static void set_field(struct reader *rd, const char *text)
{
    const char *name = strrchr(rd->path, '/') + 1;

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(name, field_names[i]) != 0)
            continue;
        if (rd->fields[i]) {
            stop(rd, -EINVAL, "an element of the rule is given twice");
            return;
        }
        rd->fields[i] = strdup(text);
        if (!rd->fields[i])
            stop(rd, -ENOMEM, NULL);
    }
}

static void end_rule(struct reader *rd)
{
    char where[192];

    snprintf(where, sizeof(where), "%s line %u", rd->group, rd->rule_line);
    const struct firewall_item item = {
        .where = where,
        .line = rd->rule_line,
        .proto = rd->fields[FIELD_PROTO],
        .port_first = rd->fields[FIELD_FIRST],
        .port_last = rd->fields[FIELD_LAST],
        .in_out = rd->fields[FIELD_IN_OUT],
        .memo = rd->fields[FIELD_MEMO],
        .ranges = (const char *const *)rd->ranges.items,
        .n_ranges = rd->ranges.n,
        .groups = (const char *const *)rd->groups.items,
        .n_groups = rd->groups.n,
    };
    int r = firewall_add_item(rd->fw, &item);
    if (r < 0)
        stop(rd, r, NULL);
    clear_rule(rd);
}

static void check_status(struct reader *rd, const char *status)
{
    if (*status && strcasecmp(status, "applied") != 0)
        findings_add(rd->fw->findings, FINDING_WARNING, rd->fw->file,
                     (unsigned)XML_GetCurrentLineNumber(rd->parser),
                     "group %s has the status %.32s: its rules are still changing", rd->group,
                     status);
}

static void end_group(struct reader *rd)
{
    if (!rd->has_rules)
        findings_add(rd->fw->findings, FINDING_WARNING, rd->fw->file,
                     (unsigned)XML_GetCurrentLineNumber(rd->parser),
                     "group %s has no ipPermissions", rd->group);
}

static void on_end(void *arg, const XML_Char *name)
{
    struct reader *rd = arg;

    if (rd->result < 0)
        return;
    const struct element *own = find_element(tail_of(rd));
    const char *text = take_text(rd);
    char *slash = strrchr(rd->path, '/');
    if (own && own->shape != SHAPE_LEAF && *text)
        stop(rd, -EINVAL, text_in_place_of_elements);
    else if (is_at(rd, "/item/groupName"))
        snprintf(rd->group, sizeof(rd->group), "%s", text);
    else if (is_at(rd, "/item/groupStatus"))
        check_status(rd, text);
    else if (is_at(rd, "/item/ipPermissions/item/ipRanges/item/cidrIp"))
        add_source(rd, &rd->ranges, text);
    else if (is_at(rd, "/item/ipPermissions/item/groups/item/groupName"))
        add_source(rd, &rd->groups, text);
    else if (!rd->has_source && (is_at(rd, "/item/ipPermissions/item/ipRanges/item") ||
                                 is_at(rd, "/item/ipPermissions/item/groups/item")))
        stop(rd, -EINVAL, "a source without its text");
    else if (is_at(rd, "/item/ipPermissions/item"))
        end_rule(rd);
    else if (is_at(rd, "/item"))
        end_group(rd);
    else if (slash) {
        *slash = '\0';
        bool is_field = is_at(rd, "/item/ipPermissions/item");
        *slash = '/';
        if (is_field)
            set_field(rd, text);
    }
    if (slash)
        *slash = '\0';
    rd->depth--;
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                       const XML_Char *public_id, int has_subset)
{
    stop(arg, -EINVAL, "a document type; a firewall table has none, and entities are not expanded");
}

int firewall_nifcloud_xml_read(struct firewall *fw, const char *bytes, size_t len)
{
    struct reader *rd = calloc(1, sizeof(*rd));
    XML_Parser parser = XML_ParserCreate(NULL);

    if (!rd || !parser || len > FIREWALL_FILE_MAX) {
        free(rd);
        XML_ParserFree(parser);
        return len > FIREWALL_FILE_MAX ? -E2BIG : -ENOMEM;
    }
    rd->fw = fw;
    rd->parser = parser;
    XML_SetUserData(parser, rd);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (XML_Parse(parser, bytes, (int)len, XML_TRUE) != XML_STATUS_OK && rd->result == 0)
        stop(rd, -EINVAL, XML_ErrorString(XML_GetErrorCode(parser)));
    if (rd->result == 0 && !rd->has_root)
        stop(rd, -EINVAL, "no securityGroupInfo: not DescribeSecurityGroups' answer");
    if (rd->result == 0 && rd->n_groups > 1)
        findings_add(fw->findings, FINDING_WARNING, fw->file, 0,
                     "%u firewall groups in one file; their rules are taken together",
                     rd->n_groups);
    int r = rd->result;
    clear_rule(rd);
    XML_ParserFree(parser);
    free(rd);
    return r < 0 ? r : fw->findings->n_errors > 0 ? -EINVAL : 0;
}

/*
 * A line is judged against those that hold all of its pattern: for a name the lines of the same
 * name and of the domains above it, found by one walk over its labels; for a range those that are
 * still open when ranges are taken in the order of their starts; for both the lines with `*`. How
 * many are looked at for one line is bounded, so a file of one name with 100,000 ports costs no
 * more than another.
 */
#include "acl/lint_out.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "acl/guard.h"
#include "acl/lint_kind.h"
#include "acl/names.h"

enum { PORTS_END = 65536 };
enum { LOOKED_AT_MAX = 64 }; /* lines with `*`, of one name, and ranges that are open, each */

/* All that may hold others, by pattern. */
struct holders {
    const struct acl *acl;
    const struct out_rule *any[LOOKED_AT_MAX];
    size_t n_any;
    struct names *names;             /* of the lines with a name */
    const struct out_rule **of_name; /* by id, the first line of that name */
    const struct out_rule **next;    /* by index of a line, the next one of its name */
    const struct out_rule **ranges;  /* sorted */
    size_t n_ranges;
};

/* What is said of a line, and the line that is the reason. */
struct remark {
    const struct out_rule *dead; /* a deny line that holds all of an allow line */
    const struct out_rule *idle; /* a line that says the same and more */
};

/* ---- two lines ---- */

static bool is_port_in(const struct out_rule *r, uint16_t first, uint16_t last)
{
    if (!r->has_ports)
        return true;
    for (size_t i = 0; i < r->n_ports; i++)
        if (r->ports[i].first <= first && r->ports[i].last >= last)
            return true;
    return false;
}

static bool holds_ports(const struct out_rule *holder, const struct out_rule *r)
{
    if (!r->has_ports)
        return !holder->has_ports;
    for (size_t i = 0; i < r->n_ports; i++)
        if (!is_port_in(holder, r->ports[i].first, r->ports[i].last))
            return false;
    return true;
}

/* @holder's name is @r's or a domain above it. */
static bool holds_name(const struct out_rule *holder, const struct out_rule *r)
{
    bool is_same = strlen(holder->name) == strlen(r->name);
    if (holder->kind == OUT_KIND_NAME)
        return is_same && r->kind == OUT_KIND_NAME;
    if (holder->kind == OUT_KIND_BELOW)
        return !is_same || r->kind == OUT_KIND_BELOW;
    return holder->kind == OUT_KIND_SUFFIX;
}

/* @holder, whose pattern holds @r's, is in force wherever @r is. */
static bool is_in_force_with(const struct out_rule *holder, const struct out_rule *r)
{
    return holder->section == r->section || (holder->section == 0 && !holder->is_allow);
}

static bool says_the_same(const struct out_rule *holder, const struct out_rule *r)
{
    return holder->is_allow == r->is_allow && (holder->opens_special || !r->opens_special);
}

/* A line whose pattern holds @r's; @is_equal: and the other way round, so the later one is idle. */
static void weigh(const struct out_rule *holder, const struct out_rule *r, bool is_equal,
                  struct remark *m)
{
    if (holder == r || !is_in_force_with(holder, r) || !holds_ports(holder, r))
        return;
    if (r->is_allow && !holder->is_allow && !m->dead)
        m->dead = holder;
    is_equal = is_equal && holds_ports(r, holder) && holder->section == r->section;
    if (!m->idle && says_the_same(holder, r) && (!is_equal || holder->index < r->index))
        m->idle = holder;
}

/* ---- finding them ---- */

static int compare_starts(const void *a, const void *b)
{
    const struct out_rule *x = *(const struct out_rule *const *)a,
                          *y = *(const struct out_rule *const *)b;
    int order = (int)addr_is_ipv4(&x->range.first) - (int)addr_is_ipv4(&y->range.first);
    if (!order)
        order = addr_compare(&x->range.first, &y->range.first);
    if (!order)
        order = addr_compare(&y->range.last, &x->range.last);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int add_name(struct holders *h, const struct out_rule *r)
{
    uint32_t id;
    int rc = names_add(h->names, r->name, strlen(r->name), &id);
    if (rc == -ENOMEM)
        return rc;
    h->next[r->index] = rc == -EEXIST ? h->of_name[id] : NULL;
    h->of_name[id] = r;
    return 0;
}

/* The last line first, so that the first of a name heads its list. */
static int collect(struct holders *h)
{
    size_t n = h->acl->n_out;
    h->names = names_new();
    h->of_name = calloc(n + 1, sizeof(*h->of_name));
    h->next = calloc(n + 1, sizeof(*h->next));
    h->ranges = calloc(n + 1, sizeof(*h->ranges));
    int rc = h->names && h->of_name && h->next && h->ranges ? 0 : -ENOMEM;
    for (size_t i = n; rc == 0 && i-- > 0;) {
        const struct out_rule *r = &h->acl->out[i];
        if (r->kind == OUT_KIND_RANGE)
            h->ranges[h->n_ranges++] = r;
        else if (r->kind != OUT_KIND_ANY)
            rc = add_name(h, r);
    }
    for (size_t i = 0; rc == 0 && i < n && h->n_any < LOOKED_AT_MAX; i++)
        if (h->acl->out[i].kind == OUT_KIND_ANY)
            h->any[h->n_any++] = &h->acl->out[i];
    if (rc == 0)
        qsort(h->ranges, h->n_ranges, sizeof(*h->ranges), compare_starts);
    return rc;
}

static void weigh_any(const struct holders *h, struct remark *remarks)
{
    for (size_t i = 0; i < h->acl->n_out; i++) {
        const struct out_rule *r = &h->acl->out[i];
        for (size_t k = 0; k < h->n_any; k++)
            weigh(h->any[k], r, r->kind == OUT_KIND_ANY, &remarks[i]);
    }
}

static void weigh_name(const struct holders *h, const struct out_rule *r, struct remark *m)
{
    struct names_hit hits[NAMES_HITS_MAX];
    size_t n = names_match(h->names, r->name, strlen(r->name), hits);
    for (size_t i = 0; i < n; i++) {
        const struct out_rule *holder = h->of_name[hits[i].id];
        for (size_t k = 0; holder && k < LOOKED_AT_MAX; k++, holder = h->next[holder->index])
            if (holds_name(holder, r))
                weigh(holder, r, hits[i].is_self && holder->kind == r->kind, m);
    }
}

/* Ranges that have begun and not ended, the last to begin on top. */
struct open_ranges {
    const struct out_rule **rules;
    size_t n;
};

static void weigh_range(const struct open_ranges *open, const struct out_rule *r, struct remark *m)
{
    for (size_t k = 0; k < open->n && k < LOOKED_AT_MAX; k++) {
        const struct out_rule *holder = open->rules[open->n - 1 - k];
        int order = addr_compare(&holder->range.last, &r->range.last);
        bool is_equal = order == 0 && addr_compare(&holder->range.first, &r->range.first) == 0;
        if (order >= 0)
            weigh(holder, r, is_equal, m);
    }
}

/* Not the same range again: it is judged together with the others of its kind. */
static bool begins_a_run(const struct holders *h, size_t at)
{
    return at == h->n_ranges ||
           addr_compare(&h->ranges[at]->range.first, &h->ranges[at - 1]->range.first) != 0 ||
           addr_compare(&h->ranges[at]->range.last, &h->ranges[at - 1]->range.last) != 0;
}

static bool has_ended(const struct out_rule *holder, const struct out_rule *r)
{
    return addr_is_ipv4(&holder->range.first) != addr_is_ipv4(&r->range.first) ||
           addr_compare(&holder->range.last, &r->range.first) < 0;
}

static int weigh_ranges(const struct holders *h, struct remark *remarks)
{
    struct open_ranges open = {calloc(h->n_ranges + 1, sizeof(*open.rules)), 0};
    if (!open.rules)
        return -ENOMEM;
    for (size_t at = 0; at < h->n_ranges;) {
        size_t run = at;
        while (open.n > 0 && has_ended(open.rules[open.n - 1], h->ranges[at]))
            open.n--;
        do {
            open.rules[open.n++] = h->ranges[run++];
        } while (!begins_a_run(h, run));
        for (; at < run; at++)
            weigh_range(&open, h->ranges[at], &remarks[h->ranges[at]->index]);
    }
    free(open.rules);
    return 0;
}

/* ---- saying it ---- */

/* Several lines from one line of the file. */
static bool is_of_preset(const struct acl *acl, const struct out_rule *r)
{
    size_t i = r->index;
    return (i > 0 && acl->out[i - 1].place.line == r->place.line) ||
           (i + 1 < acl->n_out && acl->out[i + 1].place.line == r->place.line);
}

static void say(const struct acl *acl, const struct remark *remarks, struct findings *findings)
{
    struct lint_kind dead = {acl, findings, FINDING_WARNING, "deny lines hold all of them", 0};
    struct lint_kind idle = {acl, findings, FINDING_NOTE, "other lines of [out] say it already", 0};
    for (size_t i = 0; i < acl->n_out; i++) {
        const struct out_rule *r = &acl->out[i];
        const struct out_rule *by = remarks[i].dead ? remarks[i].dead : remarks[i].idle;
        if (!by || is_of_preset(acl, r))
            continue;
        /* Lines that are the same are a warning of acl_finish() already. */
        if (by == remarks[i].dead && lint_kind_may_show(&dead))
            lint_kind_show(&dead, r->place.line,
                           "this line allows nothing: line %u (%s) denies all of it",
                           by->place.line, by->place.text);
        else if (by != remarks[i].dead && strcmp(by->place.text, r->place.text) != 0 &&
                 lint_kind_may_show(&idle))
            lint_kind_show(&idle, r->place.line,
                           "line %u (%s) says it already; this line adds nothing", by->place.line,
                           by->place.text);
    }
    lint_kind_end(&dead);
    lint_kind_end(&idle);
}

static int lint_cover(const struct acl *acl, struct findings *findings)
{
    struct holders h = {.acl = acl};
    struct remark *remarks = calloc(acl->n_out + 1, sizeof(*remarks));
    int rc = remarks ? collect(&h) : -ENOMEM;
    if (rc == 0) {
        weigh_any(&h, remarks);
        for (size_t i = 0; i < acl->n_out; i++)
            if (acl->out[i].name)
                weigh_name(&h, &acl->out[i], &remarks[i]);
        rc = weigh_ranges(&h, remarks);
    }
    if (rc == 0)
        say(acl, remarks, findings);
    names_free(h.names);
    free(h.of_name);
    free(h.next);
    free(h.ranges);
    free(remarks);
    return rc;
}

/* ---- one line ---- */

static void lint_special(const struct acl *acl, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_WARNING, "they open no special-use range", 0};

    for (size_t i = 0; i < acl->n_out; i++) {
        const struct out_rule *rule = &acl->out[i];
        if (!rule->is_allow || rule->kind != OUT_KIND_RANGE || rule->opens_special)
            continue;
        const char *text = guard_range_overlaps(&rule->range);
        if (text && !addr_range_is_family(&rule->range) && lint_kind_may_show(&k))
            lint_kind_show(&k, rule->place.line,
                           "this line reaches into the special-use range %s but does not open it; "
                           "write the part inside %s as a line of its own",
                           text, text);
    }
    lint_kind_end(&k);
}

/* For each port the first one from it on that is reached; 65536: none. */
static uint32_t *next_reached(const struct ports *reach)
{
    uint32_t *next = calloc(PORTS_END + 1, sizeof(*next));
    if (!next)
        return NULL;
    next[PORTS_END] = PORTS_END;
    for (uint32_t port = PORTS_END; port-- > 0;)
        next[port] = ports_has(reach, (uint16_t)port) ? port : next[port + 1];
    return next;
}

static bool is_reached(const struct out_rule *r, const uint32_t *next)
{
    for (size_t i = 0; i < r->n_ports; i++)
        if (next[r->ports[i].first] <= r->ports[i].last)
            return true;
    return !r->has_ports;
}

static int lint_ports(const struct acl *acl, const struct ports *reach, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_WARNING, "no port list has their ports", 0};
    uint32_t *next = next_reached(reach);

    if (!next)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_out; i++) {
        const struct out_rule *r = &acl->out[i];
        if (r->is_allow && !is_reached(r, next) && !is_of_preset(acl, r) && lint_kind_may_show(&k))
            lint_kind_show(&k, r->place.line,
                           "nobody gets there: no web proxy has the port in connect-ports or "
                           "http-ports, and [out] does not widen those");
    }
    lint_kind_end(&k);
    free(next);
    return 0;
}

/* ---- groups ---- */

static bool has_allow(const struct acl *acl, const struct out_section *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (acl->out[s->first + i].is_allow)
            return true;
    return false;
}

static void lint_sections(const struct acl *acl, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_WARNING, "they open [out]'s allow list", 0};

    if (!has_allow(acl, &acl->sections[0]))
        return;
    for (size_t i = 1; i < acl->n_sections; i++) {
        const struct out_section *s = &acl->sections[i];
        if (!has_allow(acl, s) && lint_kind_may_show(&k))
            lint_kind_show(&k, s->line,
                           "[out @%s] has no allow line and stands in place of those of [out], so "
                           "@%s may go wherever nothing denies it; write an allow line, or put its "
                           "deny lines into [out]",
                           s->group, s->group);
    }
    lint_kind_end(&k);
}

static int lint_groups(const struct acl *acl, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_NOTE, "no line uses these groups", 0};
    bool *is_used = calloc(acl->n_groups + 1, sizeof(*is_used));
    uint32_t id;

    if (!is_used)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_in; i++)
        for (size_t g = 0; g < acl->in[i].n_groups; g++)
            if (names_find(acl->group_names, acl->in[i].groups[g], strlen(acl->in[i].groups[g]),
                           &id))
                is_used[id] = true;
    for (size_t i = 1; i < acl->n_sections; i++)
        if (names_find(acl->group_names, acl->sections[i].group, strlen(acl->sections[i].group),
                       &id))
            is_used[id] = true;
    for (size_t i = 0; i < acl->n_groups; i++)
        if (!is_used[i] && lint_kind_may_show(&k))
            lint_kind_show(&k, acl->groups[i].line, "no line names @%s", acl->groups[i].name);
    lint_kind_end(&k);
    free(is_used);
    return 0;
}

int acl_lint_out(const struct acl *acl, const struct ports *reach, struct findings *findings)
{
    lint_special(acl, findings);
    lint_sections(acl, findings);
    int rc = reach ? lint_ports(acl, reach, findings) : 0;
    if (rc == 0)
        rc = lint_groups(acl, findings);
    return rc < 0 ? rc : lint_cover(acl, findings);
}

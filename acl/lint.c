/*
 * The file mirrors a firewall, so much of it is right without being ours: a line for a port that
 * nobody listens on is a note, not a warning. A warning is what will bite somebody: a listener for
 * nobody, the whole internet let in, DNS answers that cannot be fetched over TCP. Overlaps are
 * found without comparing lines in pairs: lines are grouped by service (protocol and ports), a
 * group's ranges sorted by their start, and the farthest end so far, with the farthest of any other
 * line beside it, tells whether a range lies in one of an earlier start. Groups whose ports contain
 * another's are asked by binary search, for files with up to GROUPS_MAX services; beyond that only
 * lines of one service are compared. Pure; run by `check` only. Never an error: what is one is
 * found by acl_finish().
 */
#include "acl/lint.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/cidr.h"
#include "acl/lint_kind.h"
#include "acl/lint_out.h"
#include "acl/verdict.h"

enum { GROUPS_MAX = 256 };

/* ---- listeners ---- */

static int compare_ports(const void *a, const void *b)
{
    const struct lint_port *x = a, *y = b;

    if (x->proto != y->proto)
        return x->proto < y->proto ? -1 : 1;
    return x->port < y->port ? -1 : x->port > y->port;
}

static const char *proto_text(enum in_proto proto)
{
    return proto == IN_PROTO_UDP ? "udp" : "tcp";
}

/* The first listener of @proto whose port is not below @port. */
static size_t lower_bound(const struct lint_port *sorted, size_t n, enum in_proto proto,
                          uint16_t port)
{
    const struct lint_port key = {.proto = proto, .port = port};
    size_t low = 0;

    while (low < n) {
        size_t middle = low + (n - low) / 2;
        if (compare_ports(&sorted[middle], &key) < 0)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

/* Marks what @rule reaches; false when that is nothing. */
static bool mark_reached(const struct in_rule *rule, const struct lint_port *sorted, size_t n,
                         bool *reached)
{
    bool is_ours = false;

    if (rule->proto == IN_PROTO_OTHER)
        return false;
    for (size_t i = rule->proto == IN_PROTO_ANY
                        ? 0
                        : lower_bound(sorted, n, rule->proto, rule->port_first);
         i < n && in_rule_serves(rule, sorted[i].proto, sorted[i].port); i++) {
        reached[i] = true;
        is_ours = true;
    }
    return is_ours;
}

static void note_not_ours(struct lint_kind *k, const struct in_rule *rule)
{
    if (!lint_kind_may_show(k))
        return;
    if (rule->proto == IN_PROTO_OTHER)
        lint_kind_show(k, rule->place.line,
                       "not ours: %s is kept for the router, nothing here serves it",
                       rule->proto_word);
    else if (rule->port_first == rule->port_last)
        lint_kind_show(k, rule->place.line, "not ours: no listener is on %s %u",
                       proto_text(rule->proto), rule->port_first);
    else
        lint_kind_show(k, rule->place.line, "not ours: no listener is on %s %u-%u",
                       proto_text(rule->proto), rule->port_first, rule->port_last);
}

/* The TCP side of a DNS port whose UDP side is reached: lint_dns() names the lines that lack it. */
static bool is_said_of_dns(const struct lint_port *sorted, size_t n, const bool *reached, size_t at)
{
    size_t udp = lower_bound(sorted, n, IN_PROTO_UDP, sorted[at].port);

    return sorted[at].proto == IN_PROTO_TCP && udp < n && sorted[udp].proto == IN_PROTO_UDP &&
           sorted[udp].port == sorted[at].port && reached[udp];
}

static int lint_listeners(const struct acl *acl, const struct lint_port *sorted, size_t n,
                          struct findings *findings)
{
    struct lint_kind not_ours = {acl, findings, FINDING_NOTE, "not ours", 0};
    bool *reached = calloc(n + 1, sizeof(*reached));

    if (!reached)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_in; i++)
        if (acl->in[i].n_sources > 0 && !mark_reached(&acl->in[i], sorted, n, reached))
            note_not_ours(&not_ours, &acl->in[i]);
    lint_kind_end(&not_ours);
    for (size_t i = 0; i < n; i++)
        if (!reached[i] && !is_said_of_dns(sorted, n, reached, i))
            findings_add(findings, FINDING_WARNING, acl->file, 0,
                         "nobody may use %s (%s %u); write %s %u = ADDRESS in [in]", sorted[i].name,
                         proto_text(sorted[i].proto), sorted[i].port, proto_text(sorted[i].proto),
                         sorted[i].port);
    free(reached);
    return 0;
}

/* The union of what may come in to @port of @proto. NULL: no memory. */
static struct cidr_set *sources_of(const struct acl *acl, enum in_proto proto, uint16_t port)
{
    struct cidr_set *set = NULL;
    size_t n = 0;

    for (size_t i = 0; i < acl->n_in; i++)
        n += in_rule_serves(&acl->in[i], proto, port) ? acl->in[i].n_sources : 0;
    struct cidr_item *items = calloc(n + 1, sizeof(*items));
    if (!items)
        return NULL;
    n = 0;
    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        for (size_t s = 0; in_rule_serves(rule, proto, port) && s < rule->n_sources; s++)
            items[n++] = (struct cidr_item){rule->sources[s], 0};
    }
    set = cidr_set_new(items, n);
    free(items);
    return set;
}

/* ---- everybody ---- */

static bool has_family_alone(const struct acl *acl, const struct lint_port *l, bool is_ipv4)
{
    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        for (size_t s = 0; in_rule_serves(rule, l->proto, l->port) && s < rule->n_sources; s++) {
            if (addr_range_is_family(&rule->sources[s]) &&
                addr_is_ipv4(&rule->sources[s].first) == is_ipv4)
                return true;
        }
    }
    return false;
}

/* What no line does alone, several may do together. */
static int lint_everybody_together(const struct acl *acl, const struct lint_port *sorted, size_t n,
                                   struct findings *findings)
{
    static const char *const texts[] = {"0.0.0.0/0", "::/0"};
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && compare_ports(&sorted[i - 1], &sorted[i]) == 0)
            continue;
        struct cidr_set *set = sources_of(acl, sorted[i].proto, sorted[i].port);
        if (!set)
            return -ENOMEM;
        for (size_t f = 0; f < 2; f++) {
            struct addr_range family;
            if (addr_parse_cidr(texts[f], strlen(texts[f]), &family) == 0 &&
                cidr_set_covers(set, &family) && !has_family_alone(acl, &sorted[i], f == 0))
                findings_add(findings, FINDING_WARNING, acl->file, 0,
                             "together the lines for %s %u admit every %s address; write the "
                             "networks that are yours",
                             proto_text(sorted[i].proto), sorted[i].port, f ? "IPv6" : "IPv4");
        }
        cidr_set_free(set);
    }
    return 0;
}

static void lint_everybody(const struct acl *acl, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_WARNING, "they admit every address of a family",
                          0};

    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        for (size_t s = 0; s < rule->n_sources; s++) {
            if (!addr_range_is_family(&rule->sources[s]) || rule->proto == IN_PROTO_OTHER)
                continue;
            if (lint_kind_may_show(&k))
                lint_kind_show(&k, rule->place.line,
                               "every %s address is admitted; write the networks that are yours",
                               addr_is_ipv4(&rule->sources[s].first) ? "IPv4" : "IPv6");
            break;
        }
    }
    lint_kind_end(&k);
}

/* ---- DNS over TCP ---- */

static int lint_dns_port(const struct acl *acl, uint16_t port, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_WARNING,
                          "UDP is admitted to a DNS port and TCP is not", 0};
    struct cidr_set *tcp = sources_of(acl, IN_PROTO_TCP, port);
    char text[2 * ADDR_TEXT_MAX];

    if (!tcp)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        for (size_t s = 0; rule->proto == IN_PROTO_UDP &&
                           in_rule_serves(rule, IN_PROTO_UDP, port) && s < rule->n_sources;
             s++) {
            if (cidr_set_covers(tcp, &rule->sources[s]))
                continue;
            if (lint_kind_may_show(&k))
                lint_kind_show(
                    &k, rule->place.line,
                    "%s may ask by udp %u but not by tcp %u, so it cannot fetch answers that do "
                    "not fit into a datagram; write tcp %u for it as well",
                    addr_range_text(&rule->sources[s], text, sizeof(text)), port, port, port);
            break;
        }
    }
    lint_kind_end(&k);
    cidr_set_free(tcp);
    return 0;
}

static int lint_dns(const struct acl *acl, const struct lint_port *sorted, size_t n,
                    struct findings *findings)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        bool is_new = i == 0 || compare_ports(&sorted[i - 1], &sorted[i]) != 0;
        if (sorted[i].proto == IN_PROTO_UDP && is_new)
            r = lint_dns_port(acl, sorted[i].port, findings);
    }
    return r;
}

/* ---- overlaps ---- */

/* One source of one line. @far: the farthest end up to here in the group; @other: the farthest of
 * any line but far's. */
struct span {
    const struct in_rule *rule;
    struct addr_range range;
    const struct span *far;
    const struct span *other;
};

/* Lines of one service: spans[first .. first + n). */
struct service {
    enum in_proto proto;
    uint16_t port_first;
    uint16_t port_last;
    size_t first;
    size_t n;
};

struct overlaps {
    struct span *spans;
    size_t n_spans;
    struct service *services;
    size_t n_services;
};

static int compare_service(const struct in_rule *a, const struct in_rule *b)
{
    if (a->proto != b->proto)
        return a->proto < b->proto ? -1 : 1;
    if (a->port_first != b->port_first)
        return a->port_first < b->port_first ? -1 : 1;
    return a->port_last < b->port_last ? -1 : a->port_last > b->port_last;
}

/* By service, then start, the wider one first; of equal ones the earlier line. IPv4 lies in one
 * piece of the space. */
static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int order = compare_service(x->rule, y->rule);

    if (!order)
        order = (int)addr_is_ipv4(&x->range.first) - (int)addr_is_ipv4(&y->range.first);
    if (!order)
        order = addr_compare(&x->range.first, &y->range.first);
    if (!order)
        order = addr_compare(&y->range.last, &x->range.last);
    if (!order)
        order = x->rule->index < y->rule->index ? -1 : x->rule->index > y->rule->index;
    return order;
}

static bool reaches_farther(const struct span *a, const struct span *b)
{
    return !b || addr_compare(&a->range.last, &b->range.last) > 0;
}

/* Fills far and other of @span from the one before it in the same service and family. */
static void note_far(struct span *span, const struct span *before)
{
    span->far = before ? before->far : NULL;
    span->other = before ? before->other : NULL;
    if (reaches_farther(span, span->far)) {
        if (span->far && span->far->rule != span->rule)
            span->other = span->far;
        span->far = span;
    } else if (span->rule != span->far->rule && reaches_farther(span, span->other)) {
        span->other = span;
    }
}

static int collect_spans(const struct acl *acl, struct overlaps *o)
{
    size_t n = 0;

    for (size_t i = 0; i < acl->n_in; i++)
        n += acl->in[i].n_sources;
    o->spans = calloc(n + 1, sizeof(*o->spans));
    o->services = calloc(n + 1, sizeof(*o->services));
    if (!o->spans || !o->services)
        return -ENOMEM;
    for (size_t i = 0; i < acl->n_in; i++)
        for (size_t s = 0; acl->in[i].proto != IN_PROTO_OTHER && s < acl->in[i].n_sources; s++)
            o->spans[o->n_spans++] =
                (struct span){.rule = &acl->in[i], .range = acl->in[i].sources[s]};
    qsort(o->spans, o->n_spans, sizeof(*o->spans), compare_spans);
    return 0;
}

static void group_spans(struct overlaps *o)
{
    for (size_t i = 0; i < o->n_spans; i++) {
        struct span *span = &o->spans[i], *before = i > 0 ? &o->spans[i - 1] : NULL;
        bool is_new = !before || compare_service(before->rule, span->rule) != 0;
        if (is_new)
            o->services[o->n_services++] = (struct service){
                span->rule->proto, span->rule->port_first, span->rule->port_last, i, 0};
        o->services[o->n_services - 1].n++;
        if (is_new || addr_is_ipv4(&before->range.first) != addr_is_ipv4(&span->range.first))
            before = NULL;
        note_far(span, before);
    }
}

/* Whether all that @b serves is served by @a as well. */
static bool contains(const struct service *a, const struct service *b)
{
    return (a->proto == IN_PROTO_ANY || a->proto == b->proto) && a->port_first <= b->port_first &&
           a->port_last >= b->port_last;
}

/* The last span of @service in the family of @range that starts no later than it; NULL: none. */
static const struct span *last_before(const struct overlaps *o, const struct service *service,
                                      const struct addr_range *range)
{
    bool is_ipv4 = addr_is_ipv4(&range->first);
    size_t low = service->first, high = service->first + service->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct span *span = &o->spans[middle];
        int order = (int)addr_is_ipv4(&span->range.first) - (int)is_ipv4;
        if (!order)
            order = addr_compare(&span->range.first, &range->first);
        if (order <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct span *found = low > service->first ? &o->spans[low - 1] : NULL;
    return found && addr_is_ipv4(&found->range.first) == is_ipv4 ? found : NULL;
}

/* Of @upto and what is before it, the span of another line than @rule that reaches farthest. */
static const struct span *farthest_other(const struct span *upto, const struct in_rule *rule)
{
    if (!upto)
        return NULL;
    return upto->far->rule != rule ? upto->far : upto->other;
}

static bool ends_in(const struct span *holder, const struct addr_range *range)
{
    return holder && addr_compare(&holder->range.last, &range->last) >= 0;
}

/* A span of another line that holds all of @span, ports included. */
static const struct span *find_holder(const struct overlaps *o, size_t at, size_t service)
{
    const struct span *span = &o->spans[at];
    const struct service *own = &o->services[service];
    const struct span *holder = NULL;

    /* In its own service, only what is sorted before it: of two equal ones the later line is the
     * superfluous one. */
    if (at > own->first &&
        addr_is_ipv4(&o->spans[at - 1].range.first) == addr_is_ipv4(&span->range.first))
        holder = farthest_other(&o->spans[at - 1], span->rule);
    if (ends_in(holder, &span->range))
        return holder;
    for (size_t i = 0; o->n_services <= GROUPS_MAX && i < o->n_services; i++) {
        if (i == service || !contains(&o->services[i], own))
            continue;
        holder = farthest_other(last_before(o, &o->services[i], &span->range), span->rule);
        if (ends_in(holder, &span->range))
            return holder;
    }
    return NULL;
}

/* A span of another line of the same service that shares a part of @span. */
static const struct span *find_neighbour(const struct overlaps *o, size_t at,
                                         const struct service *own)
{
    const struct span *span = &o->spans[at];

    if (at == own->first ||
        addr_is_ipv4(&o->spans[at - 1].range.first) != addr_is_ipv4(&span->range.first))
        return NULL;
    const struct span *other = farthest_other(&o->spans[at - 1], span->rule);
    return other && addr_compare(&other->range.last, &span->range.first) >= 0 ? other : NULL;
}

/* What is known of one line after all spans were looked at. */
struct line {
    size_t n_held;
    const struct span *held;   /* its first span that another line holds, */
    const struct span *holder; /* and the one that holds it */
    const struct span *shared; /* its first span that another line shares a part of */
    const struct span *neighbour;
};

static void look_at_spans(const struct overlaps *o, struct line *lines)
{
    for (size_t k = 0; k < o->n_services; k++) {
        const struct service *service = &o->services[k];
        for (size_t at = service->first; at < service->first + service->n; at++) {
            struct line *line = &lines[o->spans[at].rule->index];
            const struct span *holder = find_holder(o, at, k);
            const struct span *neighbour = holder ? NULL : find_neighbour(o, at, service);
            line->n_held += holder != NULL;
            if (holder && !line->holder) {
                line->held = &o->spans[at];
                line->holder = holder;
            }
            if (neighbour && !line->neighbour) {
                line->shared = &o->spans[at];
                line->neighbour = neighbour;
            }
        }
    }
}

static void note_line(struct lint_kind *k, const struct in_rule *rule, const struct line *line)
{
    const struct span *span = line->holder ? line->held : line->shared;
    const struct span *other = line->holder ? line->holder : line->neighbour;
    char text[2 * ADDR_TEXT_MAX], other_text[2 * ADDR_TEXT_MAX];

    /* Lines that are the same are a warning of acl_finish() already. */
    if (!other || in_rule_compare(rule, other->rule) == 0 || !lint_kind_may_show(k))
        return;
    addr_range_text(&span->range, text, sizeof(text));
    addr_range_text(&other->range, other_text, sizeof(other_text));
    if (line->n_held == rule->n_sources && rule->n_sources == 1)
        lint_kind_show(k, rule->place.line,
                       "%s is admitted by line %u already (%s); this line adds nothing", text,
                       other->rule->place.line, other_text);
    else if (line->n_held == rule->n_sources)
        lint_kind_show(
            k, rule->place.line,
            "other lines admit all of its sources already (%s: line %u); this line adds nothing",
            text, other->rule->place.line);
    else if (line->holder)
        lint_kind_show(k, rule->place.line,
                       "of its sources, %s is admitted by line %u already (%s)", text,
                       other->rule->place.line, other_text);
    else
        lint_kind_show(k, rule->place.line, "%s overlaps %s of line %u", text, other_text,
                       other->rule->place.line);
}

static int lint_overlaps(const struct acl *acl, struct findings *findings)
{
    struct lint_kind k = {acl, findings, FINDING_NOTE, "other lines admit some of their sources",
                          0};
    struct overlaps o = {0};
    struct line *lines = calloc(acl->n_in + 1, sizeof(*lines));
    int r = lines ? collect_spans(acl, &o) : -ENOMEM;

    if (r == 0) {
        group_spans(&o);
        look_at_spans(&o, lines);
        for (size_t i = 0; i < acl->n_in; i++)
            note_line(&k, &acl->in[i], &lines[i]);
        lint_kind_end(&k);
    }
    free(lines);
    free(o.spans);
    free(o.services);
    return r;
}

void acl_lint(const struct acl *acl, const struct lint_port *listeners, size_t n,
              const struct ports *reach, struct findings *findings)
{
    struct lint_port *sorted = calloc(n + 1, sizeof(*sorted));
    int r = sorted ? 0 : -ENOMEM;

    if (r == 0) {
        if (n > 0)
            memcpy(sorted, listeners, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), compare_ports);
        r = lint_listeners(acl, sorted, n, findings);
    }
    lint_everybody(acl, findings);
    if (r == 0)
        r = lint_everybody_together(acl, sorted, n, findings);
    if (r == 0)
        r = lint_dns(acl, sorted, n, findings);
    if (r == 0)
        r = lint_overlaps(acl, findings);
    if (r == 0)
        r = acl_lint_out(acl, reach, findings);
    if (r < 0)
        findings_add(findings, FINDING_WARNING, acl->file, 0,
                     "memory was short: not all of the file was looked at");
    free(sorted);
}

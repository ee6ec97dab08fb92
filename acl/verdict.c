/*
 * Who may come in, and what may be reached: all decisions of the ACL are the functions of this
 * file. A source is one look-up in the table of its (protocol, port). A destination is judged
 * twice: by its name before it is resolved, then by each address that would be dialled, and only
 * the two together permit it. Deny beats allow, special-use ranges need a line that names them, and
 * the daemon's own listeners are out of reach whatever a line says. An IPv6 form that carries IPv4
 * is judged under both addresses by what refuses. By what permits it is judged under the IPv4
 * address only where that address decides who gets the packets (64:ff9b::/96, 6to4): ISATAP's lower
 * half can be chosen by anybody in his own prefix, and would open an allow list to him. Pure; the
 * tables are const, so every worker asks the same ones.
 */
#include "acl/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/cidr.h"
#include "acl/names.h"
#include "acl/outviews.h"

/* ---- sources ---- */

struct in_table {
    const struct acl *acl;
    struct cidr_set *set; /* value: index into acl->in */
};

bool in_rule_serves(const struct in_rule *rule, enum in_proto proto, uint16_t port)
{
    switch (rule->proto) {
    case IN_PROTO_ANY:
        return proto == IN_PROTO_TCP || proto == IN_PROTO_UDP;
    case IN_PROTO_TCP:
    case IN_PROTO_UDP:
        return rule->proto == proto && rule->port_first <= port && port <= rule->port_last;
    case IN_PROTO_OTHER:
        return false;
    }
    return false;
}

static size_t collect(const struct acl *acl, enum in_proto proto, uint16_t port,
                      struct cidr_item *items)
{
    size_t n = 0;

    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        if (!in_rule_serves(rule, proto, port))
            continue;
        for (size_t k = 0; k < rule->n_sources; k++, n++)
            if (items)
                items[n] = (struct cidr_item){rule->sources[k], (uint32_t)i};
    }
    return n;
}

struct in_table *in_table_new(const struct acl *acl, enum in_proto proto, uint16_t port)
{
    struct in_table *t = calloc(1, sizeof(*t));
    struct cidr_item *items = calloc(collect(acl, proto, port, NULL) + 1, sizeof(*items));

    if (t && items) {
        t->acl = acl;
        t->set = cidr_set_new(items, collect(acl, proto, port, items));
    }
    free(items);
    return t && t->set ? t : in_table_free(t);
}

struct in_table *in_table_free(struct in_table *t)
{
    if (t)
        cidr_set_free(t->set);
    free(t);
    return NULL;
}

const struct in_rule *in_table_ask(const struct in_table *t, const struct addr *source)
{
    int32_t index = cidr_set_find(t->set, source);

    return index == CIDR_NONE ? NULL : &t->acl->in[index];
}

const struct in_rule *in_ask_naive(const struct acl *acl, enum in_proto proto, uint16_t port,
                                   const struct addr *source)
{
    for (size_t i = 0; i < acl->n_in; i++) {
        const struct in_rule *rule = &acl->in[i];
        if (!in_rule_serves(rule, proto, port))
            continue;
        for (size_t k = 0; k < rule->n_sources; k++)
            if (addr_range_has(&rule->sources[k], source))
                return rule;
    }
    return NULL;
}

/* ---- destinations ---- */

static enum verdict decide(enum verdict verdict, const struct out_rule *rule,
                           struct verdict_detail *ret)
{
    *ret = (struct verdict_detail){.rule = rule};
    return verdict;
}

/* No line decided: @view's allow lines, or that it has none. */
static enum verdict decide_without(enum verdict verdict, const struct acl *acl,
                                   const struct out_view *view, struct verdict_detail *ret)
{
    *ret = (struct verdict_detail){0};
    if (view->n > 1) {
        ret->group = acl->sections[view->sections[1]].group;
        ret->n_more_groups = (unsigned)view->n - 2;
    }
    return verdict;
}

static enum verdict decide_by(enum verdict verdict, const struct acl *acl, int32_t index,
                              struct verdict_detail *ret)
{
    return decide(verdict, index == OUTINDEX_NONE ? NULL : &acl->out[index], ret);
}

static const struct out_view *view_of(const struct acl *acl, const struct addr *source)
{
    return out_views_find(acl->out_views, source);
}

/* Callers pass lower case without a final dot; a deny line must not depend on that. */
static size_t fold_name(const char *name, char folded[static NAMES_TEXT_MAX + 1])
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > NAMES_TEXT_MAX)
        return 0;
    for (size_t i = 0; i < len; i++)
        folded[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    folded[len] = '\0';
    return len;
}

enum verdict verdict_name(const struct acl *acl, const struct addr *source, const char *name,
                          uint16_t port, struct verdict_detail *ret)
{
    char folded[NAMES_TEXT_MAX + 1];

    if (acl->n_out == 0)
        return decide(VERDICT_ALLOW, NULL, ret);
    size_t len = fold_name(name, folded);
    if (len == 0) /* no name that any resolver could answer */
        return decide(VERDICT_DENY, NULL, ret);
    const struct out_view *view = view_of(acl, source);
    int32_t index = out_view_name(view, false, folded, len, port);
    if (index != OUTINDEX_NONE)
        return decide_by(VERDICT_DENY, acl, index, ret);
    if (!out_view_has_allow(view))
        return decide_without(VERDICT_ALLOW, acl, view, ret);
    index = out_view_name(view, true, folded, len, port);
    if (index != OUTINDEX_NONE)
        return decide_by(VERDICT_ALLOW, acl, index, ret);
    return decide_without(out_view_may_allow_addr(view, port) ? VERDICT_UNDECIDED : VERDICT_DENY,
                          acl, view, ret);
}

enum verdict verdict_query(const struct acl *acl, const struct addr *source, const char *name,
                           struct verdict_detail *ret)
{
    char folded[NAMES_TEXT_MAX + 1];

    if (acl->n_out == 0)
        return decide(VERDICT_ALLOW, NULL, ret);
    size_t len = fold_name(name, folded);
    if (len == 0 && name[0] != '\0' && strcmp(name, ".") != 0)
        return decide(VERDICT_DENY, NULL, ret);
    const struct out_view *view = view_of(acl, source);
    int32_t index = out_view_query(view, folded, len);
    if (index != OUTINDEX_NONE)
        return decide_by(VERDICT_DENY, acl, index, ret);
    if (!out_view_has_allow_name(view) || out_view_may_allow_name(view, folded, len))
        return decide_without(VERDICT_ALLOW, acl, view, ret);
    return decide_without(VERDICT_DENY, acl, view, ret);
}

/* An address, and the IPv4 addresses in it. */
struct target {
    const struct acl *acl;
    const struct out_view *view;
    struct addr outer;
    struct addr inner[2];
    size_t n_inner;
    uint16_t port;
};

static int32_t lower(int32_t a, int32_t b)
{
    if (a == OUTINDEX_NONE || b == OUTINDEX_NONE)
        return a == OUTINDEX_NONE ? b : a;
    return a < b ? a : b;
}

static struct target target_of(const struct acl *acl, const struct addr *source,
                               const struct addr *a, uint16_t port)
{
    struct target t = {.acl = acl, .view = view_of(acl, source), .outer = *a, .port = port};

    t.n_inner = guard_embedded_ipv4(a, t.inner);
    return t;
}

static int32_t find_deny(const struct target *t)
{
    int32_t found = lower(out_view_any(t->view, false, t->port),
                          out_view_addr(t->view, false, &t->outer, t->port));

    for (size_t i = 0; i < t->n_inner; i++)
        found = lower(found, out_view_addr(t->view, false, &t->inner[i], t->port));
    return found;
}

static int32_t find_allow(const struct target *t)
{
    int32_t found = lower(out_view_any(t->view, true, t->port),
                          out_view_addr(t->view, true, &t->outer, t->port));

    if (guard_is_ipv4_alias(&t->outer) && t->n_inner > 0)
        found = lower(found, out_view_addr(t->view, true, &t->inner[0], t->port));
    return found;
}

/*
 * The range that keeps the target closed, or NULL: it is in none, or a line opens each one it is
 * in. A line that opens the outer address opens what is in it: whoever names fe80::/10 means all of
 * it.
 */
static const char *find_closed(const struct target *t)
{
    const char *special = guard_special_range(&t->outer);

    if (special)
        return t->acl->n_out > 0 && out_view_opens(t->view, &t->outer, t->port) != OUTINDEX_NONE
                   ? NULL
                   : special;
    for (size_t i = 0; i < t->n_inner; i++) {
        special = guard_special_range(&t->inner[i]);
        if (special &&
            (t->acl->n_out == 0 || out_view_opens(t->view, &t->inner[i], t->port) == OUTINDEX_NONE))
            return special;
    }
    return NULL;
}

enum verdict verdict_addr(const struct acl *acl, const struct addr *source,
                          const struct guard_own *own, enum verdict by_name, const struct addr *a,
                          uint16_t port, struct verdict_detail *ret)
{
    struct target t = target_of(acl, source, a, port);

    if (guard_is_own(own, a, port))
        return decide(VERDICT_OWN, NULL, ret);
    int32_t index = acl->n_out > 0 ? find_deny(&t) : OUTINDEX_NONE;
    if (index != OUTINDEX_NONE)
        return decide_by(VERDICT_DENY, acl, index, ret);
    const char *special = find_closed(&t);
    if (special) {
        *ret = (struct verdict_detail){.special = special};
        return VERDICT_SPECIAL;
    }
    if (by_name == VERDICT_ALLOW || acl->n_out == 0 || !out_view_has_allow(t.view))
        return decide(VERDICT_ALLOW, NULL, ret);
    index = find_allow(&t);
    if (by_name != VERDICT_UNDECIDED || index == OUTINDEX_NONE)
        return decide_without(VERDICT_DENY, acl, t.view, ret);
    return decide_by(VERDICT_ALLOW, acl, index, ret);
}

enum verdict verdict_guard(const struct acl *acl, const struct addr *source,
                           const struct guard_own *own, const struct addr *a, uint16_t port,
                           struct verdict_detail *ret)
{
    struct target t = target_of(acl, source, a, port);

    if (guard_is_own(own, a, port))
        return decide(VERDICT_OWN, NULL, ret);
    *ret = (struct verdict_detail){.special = find_closed(&t)};
    return ret->special ? VERDICT_SPECIAL : VERDICT_ALLOW;
}

const char *verdict_sections(const struct verdict_detail *detail,
                             char buf[static VERDICT_SECTIONS_MAX])
{
    int n =
        snprintf(buf, VERDICT_SECTIONS_MAX, detail->group ? "[out @%s]" : "[out]", detail->group);

    if (detail->n_more_groups > 0)
        snprintf(buf + n, VERDICT_SECTIONS_MAX - (size_t)n, " and %u more", detail->n_more_groups);
    return buf;
}

const char *verdict_word(enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_ALLOW:
        return "allow";
    case VERDICT_DENY:
        return "deny";
    case VERDICT_UNDECIDED:
        return "undecided";
    case VERDICT_PORT:
        return "port";
    case VERDICT_SPECIAL:
        return "special-use";
    case VERDICT_OWN:
        return "own-listener";
    }
    return "deny";
}

/*
 * A source may be in several groups, and each group may have an [out] section. The members of those
 * groups cut the source space into pieces; all of a piece are in the same groups, so a piece has
 * one view: the list of the sections that hold for it. Equal lists are one view. Finding the view
 * of a source is one look-up among the pieces; asking it is one question to each section of the
 * list, never a walk over the groups of the file. Built by one sweep over the ends of the members;
 * its work is bounded, since many wide groups inside each other would make long lists for every
 * piece. Const afterwards; any thread may ask.
 */
#include "acl/outviews.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/cidr.h"
#include "acl/names.h"

struct out_views {
    const struct acl *acl;
    struct cidr_set *sources; /* value: index into views */
    struct names *known;      /* the bytes of a list of sections to the index of its view */
    struct out_view *views;   /* the first one is that of sources without groups */
    size_t n_views;
    size_t capacity;
};

/* Where members of a section begin, or (is_behind) the last one of them. */
struct edge {
    struct addr at;
    bool is_behind;
    bool is_start;
    uint32_t section;
};

struct sweep {
    struct edge *edges;
    size_t n_edges;
    size_t *n_open;   /* by section: ranges that are open here */
    uint32_t *active; /* sections with open ranges, sorted, behind [out] itself */
    size_t n_active;
    struct cidr_item *items;
    size_t n_items;
    size_t work;
};

/* ---- views ---- */

static int fill_view(const struct acl *acl, const uint32_t *sections, size_t n,
                     struct out_view *ret)
{
    uint32_t *copy = calloc(n, sizeof(*copy));
    const struct out_index **indexes = calloc(n, sizeof(*indexes));

    if (!copy || !indexes) {
        free(copy);
        free(indexes);
        return -ENOMEM;
    }
    memcpy(copy, sections, n * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        indexes[i] = acl->sections[sections[i]].index;
    *ret = (struct out_view){copy, indexes, n};
    return 0;
}

static void view_fini(struct out_view *view)
{
    free((void *)(uintptr_t)view->sections);
    free(view->indexes);
}

/* The view of this list, a new one when it is not known. */
static int intern(struct out_views *v, const uint32_t *sections, size_t n, uint32_t *ret_id)
{
    struct out_view view;

    if (names_find(v->known, (const char *)sections, n * sizeof(*sections), ret_id))
        return 0;
    if (v->n_views == v->capacity) {
        size_t capacity = v->capacity ? v->capacity * 2 : 16;
        struct out_view *grown = reallocarray(v->views, capacity, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        v->views = grown;
        v->capacity = capacity;
    }
    int r = fill_view(v->acl, sections, n, &view);
    if (r < 0)
        return r;
    v->views[v->n_views++] = view;
    return names_add(v->known, (const char *)view.sections, n * sizeof(*sections), ret_id);
}

/* ---- the sweep ---- */

static int compare_places(const struct edge *a, const struct edge *b)
{
    int order = (int)addr_is_ipv4(&a->at) - (int)addr_is_ipv4(&b->at);

    if (!order)
        order = addr_compare(&a->at, &b->at);
    return order ? order : (int)a->is_behind - (int)b->is_behind;
}

static int compare_edges(const void *a, const void *b)
{
    return compare_places(a, b);
}

static const struct acl_group *group_of(const struct acl *acl, const char *name)
{
    uint32_t id;

    return name && names_find(acl->group_names, name, strlen(name), &id) ? &acl->groups[id] : NULL;
}

static int collect_edges(const struct acl *acl, struct sweep *s)
{
    size_t n = 0;

    for (size_t i = 1; i < acl->n_sections; i++) {
        const struct acl_group *group = group_of(acl, acl->sections[i].group);
        n += group ? group->n_members : 0;
    }
    s->edges = calloc(2 * n + 1, sizeof(*s->edges));
    s->items = calloc(2 * n + 1, sizeof(*s->items));
    s->n_open = calloc(acl->n_sections, sizeof(*s->n_open));
    s->active = calloc(acl->n_sections + 1, sizeof(*s->active));
    if (!s->edges || !s->items || !s->n_open || !s->active)
        return -ENOMEM;
    for (uint32_t i = 1; i < acl->n_sections; i++) {
        const struct acl_group *group = group_of(acl, acl->sections[i].group);
        for (size_t k = 0; group && k < group->n_members; k++) {
            s->edges[s->n_edges++] = (struct edge){group->members[k].first, false, true, i};
            s->edges[s->n_edges++] = (struct edge){group->members[k].last, true, false, i};
        }
    }
    qsort(s->edges, s->n_edges, sizeof(*s->edges), compare_edges);
    return 0;
}

static void set_active(struct sweep *s, uint32_t section, bool is_active)
{
    size_t at = 1;

    while (at <= s->n_active && s->active[at] < section)
        at++;
    s->work += s->n_active + 1;
    if (is_active) {
        memmove(s->active + at + 1, s->active + at, (s->n_active + 1 - at) * sizeof(*s->active));
        s->active[at] = section;
        s->n_active++;
    } else {
        memmove(s->active + at, s->active + at + 1, (s->n_active - at) * sizeof(*s->active));
        s->n_active--;
    }
}

static void pass_edge(struct sweep *s, const struct edge *e)
{
    if (e->is_start && s->n_open[e->section]++ == 0)
        set_active(s, e->section, true);
    if (!e->is_start && --s->n_open[e->section] == 0)
        set_active(s, e->section, false);
}

/* The piece between two edges that are neighbours and of one family. */
static int add_piece(struct out_views *v, struct sweep *s, const struct edge *from,
                     const struct edge *to)
{
    struct addr_range range = {
        .first = from->is_behind ? addr_next(&from->at) : from->at,
        .last = to->is_behind ? to->at : addr_prev(&to->at),
    };
    uint32_t id;

    if (addr_compare(&range.first, &range.last) > 0)
        return 0;
    s->work += s->n_active + 1;
    if (s->work > OUT_VIEWS_WORK_MAX)
        return -E2BIG;
    int r = intern(v, s->active, s->n_active + 1, &id);
    if (r == 0)
        s->items[s->n_items++] = (struct cidr_item){range, id};
    return r;
}

static int sweep(struct out_views *v, struct sweep *s)
{
    int r = collect_edges(v->acl, s);

    for (size_t i = 0; r == 0 && i < s->n_edges; i++) {
        pass_edge(s, &s->edges[i]);
        bool is_last = i + 1 == s->n_edges || compare_places(&s->edges[i], &s->edges[i + 1]) != 0;
        if (is_last && s->n_active > 0)
            r = add_piece(v, s, &s->edges[i], &s->edges[i + 1]);
    }
    if (r == 0) {
        v->sources = cidr_set_new(s->items, s->n_items);
        r = v->sources ? 0 : -ENOMEM;
    }
    free(s->edges);
    free(s->items);
    free(s->n_open);
    free(s->active);
    return r;
}

int out_views_new(const struct acl *acl, struct out_views **ret)
{
    static const uint32_t plain[] = {0};
    struct out_views *v = calloc(1, sizeof(*v));
    struct sweep s = {0};
    uint32_t id;

    if (!v)
        return -ENOMEM;
    v->acl = acl;
    v->known = names_new();
    int r = v->known ? intern(v, plain, 1, &id) : -ENOMEM;
    if (r == 0)
        r = sweep(v, &s);
    v->known = names_free(v->known);
    if (r == 0)
        *ret = v;
    else
        out_views_free(v);
    return r;
}

struct out_views *out_views_free(struct out_views *views)
{
    if (views) {
        for (size_t i = 0; i < views->n_views; i++)
            view_fini(&views->views[i]);
        free(views->views);
        names_free(views->known);
        cidr_set_free(views->sources);
        free(views);
    }
    return NULL;
}

const struct out_view *out_views_find(const struct out_views *views, const struct addr *source)
{
    int32_t found = source && views->n_views > 1 ? cidr_set_find(views->sources, source) : 0;

    return &views->views[found == CIDR_NONE ? 0 : found];
}

/* ---- asking ---- */

/* The first section whose lines of this kind hold. */
static size_t first_of(const struct out_view *v, bool is_allow)
{
    return is_allow && v->n > 1 ? 1 : 0;
}

static int32_t lower(int32_t a, int32_t b)
{
    if (a == OUTINDEX_NONE || b == OUTINDEX_NONE)
        return a == OUTINDEX_NONE ? b : a;
    return a < b ? a : b;
}

int32_t out_view_name(const struct out_view *v, bool is_allow, const char *name, size_t len,
                      uint16_t port)
{
    int32_t found = OUTINDEX_NONE;

    for (size_t i = first_of(v, is_allow); i < v->n; i++)
        found = lower(found, out_index_name(v->indexes[i], is_allow, name, len, port));
    return found;
}

int32_t out_view_query(const struct out_view *v, const char *name, size_t len)
{
    int32_t found = OUTINDEX_NONE;

    for (size_t i = 0; i < v->n; i++)
        found = lower(found, out_index_query(v->indexes[i], name, len));
    return found;
}

bool out_view_may_allow_name(const struct out_view *v, const char *name, size_t len)
{
    bool may = false;

    for (size_t i = first_of(v, true); i < v->n && !may; i++)
        may = out_index_may_allow_name(v->indexes[i], name, len);
    return may;
}

bool out_view_has_allow_name(const struct out_view *v)
{
    bool has = false;

    for (size_t i = first_of(v, true); i < v->n && !has; i++)
        has = out_index_has_allow_name(v->indexes[i]);
    return has;
}

int32_t out_view_any(const struct out_view *v, bool is_allow, uint16_t port)
{
    return out_view_name(v, is_allow, "", 0, port);
}

int32_t out_view_addr(const struct out_view *v, bool is_allow, const struct addr *a, uint16_t port)
{
    int32_t found = OUTINDEX_NONE;

    for (size_t i = first_of(v, is_allow); i < v->n; i++)
        found = lower(found, out_index_addr(v->indexes[i], is_allow, a, port));
    return found;
}

int32_t out_view_opens(const struct out_view *v, const struct addr *a, uint16_t port)
{
    int32_t found = OUTINDEX_NONE;

    for (size_t i = first_of(v, true); i < v->n; i++)
        found = lower(found, out_index_opens(v->indexes[i], a, port));
    return found;
}

bool out_view_has_allow(const struct out_view *v)
{
    bool has = false;

    for (size_t i = first_of(v, true); i < v->n && !has; i++)
        has = out_index_has_allow(v->indexes[i]);
    return has;
}

bool out_view_may_allow_addr(const struct out_view *v, uint16_t port)
{
    bool may = false;

    for (size_t i = first_of(v, true); i < v->n && !may; i++)
        may = out_index_may_allow_addr(v->indexes[i], port);
    return may;
}

/*
 * Counters must not start anew because a comment was added above a line, nor must a changed line
 * inherit what another one earned. So a rule's identity is its section, its text and its memo, and
 * each identity has a number for as long as some acl holds it. Connections may still count under
 * the rules of yesterday; their number stays theirs until the last of them has let go of that acl.
 *
 * Lines are matched by sorting both acls for the call, so equal lines cost no more than others.
 * Numbers are given by one thread; an acl may be freed by any, which only takes one count off its
 * lease.
 */
#include "acl/slots.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"

struct slots_lease {
    struct list node; /* of the slots */
    atomic_int n_refs;
    size_t n;
    uint32_t numbers[];
};

struct slots {
    struct list leases;
    uint32_t *n_users; /* by number */
    uint32_t n_numbers, capacity;
    uint32_t *idle; /* numbers nobody uses; room for as many as there are numbers */
    uint32_t n_idle;
};

struct slots_lease *slots_lease_free(struct slots_lease *l)
{
    if (l && atomic_fetch_sub_explicit(&l->n_refs, 1, memory_order_acq_rel) == 1)
        free(l);
    return NULL;
}

struct slots *slots_new(void)
{
    struct slots *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    list_init(&s->leases);
    s->n_numbers = 1; /* SLOTS_NONE */
    return s;
}

static void drop_lease(struct slots *s, struct slots_lease *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (--s->n_users[l->numbers[i]] == 0)
            s->idle[s->n_idle++] = l->numbers[i];
    }
    list_remove(&l->node);
    slots_lease_free(l);
}

/* Numbers of acls that are gone. */
static void collect(struct slots *s)
{
    list_for_each_safe (pos, tmp, &s->leases) {
        struct slots_lease *l = list_entry(pos, struct slots_lease, node);
        if (atomic_load_explicit(&l->n_refs, memory_order_acquire) == 1)
            drop_lease(s, l);
    }
}

struct slots *slots_free(struct slots *s)
{
    if (!s)
        return NULL;
    while (!list_is_empty(&s->leases))
        drop_lease(s, list_entry(s->leases.next, struct slots_lease, node));
    free(s->n_users);
    free(s->idle);
    free(s);
    return NULL;
}

/* Room for @n more numbers, in both arrays: what is given back later needs no memory. */
static int reserve(struct slots *s, size_t n)
{
    size_t want = s->n_numbers + (n > s->n_idle ? n - s->n_idle : 0);
    if (want > SLOTS_MAX)
        return -ENOSPC;
    if (want <= s->capacity)
        return 0;
    size_t capacity = s->capacity ? s->capacity : 64;
    while (capacity < want)
        capacity *= 2;
    uint32_t *users = reallocarray(s->n_users, capacity, sizeof(*users));
    if (!users)
        return -ENOMEM;
    s->n_users = users;
    uint32_t *idle = reallocarray(s->idle, capacity, sizeof(*idle));
    if (!idle)
        return -ENOMEM;
    s->idle = idle;
    s->capacity = (uint32_t)capacity;
    return 0;
}

static uint32_t take_number(struct slots *s)
{
    uint32_t number = s->n_idle > 0 ? s->idle[--s->n_idle] : s->n_numbers++;
    s->n_users[number] = 0;
    return number;
}

/* ---- the same line in two acls ---- */

struct entry {
    unsigned section;
    const char *group; /* of [out @group]; empty otherwise */
    size_t index;      /* the n-th of equal lines meets the n-th */
    struct rule_place *place;
};

struct entries {
    struct entry *items; /* sorted */
    size_t n;
};

static int compare_lines(const struct entry *a, const struct entry *b)
{
    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    int order = strcmp(a->group, b->group);
    if (order == 0)
        order = strcmp(a->place->text, b->place->text);
    return order ? order : strcmp(a->place->memo, b->place->memo);
}

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = compare_lines(a, b);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

/* All rules of @acl (NULL: none). 0 · -ENOMEM. */
static int list_entries(struct entries *e, const struct acl *acl)
{
    size_t n = acl ? acl->n_in + acl->n_out : 0;
    *e = (struct entries){.items = calloc(n + 1, sizeof(*e->items))};
    if (!e->items)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        bool is_in = i < acl->n_in;
        const char *group = is_in ? NULL : acl->sections[acl->out[i - acl->n_in].section].group;
        e->items[e->n++] = (struct entry){
            .section = is_in ? 0 : 1,
            .group = group ? group : "",
            .index = i,
            .place = is_in ? &acl->in[i].place : &acl->out[i - acl->n_in].place,
        };
    }
    qsort(e->items, n, sizeof(*e->items), compare_entries);
    return 0;
}

/* Lines that both have keep their number; the others have SLOTS_NONE. */
static void carry(const struct entries *old, const struct entries *new)
{
    for (size_t i = 0, k = 0; i < new->n; i++) {
        int order = -1;
        while (k < old->n && (order = compare_lines(&old->items[k], &new->items[i])) < 0)
            k++;
        new->items[i].place->slot =
            k < old->n &&order == 0 ? old->items[k++].place->slot : (uint32_t)SLOTS_NONE;
    }
}

int slots_assign(struct slots *s, const struct acl *old, struct acl *acl, slots_fresh_fn fresh,
                 void *owner)
{
    struct entries before = {0}, now = {0};
    struct slots_lease *l = NULL;
    collect(s);
    int rc = list_entries(&before, old);
    if (rc == 0)
        rc = list_entries(&now, acl);
    if (rc == 0)
        rc = reserve(s, now.n);
    if (rc == 0 && !(l = calloc(1, sizeof(*l) + now.n * sizeof(l->numbers[0]))))
        rc = -ENOMEM;
    if (rc == 0)
        carry(&before, &now);
    for (size_t i = 0; rc == 0 && i < now.n; i++) {
        struct rule_place *place = now.items[i].place;
        if (place->slot == SLOTS_NONE) {
            place->slot = take_number(s);
            fresh(owner, place->slot);
        }
        s->n_users[place->slot]++;
        l->numbers[l->n++] = place->slot;
    }
    free(before.items);
    free(now.items);
    if (rc < 0)
        return rc;
    atomic_init(&l->n_refs, 2);
    list_append(&s->leases, &l->node);
    acl->lease = l;
    return 0;
}

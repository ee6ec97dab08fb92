/* list - intrusive doubly linked list; an unlinked node points to itself. */
#ifndef PROXY_BASE_LIST_H
#define PROXY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define list_for_each(pos, head)                                                                   \
    for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
#define list_for_each_safe(pos, tmp, head)                                                         \
    for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head);                         \
         pos = tmp, tmp = pos->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next && node->next != node;
}

static inline void list_insert_after(struct list *at, struct list *node)
{
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}

/* At the end of the list headed by @head. */
static inline void list_append(struct list *head, struct list *node)
{
    list_insert_after(head->prev, node);
}

/* Safe on an unlinked node. */
static inline void list_remove(struct list *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

static inline struct list *list_first(struct list *head)
{
    return list_is_empty(head) ? NULL : head->next;
}

/* Moves all nodes of @from to the end of @to; @from is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#endif

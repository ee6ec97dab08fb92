/*
 * One pass from left to right over spans sorted by their first number. A heap holds the spans that
 * are open, the lowest value on top; those that ended are thrown away only when they come to the
 * top. Each step ends at the end of the top span or before the start of the next one, so there are
 * at most two steps a span. File order is the value, which is why a verdict can name the first line
 * that matches although the look-up knows no order. Used by cidr (addresses) and portmap (ports).
 * Pure; any thread.
 */
#include "acl/sweep.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct heap {
    const struct sweep_span **items;
    size_t n;
};

static void push(struct heap *h, const struct sweep_span *span)
{
    size_t at = h->n++;

    while (at > 0 && h->items[(at - 1) / 2]->value > span->value) {
        h->items[at] = h->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->items[at] = span;
}

static void pop(struct heap *h)
{
    const struct sweep_span *span = h->items[--h->n];
    size_t at = 0;

    for (size_t child = 1; child < h->n; child = 2 * at + 1) {
        if (child + 1 < h->n && h->items[child + 1]->value < h->items[child]->value)
            child++;
        if (h->items[child]->value >= span->value)
            break;
        h->items[at] = h->items[child];
        at = child;
    }
    h->items[at] = span;
}

static int compare_first(const void *a, const void *b)
{
    const struct sweep_span *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static void emit(struct sweep_span *out, size_t *n_out, const struct sweep_span *piece)
{
    struct sweep_span *before = *n_out > 0 ? &out[*n_out - 1] : NULL;

    if (before && before->value == piece->value && before->last + 1 == piece->first)
        before->last = piece->last;
    else
        out[(*n_out)++] = *piece;
}

static size_t run(const struct sweep_span *spans, size_t n, struct heap *open,
                  struct sweep_span *out)
{
    size_t n_out = 0;
    size_t next = 0;
    unsigned __int128 at = 0;

    while (next < n || open->n > 0) {
        if (open->n == 0)
            at = spans[next].first;
        while (next < n && spans[next].first <= at)
            push(open, &spans[next++]);
        while (open->n > 0 && open->items[0]->last < at)
            pop(open);
        if (open->n == 0)
            continue;
        struct sweep_span piece = {at, open->items[0]->last, open->items[0]->value};
        if (next < n && spans[next].first <= piece.last)
            piece.last = spans[next].first - 1;
        emit(out, &n_out, &piece);
        at = piece.last + 1;
        if (at == 0) /* the end of the number space: nothing is behind it */
            break;
    }
    return n_out;
}

int sweep_lowest(struct sweep_span *spans, size_t n, struct sweep_span **ret_out, size_t *ret_n)
{
    if (n == 0) {
        *ret_out = NULL;
        *ret_n = 0;
        return 0;
    }
    if (n > INT32_MAX)
        return -E2BIG;
    struct heap open = {.items = calloc(n, sizeof(*open.items))};
    struct sweep_span *out = calloc(2 * n, sizeof(*out));
    if (!open.items || !out) {
        free(open.items);
        free(out);
        return -ENOMEM;
    }
    qsort(spans, n, sizeof(*spans), compare_first);
    *ret_n = run(spans, n, &open, out);
    *ret_out = out;
    free(open.items);
    return 0;
}

unsigned __int128 sweep_number(const struct addr *a)
{
    unsigned __int128 n = 0;

    for (size_t i = 0; i < sizeof(a->bytes); i++)
        n = n << 8 | a->bytes[i];
    return n;
}

struct addr sweep_addr(unsigned __int128 n)
{
    struct addr a;

    for (size_t i = sizeof(a.bytes); i-- > 0; n >>= 8)
        a.bytes[i] = (uint8_t)n;
    return a;
}

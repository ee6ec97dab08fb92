/*
 * Counters of rules. A decision costs a look-up in two steps and relaxed adds without a lock
 * prefix: one thread writes, and whoever reads gets some recent value of each. A page is published
 * with release, so a reader never sees one that is not cleared yet. Numbers are of acl/slots.
 */
#include "proxy/report/hits.h"

#include <stddef.h>
#include <stdlib.h>

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static struct hit *find(const struct hits *h, uint32_t slot, memory_order order)
{
    struct hit *page = atomic_load_explicit(&h->pages[slot / HITS_PAGE_RULES], order);
    return page ? &page[slot % HITS_PAGE_RULES] : NULL;
}

static struct hit *make(struct hits *h, uint32_t slot)
{
    if (slot == SLOTS_NONE || slot >= SLOTS_MAX)
        return NULL;
    struct hit *found = find(h, slot, memory_order_relaxed);
    if (found)
        return found;
    struct hit *page = calloc(HITS_PAGE_RULES, sizeof(*page));
    if (!page)
        return NULL;
    atomic_store_explicit(&h->pages[slot / HITS_PAGE_RULES], page, memory_order_release);
    return &page[slot % HITS_PAGE_RULES];
}

void hits_count(struct hits *h, uint32_t slot, uint64_t now_ms)
{
    struct hit *hit = make(h, slot);
    if (!hit)
        return;
    add(&hit->n, 1);
    atomic_store_explicit(&hit->last_ms, now_ms, memory_order_relaxed);
}

void hits_carried(struct hits *h, uint32_t slot, uint64_t bytes)
{
    struct hit *hit = make(h, slot);
    if (hit)
        add(&hit->bytes, bytes);
}

void hits_add_up(const struct hits *h, uint32_t slot, struct hits_sum *sum)
{
    const struct hit *hit = slot < SLOTS_MAX ? find(h, slot, memory_order_acquire) : NULL;
    if (!hit)
        return;
    uint64_t last_ms = atomic_load_explicit(&hit->last_ms, memory_order_relaxed);
    sum->n += atomic_load_explicit(&hit->n, memory_order_relaxed);
    sum->bytes += atomic_load_explicit(&hit->bytes, memory_order_relaxed);
    sum->last_ms = last_ms > sum->last_ms ? last_ms : sum->last_ms;
}

void hits_fini(struct hits *h)
{
    for (size_t i = 0; h && i < HITS_PAGES_MAX; i++) {
        free(atomic_load_explicit(&h->pages[i], memory_order_relaxed));
        atomic_store_explicit(&h->pages[i], NULL, memory_order_relaxed);
    }
}

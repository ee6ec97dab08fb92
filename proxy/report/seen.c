/*
 * What `ukai learn` tells. Entries are only ever added, each published by the count behind it, so
 * the main thread reads while the worker writes and nobody waits. Whoever can connect can ask for
 * names without end: sources, destinations of a source, and all of them have a bound each, and what
 * is past it is only counted. A search gives up after a few steps, so names chosen to collide cost
 * their own place, not our time.
 */
#include "proxy/report/seen.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS = 2 * SEEN_TARGETS_MAX, SOURCE_CELLS = 2 * SEEN_SOURCES_MAX, STEPS_MAX = 64 };

struct seen_source {
    struct addr addr;
    uint16_t n_targets; /* 0: the cell is free */
};

struct seen {
    _Atomic uint32_t n;
    _Atomic uint64_t n_lost;
    struct seen_target *targets[SEEN_TARGETS_MAX]; /* owned */
    /* of the writing thread only */
    uint16_t cells[CELLS]; /* 1 + index in targets; 0: free */
    struct seen_source sources[SOURCE_CELLS];
    unsigned n_sources;
};

struct seen *seen_new(void)
{
    return calloc(1, sizeof(struct seen));
}

struct seen *seen_free(struct seen *s)
{
    uint32_t n = s ? seen_count(s) : 0;
    for (uint32_t i = 0; i < n; i++)
        free(s->targets[i]);
    free(s);
    return NULL;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u; /* FNV-1a */
    return hash;
}

static size_t fold(uint64_t hash, size_t n_cells)
{
    return (size_t)((hash ^ hash >> 29) % n_cells);
}

/* The cell of @addr, taken or free; NULL: there is no place. */
static struct seen_source *find_source(struct seen *s, const struct addr *addr)
{
    size_t at = fold(hash_bytes(0xcbf29ce484222325u, addr, sizeof(*addr)), SOURCE_CELLS);
    for (unsigned i = 0; i < STEPS_MAX; i++, at = (at + 1) % SOURCE_CELLS) {
        struct seen_source *source = &s->sources[at];
        if (source->n_targets == 0)
            return s->n_sources < SEEN_SOURCES_MAX ? source : NULL;
        if (addr_compare(&source->addr, addr) == 0)
            return source;
    }
    return NULL;
}

static bool is_same(const struct seen_target *t, const struct addr *source, const char *host,
                    size_t len, uint16_t port)
{
    return t->port == port && t->host_len == len && memcmp(t->host, host, len) == 0 &&
           addr_compare(&t->source, source) == 0;
}

static void count(struct seen_target *t, uint64_t now_ms)
{
    uint64_t n = atomic_load_explicit(&t->n, memory_order_relaxed);
    atomic_store_explicit(&t->n, n + 1, memory_order_relaxed);
    atomic_store_explicit(&t->last_ms, now_ms, memory_order_relaxed);
}

static struct seen_target *make(const struct addr *source, const char *host, size_t len,
                                uint16_t port)
{
    struct seen_target *t = calloc(1, sizeof(*t) + len + 1);
    if (!t)
        return NULL;
    t->source = *source;
    t->port = port;
    t->host_len = (uint16_t)len;
    memcpy(t->host, host, len);
    return t;
}

/* Into a free cell, if all bounds allow it. */
static bool add(struct seen *s, size_t cell, const struct addr *source, const char *host,
                size_t len, uint16_t port, uint64_t now_ms)
{
    uint32_t n = atomic_load_explicit(&s->n, memory_order_relaxed);
    struct seen_source *from = find_source(s, source);
    if (n >= SEEN_TARGETS_MAX || !from || from->n_targets >= SEEN_PER_SOURCE_MAX)
        return false;
    struct seen_target *t = make(source, host, len, port);
    if (!t)
        return false;
    if (from->n_targets++ == 0) {
        from->addr = *source;
        s->n_sources++;
    }
    count(t, now_ms);
    s->targets[n] = t;
    s->cells[cell] = (uint16_t)(n + 1);
    atomic_store_explicit(&s->n, n + 1, memory_order_release);
    return true;
}

void seen_note(struct seen *s, const struct addr *source, const char *host, uint16_t port,
               uint64_t now_ms)
{
    size_t len = strlen(host);
    uint64_t hash = hash_bytes(0xcbf29ce484222325u, source, sizeof(*source));
    size_t at = fold(hash_bytes(hash_bytes(hash, host, len), &port, sizeof(port)), CELLS);
    bool is_done = false;
    for (unsigned i = 0; i < STEPS_MAX && !is_done && len <= UINT16_MAX; i++) {
        if (s->cells[at] == 0) {
            is_done = add(s, at, source, host, len, port, now_ms);
            break;
        }
        struct seen_target *t = s->targets[s->cells[at] - 1];
        is_done = is_same(t, source, host, len, port);
        if (is_done)
            count(t, now_ms);
        at = (at + 1) % CELLS;
    }
    if (!is_done)
        atomic_store_explicit(&s->n_lost,
                              atomic_load_explicit(&s->n_lost, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

uint32_t seen_count(const struct seen *s)
{
    return atomic_load_explicit(&s->n, memory_order_acquire);
}

const struct seen_target *seen_at(const struct seen *s, uint32_t i)
{
    return s->targets[i];
}

uint64_t seen_lost(const struct seen *s)
{
    return atomic_load_explicit(&s->n_lost, memory_order_relaxed);
}

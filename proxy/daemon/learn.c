/*
 * The tables of the workers (report/seen), put together. A source belongs to the first group that
 * has it; what its group may reach is one section, since that is how [out @group] is asked. A line
 * says who asked and how often as its memo, so that whoever pastes it can tell a service from a
 * stray request. Names are what peers sent: they passed the proxy's own parser, and are escaped all
 * the same.
 */
#include "proxy/daemon/learn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/base/escape.h"

/* A line of acl.conf has room for less than a name may have. */
enum { NAMED_SOURCES = 3, LINE_NAME_MAX = 180, TIME_MAX = 32 };

struct row {
    size_t group; /* index in the acl's groups; n_groups: none of them */
    const struct seen_target *target;
    uint64_t n, last_ms;
};

struct rows {
    struct row *items;
    size_t n, n_sources;
    uint64_t n_requests, n_lost;
};

static size_t group_of(const struct acl *acl, const struct addr *source)
{
    for (size_t i = 0; i < acl->n_groups; i++) {
        for (size_t k = 0; k < acl->groups[i].n_members; k++) {
            if (addr_range_has(&acl->groups[i].members[k], source))
                return i;
        }
    }
    return acl->n_groups;
}

static int compare_targets(const struct row *a, const struct row *b)
{
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    int order = strcmp(a->target->host, b->target->host);
    return order ? order : (int)a->target->port - (int)b->target->port;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    int order = compare_targets(a, b);
    return order ? order : addr_compare(&a->target->source, &b->target->source);
}

static int gather(struct rows *rows, const struct worker *workers, unsigned n_workers,
                  const struct acl *acl)
{
    size_t n_max = (size_t)n_workers * SEEN_TARGETS_MAX;
    rows->items = calloc(n_max + 1, sizeof(*rows->items)); /* touched only as far as it is filled */
    if (!rows->items)
        return -ENOMEM;
    for (unsigned w = 0; w < n_workers; w++) {
        const struct seen *seen = atomic_load_explicit(&workers[w].seen, memory_order_acquire);
        uint32_t n = seen ? seen_count(seen) : 0;
        rows->n_lost += seen ? seen_lost(seen) : 0;
        for (uint32_t i = 0; i < n; i++) {
            const struct seen_target *t = seen_at(seen, i);
            rows->items[rows->n++] = (struct row){
                .group = group_of(acl, &t->source),
                .target = t,
                .n = atomic_load_explicit(&t->n, memory_order_relaxed),
                .last_ms = atomic_load_explicit(&t->last_ms, memory_order_relaxed),
            };
        }
    }
    qsort(rows->items, rows->n, sizeof(*rows->items), compare_rows);
    return 0;
}

/* The same source by several workers is one row. */
static void merge(struct rows *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        struct row *last = n > 0 ? &rows->items[n - 1] : NULL;
        rows->n_requests += rows->items[i].n;
        if (!last || compare_rows(last, &rows->items[i]) != 0) {
            rows->items[n++] = rows->items[i];
            continue;
        }
        last->n += rows->items[i].n;
        if (rows->items[i].last_ms > last->last_ms)
            last->last_ms = rows->items[i].last_ms;
    }
    rows->n = n;
}

static void write_escaped(FILE *out, enum escape_style style, const char *text)
{
    char safe[1024];
    fwrite(safe, 1, escape_write(style, text, strlen(text), safe, sizeof(safe)), out);
}

static bool is_ipv6_text(const char *host)
{
    return strchr(host, ':') != NULL;
}

/* `host:port`, or a comment where no line of the file could hold it. */
static void write_target(FILE *out, const struct seen_target *t)
{
    fputs(t->host_len > LINE_NAME_MAX ? "; too long for a line: " : "allow = ", out);
    fputs(is_ipv6_text(t->host) ? "[" : "", out);
    write_escaped(out, ESCAPE_TEXT, t->host);
    fprintf(out, "%s:%u", is_ipv6_text(t->host) ? "]" : "", t->port);
}

/* The rows of one line: @n of them, by source. */
static void write_line(FILE *out, const struct row *rows, size_t n)
{
    char text[ADDR_TEXT_MAX];
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += rows[i].n;
    write_target(out, rows[0].target);
    fprintf(out, "   ; %llu time%s by ", (unsigned long long)total, total == 1 ? "" : "s");
    for (size_t i = 0; i < n && i < NAMED_SOURCES; i++)
        fprintf(out, "%s%s", i > 0 ? ", " : "", addr_text(&rows[i].target->source, text));
    if (n > NAMED_SOURCES)
        fprintf(out, " and %zu more", n - NAMED_SOURCES);
    fputc('\n', out);
}

static size_t same_line(const struct rows *rows, size_t i)
{
    size_t n = 1;
    while (i + n < rows->n && compare_targets(&rows->items[i], &rows->items[i + n]) == 0)
        n++;
    return n;
}

static void write_text(const struct rows *rows, const struct snapshot *s, FILE *out)
{
    fprintf(out, "; seen while mode = observe: %llu requests that reached their destination\n",
            (unsigned long long)rows->n_requests);
    if (rows->n_lost > 0)
        fprintf(out,
                "; not complete: %llu more found no room (a worker keeps %d destinations, %d "
                "sources, %d destinations of a source)\n",
                (unsigned long long)rows->n_lost, SEEN_TARGETS_MAX, SEEN_SOURCES_MAX,
                SEEN_PER_SOURCE_MAX);
    if (!s->conf.acl_observe)
        fputs("; the mode is enforce now: nothing is added any more\n", out);
    for (size_t i = 0; i < rows->n;) {
        size_t group = rows->items[i].group, n = same_line(rows, i);
        if (i == 0 || rows->items[i - 1].group != group) {
            fputs("\n[out", out);
            if (group < s->acl->n_groups) {
                fputs(" @", out);
                write_escaped(out, ESCAPE_TEXT, s->acl->groups[group].name);
            }
            fputs("]\n", out);
        }
        write_line(out, &rows->items[i], n);
        i += n;
    }
}

static void write_json(const struct rows *rows, const struct snapshot *s, uint64_t now_ms,
                       FILE *out)
{
    char text[ADDR_TEXT_MAX], when[TIME_MAX];
    fputc('[', out);
    for (size_t i = 0; i < rows->n; i++) {
        const struct row *r = &rows->items[i];
        time_t last = time(NULL) - (time_t)((now_ms > r->last_ms ? now_ms - r->last_ms : 0) / 1000);
        struct tm tm;
        if (!gmtime_r(&last, &tm) || strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
            when[0] = '\0';
        fprintf(out, "%s\n{\"source\":\"%s\",\"group\":", i > 0 ? "," : "",
                addr_text(&r->target->source, text));
        if (r->group < s->acl->n_groups) {
            fputc('"', out);
            write_escaped(out, ESCAPE_JSON, s->acl->groups[r->group].name);
            fputc('"', out);
        } else {
            fputs("null", out);
        }
        fputs(",\"host\":\"", out);
        write_escaped(out, ESCAPE_JSON, r->target->host);
        fprintf(out, "\",\"port\":%u,\"n\":%llu,\"last\":\"%s\"}", r->target->port,
                (unsigned long long)r->n, when);
    }
    fputs("\n]\n", out);
}

int learn_write(const struct worker *workers, unsigned n_workers, const struct snapshot *s,
                uint64_t now_ms, bool is_json, FILE *out)
{
    struct rows rows = {0};
    int rc = gather(&rows, workers, n_workers, s->acl);
    if (rc < 0)
        return rc;
    merge(&rows);
    if (is_json)
        write_json(&rows, s, now_ms, out);
    else
        write_text(&rows, s, out);
    free(rows.items);
    return 0;
}

/*
 * The finds of all workers, put together by source and by what forbids. The counts are of one
 * moment: what ends or begins meanwhile is not waited for.
 */
#include "proxy/daemon/against.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/explain.h"
#include "proxy/base/escape.h"

struct total {
    struct survey_find *finds; /* owned; sorted */
    size_t n, n_tunnels, n_sources;
    unsigned n_looked_at;
    bool is_cut_short;
};

/* By source, then by what forbids. */
static int compare(const void *left, const void *right)
{
    const struct survey_find *a = left, *b = right;
    int order = addr_compare(&a->source, &b->source);
    if (order)
        return order;
    unsigned line_a = a->place ? a->place->line : 0, line_b = b->place ? b->place->line : 0;
    if (line_a != line_b)
        return line_a < line_b ? -1 : 1;
    return line_a ? 0 : strcmp(a->words, b->words);
}

static int gather(struct total *t, const struct survey *s)
{
    size_t n = 0;
    for (unsigned i = 0; i < s->n_parts; i++)
        n += s->parts[i].n_finds;
    *t = (struct total){.finds = calloc(n + 1, sizeof(*t->finds))};
    if (!t->finds)
        return -ENOMEM;
    for (unsigned i = 0; i < s->n_parts; i++) {
        const struct survey_part *p = &s->parts[i];
        if (p->n_finds > 0)
            memcpy(t->finds + t->n, p->finds, p->n_finds * sizeof(*p->finds));
        t->n += p->n_finds;
        t->n_looked_at += p->n_looked_at;
        t->is_cut_short = t->is_cut_short || p->is_cut_short;
    }
    qsort(t->finds, t->n, sizeof(*t->finds), compare);
    for (size_t i = 0; i < t->n; i++) {
        t->n_tunnels += t->finds[i].is_tunnel;
        t->n_sources += i == 0 || addr_compare(&t->finds[i - 1].source, &t->finds[i].source) != 0;
    }
    return 0;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void write_fate(const struct conf *conf, FILE *out)
{
    switch (conf->on_reload) {
    case CONF_RELOAD_REVOKE:
        fputs("would be cut", out);
        break;
    case CONF_RELOAD_GRACE:
        fprintf(out, "would be cut %llu s after the reload",
                (unsigned long long)(conf->on_reload_grace_ms / 1000));
        break;
    case CONF_RELOAD_KEEP:
        fputs("would be forbidden, and kept (on-reload = keep)", out);
        break;
    }
}

/* @n finds of one source and one reason. */
static void write_group(const struct survey_find *f, size_t n, FILE *out)
{
    char text[ADDR_TEXT_MAX];
    size_t n_tunnels = 0;
    for (size_t i = 0; i < n; i++)
        n_tunnels += f[i].is_tunnel;
    fprintf(out, "  %-15s %zu tunnel%s, %zu request%s: ", addr_text(&f->source, text), n_tunnels,
            plural(n_tunnels), n - n_tunnels, plural(n - n_tunnels));
    if (f->place)
        explain_place(out, f->place);
    else
        fputs(f->words, out);
    fputc('\n', out);
}

static void write_json_group(const struct survey_find *f, size_t n, bool is_first, FILE *out)
{
    char text[ADDR_TEXT_MAX], safe[512];
    size_t n_tunnels = 0;
    for (size_t i = 0; i < n; i++)
        n_tunnels += f[i].is_tunnel;
    fprintf(out, "%s\n{\"source\":\"%s\",\"tunnels\":%zu,\"requests\":%zu,\"rule\":\"",
            is_first ? "" : ",", addr_text(&f->source, text), n_tunnels, n - n_tunnels);
    const char *rule = f->place ? f->place->file : f->words;
    escape_write(ESCAPE_JSON, rule, strlen(rule), safe, sizeof(safe));
    fputs(safe, out);
    if (f->place)
        fprintf(out, ":%u", f->place->line);
    fputs("\"}", out);
}

static size_t same_group(const struct total *t, size_t i)
{
    size_t n = 1;
    while (i + n < t->n && compare(&t->finds[i], &t->finds[i + n]) == 0)
        n++;
    return n;
}

static void write_text(const struct total *t, const struct conf *conf, FILE *out)
{
    size_t n_requests = t->n - t->n_tunnels;
    fprintf(out, "%zu tunnel%s and %zu request%s of %zu source%s ", t->n_tunnels,
            plural(t->n_tunnels), n_requests, plural(n_requests), t->n_sources,
            plural(t->n_sources));
    write_fate(conf, out);
    fprintf(out, " (of %u)\n", t->n_looked_at);
    for (size_t i = 0, n; i < t->n; i += n) {
        n = same_group(t, i);
        write_group(&t->finds[i], n, out);
    }
    if (t->is_cut_short)
        fputs("not complete: a worker could not look at all it has\n", out);
}

static void write_json(const struct total *t, const struct conf *conf, FILE *out)
{
    static const char *const fates[] = {"revoke", "keep", "grace"};
    fprintf(out,
            "{\"tunnels\":%zu,\"requests\":%zu,\"sources\":%zu,\"of\":%u,\"complete\":%s,"
            "\"on_reload\":\"%s\",\"would_be_cut\":[",
            t->n_tunnels, t->n - t->n_tunnels, t->n_sources, t->n_looked_at,
            t->is_cut_short ? "false" : "true", fates[conf->on_reload]);
    for (size_t i = 0, n; i < t->n; i += n) {
        n = same_group(t, i);
        write_json_group(&t->finds[i], n, i == 0, out);
    }
    fputs("]}\n", out);
}

int against_write(struct survey *s, bool is_json, FILE *out)
{
    struct total t;
    int rc = gather(&t, s);
    if (rc < 0)
        return rc;
    if (is_json)
        write_json(&t, &s->candidate->conf, out);
    else
        write_text(&t, &s->candidate->conf, out);
    free(t.finds);
    return 0;
}

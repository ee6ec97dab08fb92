/*
 * Names and help texts are ours, label values are anybody's: an admin's memo, a listener's name. A
 * scraper drops the whole answer when one line of it is wrong, so nothing is passed on unchecked.
 */
#include "proxy/report/metrictext.h"

#include <inttypes.h>
#include <string.h>

#include "proxy/base/escape.h"

void metrictext_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_value(FILE *out, const char *value)
{
    char safe[METRICTEXT_VALUE_MAX];
    size_t len = escape_write(ESCAPE_TEXT, value, strlen(value), safe, sizeof(safe));
    for (size_t i = 0; i < len; i++) {
        if (safe[i] == '"' || safe[i] == '\\')
            fputc('\\', out);
        fputc(safe[i], out);
    }
}

static void write_name(FILE *out, const char *name, const char *const *labels)
{
    fputs(name, out);
    for (size_t i = 0; labels && labels[i]; i += 2) {
        fprintf(out, "%s%s=\"", i ? "," : "{", labels[i]);
        write_value(out, labels[i + 1]);
        fputc('"', out);
    }
    fputs(labels && labels[0] ? "} " : " ", out);
}

void metrictext_sample(FILE *out, const char *name, const char *const *labels, uint64_t value)
{
    write_name(out, name, labels);
    fprintf(out, "%" PRIu64 "\n", value);
}

void metrictext_seconds(FILE *out, const char *name, const char *const *labels, uint64_t ms)
{
    write_name(out, name, labels);
    fprintf(out, "%" PRIu64 ".%03u\n", ms / 1000, (unsigned)(ms % 1000));
}

void metrictext_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    metrictext_head(out, name, type, help);
    metrictext_sample(out, name, NULL, value);
}

void metrictext_times(FILE *out, const char *name, const char *help, const struct tally_times *t)
{
    uint64_t n = 0;
    metrictext_head(out, name, "histogram", help);
    for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
        n += t->n[i];
        fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, tally_bounds_ms[i] / 1000.0, n);
    }
    n += t->n[TALLY_BUCKETS];
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, n);
    fprintf(out, "%s_sum %" PRIu64 ".%03u\n%s_count %" PRIu64 "\n", name, t->sum_ms / 1000,
            (unsigned)(t->sum_ms % 1000), name, n);
}

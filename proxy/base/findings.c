/*
 * The list of what is wrong in an admin's files. A reader of files adds and goes on, so that one
 * run tells everything; the counts stay exact when memory or the bound of 1,000 items runs out,
 * since they decide whether a file is taken, and errors have a second 1,000. Texts may quote pieces
 * of the file: they are escaped here once, so every printer may show them as they are. Not a log:
 * nothing is printed before somebody asks. Owned by the one who loads; one thread at a time.
 */
#include "proxy/base/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/escape.h"

enum { FINDINGS_MAX = 1000, WITH_ERRORS_MAX = 2000, TEXT_MAX = 1024, GROWTH = 16 };

static char *copy_escaped(const char *text)
{
    char buf[TEXT_MAX];

    escape_write(ESCAPE_TEXT, text, strlen(text), buf, sizeof(buf));
    return strdup(buf);
}

static struct finding *take_slot(struct findings *f, enum finding_level level)
{
    if (f->n_items >= (level == FINDING_ERROR ? WITH_ERRORS_MAX : FINDINGS_MAX))
        return NULL;
    if (f->n_items % GROWTH == 0) {
        struct finding *items = reallocarray(f->items, f->n_items + GROWTH, sizeof(*items));
        if (!items)
            return NULL;
        f->items = items;
    }
    return &f->items[f->n_items];
}

static void count(struct findings *f, enum finding_level level)
{
    switch (level) {
    case FINDING_ERROR:
        f->n_errors++;
        break;
    case FINDING_WARNING:
        f->n_warnings++;
        break;
    case FINDING_NOTE:
        break;
    }
}

void findings_add(struct findings *f, enum finding_level level, const char *file, unsigned line,
                  const char *fmt, ...)
{
    char raw[TEXT_MAX] = "";
    va_list args;

    va_start(args, fmt);
    vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    count(f, level);

    struct finding *item = take_slot(f, level);
    char *text = item ? copy_escaped(raw) : NULL;
    char *name = text && file ? copy_escaped(file) : NULL;
    if (!text || (file && !name)) {
        free(text);
        f->n_dropped++;
        f->n_dropped_errors += level == FINDING_ERROR;
        return;
    }
    *item = (struct finding){.level = level, .file = name, .line = line, .text = text};
    f->n_items++;
}

static const char *level_name(enum finding_level level)
{
    switch (level) {
    case FINDING_ERROR:
        return "error";
    case FINDING_WARNING:
        return "warning";
    case FINDING_NOTE:
        return "note";
    }
    return "note";
}

static void write_place(const struct finding *item, char *buf, size_t size)
{
    if (!item->file)
        snprintf(buf, size, "%s", "");
    else if (item->line == 0)
        snprintf(buf, size, "%s: ", item->file);
    else
        snprintf(buf, size, "%s:%u: ", item->file, item->line);
}

void findings_print(const struct findings *f, FILE *out)
{
    char place[TEXT_MAX + 16];

    for (size_t i = 0; i < f->n_items; i++) {
        write_place(&f->items[i], place, sizeof(place));
        fprintf(out, "%s%s: %s\n", place, level_name(f->items[i].level), f->items[i].text);
    }
    if (f->n_dropped > 0)
        fprintf(out, "note: %zu more findings are not shown, %zu of them errors\n", f->n_dropped,
                f->n_dropped_errors);
}

const char *findings_first_error(const struct findings *f, char *buf, size_t size)
{
    char place[TEXT_MAX + 16];

    if (size == 0)
        return buf;
    buf[0] = '\0';
    for (size_t i = 0; i < f->n_items; i++) {
        if (f->items[i].level != FINDING_ERROR)
            continue;
        write_place(&f->items[i], place, sizeof(place));
        snprintf(buf, size, "%s%s", place, f->items[i].text);
        return buf;
    }
    if (f->n_errors > 0)
        snprintf(buf, size, "%zu errors, none could be kept", f->n_errors);
    return buf;
}

void findings_fini(struct findings *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_items; i++) {
        free(f->items[i].file);
        free(f->items[i].text);
    }
    free(f->items);
    *f = (struct findings){0};
}

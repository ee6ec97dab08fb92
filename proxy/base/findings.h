/* findings - what is wrong in files an admin wrote: FILE:LINE: error|warning: text. */
#ifndef PROXY_BASE_FINDINGS_H
#define PROXY_BASE_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum finding_level { FINDING_ERROR, FINDING_WARNING, FINDING_NOTE };

struct finding {
    enum finding_level level;
    char *file;    /* owned; NULL when the finding belongs to no file */
    unsigned line; /* 1-based; 0 when it belongs to no line */
    char *text;    /* owned; one line, already escaped, no newline */
};

struct fileset;

/* Bounded: after 1,000 findings only a count goes on, but for errors, which have room of their own:
 * 1,000 warnings never hide why a file is refused. Zero-initialised is empty and valid. */
struct findings {
    struct finding *items;
    size_t n_items;
    size_t n_errors;
    size_t n_warnings;
    size_t n_dropped;        /* not in @items, of every level */
    size_t n_dropped_errors; /* among them */
    struct fileset *files;   /* borrowed: where files are read from, and kept; NULL: the disk */
};

void findings_add(struct findings *f, enum finding_level level, const char *file, unsigned line,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Prints every item, one per line, `FILE:LINE: error: text`. */
void findings_print(const struct findings *f, FILE *out);
/* The first error as one line into buf (empty string when none); for the log. Returns buf. */
const char *findings_first_error(const struct findings *f, char *buf, size_t size);
void findings_fini(struct findings *f);

#endif

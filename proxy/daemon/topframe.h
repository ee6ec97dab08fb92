/* topframe - what `ukai top` shows at one moment, line by line (pure). */
#ifndef PROXY_DAEMON_TOPFRAME_H
#define PROXY_DAEMON_TOPFRAME_H

#include <jansson.h>
#include <stdbool.h>

enum {
    TOPFRAME_COLUMNS_MIN = 40,
    TOPFRAME_COLUMNS_MAX = 300,
    TOPFRAME_LINE_BYTES = 4 * TOPFRAME_COLUMNS_MAX + 64
};

enum topframe_style { TOPFRAME_PLAIN, TOPFRAME_TITLE, TOPFRAME_WARNING, TOPFRAME_CHOSEN };

/* The lower table. */
enum topframe_table { TOPFRAME_TUNNELS, TOPFRAME_DESTINATIONS };

/* What the person has chosen. */
struct topframe_view {
    const char *sort; /* rate, bytes, age or source; borrowed */
    enum topframe_table table;
    unsigned chosen; /* row of the lower table; brought into its bounds */
    unsigned first;  /* its first row on the screen; follows @chosen */
    double interval_s;
    bool is_paused, shows_help;
    bool has_keys;       /* somebody can press some: the last line tells which */
    const char *message; /* in place of the keys; NULL: none */
};

struct topframe_line {
    enum topframe_style style;
    char text[TOPFRAME_LINE_BYTES];
};

struct topframe {
    unsigned n_lines, n_columns, max_lines;
    struct topframe_line lines[];
};

/**
 * topframe_new - lay out one frame
 * @model: the daemon's answer to `top`; whatever is missing in it counts as 0 or empty
 * @n_columns: brought into 40 to 300; no line is longer. @n_lines: at most so many lines, 1 to
 * 1000.
 *
 * Returns: owned · NULL: out of memory.
 */
struct topframe *topframe_new(const json_t *model, struct topframe_view *view, unsigned n_columns,
                              unsigned n_lines);
struct topframe *topframe_free(struct topframe *f); /* NULL is fine */

#endif

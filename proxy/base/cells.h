/* cells - text by the columns it takes on a terminal (pure). */
#ifndef PROXY_BASE_CELLS_H
#define PROXY_BASE_CELLS_H

#include <stdbool.h>
#include <stddef.h>

/* A line that is being written: bytes, and how many columns they take. */
struct cells {
    char *buf; /* borrowed; always NUL-terminated */
    size_t size, len;
    unsigned n_columns;
};

/**
 * cells_put - append @text, cut to @width columns; what was cut ends in '~'
 * @text is made harmless first (proxy/base/escape), so it may come from a peer. Wide characters
 * count two columns, combining ones none; one of unknown width becomes '?'.
 */
void cells_put(struct cells *c, const char *text, unsigned width);
/* The same, filled up with blanks to @width columns: on the left if @is_right. */
void cells_pad(struct cells *c, const char *text, unsigned width, bool is_right);
/* How many columns @text would take, uncut. */
unsigned cells_width(const char *text);

#endif

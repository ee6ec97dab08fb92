/* cells - text by the columns it takes on a terminal. */
#ifndef PROXY_BASE_CELLS_H
#define PROXY_BASE_CELLS_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>

/* A line that is being written: bytes, and how many columns they take. */
struct cells {
    char *buf; /* borrowed; always NUL-terminated */
    size_t size, len;
    unsigned n_columns;
};

/* The calling thread knows UTF-8 from here on; all else below is to be called in between. Without
 * such a locale on the machine, what is not ASCII is shown as '?'. */
struct cells_locale {
    locale_t utf8, before;
};
struct cells_locale cells_enter(void);
void cells_leave(struct cells_locale *l);

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

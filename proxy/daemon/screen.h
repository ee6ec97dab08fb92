/* screen - the terminal as a page to draw on: entered, drawn, and given back as it was. */
#ifndef PROXY_DAEMON_SCREEN_H
#define PROXY_DAEMON_SCREEN_H

#include <stdbool.h>
#include <termios.h>

#include "proxy/daemon/topframe.h"

/* Zero-initialised: left. Standard input and output are borrowed. */
struct screen {
    struct termios before;
    bool is_entered;
    bool has_colour;
    bool is_stale; /* what stands there is not ours: cleared before the next frame */
};

/* Whether standard input and output are a terminal that can be drawn on. */
bool screen_is_possible(void);
/* 0 · -errno: nothing has changed. */
int screen_enter(struct screen *s) __attribute__((warn_unused_result));
/* As it was before; any state. */
void screen_leave(struct screen *s);
/* Of the terminal behind standard output; @ret_lines, @ret_columns: unchanged when it has none. */
void screen_size(unsigned *ret_columns, unsigned *ret_lines);
/* 0 · -errno: the terminal is gone. */
int screen_show(struct screen *s, const struct topframe *f) __attribute__((warn_unused_result));

#endif

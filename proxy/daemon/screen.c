/*
 * A few sequences that every terminal since the VT100 and xterm knows: the alternate screen, the
 * cursor's place and visibility, attributes. A library for all terminals there ever were (ncurses)
 * would be linked into the daemon, which starts as root, and would read its files, for the sake of
 * these; whoever has a terminal of another kind says so by TERM=dumb and gets plain lines. Keys
 * come unbuffered and without echo; those that send signals stay what they are.
 */
#include "proxy/daemon/screen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l\033[?7l" /* alternate screen, no cursor, no wrapping */
#define LEAVE "\033[0m\033[?7h\033[?25h\033[?1049l"

bool screen_is_possible(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

static int write_all(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

int screen_enter(struct screen *s)
{
    const char *no_colour = getenv("NO_COLOR");
    if (tcgetattr(STDIN_FILENO, &s->before) < 0)
        return -errno;
    struct termios raw = s->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return -errno;
    s->is_entered = s->is_stale = true;
    s->has_colour = !no_colour || !*no_colour;
    int rc = write_all(ENTER, sizeof(ENTER) - 1);
    if (rc < 0)
        screen_leave(s);
    return rc;
}

void screen_leave(struct screen *s)
{
    if (!s->is_entered)
        return;
    s->is_entered = false;
    (void)write_all(LEAVE, sizeof(LEAVE) - 1); /* a terminal that is gone needs no goodbye */
    tcsetattr(STDIN_FILENO, TCSADRAIN, &s->before);
}

void screen_size(unsigned *ret_columns, unsigned *ret_lines)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
        return;
    *ret_columns = size.ws_col;
    *ret_lines = size.ws_row;
}

static const char *sequence_of(const struct screen *s, enum topframe_style style)
{
    switch (style) {
    case TOPFRAME_PLAIN:
        return "";
    case TOPFRAME_TITLE:
        return "\033[7m";
    case TOPFRAME_WARNING:
        return s->has_colour ? "\033[1;31m" : "\033[1m";
    case TOPFRAME_CHOSEN:
        return s->has_colour ? "\033[1;36m" : "\033[1;4m";
    }
    return "";
}

int screen_show(struct screen *s, const struct topframe *f)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return -ENOMEM;
    fputs(s->is_stale ? "\033[2J" : "", out);
    for (unsigned i = 0; i < f->n_lines; i++) {
        const struct topframe_line *line = &f->lines[i];
        /* Erased first: at the right edge there is nothing behind the cursor to erase. */
        fprintf(out, "\033[%u;1H\033[2K%s%s%s", i + 1, sequence_of(s, line->style), line->text,
                line->style == TOPFRAME_PLAIN ? "" : "\033[0m");
    }
    if (f->n_lines < f->max_lines)
        fprintf(out, "\033[%u;1H\033[J", f->n_lines + 1);
    int rc = fclose(out) == 0 ? write_all(text, len) : -ENOMEM;
    free(text);
    s->is_stale = rc < 0;
    return rc;
}

/*
 * The markup of the status page stands in a file of its own, and C only says what goes where: so
 * nobody can forget to escape, since that is what happens when nothing is said. Braces have no
 * other meaning in a template. Pure but for the file.
 */
#include "proxy/base/markup.h"

#include <string.h>

#include "proxy/base/escape.h"

static void write_text(FILE *out, const char *text)
{
    char safe[6 * MARKUP_TEXT_MAX + 1];
    size_t len = strnlen(text, MARKUP_TEXT_MAX);
    fwrite(safe, 1, escape_write(ESCAPE_HTML, text, len, safe, sizeof(safe)), out);
}

static void write_value(FILE *out, const struct markup_value *values, const char *name, size_t len)
{
    for (const struct markup_value *v = values; v->name; v++) {
        if (strlen(v->name) != len || memcmp(v->name, name, len) != 0)
            continue;
        if (v->text && v->is_markup)
            fputs(v->text, out);
        else if (v->text)
            write_text(out, v->text);
        return;
    }
}

void markup_write(FILE *out, const char *template, const struct markup_value *values)
{
    const char *at = template;
    for (;;) {
        const char *open = strchr(at, '{'), *close = open ? strchr(open, '}') : NULL;
        if (!close)
            break;
        fwrite(at, 1, (size_t)(open - at), out);
        write_value(out, values, open + 1, (size_t)(close - open - 1));
        at = close + 1;
    }
    fputs(at, out);
}

/*
 * Tables for a terminal line up only if each character counts what the terminal makes of it, and
 * memos are Japanese. wcwidth(3) knows, in a locale that has characters: C.UTF-8 is part of libc,
 * so the answer does not depend on the user's own locale. Text is escaped before it is measured;
 * what reaches the terminal never has a control character.
 */
#include "proxy/base/cells.h"

#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "proxy/base/escape.h"

enum { TEXT_MAX = 1024, ZERO_WIDE_MAX = 2 };

struct character {
    const char *bytes;
    size_t len;
    unsigned width;
};

/* Of valid UTF-8; @text is not at its end. */
static uint32_t decode(const char *text, size_t *ret_len)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3f);
    *ret_len = len;
    return c;
}

/* More combining characters on one than anybody writes are left out. */
static struct character next(const char **at, unsigned *n_zero_wide)
{
    struct character c = {.bytes = *at};
    uint32_t code = decode(*at, &c.len);
    int width = wcwidth((wchar_t)code);
    *at += c.len;
    if (width < 0)
        c = (struct character){.bytes = "?", .len = 1, .width = 1};
    else
        c.width = (unsigned)width;
    *n_zero_wide = c.width ? 0 : *n_zero_wide + 1;
    if (*n_zero_wide > ZERO_WIDE_MAX)
        c.len = 0;
    return c;
}

static unsigned measure(const char *text)
{
    unsigned n = 0, n_zero_wide = 0;
    while (*text)
        n += next(&text, &n_zero_wide).width;
    return n;
}

static void append(struct cells *c, const char *bytes, size_t len, unsigned n_columns)
{
    if (c->len + len >= c->size)
        return;
    memcpy(c->buf + c->len, bytes, len);
    c->len += len;
    c->buf[c->len] = '\0';
    c->n_columns += n_columns;
}

static void put(struct cells *c, const char *text, unsigned width)
{
    unsigned n_zero_wide = 0;
    bool is_whole = measure(text) <= width;
    unsigned room = is_whole || width == 0 ? width : width - 1;
    while (*text) {
        struct character one = next(&text, &n_zero_wide);
        if (one.width > room)
            break;
        append(c, one.bytes, one.len, one.width);
        room -= one.width;
    }
    if (!is_whole && width > 0)
        append(c, "~", 1, 1);
}

static void fill(struct cells *c, unsigned n)
{
    while (n-- > 0)
        append(c, " ", 1, 1);
}

struct cells_locale cells_enter(void)
{
    struct cells_locale l = {.utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)};
    if (l.utf8)
        l.before = uselocale(l.utf8);
    return l;
}

void cells_leave(struct cells_locale *l)
{
    if (!l->utf8)
        return;
    uselocale(l->before);
    freelocale(l->utf8);
    *l = (struct cells_locale){0};
}

void cells_put(struct cells *c, const char *text, unsigned width)
{
    char harmless[TEXT_MAX];
    escape_write(ESCAPE_TEXT, text, strlen(text), harmless, sizeof(harmless));
    put(c, harmless, width);
}

void cells_pad(struct cells *c, const char *text, unsigned width, bool is_right)
{
    char harmless[TEXT_MAX];
    unsigned from = c->n_columns;
    escape_write(ESCAPE_TEXT, text, strlen(text), harmless, sizeof(harmless));
    unsigned n = measure(harmless);
    if (is_right && n < width)
        fill(c, width - n);
    put(c, harmless, width);
    if (c->n_columns - from < width)
        fill(c, width - (c->n_columns - from));
}

unsigned cells_width(const char *text)
{
    char harmless[TEXT_MAX];
    escape_write(ESCAPE_TEXT, text, strlen(text), harmless, sizeof(harmless));
    unsigned n = measure(harmless);
    return n;
}

/* Columns of a terminal: what is cut, what is filled, what never gets through. */
#include "proxy/base/cells.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

struct row {
    const char *text;
    unsigned width;
    const char *left, *right; /* as padded on either side */
};

static const struct row rows[] = {
    {"abc", 5, "abc  ", "  abc"},
    {"abc", 3, "abc", "abc"},
    {"abcd", 3, "ab~", "ab~"},
    {"abc", 1, "~", "~"},
    {"abc", 0, "", ""},
    {"", 2, "  ", "  "},
    {"\xe6\x97\xa5\xe6\x9c\xac", 5, "\xe6\x97\xa5\xe6\x9c\xac ", " \xe6\x97\xa5\xe6\x9c\xac"},
    {"\xe6\x97\xa5\xe6\x9c\xac", 4, "\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac"},
    /* a wide one that does not fit leaves a column, which is filled */
    {"\xe6\x97\xa5\xe6\x9c\xac", 3, "\xe6\x97\xa5~", "\xe6\x97\xa5~"},
    {"a\xe6\x97\xa5\xe6\x9c\xac", 4, "a\xe6\x97\xa5~", "a\xe6\x97\xa5~"},
    {"a\xe6\x97\xa5\xe6\x9c\xac", 3, "a~ ", "a~ "},
    {"e\xcc\x81x", 3, "e\xcc\x81x ", " e\xcc\x81x"},
    {"\033[2J", 8, "\\x1b[2J ", " \\x1b[2J"},
    {"a\nb", 6, "a\\x0ab", "a\\x0ab"},
    {"\xff", 4, "\\xff", "\\xff"},
    {"a\xe2\x80\xae"
     "b",
     20,
     "a\\xe2\\x80\\xae"
     "b      ",
     "      a\\xe2\\x80\\xae"
     "b"},
    {"\xf3\xb0\x80\x80\xf4\x8f\xbf\xbe", 4, NULL, NULL}, /* private use, no character */
};

static void pad(const struct row *r, bool is_right, char *buf, size_t size)
{
    struct cells c = {.buf = buf, .size = size};
    cells_pad(&c, r->text, r->width, is_right);
    cr_expect_eq(c.len, strlen(buf));
    cr_expect_eq(c.n_columns, r->width, "%u of %u columns", c.n_columns, r->width);
}

Test(base_cells, pad__has_the_width__whatever_the_text)
{
    struct cells_locale locale = cells_enter();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char buf[256];
        pad(&rows[i], false, buf, sizeof(buf));
        if (rows[i].left)
            cr_expect_str_eq(buf, rows[i].left, "row %zu", i);
        pad(&rows[i], true, buf, sizeof(buf));
        if (rows[i].right)
            cr_expect_str_eq(buf, rows[i].right, "row %zu, right", i);
    }
    cells_leave(&locale);
}

Test(base_cells, put__does_not_fill)
{
    struct cells_locale locale = cells_enter();
    char buf[64];
    struct cells c = {.buf = buf, .size = sizeof(buf)};
    cells_put(&c, "ab", 10);
    cells_put(&c, "\xe6\x97\xa5", 2);
    cr_expect_str_eq(buf, "ab\xe6\x97\xa5");
    cr_expect_eq(c.n_columns, 4);
    cr_expect_eq(cells_width("ab\xe6\x97\xa5"), 4);
    cells_leave(&locale);
}

Test(base_cells, put__keeps_few_combining_characters)
{
    struct cells_locale locale = cells_enter();
    char text[2 + 2 * 100 + 1] = "a", buf[512];
    for (int i = 0; i < 100; i++)
        memcpy(text + 1 + 2 * i, "\xcc\x81", 2);
    struct cells c = {.buf = buf, .size = sizeof(buf)};
    cells_put(&c, text, 10);
    cr_expect_str_eq(buf, "a\xcc\x81\xcc\x81");
    cr_expect_eq(c.n_columns, 1);
    cells_leave(&locale);
}

Test(base_cells, put__stays_in_a_small_buffer)
{
    struct cells_locale locale = cells_enter();
    char buf[8];
    struct cells c = {.buf = buf, .size = sizeof(buf)};
    cells_pad(&c, "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5", 20, false);
    cr_expect_lt(strlen(buf), sizeof(buf));
    cr_expect_eq(strlen(buf), c.len);
    cells_leave(&locale);
}

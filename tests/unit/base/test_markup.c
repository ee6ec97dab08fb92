/* Templates: every value escaped unless it is our own markup, and nothing but values changed. */
#include "proxy/base/markup.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void expect_written(const char *template, const struct markup_value *values,
                           const char *want)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    markup_write(out, template, values);
    fclose(out);
    cr_expect_str_eq(text, want);
    free(text);
}

Test(base_markup, values__are_put_in__escaped)
{
    const struct markup_value values[] = {{"a", "<b>&\"'"}, {"ab", "用"}, {"n", NULL}, {0}};
    expect_written("", values, "");
    expect_written("<p>plain</p>", values, "<p>plain</p>");
    expect_written("<p title=\"{a}\">{ab}</p>", values,
                   "<p title=\"&#60;b&#62;&#38;&#34;&#39;\">用</p>");
    expect_written("{a}{n}{none}{}|", values, "&#60;b&#62;&#38;&#34;&#39;|");
    expect_written("an open { stays", values, "an open { stays");
}

Test(base_markup, value__is_never_a_template)
{
    const struct markup_value values[] = {{"a", "{b}"}, {"b", "secret"}, {0}};
    expect_written("{a}", values, "{b}");
}

Test(base_markup, own_markup__stays_as_it_is)
{
    const struct markup_value values[] = {{"m", "<path d=\"M0 1\"/>", true}, {0}};
    expect_written("<svg>{m}</svg>", values, "<svg><path d=\"M0 1\"/></svg>");
}

Test(base_markup, long_text__is_cut)
{
    char *long_text = malloc(100001), *text = NULL;
    size_t len;
    memset(long_text, '<', 100000);
    long_text[100000] = '\0';
    const struct markup_value values[] = {{"a", long_text}, {0}};
    FILE *out = open_memstream(&text, &len);
    markup_write(out, "{a}", values);
    fclose(out);
    cr_expect_eq(len, MARKUP_TEXT_MAX * strlen("&#60;"));
    free(text);
    free(long_text);
}

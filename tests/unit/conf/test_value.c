/* Scalars: what is accepted, what is not, and that nothing wraps (G11, G18). */
#include "conf/value.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct row {
    const char *text;
    int result;
    uint64_t value;
};

static void expect_rows(const struct row *rows, size_t n, int (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = 4711;
        int r = parse(rows[i].text, &value);
        cr_expect_eq(r, rows[i].result, "`%s` gives %d", rows[i].text, r);
        cr_expect_eq(value, r == 0 ? rows[i].value : 4711, "`%s` is %" PRIu64, rows[i].text, value);
    }
}

#define EXPECT_ROWS(rows, parse) expect_rows(rows, sizeof(rows) / sizeof(rows[0]), parse)

Test(conf_value, parse_number__takes_digits_only__always)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"8080", 0, 8080},
        {"0x1f", 0, 31},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"0x10000000000000000", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"0x", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1.5", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
    };
    EXPECT_ROWS(rows, value_parse_number);
}

Test(conf_value, parse_duration__needs_unit__G18)
{
    static const struct row rows[] = {
        {"0s", 0, 0},
        {"1ms", 0, 1},
        {"15s", 0, 15000},
        {"5m", 0, 300000},
        {"1h", 0, 3600000},
        {"1d", 0, 86400000},
        {"213503982334d", 0, UINT64_C(213503982334) * 86400000},
        {"213503982335d", -ERANGE, 0},
        {"1000000000000000000d", -ERANGE, 0},
        {"99999999999999999999999ms", -ERANGE, 0},
        {"15", -ENODATA, 0},
        {"0", -ENODATA, 0},
        {"-1s", -EINVAL, 0},
        {"1H", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1h30m", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"off", -EINVAL, 0},
    };
    EXPECT_ROWS(rows, value_parse_duration);
}

Test(conf_value, parse_size__never_wraps__G18)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"512", 0, 512},
        {"8K", 0, 8192},
        {"8k", 0, 8192},
        {"16M", 0, 16 << 20},
        {"2G", 0, UINT64_C(2) << 30},
        {"17179869183G", 0, UINT64_C(17179869183) << 30},
        {"17179869184G", -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"1KB", -EINVAL, 0},
        {"1T", -EINVAL, 0},
        {"-1K", -EINVAL, 0},
        {"K", -EINVAL, 0},
        {"", -EINVAL, 0},
    };
    EXPECT_ROWS(rows, value_parse_size);
}

Test(conf_value, parse_bool__knows_six_words__G11)
{
    static const struct {
        const char *text;
        int result;
        bool value;
    } rows[] = {
        {"yes", 0, true},  {"no", 0, false},    {"on", 0, true},      {"off", 0, false},
        {"true", 0, true}, {"false", 0, false}, {"ture", -EINVAL, 0}, {"YES", -EINVAL, 0},
        {"1", -EINVAL, 0}, {"", -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool value = false;
        int r = value_parse_bool(rows[i].text, &value);
        cr_expect_eq(r, rows[i].result, "`%s` gives %d", rows[i].text, r);
        cr_expect(r != 0 || value == rows[i].value, "`%s`", rows[i].text);
    }
}

Test(conf_value, texts__read_back_the_same__for_any_value)
{
    static const uint64_t values[] = {0,
                                      1,
                                      999,
                                      1000,
                                      60000,
                                      90000,
                                      3600000,
                                      86400000,
                                      1024,
                                      1536,
                                      8192,
                                      1 << 20,
                                      UINT64_C(3) << 30,
                                      UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[VALUE_TEXT_MAX];
        uint64_t back = 1;
        cr_expect_eq(value_parse_duration(value_duration_text(values[i], text), &back), 0, "%s",
                     text);
        cr_expect_eq(back, values[i], "%s", text);
        cr_expect_eq(value_parse_size(value_size_text(values[i], text), &back), 0, "%s", text);
        cr_expect_eq(back, values[i], "%s", text);
    }
}

Test(conf_value, distance__counts_edits__swaps_as_one)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } rows[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "", 3},
        {"true", "ture", 1},
        {"on", "no", 1},
        {"cat", "cut", 1},
        {"kitten", "sitting", 3},
        {"listen-port", "listen_port", 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(value_distance(rows[i].a, rows[i].b), rows[i].distance, "%s %s", rows[i].a,
                     rows[i].b);
}

Test(conf_value, nearest__is_silent__when_nothing_is_near)
{
    struct value_nearest nearest = {0};

    value_nearest_add(&nearest, "lisen-port", "listen-network");
    value_nearest_add(&nearest, "lisen-port", "listen-port");
    cr_expect_str_eq(value_nearest_get(&nearest, "lisen-port"), "listen-port");
    nearest = (struct value_nearest){0};
    value_nearest_add(&nearest, "banana", "listen-port");
    cr_expect_null(value_nearest_get(&nearest, "banana"));
}

Test(conf_value, next_item__keeps_empty_items__between_commas)
{
    static const char *const expected[] = {"a", "b c", "", "d"};
    const char *cursor = " a ,\tb c,, d ";
    struct value_item item;
    size_t n = 0;

    while (value_next_item(&cursor, &item)) {
        cr_assert_lt(n, 4);
        cr_expect_eq(item.len, strlen(expected[n]), "item %zu", n);
        cr_expect_eq(memcmp(item.text, expected[n], item.len), 0, "item %zu", n);
        n++;
    }
    cr_expect_eq(n, 4);
}

Test(conf_value, quote__stays_one_short_line__for_any_bytes)
{
    char long_text[500], quoted[VALUE_QUOTE_MAX];

    memset(long_text, 'x', sizeof(long_text));
    value_quote(long_text, sizeof(long_text), quoted);
    cr_expect_lt(strlen(quoted), VALUE_QUOTE_MAX);
    value_quote("a\x1b[31m\n", 7, quoted);
    for (const char *p = quoted; *p; p++)
        cr_expect(*p >= ' ', "control character %d", *p);
}

/* What a scraper would refuse never leaves: quotes, line ends, broken UTF-8. */
#include "proxy/report/metrictext.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void expect_sample(const char *value, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    metrictext_sample(out, "m", (const char *[]){"l", value, NULL}, 7);
    fclose(out);
    cr_expect_str_eq(text, expected);
    free(text);
}

Test(report_metrictext, sample__escapes__label_values)
{
    expect_sample("", "m{l=\"\"} 7\n");
    expect_sample("plain", "m{l=\"plain\"} 7\n");
    expect_sample("a \"b\" \\", "m{l=\"a \\\"b\\\" \\\\\"} 7\n");
    expect_sample("Webプロキシ", "m{l=\"Webプロキシ\"} 7\n");
    expect_sample("a\nb", "m{l=\"a\\\\x0ab\"} 7\n");
    expect_sample("\xff", "m{l=\"\\\\xff\"} 7\n");
    expect_sample("\xe3\x83", "m{l=\"\\\\xe3\\\\x83\"} 7\n");
}

Test(report_metrictext, sample__is_bounded__for_long_values)
{
    char value[4096], *text = NULL;
    size_t len = 0;
    memset(value, '"', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    FILE *out = open_memstream(&text, &len);
    metrictext_sample(out, "m", (const char *[]){"l", value, NULL}, 7);
    fclose(out);
    cr_expect_lt(len, 2 * METRICTEXT_VALUE_MAX + 16);
    free(text);
}

Test(report_metrictext, times__are_cumulative_and_end_in_the_count)
{
    struct tally_times t = {0};
    char *text = NULL;
    size_t len = 0;
    tally_time(&t, 1);
    tally_time(&t, 15);
    tally_time(&t, 90000);
    FILE *out = open_memstream(&text, &len);
    metrictext_times(out, "x_seconds", "Help.", &t);
    fclose(out);
    cr_expect(strstr(text, "# TYPE x_seconds histogram\nx_seconds_bucket{le=\"0.001\"} 1\n"));
    cr_expect(strstr(text, "x_seconds_bucket{le=\"0.02\"} 2\n"));
    cr_expect(strstr(text, "x_seconds_bucket{le=\"30\"} 2\nx_seconds_bucket{le=\"+Inf\"} 3\n"));
    cr_expect(strstr(text, "x_seconds_sum 90.016\nx_seconds_count 3\n"));
    free(text);
}

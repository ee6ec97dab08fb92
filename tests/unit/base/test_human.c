/* Figures for people. */
#include "proxy/base/human.h"

#include <criterion/criterion.h>

Test(base_human, figures__read_well)
{
    char buf[HUMAN_MAX];
    cr_expect_str_eq(human_count(0, buf), "0");
    cr_expect_str_eq(human_count(999, buf), "999");
    cr_expect_str_eq(human_count(1000, buf), "1,000");
    cr_expect_str_eq(human_count(123456, buf), "123,456");
    cr_expect_str_eq(human_count(UINT64_MAX, buf), "18,446,744,073,709,551,615");
    cr_expect_str_eq(human_size(0, buf), "0 B");
    cr_expect_str_eq(human_size(1023, buf), "1023 B");
    cr_expect_str_eq(human_size(1536, buf), "1.5 KiB");
    cr_expect_str_eq(human_size(200 * 1024.0 * 1024, buf), "200 MiB");
    cr_expect_str_eq(human_rate(0, buf), "0/s");
    cr_expect_str_eq(human_rate(0.033, buf), "0.03/s");
    cr_expect_str_eq(human_rate(12.34, buf), "12.3/s");
    cr_expect_str_eq(human_rate(1234.5, buf), "1234/s");
    cr_expect_str_eq(human_span(0, buf), "0 s");
    cr_expect_str_eq(human_span(59, buf), "59 s");
    cr_expect_str_eq(human_span(185, buf), "3 min");
    cr_expect_str_eq(human_span(3600, buf), "1 h");
    cr_expect_str_eq(human_span(3720, buf), "1 h 2 min");
    cr_expect_str_eq(human_span(90000, buf), "1 d 1 h");
    cr_expect_str_eq(human_time(0, buf), "1970-01-01 00:00:00");
    cr_expect_str_eq(human_time(1767323045, buf), "2026-01-02 03:04:05");
}

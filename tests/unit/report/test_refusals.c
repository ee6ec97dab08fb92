/* Recent refusals: what they say, repeats counted, and a bound whatever a flood does. */
#include "proxy/report/refusals.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct siphash_key test_key = {1, 2};

static struct access_record refused(uint32_t source, const char *host)
{
    return (struct access_record){
        .event = ACCESS_REFUSED,
        .source = {.addr = addr_from_ipv4(source), .port = 1000},
        .listener = "lan",
        .method = "CONNECT",
        .host = host,
        .host_len = host ? strlen(host) : 0,
        .port = 443,
        .rule_file = "acl.conf",
        .rule_line = 12,
        .memo = "止める",
        .reason = REASON_OUT_DENIED,
    };
}

static struct refusals *fresh(void)
{
    struct refusals *s = refusals_new(&test_key);
    cr_assert_not_null(s);
    return s;
}

Test(report_refusals, refusal__tells_all__and_points_at_nothing)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    char host[] = "git.lab.example", memo[] = "why";
    struct access_record r = refused(0xc0a8010a, host);
    r.memo = memo;
    refusals_note(s, &r, 5000);
    memset(host, 'x', sizeof(host) - 1);
    memset(memo, 'x', sizeof(memo) - 1);
    cr_assert_eq(refusals_copy(s, items), 1);
    cr_expect_str_eq(items[0].host, "git.lab.example");
    cr_expect_str_eq(items[0].memo, "why");
    cr_expect_str_eq(items[0].listener, "lan");
    cr_expect_str_eq(items[0].method, "CONNECT");
    cr_expect_str_eq(items[0].rule_file, "acl.conf");
    cr_expect_eq(items[0].rule_line, 12);
    cr_expect_eq(items[0].port, 443);
    cr_expect_eq(items[0].n, 1);
    cr_expect_eq(items[0].last_ms, 5000);
    cr_expect_not(items[0].is_host_cut);
    refusals_free(s);
}

Test(report_refusals, repeats__are_counted__and_move_to_the_front)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    struct access_record a = refused(1, "a.example"), b = refused(2, "a.example");
    refusals_note(s, &a, 1000);
    refusals_note(s, &b, 2000);
    a.source.port = 77; /* another connection of the same client */
    refusals_note(s, &a, 3000);
    cr_assert_eq(refusals_copy(s, items), 2);
    cr_expect_eq(items[0].n, 2);
    cr_expect_eq(items[0].first_ms, 1000);
    cr_expect_eq(items[0].last_ms, 3000);
    cr_expect_eq(items[1].n, 1);
    refusals_free(s);
}

Test(report_refusals, what_differs__is_another_one)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    struct access_record rows[8];
    for (size_t i = 0; i < 8; i++)
        rows[i] = refused(1, "a.example");
    rows[1].port = 444;
    rows[2].host = "b.example";
    rows[3].reason = REASON_PORT_DENIED;
    rows[4].listener = "lan2";
    rows[5].method = "GET";
    rows[6].event = ACCESS_OBSERVED;
    rows[7].source.addr = addr_from_ipv4(9);
    for (size_t i = 0; i < 8; i++)
        refusals_note(s, &rows[i], i);
    cr_expect_eq(refusals_copy(s, items), 8);
    refusals_free(s);
}

Test(report_refusals, what_is_none__is_left_out)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    struct access_record r = refused(1, "a.example");
    r.event = ACCESS_CLOSE;
    refusals_note(s, &r, 1);
    r.event = ACCESS_REQUEST;
    refusals_note(s, &r, 1);
    r.event = ACCESS_REFUSED;
    r.reason = REASON_CLIENT_GONE;
    refusals_note(s, &r, 1);
    r.reason = REASON_SHUTDOWN;
    refusals_note(s, &r, 1);
    cr_expect_eq(refusals_copy(s, items), 0);
    r.event = ACCESS_CLOSE;
    r.reason = REASON_ACL_REVOKED;
    refusals_note(s, &r, 1);
    cr_expect_eq(refusals_copy(s, items), 1);
    refusals_free(s);
}

Test(report_refusals, long_and_missing_texts__are_cut_and_empty)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    char longest[5000];
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    struct access_record r = refused(1, longest);
    r.memo = r.listener = r.method = r.rule_file = longest;
    refusals_note(s, &r, 1);
    struct access_record bare = {.event = ACCESS_REFUSED, .reason = REASON_SOURCE_DENIED};
    refusals_note(s, &bare, 2);
    cr_assert_eq(refusals_copy(s, items), 2);
    cr_expect_str_empty(items[0].host);
    cr_expect_str_empty(items[0].listener);
    cr_expect_eq(strlen(items[1].host), REFUSALS_HOST_MAX - 1);
    cr_expect(items[1].is_host_cut);
    refusals_free(s);
}

Test(report_refusals, flood__keeps_the_last_ones)
{
    struct refusals *s = fresh();
    struct refusal items[REFUSALS_MAX];
    char host[32];
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(host, sizeof(host), "n%u.example", i);
        struct access_record r = refused(i, host);
        refusals_note(s, &r, i);
    }
    cr_assert_eq(refusals_copy(s, items), REFUSALS_MAX);
    for (uint32_t i = 0; i < REFUSALS_MAX; i++) {
        snprintf(host, sizeof(host), "n%u.example", 99999 - i);
        cr_expect_str_eq(items[i].host, host);
    }
    refusals_free(s);
}

Test(report_refusals, join__adds_what_threads_saw_of_the_same)
{
    struct refusals *s[2] = {fresh(), fresh()};
    struct refusal items[2 * REFUSALS_MAX];
    struct access_record a = refused(1, "a.example"), b = refused(2, "b.example");
    refusals_note(s[0], &a, 1000);
    refusals_note(s[1], &b, 1500);
    refusals_note(s[1], &a, 2000);
    refusals_note(s[1], &a, 2500);
    size_t n = refusals_copy(s[0], items);
    n += refusals_copy(s[1], items + n);
    cr_assert_eq(n, 3);
    cr_assert_eq(refusals_join(items, n), 2);
    cr_expect_str_eq(items[0].host, "a.example");
    cr_expect_eq(items[0].n, 3);
    cr_expect_eq(items[0].first_ms, 1000);
    cr_expect_eq(items[0].last_ms, 2500);
    cr_expect_eq(items[1].n, 1);
    cr_expect_eq(refusals_join(items, 0), 0);
    refusals_free(s[0]);
    refusals_free(s[1]);
}

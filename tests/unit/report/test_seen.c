/* Destinations by source: counted, bounded, and readable while it is written. */
#include "proxy/report/seen.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

static struct addr host(uint32_t n)
{
    return addr_from_ipv4(0xc0a80000u + n);
}

Test(report_seen, same_destination__is_one__and_others_are_not)
{
    struct seen *s = seen_new();
    struct addr a = host(1), b = host(2);
    seen_note(s, &a, "x.example", 443, 1);
    seen_note(s, &a, "x.example", 443, 2);
    seen_note(s, &a, "x.example", 8443, 3);
    seen_note(s, &b, "x.example", 443, 4);
    seen_note(s, &a, "y.example", 443, 5);
    cr_assert_eq(seen_count(s), 4);
    cr_expect_eq(seen_at(s, 0)->n, 2);
    cr_expect_eq(seen_at(s, 0)->last_ms, 2);
    cr_expect_str_eq(seen_at(s, 3)->host, "y.example");
    cr_expect_eq(seen_lost(s), 0);
    seen_free(s);
}

Test(report_seen, source__has_its_bound__and_leaves_room_for_others)
{
    struct seen *s = seen_new();
    struct addr a = host(1), b = host(2);
    char name[32];
    for (int i = 0; i < SEEN_PER_SOURCE_MAX + 100; i++) {
        snprintf(name, sizeof(name), "n%d.example", i);
        seen_note(s, &a, name, 443, 1);
    }
    cr_expect_eq(seen_count(s), SEEN_PER_SOURCE_MAX);
    cr_expect_eq(seen_lost(s), 100);
    seen_note(s, &a, "n1.example", 443, 9);
    seen_note(s, &b, "other.example", 443, 9);
    cr_expect_eq(seen_count(s), SEEN_PER_SOURCE_MAX + 1);
    cr_expect_eq(seen_lost(s), 100);
    seen_free(s);
}

Test(report_seen, everything__is_bounded)
{
    struct seen *s = seen_new();
    for (uint32_t i = 0; i < 60000; i++) {
        struct addr a = host(i % 5000);
        char name[32];
        snprintf(name, sizeof(name), "n%u.example", i);
        seen_note(s, &a, name, 443, 1);
    }
    cr_expect_leq(seen_count(s), SEEN_TARGETS_MAX);
    cr_expect_gt(seen_count(s), SEEN_TARGETS_MAX * 9 / 10, "%u", seen_count(s));
    cr_expect_eq(seen_count(s) + seen_lost(s), 60000);
    seen_free(s);
}

static void *note_many(void *arg)
{
    struct addr a = host(1);
    for (int i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.example", i % 400);
        seen_note(arg, &a, name, 443, (uint64_t)i + 1);
    }
    return NULL;
}

Test(report_seen, reader__finds_whole_entries__while_they_are_added)
{
    struct seen *s = seen_new();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, note_many, s), 0);
    for (uint32_t n = 0; n < 400;) {
        n = seen_count(s);
        for (uint32_t i = 0; i < n; i++) {
            cr_assert_eq(seen_at(s, i)->port, 443);
            cr_assert_gt(seen_at(s, i)->n, 0);
        }
    }
    pthread_join(thread, NULL);
    seen_free(s);
}

/* Methods and statuses fall into bounded places; threads' figures add up by name. */
#include "proxy/report/tally.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static uint64_t requests(const struct tally_listener *l, const char *method, const char *status)
{
    char text[8];
    for (unsigned m = 0; m < TALLY_METHODS; m++) {
        for (unsigned s = 0; s < TALLY_STATUSES; s++) {
            if (strcmp(tally_method_text(m), method) == 0 &&
                strcmp(tally_status_text(s, text), status) == 0 && l->n_requests[m][s] > 0)
                return l->n_requests[m][s];
        }
    }
    return 0;
}

Test(report_tally, request__falls_into_its_place)
{
    static const struct {
        const char *method;
        unsigned status;
        const char *as_method, *as_status;
    } rows[] = {
        {"GET", 200, "GET", "200"},       {"CONNECT", 403, "CONNECT", "403"},
        {"POST", 100, "POST", "100"},     {"DELETE", 511, "DELETE", "511"},
        {"BREW", 418, "other", "418"},    {"get", 200, "other", "200"},
        {NULL, 400, "other", "400"},      {"GET", 0, "GET", "none"},
        {"GET", 299, "GET", "other"},     {"GET", 99, "GET", "other"},
        {"GET", 999, "GET", "other"},     {"GET", 65535, "GET", "other"},
        {"HEAD", 70000, "HEAD", "other"}, {"OPTIONS", 512, "OPTIONS", "other"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tally t = {0};
        struct tally_listener *l = tally_listener_get(&t, "lan");
        tally_request(l, rows[i].method, rows[i].status);
        cr_expect_eq(requests(l, rows[i].as_method, rows[i].as_status), 1, "row %zu", i);
        tally_fini(&t);
    }
}

Test(report_tally, status_text__differs__for_every_place)
{
    char a[8], b[8];
    for (unsigned i = 0; i < TALLY_STATUSES; i++) {
        for (unsigned k = 0; k < i; k++)
            cr_expect_str_neq(tally_status_text(i, a), tally_status_text(k, b));
    }
}

Test(report_tally, listener_get__is_bounded_and_stable)
{
    struct tally t = {0};
    char name[32];
    struct tally_listener *first = tally_listener_get(&t, "lan");
    for (unsigned i = 0; i < 2 * TALLY_LISTENERS_MAX; i++) {
        snprintf(name, sizeof(name), "name%u", i);
        cr_assert(tally_listener_get(&t, name));
    }
    cr_expect_eq(tally_listener_get(&t, "lan"), first);
    cr_expect_eq(t.n_listeners, TALLY_LISTENERS_MAX);
    cr_expect_str_eq(tally_listener_get(&t, "one more")->name, "other");
    tally_fini(&t);
}

Test(report_tally, time__is_counted__at_and_over_bounds)
{
    struct tally_times t = {0};
    tally_time(&t, 0);
    tally_time(&t, 1);
    tally_time(&t, 2);
    tally_time(&t, 30000);
    tally_time(&t, 30001);
    cr_expect_eq(t.n[0], 2);
    cr_expect_eq(t.n[1], 1);
    cr_expect_eq(t.n[TALLY_BUCKETS - 1], 1);
    cr_expect_eq(t.n[TALLY_BUCKETS], 1);
    cr_expect_eq(t.sum_ms, 60004);
}

Test(report_tally, add_up__joins_by_name_and_server)
{
    struct tally sum = {0}, a = {0}, b = {0};
    struct endpoint server = {.addr = addr_from_ipv4(0xc6336401), .port = 53};
    tally_listener_get(&a, "lan")->bytes_up = 1;
    tally_listener_get(&b, "dmz")->bytes_up = 2;
    tally_listener_get(&b, "lan")->bytes_up = 4;
    tally_server_failed(&a, &server, false);
    tally_server_failed(&b, &server, false);
    tally_server_failed(&b, &server, true);
    tally_time(&b.connect, 3);
    tally_add_up(&sum, &a);
    tally_add_up(&sum, &b);
    cr_expect_eq(tally_listener_get(&sum, "lan")->bytes_up, 5);
    cr_expect_eq(tally_listener_get(&sum, "dmz")->bytes_up, 2);
    cr_expect_eq(sum.n_servers, 2);
    cr_expect_eq(sum.servers[0].n_failures, 2);
    cr_expect_eq(sum.connect.sum_ms, 3);
    tally_fini(&sum);
    tally_fini(&a);
    tally_fini(&b);
}

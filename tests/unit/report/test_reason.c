/* The table of reasons: whole, with names of its own, and with the answers that the contract lists.
 */
#include <criterion/criterion.h>

#include <stdbool.h>
#include <string.h>

#include "proxy/report/reason.h"

Test(report_reason, info__is_whole_and_unique)
{
    for (int i = REASON_NONE; i < REASON_MAX; i++) {
        const struct reason_info *info = reason_info((enum reason)i);
        cr_assert(info->name && *info->name && info->closed_by, "reason %d", i);
        cr_expect_eq(strspn(info->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(info->name));
        cr_expect(info->status == 0 || (info->status >= 400 && info->status < 600), "%s",
                  info->name);
        cr_expect_eq(info->status != 0, info->proxy_status != NULL, "%s", info->name);
        for (int j = 0; j < i; j++)
            cr_expect_str_neq(info->name, reason_info((enum reason)j)->name);
    }
}

Test(report_reason, closed_by__is_a_word_of_the_contract)
{
    static const char *const words[] = {"client", "server", "idle",     "half-closed", "life",
                                        "acl",    "admin",  "shutdown", "error"};
    for (int i = REASON_NONE; i < REASON_MAX; i++) {
        bool is_known = false;
        for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
            is_known |= strcmp(reason_info((enum reason)i)->closed_by, words[w]) == 0;
        cr_expect(is_known, "%s", reason_info((enum reason)i)->closed_by);
    }
}

Test(report_reason, info__answers_as_the_contract_says)
{
    static const struct {
        enum reason reason;
        unsigned status;
        const char *proxy_status;
    } rows[] = {
        {REASON_OUT_DENIED, 403, "http_request_denied"},
        {REASON_PORT_DENIED, 403, "http_request_denied"},
        {REASON_SPECIAL_USE, 403, "destination_ip_prohibited"},
        {REASON_OWN_LISTENER, 403, "destination_ip_prohibited"},
        {REASON_DNS_ERROR, 502, "dns_error"},
        {REASON_DNS_TIMEOUT, 504, "dns_timeout"},
        {REASON_DIAL_REFUSED, 502, "connection_refused"},
        {REASON_DIAL_UNREACHABLE, 502, "destination_ip_unroutable"},
        {REASON_DIAL_TIMEOUT, 504, "connection_timeout"},
        {REASON_LIMIT, 503, "connection_limit_reached"},
        {REASON_SOURCE_LIMIT, 429, "connection_limit_reached"},
        {REASON_HEAD_LATE, 408, "http_request_error"},
        {REASON_BAD_REQUEST, 400, "http_request_error"},
        {REASON_LINE_TOO_LONG, 414, "http_request_error"},
        {REASON_HEAD_TOO_LONG, 431, "http_request_error"},
        {REASON_VERSION, 505, "http_request_error"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct reason_info *info = reason_info(rows[i].reason);
        cr_expect_eq(info->status, rows[i].status, "%s", info->name);
        cr_expect_str_eq(info->proxy_status, rows[i].proxy_status, "%s", info->name);
    }
}

Test(report_reason, info__is_internal__for_what_is_no_reason)
{
    cr_expect_eq(reason_info(REASON_MAX), reason_info(REASON_INTERNAL));
    cr_expect_eq(reason_info((enum reason) - 1), reason_info(REASON_INTERNAL));
}

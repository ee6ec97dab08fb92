/* Port sets: what an admin may write, and that a port is a number (A31, G17). */
#include "acl/ports.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

struct row {
    const char *text;
    int result;
    uint16_t first;
    uint16_t last;
};

/* A31, G17: numbers from 1 to 65535, in order; never text. */
Test(acl_ports, parse_range__takes_a_port_or_a_range__in_each_row)
{
    static const struct row rows[] = {
        {"443", 0, 443, 443},
        {"1", 0, 1, 1},
        {"65535", 0, 65535, 65535},
        {"1-65535", 0, 1, 65535},
        {"8080-8090", 0, 8080, 8090},
        {"80-80", 0, 80, 80},
        {" 443 ", 0, 443, 443},
        {"\t443", 0, 443, 443},
        {"", -EINVAL, 0, 0},
        {" ", -EINVAL, 0, 0},
        {"0", -EINVAL, 0, 0},
        {"65536", -EINVAL, 0, 0},
        {"99999", -EINVAL, 0, 0},
        {"4294967739", -EINVAL, 0, 0},
        {"18446744073709552059", -EINVAL, 0, 0},
        {"0443", -EINVAL, 0, 0},
        {"443-", -EINVAL, 0, 0},
        {"-443", -EINVAL, 0, 0},
        {"-", -EINVAL, 0, 0},
        {"0-443", -EINVAL, 0, 0},
        {"500-400", -EINVAL, 0, 0},
        {"1-2-3", -EINVAL, 0, 0},
        {"80 - 90", -EINVAL, 0, 0},
        {"+80", -EINVAL, 0, 0},
        {"0x50", -EINVAL, 0, 0},
        {"80a", -EINVAL, 0, 0},
        {"http", -EINVAL, 0, 0},
        {"80,443", -EINVAL, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint16_t first = 0, last = 0;
        const char *why = NULL;
        int r = ports_parse_range(rows[i].text, strlen(rows[i].text), &first, &last, &why);
        cr_expect_eq(r, rows[i].result, "`%s` gives %d", rows[i].text, r);
        cr_expect(first == rows[i].first && last == rows[i].last, "`%s` is %u-%u", rows[i].text, first, last);
        cr_expect(r == 0 || (why && why[0]), "`%s` has no reason", rows[i].text);
    }
}

Test(acl_ports, parse__holds_what_is_listed_and_no_more__always)
{
    static const char text[] = "80, 443 ,1025-1026,63-65,65535";
    static const uint16_t in[] = {80, 443, 1025, 1026, 63, 64, 65, 65535};
    struct ports ports;
    const char *why;
    size_t n = 0;

    cr_assert_eq(ports_parse(text, strlen(text), &ports, &why), 0);
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        cr_expect(ports_has(&ports, in[i]), "%u", in[i]);
    for (unsigned port = 0; port <= 65535; port++)
        n += ports_has(&ports, (uint16_t)port);
    cr_expect_eq(n, sizeof(in) / sizeof(in[0]), "%zu ports", n);
}

Test(acl_ports, parse__refuses__lists_with_holes)
{
    static const char *const rows[] = {"", ",", "443,", ",443", "443,,80", "443 80", "443;80", "80,0", "80,90-85"};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ports ports;
        const char *why = NULL;
        cr_expect_eq(ports_parse(rows[i], strlen(rows[i]), &ports, &why), -EINVAL, "`%s`", rows[i]);
        cr_expect(why && why[0], "`%s` has no reason", rows[i]);
    }
}

Test(acl_ports, add__never_adds_port_0__for_any_range)
{
    struct ports ports = {0};

    ports_add(&ports, 0, 65535);
    cr_expect(!ports_has(&ports, 0));
    cr_expect(ports_has(&ports, 1) && ports_has(&ports, 65535));
}

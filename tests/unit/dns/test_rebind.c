#include "proxy/dns/rebind.h"

#include <criterion/criterion.h>
#include <string.h>

#include "proxy/dns/wire.h"

enum { OWNER_AT = 12 };

/* One record behind an owner that is the root. */
static bool judge(unsigned type, unsigned class, const void *data, size_t n)
{
    uint8_t msg[256] = {0};
    uint8_t *p = msg + OWNER_AT;
    wire_put16(p + 1, type);
    wire_put16(p + 3, class);
    wire_put16(p + 9, (unsigned)n);
    memcpy(p + 11, data, n);
    return rebind_is_inward(msg, OWNER_AT + 11 + n, OWNER_AT, 1);
}

static const struct {
    const char *name;
    unsigned type, class;
    const char *data;
    size_t n;
    bool is_inward;
} rows[] = {
    {"private", 1, 1, "\x0a\0\0\1", 4, true},
    {"public", 1, 1, "\xc6\x33\x64\x01", 4, false},
    {"another class", 1, 3, "\x0a\0\0\1", 4, false},
    {"loopback v6", 28, 1, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, true},
    {"mapped", 28, 1, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16, true},
    {"public v6", 28, 1, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16, false},
    {"text that looks like one", 16, 1, "\x0a\0\0\1", 4, false},
    {"v4 hint", 65, 1, "\0\1\0\0\4\0\4\x0a\0\0\1", 11, true},
    {"v4 hint of SVCB", 64, 1, "\0\1\0\0\4\0\4\x7f\0\0\1", 11, true},
    {"second v4 hint", 65, 1, "\0\1\0\0\4\0\x08\xc6\x33\x64\1\xc0\xa8\0\1", 15, true},
    {"behind another key", 65, 1, "\0\1\0\0\1\0\3\2h2\0\4\0\4\x0a\0\0\1", 18, true},
    {"v6 hint", 65, 1, "\0\1\0\0\6\0\x10\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 23, true},
    {"public hint", 65, 1, "\0\1\0\0\4\0\4\xc6\x33\x64\1", 11, false},
    {"hint past the end", 65, 1, "\0\1\0\0\4\0\x40\x0a\0\0\1", 11, false},
    {"cut", 65, 1, "\0\1\0\0\4\0", 6, false},
    {"no target", 65, 1, "\0\1", 2, false},
    {"target that never ends", 65, 1, "\0\1\x3f", 3, false},
};

Test(dns_rebind, is_inward__looks_into_addresses_and_hints)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(judge(rows[i].type, rows[i].class, rows[i].data, rows[i].n), rows[i].is_inward,
                     "%s", rows[i].name);
}

Test(dns_rebind, is_inward__is_false__when_records_are_missing)
{
    uint8_t msg[64] = {0};
    cr_expect_not(rebind_is_inward(msg, 20, OWNER_AT, 3));
    cr_expect_not(rebind_is_inward(msg, OWNER_AT, OWNER_AT, 1));
    cr_expect_not(rebind_is_inward(msg, OWNER_AT, OWNER_AT, 0));
}

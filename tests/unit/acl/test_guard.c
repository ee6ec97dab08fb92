/* Special-use ranges, each with one address before and behind it; embedded IPv4; own listeners (A09-A16). */
#include "acl/guard.h"

#include "lines.h"

/* The contract's table, written out a second time. @before, @behind: what holds the neighbours; NULL: nothing. */
static const struct {
    const char *range;
    const char *first;
    const char *last;
    const char *before;
    const char *behind;
} ranges[] = {
    {"0.0.0.0/8", "0.0.0.0", "0.255.255.255", "-", NULL},
    {"10.0.0.0/8", "10.0.0.0", "10.255.255.255", NULL, NULL},
    {"100.64.0.0/10", "100.64.0.0", "100.127.255.255", NULL, NULL},
    {"127.0.0.0/8", "127.0.0.0", "127.255.255.255", NULL, NULL},
    {"169.254.0.0/16", "169.254.0.0", "169.254.255.255", NULL, NULL},
    {"172.16.0.0/12", "172.16.0.0", "172.31.255.255", NULL, NULL},
    {"192.0.0.0/24", "192.0.0.0", "192.0.0.255", NULL, NULL},
    {"192.168.0.0/16", "192.168.0.0", "192.168.255.255", NULL, NULL},
    {"198.18.0.0/15", "198.18.0.0", "198.19.255.255", NULL, NULL},
    {"224.0.0.0/4", "224.0.0.0", "239.255.255.255", NULL, "240.0.0.0/4"},
    {"240.0.0.0/4", "240.0.0.0", "255.255.255.255", "224.0.0.0/4", "-"},
    {"::/96", "::", "::ffff:ffff", "-", NULL},
    {"64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NULL, NULL},
    {"100::/64", "100::", "100::ffff:ffff:ffff:ffff", NULL, NULL},
    {"fc00::/7", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, NULL},
    {"fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "fec0::/10"},
    {"fec0::/10", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::/10", "ff00::/8"},
    {"ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::/10", "-"},
};

static void expect_special(const struct addr *a, const char *range)
{
    const char *is = guard_special_use(a);
    char text[ADDR_TEXT_MAX];

    cr_expect(is == range || (is && range && strcmp(is, range) == 0), "%s is in %s, not in %s", addr_text(a, text),
              is ? is : "none", range ? range : "none");
}

Test(acl_guard, special_use__is_exact__at_the_ends_of_every_range)
{
    for (size_t i = 0; i < N_ROWS(ranges); i++) {
        struct addr first = addr_of(ranges[i].first), last = addr_of(ranges[i].last);
        struct addr before = addr_prev(&first), behind = addr_next(&last);
        expect_special(&first, ranges[i].range);
        expect_special(&last, ranges[i].range);
        if (!ranges[i].before || strcmp(ranges[i].before, "-") != 0)
            expect_special(&before, ranges[i].before);
        if (!ranges[i].behind || strcmp(ranges[i].behind, "-") != 0)
            expect_special(&behind, ranges[i].behind);
    }
}

Test(acl_guard, range_is_special__needs_all_of_it_in_one__at_the_ends_of_every_range)
{
    for (size_t i = 0; i < N_ROWS(ranges); i++) {
        struct addr_range r = {addr_of(ranges[i].first), addr_of(ranges[i].last)};
        cr_expect(guard_range_is_special(&r), "%s", ranges[i].range);
        cr_expect_str_eq(guard_range_overlaps(&r), ranges[i].range);
        struct addr_range longer = {r.first, addr_next(&r.last)}, earlier = {addr_prev(&r.first), r.last};
        if (!ranges[i].behind || strcmp(ranges[i].behind, "-") != 0)
            cr_expect(!guard_range_is_special(&longer), "%s and one behind it", ranges[i].range);
        if (!ranges[i].before || strcmp(ranges[i].before, "-") != 0) {
            cr_expect(!guard_range_is_special(&earlier), "%s and one before it", ranges[i].range);
            cr_expect_not_null(guard_range_overlaps(&earlier), "%s", ranges[i].range);
        }
    }
}

Test(acl_guard, special_use__judges_the_ipv4_inside__in_each_row)
{
    static const struct {
        const char *addr;
        const char *range;
    } rows[] = {
        {"::ffff:10.0.0.1", "10.0.0.0/8"},
        {"::ffff:7f00:1", "127.0.0.0/8"},
        {"::ffff:8.8.8.8", NULL},
        {"::127.0.0.1", "::/96"},
        {"::8.8.8.8", "::/96"},
        {"::1", "::/96"},
        {"64:ff9b::7f00:1", "127.0.0.0/8"},
        {"64:ff9b::a9fe:a9fe", "169.254.0.0/16"},
        {"64:ff9b::8.8.8.8", NULL},
        {"64:ff9b::1:0:0", NULL}, /* outside the /96 */
        {"64:ff9b:1::8.8.8.8", "64:ff9b:1::/48"},
        {"2002:7f00:1::", "127.0.0.0/8"},
        {"2002:c0a8:101::1", "192.168.0.0/16"},
        {"2002:808:808::1", NULL},
        {"2002:808:808::5efe:10.0.0.1", "10.0.0.0/8"}, /* 6to4 outside, ISATAP inside */
        {"2001:0:a00:1::f7f7:f7f7", "10.0.0.0/8"},     /* Teredo: the server */
        {"2001:0:808:808::f5ff:fffe", "10.0.0.0/8"},   /* the client, inverted: 10.0.0.1 */
        {"2001:0:808:808::f7f7:f7f7", NULL},
        {"2001:1:a00:1::", NULL},
        {"2001:db8::5efe:10.0.0.1", "10.0.0.0/8"},
        {"2001:db8::200:5efe:192.168.0.1", "192.168.0.0/16"},
        {"2001:db8::5efe:8.8.8.8", NULL},
        {"2001:db8::100:5efe:10.0.0.1", NULL},
        {"fe80::5efe:8.8.8.8", "fe80::/10"},
        {"fd00:ec2::254", "fc00::/7"},
        {"100.100.100.200", "100.64.0.0/10"},
        {"192.0.2.1", NULL}, /* documentation ranges are not in the table */
        {"198.51.100.1", NULL},
        {"203.0.113.1", NULL},
        {"2001:db8::1", NULL},
        {"2606:4700::1111", NULL},
        {"1.1.1.1", NULL},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct addr a = addr_of(rows[i].addr);
        expect_special(&a, rows[i].range);
    }
}

static struct endpoint listener(const char *addr, uint16_t port)
{
    return (struct endpoint){.addr = addr_of(addr), .port = port};
}

static int compare_endpoints(const void *a, const void *b)
{
    const struct endpoint *x = a, *y = b;
    int order = addr_compare(&x->addr, &y->addr);

    return order ? order : (int)x->port - (int)y->port;
}

static void expect_own(struct endpoint *listeners, size_t n, const char *addr, uint16_t port, bool is_own)
{
    struct guard_own own = {listeners, n};
    struct addr a = addr_of(addr);

    qsort(listeners, n, sizeof(*listeners), compare_endpoints);
    cr_expect_eq(guard_is_own(&own, &a, port), is_own, "%s port %u", addr, port);
}

Test(acl_guard, is_own__sees_through_other_names__of_a_listener)
{
    struct endpoint all[] = {listener("192.168.1.254", 8080), listener("127.0.0.1", 8080), listener("::1", 8080),
                             listener("192.168.1.254", 53), listener("2001:db8::fe", 8080)};
    struct endpoint lan[] = {listener("192.168.1.254", 8080)};
    struct endpoint every[] = {listener("0.0.0.0", 8080)};

    expect_own(all, N_ROWS(all), "192.168.1.254", 8080, true);
    expect_own(all, N_ROWS(all), "192.168.1.254", 53, true);
    expect_own(all, N_ROWS(all), "::ffff:192.168.1.254", 8080, true);
    expect_own(all, N_ROWS(all), "64:ff9b::192.168.1.254", 8080, true);
    expect_own(all, N_ROWS(all), "2002:c0a8:1fe::1", 8080, true);
    expect_own(all, N_ROWS(all), "2001:db8::fe", 8080, true);
    expect_own(all, N_ROWS(all), "127.200.3.4", 8080, true);
    expect_own(all, N_ROWS(all), "0.0.0.0", 8080, true);
    expect_own(all, N_ROWS(all), "::", 8080, true);
    expect_own(all, N_ROWS(all), "192.168.1.254", 443, false);
    expect_own(all, N_ROWS(all), "192.168.1.253", 8080, false);
    expect_own(all, N_ROWS(all), "2001:db8::ff", 8080, false);
    expect_own(all, N_ROWS(all), "127.0.0.1", 53, false);
    expect_own(lan, N_ROWS(lan), "127.0.0.1", 8080, false);
    expect_own(lan, N_ROWS(lan), "0.0.0.0", 8080, false);
    expect_own(every, N_ROWS(every), "127.9.9.9", 8080, true);
    expect_own(every, 0, "127.0.0.1", 8080, false);
    cr_expect(!guard_is_own(NULL, &all[0].addr, 8080));
}

/* Literals, ranges and endpoints: what is taken, what is refused, and that text and value go both
 * ways. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/addr.h"

#define TEXT(literal) literal, sizeof(literal) - 1

enum { TEXT_BUF = 2 * ADDR_TEXT_MAX };

static struct addr addr_of(const char *text)
{
    struct addr a = {{0}};
    cr_assert_eq(addr_parse(text, strlen(text), &a), 0, "%s", text);
    return a;
}

static struct addr_range range_of(const char *text)
{
    struct addr_range r = {0};
    cr_assert_eq(addr_parse_range(text, strlen(text), &r), 0, "%s", text);
    return r;
}

Test(base_addr, parse__gives_canonical_text)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"192.168.1.10", "192.168.1.10"},
        {"::", "::"},
        {"::1", "::1"},
        {"2001:DB8::1", "2001:db8::1"},
        {"2001:db8:0:0:0:0:0:1", "2001:db8::1"},
        {"::ffff:127.0.0.1", "127.0.0.1"},
        {"::ffff:7f00:1", "127.0.0.1"},
        {"0:0:0:0:0:ffff:a00:1", "10.0.0.1"},
        {"64:ff9b::127.0.0.1", "64:ff9b::7f00:1"},
        {"::127.0.0.1", "::127.0.0.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char buf[ADDR_TEXT_MAX];
        struct addr a = addr_of(rows[i].in);
        cr_expect_str_eq(addr_text(&a, buf), rows[i].out, "%s", rows[i].in);
    }
}

Test(base_addr, parse__fails__on_anything_looser)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
        {TEXT("")},
        {TEXT("127.1")},
        {TEXT("127.0.1")},
        {TEXT("2130706433")},
        {TEXT("0x7f.1")},
        {TEXT("0x7f000001")},
        {TEXT("0177.0.0.1")},
        {TEXT("010.0.0.1")},
        {TEXT("127.0.0.01")},
        {TEXT("127.0.0.1.")},
        {TEXT("+127.0.0.1")},
        {TEXT(" 127.0.0.1")},
        {TEXT("127.0.0.1 ")},
        {TEXT("127.0.0.1\n")},
        {TEXT("256.0.0.1")},
        {TEXT("1.2.3")},
        {TEXT("1.2.3.4.5")},
        {TEXT("1..2.3")},
        {TEXT("127.0.0.1\0")},
        {TEXT("127.0.0.1\0x")},
        {TEXT("\0")},
        {TEXT("::1\0")},
        {TEXT("[::1]")},
        {TEXT("fe80::1%eth0")},
        {TEXT("fe80::1%1")},
        {TEXT(":")},
        {TEXT(":::")},
        {TEXT("1::2::3")},
        {TEXT("12345::")},
        {TEXT("1:2:3:4:5:6:7")},
        {TEXT("1:2:3:4:5:6:7:8:9")},
        {TEXT("::g")},
        {TEXT("::1.2.3")},
        {TEXT("::010.0.0.1")},
        {TEXT("1.2.3.4::")},
        {TEXT("::1/64")},
        {TEXT("0000:0000:0000:0000:0000:0000:0000:0000:00001")},
        {TEXT("127.0.0.1                                                  ")},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr a = {.bytes = {1, 2, 3}}, before = a;
        cr_expect_eq(addr_parse(rows[i].text, rows[i].len, &a), -EINVAL, "row %zu: %s", i,
                     rows[i].text);
        cr_expect_eq(addr_compare(&a, &before), 0, "row %zu wrote a result", i);
    }
}

Test(base_addr, parse__reads_only_len_bytes)
{
    struct addr a, one = addr_from_ipv4(0x7f000001);
    cr_assert_eq(addr_parse("127.0.0.123", 9, &a), 0);
    cr_expect_eq(addr_compare(&a, &one), 0);
}

/* Random texts out of the bytes that matter: the same verdict and the same value as inet_pton(). */
Test(base_addr, parse__agrees_with_inet_pton)
{
    static const char alphabet[] = "0123456789abcdefx:::...% ";
    unsigned short seed[3] = {7, 8, 9};
    for (int n = 0; n < 200000; n++) {
        char text[24];
        size_t len = (size_t)nrand48(seed) % (sizeof(text) - 1);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[(size_t)nrand48(seed) % (sizeof(alphabet) - 1)];
        text[len] = '\0';
        struct in_addr in;
        struct in6_addr in6;
        struct addr a, want = {{0}};
        bool is_v4 = inet_pton(AF_INET, text, &in) == 1;
        bool is_v6 = !is_v4 && inet_pton(AF_INET6, text, &in6) == 1;
        if (is_v4)
            want = addr_from_ipv4(ntohl(in.s_addr));
        if (is_v6)
            want = addr_from_in6(&in6);
        int r = addr_parse(text, len, &a);
        cr_assert_eq(r, is_v4 || is_v6 ? 0 : -EINVAL, "%s", text);
        if (r == 0)
            cr_assert_eq(addr_compare(&a, &want), 0, "%s", text);
    }
}

/* Random values: text and back. */
Test(base_addr, text__parses_back)
{
    unsigned short seed[3] = {1, 2, 3};
    for (int n = 0; n < 50000; n++) {
        struct addr a;
        for (size_t i = 0; i < sizeof(a.bytes); i++)
            a.bytes[i] = nrand48(seed) % 3 ? 0 : (uint8_t)nrand48(seed);
        if (n % 4 == 0)
            a = addr_from_ipv4((uint32_t)mrand48());
        char buf[ADDR_TEXT_MAX];
        struct addr back = addr_of(addr_text(&a, buf));
        cr_assert_eq(addr_compare(&a, &back), 0, "%s", buf);
    }
}

Test(base_addr, ipv4__is_known_by_the_mapped_prefix)
{
    struct addr v4 = addr_of("10.1.2.3"), compatible = addr_of("::10.1.2.3");
    cr_expect(addr_is_ipv4(&v4));
    cr_expect_eq(addr_ipv4(&v4), 0x0a010203);
    cr_expect_not(addr_is_ipv4(&compatible));
}

Test(base_addr, next_and_prev__carry_and_wrap)
{
    static const struct {
        const char *a, *next;
    } rows[] = {
        {"10.0.0.255", "10.0.1.0"},
        {"255.255.255.254", "255.255.255.255"},
        {"255.255.255.255", "::1:0:0:0"},
        {"::", "::1"},
        {"::ffff", "::1:0"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr a = addr_of(rows[i].a), b = addr_of(rows[i].next);
        struct addr next = addr_next(&a), prev = addr_prev(&b);
        cr_expect_eq(addr_compare(&next, &b), 0, "next of %s", rows[i].a);
        cr_expect_eq(addr_compare(&prev, &a), 0, "prev of %s", rows[i].next);
    }
}

Test(base_addr, range__parses_and_prints_shortest)
{
    static const struct {
        const char *in, *out, *first, *last;
    } rows[] = {
        {"10.0.0.0/8", "10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
        {"0.0.0.0/0", "0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
        {"10.1.2.3/32", "10.1.2.3", "10.1.2.3", "10.1.2.3"},
        {"10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.3"},
        {"10.0.0.0-10.0.0.255", "10.0.0.0/24", "10.0.0.0", "10.0.0.255"},
        {"10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.2", "10.0.0.1", "10.0.0.2"},
        {"10.0.0.1-10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"},
        {"::/0", "::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"2001:db8::/32", "2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"::1/128", "::1", "::1", "::1"},
        {"::-::fffe", "::-::fffe", "::", "::fffe"},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
        {"::ffff:0:0/96", "0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
        {"::ffff:10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.2", "10.0.0.1", "10.0.0.2"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char buf[TEXT_BUF];
        struct addr_range r = range_of(rows[i].in);
        struct addr first = addr_of(rows[i].first), last = addr_of(rows[i].last);
        cr_expect_eq(addr_compare(&r.first, &first), 0, "%s", rows[i].in);
        cr_expect_eq(addr_compare(&r.last, &last), 0, "%s", rows[i].in);
        cr_expect_str_eq(addr_range_text(&r, buf, sizeof(buf)), rows[i].out, "%s", rows[i].in);
    }
}

Test(base_addr, range__is_refused__with_its_own_errno)
{
    static const struct {
        const char *text;
        int error;
    } rows[] = {
        {"10.0.0.0/33", -EINVAL},
        {"10.0.0.0/-1", -EINVAL},
        {"10.0.0.0/", -EINVAL},
        {"10.0.0/8", -EINVAL},
        {"10.0.0.0/8/8", -EINVAL},
        {"10.0.0.0/255.0.0.0", -EINVAL},
        {"::/129", -EINVAL},
        {"010.0.0.0/8", -EINVAL},
        {"10.0.0.0/08", -EINVAL},
        {"10.0.0.0/00", -EINVAL},
        {"10.0.0.0/+8", -EINVAL},
        {"10.0.0.0/ 8", -EINVAL},
        {"10.0.0.0/0x8", -EINVAL},
        {"10.0.0.0/4294967304", -EINVAL},
        {"/8", -EINVAL},
        {"::ffff:10.0.0.0/129", -EINVAL},
        {"10.0.0.0/104", -EINVAL},
        {"", -EINVAL},
        {"-", -EINVAL},
        {"10.0.0.1-", -EINVAL},
        {"-10.0.0.1", -EINVAL},
        {"10.0.0.1-10.0.0.2-10.0.0.3", -EINVAL},
        {"10.0.0.1 - 10.0.0.2", -EINVAL},
        {"10.0.0.1-5", -EINVAL},
        {"10.0.0.5/8", -ERANGE},
        {"2001:db8::1/64", -ERANGE},
        {"::ffff:10.0.0.0/90", -ERANGE},
        {"10.0.0.2-10.0.0.1", -EDOM},
        {"10.0.0.1-::1", -EDOM},
        {"::-10.0.0.1", -EDOM},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr_range r;
        cr_expect_eq(addr_parse_range(rows[i].text, strlen(rows[i].text), &r), rows[i].error, "%s",
                     rows[i].text);
    }
}

Test(base_addr, cidr__gives_the_masked_range__with_host_bits)
{
    char buf[TEXT_BUF];
    struct addr_range r;
    cr_assert_eq(addr_parse_cidr(TEXT("10.1.2.3/8"), &r), -ERANGE);
    cr_expect_str_eq(addr_range_text(&r, buf, sizeof(buf)), "10.0.0.0/8");
    cr_expect_eq(addr_parse_cidr(TEXT("10.1.2.3"), &r), -EINVAL, "a CIDR has a length");
}

Test(base_addr, range_has__is_exact_at_both_ends_and_by_family)
{
    static const struct {
        const char *range, *addr;
        bool has;
    } rows[] = {
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.0/8", "10.0.0.0", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"10.0.0.0/8", "::10.0.0.1", false},
        {"::/0", "::1", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"::/64", "127.0.0.1", false},
        {"0.0.0.0/0", "::1", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"fc00::/7", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
        {"fc00::/7", "fe00::", false},
        {"fc00::/7", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct addr_range r = range_of(rows[i].range);
        struct addr a = addr_of(rows[i].addr);
        cr_expect_eq(addr_range_has(&r, &a), rows[i].has, "%s in %s", rows[i].addr, rows[i].range);
    }
}

/* Every prefix length of both families goes to text and back. */
Test(base_addr, range_text__parses_back)
{
    unsigned short seed[3] = {4, 5, 6};
    for (unsigned bits = 0; bits <= 128; bits++) {
        struct addr a;
        char addr_buf[ADDR_TEXT_MAX], text[TEXT_BUF], back[TEXT_BUF];
        for (size_t i = 0; i < sizeof(a.bytes); i++)
            a.bytes[i] = (uint8_t)nrand48(seed);
        if (bits <= 32 && bits % 2)
            a = addr_from_ipv4((uint32_t)mrand48());
        snprintf(text, sizeof(text), "%s/%u", addr_text(&a, addr_buf), bits);
        struct addr_range r, again;
        int error = addr_parse_cidr(text, strlen(text), &r);
        cr_assert(error == 0 || error == -ERANGE, "%s", text);
        addr_range_text(&r, back, sizeof(back));
        cr_assert_eq(addr_parse_range(back, strlen(back), &again), 0, "%s", back);
        cr_expect_eq(addr_compare(&r.first, &again.first), 0, "%s and %s", text, back);
        cr_expect_eq(addr_compare(&r.last, &again.last), 0, "%s and %s", text, back);
    }
}

Test(base_addr, endpoint__parses_all_forms)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1:53"},
        {"192.0.2.1:5353", "192.0.2.1:5353"},
        {"192.0.2.1:65535", "192.0.2.1:65535"},
        {"2001:db8::1", "[2001:db8::1]:53"},
        {"[2001:db8::1]", "[2001:db8::1]:53"},
        {"[2001:db8::1]:853", "[2001:db8::1]:853"},
        {"[::ffff:192.0.2.1]:853", "192.0.2.1:853"},
        {"::", "[::]:53"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint ep;
        char buf[ENDPOINT_TEXT_MAX];
        cr_assert_eq(endpoint_parse(rows[i].in, strlen(rows[i].in), 53, &ep), 0, "%s", rows[i].in);
        cr_expect_str_eq(endpoint_text(&ep, buf), rows[i].out, "%s", rows[i].in);
    }
}

Test(base_addr, endpoint__is_refused)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
        {TEXT("")},
        {TEXT(":")},
        {TEXT(":53")},
        {TEXT("192.0.2.1:")},
        {TEXT("192.0.2.1:0")},
        {TEXT("192.0.2.1:65536")},
        {TEXT("192.0.2.1:+53")},
        {TEXT("192.0.2.1:053053")},
        {TEXT("192.0.2.1:5a")},
        {TEXT("192.0.2.1:53 ")},
        {TEXT("h:53")},
        {TEXT("[")},
        {TEXT("[]")},
        {TEXT("[]:53")},
        {TEXT("[::1")},
        {TEXT("[::1]53")},
        {TEXT("[::1]:")},
        {TEXT("[::1]:0")},
        {TEXT("[192.0.2.1]:53")},
        {TEXT("[[::1]]:53")},
        {TEXT("[::1%lo]:53")},
        {TEXT("::1]:53")},
        {TEXT("192.0.2.1:53\0")},
        {TEXT("[::1]:53\0")},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint ep;
        cr_expect_eq(endpoint_parse(rows[i].text, rows[i].len, 53, &ep), -EINVAL, "row %zu: %s", i,
                     rows[i].text);
    }
}

Test(base_addr, endpoint__survives_the_kernels_form)
{
    static const char *const rows[] = {"192.0.2.1:80", "[2001:db8::1]:65535", "[::1]:1"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint ep, back;
        struct sockaddr_storage ss;
        cr_assert_eq(endpoint_parse(rows[i], strlen(rows[i]), 1, &ep), 0);
        socklen_t len = endpoint_to_sockaddr(&ep, &ss);
        cr_expect_eq(len, i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        cr_assert_eq(endpoint_from_sockaddr(&ss, &back), 0);
        cr_expect(endpoint_equal(&ep, &back), "%s", rows[i]);
    }
}

Test(base_addr, from_sockaddr__unmaps_and_keeps_scopes_of_link_local_only)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7), .sin6_scope_id = 3};
    struct endpoint ep;
    char buf[ENDPOINT_TEXT_MAX];
    cr_assert_eq(inet_pton(AF_INET6, "::ffff:10.0.0.1", &in6.sin6_addr), 1);
    memcpy(&ss, &in6, sizeof(in6));
    cr_assert_eq(endpoint_from_sockaddr(&ss, &ep), 0);
    cr_expect_str_eq(endpoint_text(&ep, buf), "10.0.0.1:7");
    cr_expect_eq(ep.scope_id, 0);

    cr_assert_eq(inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr), 1);
    memcpy(&ss, &in6, sizeof(in6));
    cr_assert_eq(endpoint_from_sockaddr(&ss, &ep), 0);
    cr_expect_str_eq(endpoint_text(&ep, buf), "[fe80::1%3]:7");

    ss.ss_family = AF_UNIX;
    cr_expect_eq(endpoint_from_sockaddr(&ss, &ep), -EAFNOSUPPORT);
}

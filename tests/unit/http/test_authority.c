/* Targets into host and port. Ids R, C and A are those of the abuse cases. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/authority.h"

#define BYTES(literal) literal, sizeof(literal) - 1
#define LABEL_63       "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"

enum which { CONNECT, ABSOLUTE, HOST };

struct outcome {
    enum authority_result result;
    struct authority authority;
    size_t path_at;
    const char *why;
};

/* From a buffer of exactly @len bytes, so that a sanitizer sees a read beyond. */
static struct outcome parse(enum which which, const char *text, size_t len)
{
    struct outcome o = {.path_at = SIZE_MAX};
    char *copy = malloc(len ? len : 1);
    cr_assert(copy);
    memcpy(copy, text, len);
    switch (which) {
    case CONNECT:
        o.result = authority_parse_connect(copy, len, &o.authority, &o.why);
        break;
    case ABSOLUTE:
        o.result = authority_parse_absolute(copy, len, &o.authority, &o.path_at, &o.why);
        break;
    case HOST:
        o.result = authority_parse_host(copy, len, &o.authority, &o.why);
        break;
    }
    free(copy);
    return o;
}

struct refused {
    const char *id;
    const char *text;
    size_t len;
    enum authority_result result;
};

static void expect_refused(enum which which, const struct refused *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct outcome o = parse(which, rows[i].text, rows[i].len);
        cr_expect_eq(o.result, rows[i].result, "%s %s: %d", rows[i].id, rows[i].text,
                     (int)o.result);
        cr_expect_not_null(o.why, "%s %s", rows[i].id, rows[i].text);
        cr_expect_eq(o.authority.name_len, 0, "%s %s wrote a result", rows[i].id, rows[i].text);
    }
}

#define EXPECT_REFUSED(which, rows) expect_refused(which, rows, sizeof(rows) / sizeof((rows)[0]))

Test(http_authority, connect__gives_host_and_port)
{
    static const struct {
        const char *id, *in, *out;
        enum authority_kind kind;
    } rows[] = {
        {"C01", "h:443", "h:443", AUTHORITY_NAME},
        {"C01", "[2001:db8::1]:443", "[2001:db8::1]:443", AUTHORITY_LITERAL},
        {"C01", "2001:db8::1:443", "[2001:db8::1]:443", AUTHORITY_LITERAL},
        {"C01", "::1:443", "[::1]:443", AUTHORITY_LITERAL},
        {"A06", "ExAmPlE.OrG:443", "example.org:443", AUTHORITY_NAME},
        {"A05", "example.org.:443", "example.org:443", AUTHORITY_NAME},
        {"A07", "xn--wgv71a.example:443", "xn--wgv71a.example:443", AUTHORITY_NAME},
        {"port 1", "h:1", "h:1", AUTHORITY_NAME},
        {"port 65535", "h:65535", "h:65535", AUTHORITY_NAME},
        {"quad", "192.0.2.1:443", "192.0.2.1:443", AUTHORITY_LITERAL},
        {"underscore", "_x.a_b:443", "_x.a_b:443", AUTHORITY_NAME},
        {"hyphens", "a--b.c-d:443", "a--b.c-d:443", AUTHORITY_NAME},
        {"digits first", "1.2.3.example:443", "1.2.3.example:443", AUTHORITY_NAME},
        {"nearly hex", "0x.0xg:443", "0x.0xg:443", AUTHORITY_NAME},
        {"label 63", LABEL_63 ".x:443", LABEL_63 ".x:443", AUTHORITY_NAME},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[300];
        struct outcome o = parse(CONNECT, rows[i].in, strlen(rows[i].in));
        cr_assert_eq(o.result, AUTHORITY_OK, "%s %s: %s", rows[i].id, rows[i].in,
                     o.why ? o.why : "");
        cr_expect_eq(authority_text(&o.authority, text, sizeof(text)), strlen(rows[i].out));
        cr_expect_str_eq(text, rows[i].out, "%s", rows[i].id);
        cr_expect_eq(o.authority.kind, rows[i].kind, "%s %s", rows[i].id, rows[i].in);
        cr_expect_eq(o.authority.name_len, strlen(o.authority.name), "%s", rows[i].id);
    }
}

Test(http_authority, connect__is_refused)
{
    static const struct refused rows[] = {
        {"C02", BYTES(""), AUTHORITY_BAD},
        {"C02", BYTES("h"), AUTHORITY_BAD},
        {"C02", BYTES("h:"), AUTHORITY_BAD},
        {"C02", BYTES(":443"), AUTHORITY_BAD},
        {"C02", BYTES(":"), AUTHORITY_BAD},
        {"C02", BYTES("h:0"), AUTHORITY_BAD},
        {"C02", BYTES("h:65536"), AUTHORITY_BAD},
        {"C02", BYTES("h:443/"), AUTHORITY_BAD},
        {"C02", BYTES("http://h:443"), AUTHORITY_BAD},
        {"C02", BYTES("u@h:443"), AUTHORITY_BAD},
        {"C02", BYTES("h:443?x"), AUTHORITY_BAD},
        {"C02", BYTES("[::1"), AUTHORITY_BAD},
        {"C02", BYTES("[::1]"), AUTHORITY_BAD},
        {"C02", BYTES("[::1]443"), AUTHORITY_BAD},
        {"C02", BYTES("[::1]x:443"), AUTHORITY_BAD},
        {"C02", BYTES("[]:443"), AUTHORITY_BAD},
        {"C02", BYTES("[:443"), AUTHORITY_BAD},
        {"C02", BYTES("]:443"), AUTHORITY_BAD},
        {"C02", BYTES("[::1%25eth0]:443"), AUTHORITY_BAD},
        {"A12", BYTES("fe80::1%eth0:443"), AUTHORITY_BAD},
        {"C02", BYTES("h:443:443"), AUTHORITY_BAD},
        {"C02", BYTES("h,evil:443"), AUTHORITY_BAD},
        {"C02", BYTES("*:443"), AUTHORITY_BAD},
        {"C03", BYTES("[127.0.0.1]:443"), AUTHORITY_BAD},
        {"C03", BYTES("[example.net]:443"), AUTHORITY_BAD},
        {"C03", BYTES("[[::1]]:443"), AUTHORITY_BAD},
        {"v6 without a port", BYTES("2001:db8::443"), AUTHORITY_BAD},
        {"R24", BYTES("h:4294967376"), AUTHORITY_BAD},
        {"R24", BYTES("h:+80"), AUTHORITY_BAD},
        {"R24", BYTES("h:-1"), AUTHORITY_BAD},
        {"R24", BYTES("h:0x50"), AUTHORITY_BAD},
        {"R24", BYTES("h:80a"), AUTHORITY_BAD},
        {"R24", BYTES("h::80"), AUTHORITY_BAD},
        {"R24", BYTES("h:0000080"), AUTHORITY_BAD},
        {"R24", BYTES("h:00000"), AUTHORITY_BAD},
        {"NUL", BYTES("h\0:443"), AUTHORITY_BAD},
        {"NUL", BYTES("h:443\0"), AUTHORITY_BAD},
        {"NUL", BYTES("127.0.0.1\0:443"), AUTHORITY_BAD},
    };
    EXPECT_REFUSED(CONNECT, rows);
}

/* The forms that no name can be; both words answer 400. */
Test(http_authority, connect__is_refused__in_another_form)
{
    static const char *const rows[] = {"/", "*", "/x:443"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct outcome o = parse(CONNECT, rows[i], strlen(rows[i]));
        cr_expect(o.result == AUTHORITY_BAD || o.result == AUTHORITY_BAD_FORM, "%s", rows[i]);
    }
}

/* Every loose spelling of IPv4 that getaddrinfo() takes, and bytes that no name has. */
Test(http_authority, host__is_refused)
{
    static const struct refused rows[] = {
        {"A02", BYTES("127.1"), AUTHORITY_BAD},
        {"A02", BYTES("127.0.1"), AUTHORITY_BAD},
        {"A02", BYTES("2130706433"), AUTHORITY_BAD},
        {"A02", BYTES("0x7f000001"), AUTHORITY_BAD},
        {"A02", BYTES("0X7F000001"), AUTHORITY_BAD},
        {"A02", BYTES("0x7f.1"), AUTHORITY_BAD},
        {"A02", BYTES("127.0.0.0x1"), AUTHORITY_BAD},
        {"A02", BYTES("0x"), AUTHORITY_BAD},
        {"A02", BYTES("0177.0.0.1"), AUTHORITY_BAD},
        {"A02", BYTES("00000177.1"), AUTHORITY_BAD},
        {"A02", BYTES("0xa9fea9fe"), AUTHORITY_BAD},
        {"A02", BYTES("169.254.43518"), AUTHORITY_BAD},
        {"A02", BYTES("1.2.3.4.5"), AUTHORITY_BAD},
        {"A02", BYTES("256.256.256.256"), AUTHORITY_BAD},
        {"A02", BYTES("example.1"), AUTHORITY_BAD},
        {"A02", BYTES("example.0x1f."), AUTHORITY_BAD},
        {"A03", BYTES("010.0.0.1"), AUTHORITY_BAD},
        {"A03", BYTES("127.0.0.01"), AUTHORITY_BAD},
        {"A03", BYTES("127.000.000.001"), AUTHORITY_BAD},
        {"A04", BYTES("127.0.0.1."), AUTHORITY_BAD},
        {"A04", BYTES("+127.0.0.1"), AUTHORITY_BAD},
        {"A04", BYTES(" 127.0.0.1"), AUTHORITY_BAD},
        {"A04", BYTES("127.0.0.1 "), AUTHORITY_BAD},
        {"A04", BYTES("127.0.0.1\t"), AUTHORITY_BAD},
        {"A04", BYTES("127.0.0.1\n"), AUTHORITY_BAD},
        {"A05", BYTES("a..b"), AUTHORITY_BAD},
        {"A05", BYTES(".a"), AUTHORITY_BAD},
        {"A05", BYTES("a.."), AUTHORITY_BAD},
        {"A05", BYTES("."), AUTHORITY_BAD},
        {"A05", BYTES(".."), AUTHORITY_BAD},
        {"A07", BYTES("\xe6\x97\xa5\xe6\x9c\xac.example"), AUTHORITY_BAD},
        {"A07", BYTES("\xef\xbc\x91\xef\xbc\x92.0.0.1"), AUTHORITY_BAD},
        {"A07",
         BYTES("a\xe3\x80\x82"
               "b"),
         AUTHORITY_BAD},
        {"R26", BYTES("%31%32%37.0.0.1"), AUTHORITY_BAD},
        {"R26", BYTES("h%00.evil"), AUTHORITY_BAD},
        {"H24", BYTES("h\r\nX: y"), AUTHORITY_BAD},
        {"port", BYTES("h:80"), AUTHORITY_BAD},
        {"brackets", BYTES("[::1]:80"), AUTHORITY_BAD},
        {"brackets", BYTES("["), AUTHORITY_BAD},
        {"brackets", BYTES("[]"), AUTHORITY_BAD},
        {"brackets", BYTES("[127.0.0.1]"), AUTHORITY_BAD},
        {"backslash", BYTES("a\\b"), AUTHORITY_BAD},
        {"star", BYTES("*.example"), AUTHORITY_BAD},
        {"empty", BYTES(""), AUTHORITY_BAD},
        {"label 64", BYTES(LABEL_63 "x.org"), AUTHORITY_BAD},
    };
    EXPECT_REFUSED(HOST, rows);
}

Test(http_authority, host__takes_literals_with_and_without_brackets)
{
    static const struct {
        const char *in, *addr;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::1", "::1"},
        {"[::1]", "::1"},
        {"::ffff:127.0.0.1", "127.0.0.1"},
        {"[::ffff:7f00:1]", "127.0.0.1"},
        {"[0:0:0:0:0:ffff:a00:1]", "10.0.0.1"},
        {"2001:DB8::A", "2001:db8::a"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[ADDR_TEXT_MAX];
        struct outcome o = parse(HOST, rows[i].in, strlen(rows[i].in));
        cr_assert_eq(o.result, AUTHORITY_OK, "%s", rows[i].in);
        cr_expect_eq(o.authority.kind, AUTHORITY_LITERAL);
        cr_expect_str_eq(addr_text(&o.authority.addr, text), rows[i].addr, "%s", rows[i].in);
    }
}

Test(http_authority, host__is_bounded_at_253_bytes)
{
    char text[300];
    for (size_t len = 252; len <= 256; len++) {
        for (size_t i = 0; i < len; i++)
            text[i] = i % 50 == 49 ? '.' : 'a';
        enum authority_result want = len <= AUTHORITY_NAME_MAX ? AUTHORITY_OK : AUTHORITY_BAD;
        cr_expect_eq(parse(HOST, text, len).result, want, "%zu", len);
        text[len] = '.';
        cr_expect_eq(parse(HOST, text, len + 1).result, want, "%zu and a dot", len);
    }
}

Test(http_authority, absolute__gives_host_port_and_path)
{
    static const struct {
        const char *id, *in, *out, *path;
    } rows[] = {
        {"plain", "http://h/", "h:80", "/"},
        {"no path", "http://h", "h:80", ""},
        {"query alone", "http://h?x=1", "h:80", "?x=1"},
        {"query with a slash", "http://h?/x", "h:80", "?/x"},
        {"port", "http://h:8080/x", "h:8080", "/x"},
        {"R24 empty port", "http://h:/x", "h:80", "/x"},
        {"R24 empty port", "http://h:", "h:80", ""},
        {"R21", "HTTP://H.EXAMPLE/A", "h.example:80", "/A"},
        {"dot", "http://h.:81/", "h:81", "/"},
        {"quad", "http://192.0.2.1/", "192.0.2.1:80", "/"},
        {"v6", "http://[2001:db8::1]/", "[2001:db8::1]:80", "/"},
        {"v6 port", "http://[2001:db8::1]:81?x", "[2001:db8::1]:81", "?x"},
        {"v6 empty port", "http://[2001:db8::1]:", "[2001:db8::1]:80", ""},
        {"at in the path", "http://h/u@x:y//", "h:80", "/u@x:y//"},
        {"R29", "http://h/%00%0d%0a%2e%2e%c0%af\\\"{|}", "h:80", "/%00%0d%0a%2e%2e%c0%af\\\"{|}"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[300];
        struct outcome o = parse(ABSOLUTE, rows[i].in, strlen(rows[i].in));
        cr_assert_eq(o.result, AUTHORITY_OK, "%s %s: %s", rows[i].id, rows[i].in,
                     o.why ? o.why : "");
        authority_text(&o.authority, text, sizeof(text));
        cr_expect_str_eq(text, rows[i].out, "%s", rows[i].id);
        cr_expect_str_eq(rows[i].in + o.path_at, rows[i].path, "%s", rows[i].id);
    }
}

Test(http_authority, absolute__is_refused)
{
    static const struct refused rows[] = {
        {"R17", BYTES("/"), AUTHORITY_BAD_FORM},
        {"R18", BYTES("*"), AUTHORITY_BAD_FORM},
        {"R19", BYTES("ftp://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("gopher://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("urn:x"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("file:///etc/passwd"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("whois://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("jar:http://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("ws://h/"), AUTHORITY_BAD_SCHEME},
        {"R20", BYTES("https://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("httpx://h/"), AUTHORITY_BAD_SCHEME},
        {"R19", BYTES("htt://h/"), AUTHORITY_BAD_SCHEME},
        {"scheme", BYTES("http"), AUTHORITY_BAD_FORM},
        {"scheme", BYTES("http:"), AUTHORITY_BAD},
        {"scheme", BYTES("http:/"), AUTHORITY_BAD},
        {"scheme", BYTES("http:h"), AUTHORITY_BAD},
        {"scheme", BYTES("http:/h/"), AUTHORITY_BAD},
        {"scheme", BYTES("http:x/h/"), AUTHORITY_BAD},
        {"scheme", BYTES("http:/xh/"), AUTHORITY_BAD},
        {"scheme", BYTES("http:\\\\h\\"), AUTHORITY_BAD},
        {"R22", BYTES("http://u:p@h/"), AUTHORITY_BAD},
        {"R22", BYTES("http://ok@evil/"), AUTHORITY_BAD},
        {"R22", BYTES("http://ok\\@evil/"), AUTHORITY_BAD},
        {"R22", BYTES("http://ok#@evil/"), AUTHORITY_BAD},
        {"R22", BYTES("http://ok\\evil/"), AUTHORITY_BAD},
        {"R22", BYTES("http://@h/"), AUTHORITY_BAD},
        {"R23", BYTES("http://"), AUTHORITY_BAD},
        {"R23", BYTES("http:///x"), AUTHORITY_BAD},
        {"R23", BYTES("http://:80/"), AUTHORITY_BAD},
        {"R23", BYTES("http://?"), AUTHORITY_BAD},
        {"R23", BYTES("http://./"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:0/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:65536/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:4294967376/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:+80/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:-1/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:0x50/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:80a/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:80:80/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h::80/"), AUTHORITY_BAD},
        {"R24", BYTES("http://::80/"), AUTHORITY_BAD},
        {"R24", BYTES("http://h:0000080/"), AUTHORITY_BAD},
        {"R25", BYTES("http://h/#frag"), AUTHORITY_BAD},
        {"R25", BYTES("http://h#frag"), AUTHORITY_BAD},
        {"R26", BYTES("http://%31%32%37.0.0.1/"), AUTHORITY_BAD},
        {"R26", BYTES("http://h%00.evil/"), AUTHORITY_BAD},
        {"R16", BYTES("http://h/\x80"), AUTHORITY_BAD},
        {"R16", BYTES("http://h/ x"), AUTHORITY_BAD},
        {"R16", BYTES("http://h/\0"), AUTHORITY_BAD},
        {"R16", BYTES("http://h/\x7f"), AUTHORITY_BAD},
        {"H24", BYTES("http://h\r\nX: y/"), AUTHORITY_BAD},
        {"v6", BYTES("http://2001:db8::1/"), AUTHORITY_BAD},
        {"v6", BYTES("http://[::1/"), AUTHORITY_BAD},
        {"v6", BYTES("http://[::1]80/"), AUTHORITY_BAD},
        {"v6", BYTES("http://[::1]x:80/"), AUTHORITY_BAD},
        {"v6", BYTES("http://[]/"), AUTHORITY_BAD},
        {"v6", BYTES("http://[fe80::1%25lo]/"), AUTHORITY_BAD},
        {"C03", BYTES("http://[127.0.0.1]/"), AUTHORITY_BAD},
        {"A02", BYTES("http://127.1/"), AUTHORITY_BAD},
        {"A02", BYTES("http://0x7f.1:80/"), AUTHORITY_BAD},
    };
    EXPECT_REFUSED(ABSOLUTE, rows);
}

Test(http_authority, absolute__has_no_scheme_in_a_plain_word)
{
    static const char *const rows[] = {"",           "admin", "*/x", "cache_object://h/",
                                       "1http://h/", "://h/", "?x"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct outcome o = parse(ABSOLUTE, rows[i], strlen(rows[i]));
        cr_expect(o.result == AUTHORITY_BAD || o.result == AUTHORITY_BAD_FORM, "R18 %s", rows[i]);
    }
}

Test(http_authority, text__is_cut_at_the_buffer)
{
    char buf[300];
    struct outcome o = parse(CONNECT, "[2001:db8::1]:443", 17);
    for (size_t size = 1; size <= 18; size++) {
        memset(buf, '#', sizeof(buf));
        size_t n = authority_text(&o.authority, buf, size);
        cr_expect_eq(n, size - 1);
        cr_expect_eq(buf[n], '\0');
        cr_expect_eq(buf[size], '#');
    }
}

/* What was accepted goes to text, and the text to the same host. */
Test(http_authority, text__parses_back__for_random_targets)
{
    static const char alphabet[] = "aB0.:[]-_x1f7";
    unsigned short seed[3] = {5, 5, 5};
    int n_good = 0;
    for (int n = 0; n < 200000; n++) {
        char text[24] = "", back[300];
        size_t len = (size_t)nrand48(seed) % 14;
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[(size_t)nrand48(seed) % (sizeof(alphabet) - 1)];
        len += (size_t)snprintf(text + len, sizeof(text) - len, ":%ld", nrand48(seed) % 70000);
        struct outcome o = parse(CONNECT, text, len);
        if (o.result != AUTHORITY_OK)
            continue;
        n_good++;
        struct outcome again =
            parse(CONNECT, back, authority_text(&o.authority, back, sizeof(back)));
        cr_assert_eq(again.result, AUTHORITY_OK, "%s and %s", text, back);
        cr_assert_eq(again.authority.kind, o.authority.kind, "%s and %s", text, back);
        cr_assert_eq(again.authority.port, o.authority.port, "%s and %s", text, back);
        cr_assert_eq(addr_compare(&again.authority.addr, &o.authority.addr), 0, "%s", text);
    }
    cr_expect_gt(n_good, 1000, "the generator makes good ones too");
}

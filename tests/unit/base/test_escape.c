/* Peer bytes in a line of text: nothing dangerous gets through, nothing safe is lost, nothing is
 * cut in half. */
#include <criterion/criterion.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/escape.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static const enum escape_style styles[] = {ESCAPE_LOG, ESCAPE_JSON, ESCAPE_URL, ESCAPE_TEXT,
                                           ESCAPE_HTML};

Test(base_escape, write__escapes_by_style)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out[4]; /* log, json, url, text */
    } rows[] = {
        {BYTES("plain"), {"plain", "plain", "plain", "plain"}},
        {BYTES("a b"), {"a b", "a b", "a%20b", "a b"}},
        {BYTES("a\"b'c"), {"a\\\"b'c", "a\\\"b'c", "a%22b%27c", "a\"b'c"}},
        {BYTES("a\\b"), {"a\\\\b", "a\\\\b", "a\\b", "a\\b"}},
        {BYTES("\r\n\t"),
         {"\\x0d\\x0a\\x09", "\\u000d\\u000a\\u0009", "%0d%0a%09", "\\x0d\\x0a\\x09"}},
        {BYTES("a\0b"), {"a\\x00b", "a\\u0000b", "a%00b", "a\\x00b"}},
        {BYTES("\x1b[2J\x7f"),
         {"\\x1b[2J\\x7f", "\\u001b[2J\\u007f", "%1b[2J%7f", "\\x1b[2J\\x7f"}},
        {BYTES("\xc2\x9b"), {"\\xc2\\x9b", "\\u009b", "%c2%9b", "\\xc2\\x9b"}},
        {BYTES("\xe2\x80\xae"), {"\\xe2\\x80\\xae", "\\u202e", "%e2%80%ae", "\\xe2\\x80\\xae"}},
        {BYTES("\xe2\x80\xa8"), {"\\xe2\\x80\\xa8", "\\u2028", "%e2%80%a8", "\\xe2\\x80\\xa8"}},
        {BYTES("\xd8\x9c"), {"\\xd8\\x9c", "\\u061c", "%d8%9c", "\\xd8\\x9c"}},
        {BYTES("\xe2\x81\xa9"), {"\\xe2\\x81\\xa9", "\\u2069", "%e2%81%a9", "\\xe2\\x81\\xa9"}},
        {BYTES("\xff"), {"\\xff", "\\ufffd", "%ff", "\\xff"}},
        {BYTES("\xc0\xaf"), {"\\xc0\\xaf", "\\ufffd\\ufffd", "%c0%af", "\\xc0\\xaf"}},
        {BYTES("\xed\xa0\x80"),
         {"\\xed\\xa0\\x80", "\\ufffd\\ufffd\\ufffd", "%ed%a0%80", "\\xed\\xa0\\x80"}},
        {BYTES("\xe6\x97"), {"\\xe6\\x97", "\\ufffd\\ufffd", "%e6%97", "\\xe6\\x97"}},
        {BYTES("DNS用"), {"DNS用", "DNS用", "DNS用", "DNS用"}},
        {BYTES("\xf0\x9f\x98\x80"),
         {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}},
        {BYTES("\xe3\x80\x80"), {"\xe3\x80\x80", "\xe3\x80\x80", "%e3%80%80", "\xe3\x80\x80"}},
        {BYTES("%n%s"), {"%n%s", "%n%s", "%n%s", "%n%s"}},
        {BYTES(""), {"", "", "", ""}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t s = 0; s < 4; s++) {
            char buf[128];
            size_t n = escape_write(styles[s], rows[i].in, rows[i].len, buf, sizeof(buf));
            cr_expect_str_eq(buf, rows[i].out[s], "row %zu style %zu", i, s);
            cr_expect_eq(n, strlen(rows[i].out[s]), "row %zu style %zu", i, s);
        }
    }
}

/* What a C0, C1, DEL, bidi or separator character would look like in the output. */
static bool has_danger(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        unsigned char d = i + 1 < len ? (unsigned char)text[i + 1] : 0;
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && d < 0xa0))
            return true;
        if (i + 2 < len && c == 0xe2 && d == 0x80 &&
            strchr("\x8e\x8f\xa8\xa9\xaa\xab\xac\xad\xae", text[i + 2]))
            return true;
    }
    return false;
}

Test(base_escape, write__gives_safe_utf8__for_random_bytes)
{
    unsigned short seed[3] = {3, 1, 4};
    for (int n = 0; n < 20000; n++) {
        char in[24], out[256];
        size_t len = (size_t)nrand48(seed) % sizeof(in);
        for (size_t i = 0; i < len; i++)
            in[i] = nrand48(seed) % 2 ? (char)nrand48(seed)
                                      : "\xe2\x80\xc2\xf4\xed \"\\"[nrand48(seed) % 8];
        for (size_t s = 0; s < 5; s++) {
            size_t n_out = escape_write(styles[s], in, len, out, sizeof(out));
            cr_assert(escape_is_utf8(out, n_out));
            cr_assert_not(has_danger(out, n_out));
        }
    }
}

/* A smaller buffer holds a prefix of the whole, ends at a group's end, and always has its NUL. */
Test(base_escape, write__never_cuts_a_group)
{
    static const char in[] = "a\n\xe6\x97\xa5\"\xe2\x80\xae\xffz";
    for (size_t s = 0; s < 5; s++) {
        char whole[128], part[128];
        bool is_end[128] = {true};
        size_t at = 0, n_whole = escape_write(styles[s], BYTES(in), whole, sizeof(whole));
        static const size_t pieces[] = {1, 1, 3, 1, 3, 1, 1};
        for (size_t i = 0, end = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
            end += escape_write(styles[s], in + at, pieces[i], part, sizeof(part));
            is_end[end] = true;
            at += pieces[i];
        }
        for (size_t size = 1; size <= n_whole + 1; size++) {
            memset(part, '#', sizeof(part));
            size_t n = escape_write(styles[s], BYTES(in), part, size);
            cr_expect(n < size && part[n] == '\0' && part[size] == '#', "size %zu", size);
            cr_expect(is_end[n], "style %zu size %zu ends inside a group", s, size);
            cr_expect_eq(memcmp(part, whole, n), 0);
        }
    }
}

Test(base_escape, write__touches_nothing__for_size_zero)
{
    char c = '#';
    cr_expect_eq(escape_write(ESCAPE_LOG, "abc", 3, &c, 0), 0);
    cr_expect_eq(c, '#');
}

Test(base_escape, is_utf8__knows_the_edges)
{
    static const struct {
        const char *text;
        size_t len;
        bool is_good;
    } rows[] = {
        {BYTES(""), true},
        {BYTES("abc\0d"), true},
        {BYTES("\x7f"), true},
        {BYTES("\x80"), false},
        {BYTES("\xc1\xbf"), false},
        {BYTES("\xc2\x80"), true},
        {BYTES("\xdf\xbf"), true},
        {BYTES("\xe0\x9f\xbf"), false},
        {BYTES("\xe0\xa0\x80"), true},
        {BYTES("\xed\x9f\xbf"), true},
        {BYTES("\xed\xa0\x80"), false},
        {BYTES("\xed\xbf\xbf"), false},
        {BYTES("\xee\x80\x80"), true},
        {BYTES("\xef\xbf\xbf"), true},
        {BYTES("\xf0\x8f\xbf\xbf"), false},
        {BYTES("\xf0\x90\x80\x80"), true},
        {BYTES("\xf4\x8f\xbf\xbf"), true},
        {BYTES("\xf4\x90\x80\x80"), false},
        {BYTES("\xf5\x80\x80\x80"), false},
        {BYTES("\xe6\x97"), false},
        {BYTES("\xe6\x97x"), false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(escape_is_utf8(rows[i].text, rows[i].len), rows[i].is_good, "row %zu", i);
}

Test(base_escape, is_utf8__reads_only_len_bytes)
{
    cr_expect_not(escape_is_utf8("\xe6\x97\xa5", 2));
    cr_expect_not(escape_is_utf8("\xc2\x80", 1));
}

Test(base_escape, utf8_length__counts_characters)
{
    cr_expect_eq(escape_utf8_length(BYTES("")), 0);
    cr_expect_eq(escape_utf8_length(BYTES("DNS用")), 4);
    cr_expect_eq(escape_utf8_length(BYTES("Webプロキシ利用でのDSaaS通信用")), 19);
}

Test(base_escape, html__is_no_markup__in_text_and_attributes)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"<script>alert(1)</script>", "&#60;script&#62;alert(1)&#60;/script&#62;"},
        {"\" onload='x' a=\"", "&#34; onload=&#39;x&#39; a=&#34;"},
        {"&lt;", "&#38;lt;"},
        {"a\\b c", "a\\b c"},
        {"Webプロキシ", "Webプロキシ"},
        {"\xe2\x80\xaetxt", "\\xe2\\x80\\xaetxt"},
        {"\x1b[2J\n", "\\x1b[2J\\x0a"},
        {"\xff<", "\\xff&#60;"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char buf[128];
        escape_write(ESCAPE_HTML, rows[i].in, strlen(rows[i].in), buf, sizeof(buf));
        cr_expect_str_eq(buf, rows[i].out, "row %zu", i);
    }
}

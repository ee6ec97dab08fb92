/* The guard in front of inih, and inih behind it: G01-G09, G12, G13, G20-G22. */
#include "conf/inifile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "conf/wholefile.h"
#include "found.h"

/* What came through, one line an entry: `line [section] key=value ;memo`. */
struct seen {
    char text[8192];
    size_t len;
};

static int on_entry(void *arg, const struct inifile_entry *e)
{
    struct seen *seen = arg;
    int n;

    if (e->key)
        n = snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, "%u [%s] %s=%s ;%s\n",
                     e->line, e->section, e->key, e->value, e->memo);
    else
        n = snprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, "%u [%s] ;%s\n",
                     e->line, e->section, e->memo);
    seen->len += n > 0 ? (size_t)n : 0;
    return seen->len < sizeof(seen->text) ? 0 : -ENOSPC;
}

static int parse(const char *bytes, size_t len, struct seen *seen, struct findings *findings)
{
    *seen = (struct seen){0};
    return inifile_parse_bytes("t.conf", bytes, len, on_entry, seen, findings);
}

struct row {
    const char *id;
    const char *bytes;
    size_t len; /* 0: strlen */
    const char *seen;
    unsigned line;   /* of the error */
    const char *why; /* NULL: none */
};

static void expect_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct findings findings = {0};
        struct seen seen;
        char text[4096];
        int r = parse(rows[i].bytes, rows[i].len ? rows[i].len : strlen(rows[i].bytes), &seen,
                      &findings);
        cr_expect_eq(r, rows[i].why ? -EINVAL : 0, "%s: %d", rows[i].id, r);
        cr_expect_str_eq(seen.text, rows[i].seen, "%s saw:\n%s", rows[i].id, seen.text);
        if (rows[i].why)
            cr_expect(found(&findings, FINDING_ERROR, rows[i].line, rows[i].why), "%s: %s",
                      rows[i].id, found_text(&findings, text, sizeof(text)));
        findings_fini(&findings);
    }
}

#define EXPECT_ROWS(rows) expect_rows(rows, sizeof(rows) / sizeof(rows[0]))

Test(conf_inifile, parse__gives_lines_and_memos__when_all_is_well)
{
    static const struct row rows[] = {
        {"plain", "[a]\nk = v\n", 0, "1 [a] ;\n2 [a] k=v ;\n", 0, NULL},
        {"no final newline", "[a]\nk = v", 0, "1 [a] ;\n2 [a] k=v ;\n", 0, NULL},
        {"memo", "[a] ; one\nk = v   ; Webプロキシ用\n", 0,
         "1 [a] ;one\n2 [a] k=v ;Webプロキシ用\n", 0, NULL},
        {"memo behind a tab", "[a]\nk = v\t;m\n", 0, "1 [a] ;\n2 [a] k=v ;m\n", 0, NULL},
        {"memo with ; # : =", "[a]\nk = v ; a;b # c : d = e\n", 0,
         "1 [a] ;\n2 [a] k=v ;a;b # c : d = e\n", 0, NULL},
        {"empty memo", "[a]\nk = v ;\n", 0, "1 [a] ;\n2 [a] k=v ;\n", 0, NULL},
        {"comments", "; c\n# d = e\n\n  \n   ; indented\n[a]\nk = v\n", 0, "6 [a] ;\n7 [a] k=v ;\n",
         0, NULL},
        {"blanks", "[ a b ]\nk 1  =  v w  \n", 0, "1 [a b] ;\n2 [a b] k 1=v w ;\n", 0, NULL},
        {"no blanks", "[a]\nk=v\n", 0, "1 [a] ;\n2 [a] k=v ;\n", 0, NULL},
        {"= in the value", "[a]\nk = a=b\n", 0, "1 [a] ;\n2 [a] k=a=b ;\n", 0, NULL},
        {": in the value", "[a]\nany = 2001:db8::/64\n", 0, "1 [a] ;\n2 [a] any=2001:db8::/64 ;\n",
         0, NULL},
        {"empty value", "[a]\nk =\n", 0, "1 [a] ;\n2 [a] k= ;\n", 0, NULL},
        {"repeated keys", "[a]\nk = 1\nk = 2\n", 0, "1 [a] ;\n2 [a] k=1 ;\n3 [a] k=2 ;\n", 0, NULL},
        {"# inside a word", "[a]\nk = tls://9.9.9.9#dns\n", 0,
         "1 [a] ;\n2 [a] k=tls://9.9.9.9#dns ;\n", 0, NULL},
        {"before a section", "k = v\n", 0, "1 [] k=v ;\n", 0, NULL},
        {"G13 CRLF", "[a]\r\nk = v ; m\r\n", 0, "1 [a] ;\n2 [a] k=v ;m\n", 0, NULL},
        {"G13 BOM", "\xef\xbb\xbf[a]\nk = v\n", 0, "1 [a] ;\n2 [a] k=v ;\n", 0, NULL},
        {"empty", "", 0, "", 0, NULL},
        {"BOM only", "\xef\xbb\xbf", 0, "", 0, NULL},
        {"newline only", "\n", 0, "", 0, NULL},
    };
    EXPECT_ROWS(rows);
}

#define BYTES(text) text, sizeof(text) - 1

Test(conf_inifile, parse__says_line_and_remedy__when_inih_would_bend_it)
{
    static const struct row rows[] = {
        {"G05 NUL in a value", BYTES("[a]\nk = v\0w\nl = x\n"), "1 [a] ;\n3 [a] l=x ;\n", 2, "NUL"},
        {"G05 NUL in a heading", BYTES("[a\0]\nk = v\n"), "", 1, "NUL"},
        {"G05 NUL in a comment", BYTES("; \0\n[a]\n"), "2 [a] ;\n", 1, "NUL"},
        {"G06 indented", BYTES("[a]\nk = v\n  deny = x\n"), "1 [a] ;\n2 [a] k=v ;\n", 3,
         "indented"},
        {"G06 indented by a tab", BYTES("[a]\nk = v\n\tx\n"), "1 [a] ;\n2 [a] k=v ;\n", 3,
         "indented"},
        {"G07 ; without a blank", BYTES("[a]\nk = v;w\n"), "1 [a] ;\n", 2, "without a blank"},
        {"G07 ; without a blank in a heading", BYTES("[a];w\nk = v\n"), "", 1, "without a blank"},
        {"G07 #", BYTES("[a]\nk = v # w\n"), "1 [a] ;\n", 2, "` ; `"},
        {"G07 # first", BYTES("[a]\nk = #w\n"), "1 [a] ;\n", 2, "` ; `"},
        {"G07 # first, no blank", BYTES("[a]\nk =#w\n"), "1 [a] ;\n", 2, "` ; `"},
        {"G08 IPv6 as key", BYTES("[a]\n2001:db8::1 = x\n"), "1 [a] ;\n", 2, "as a value"},
        {"G08 IPv6 without =", BYTES("[a]\n2001:db8::1\n"), "1 [a] ;\n", 2, "as a value"},
        {"G08 : splits", BYTES("[a]\nk: v\n"), "1 [a] ;\n", 2, "key = value"},
        {"G08 : before =", BYTES("[a]\na:b = v\n"), "1 [a] ;\n", 2, "key = value"},
        {"no =", BYTES("[a]\nword\n"), "1 [a] ;\n", 2, "no `=`"},
        {"no key", BYTES("[a]\n= v\n"), "1 [a] ;\n", 2, "no key"},
        {"G12 unterminated", BYTES("[acl\nk = v\n[b]\nl = w\n"), "3 [b] ;\n4 [b] l=w ;\n", 1,
         "not closed"},
        {"unterminated by a memo", BYTES("[acl ; m]\nk = v\n"), "", 1, "not closed"},
        {"text behind ]", BYTES("[a] b\nk = v\n"), "", 1, "behind `]`"},
        {"] twice", BYTES("[a]]\nk = v\n"), "", 1, "behind `]`"},
        {"no name", BYTES("[]\nk = v\n"), "", 1, "no name"},
        {"indented heading", BYTES("[a]\n [b]\nk = v\n"), "1 [a] ;\n", 2, "indented"},
        {"G13 CR only", BYTES("[a]\rk = v\r"), "", 1, "CR alone"},
        {"lone CR", BYTES("[a]\nk = v\rl = w\n"), "1 [a] ;\n", 2, "carriage return"},
        {"lone CR at the end", BYTES("[a]\nk = v\r"), "1 [a] ;\n", 2, "carriage return"},
        {"G13 UTF-16LE with BOM", BYTES("\xff\xfe[\0a\0]\0\n\0"), "", 1, "UTF-16"},
        {"G13 UTF-16BE with BOM", BYTES("\xfe\xff\0[\0a\0]\0\n"), "", 1, "UTF-16"},
        {"G13 UTF-16LE without BOM", BYTES("[\0a\0]\0\n\0"), "", 1, "UTF-16"},
        {"G13 Shift_JIS memo", BYTES("[a]\nk = v ; \x83\x76\x83\x8d\nl = w\n"),
         "1 [a] ;\n3 [a] l=w ;\n", 2, "iconv"},
        {"UTF-8 surrogate", BYTES("[a]\nk = \xed\xa0\x80\n"), "1 [a] ;\n", 2, "UTF-8"},
        {"escape sequence", BYTES("[a]\nk = \x1b[31m\n"), "1 [a] ;\n", 2, "control"},
        {"DEL", BYTES("[a]\nk = \x7f\n"), "1 [a] ;\n", 2, "control"},
    };
    EXPECT_ROWS(rows);
}

/* `k = xxx...` with a rest of exactly @len bytes, then @tail. */
static size_t long_line(char *buf, size_t size, size_t len, const char *tail)
{
    size_t n = (size_t)snprintf(buf, size, "[a]\nk = ");

    memset(buf + n, 'x', len - 4);
    n += len - 4;
    n += (size_t)snprintf(buf + n, size - n, "%s\n", tail);
    return n;
}

Test(conf_inifile, parse__reads_199_bytes_and_refuses_200__G03)
{
    static const struct {
        size_t len;
        const char *tail;
        bool is_ok;
    } rows[] = {
        {198, "", true},         {199, "", true},   {199, " ; memo", true},
        {199, "    ", true},     {199, "\r", true}, {200, "", false},
        {200, " ; memo", false}, {201, "", false},  {5000, "", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct seen seen;
        char bytes[6000];
        size_t len = long_line(bytes, sizeof(bytes), rows[i].len, rows[i].tail);
        int r = parse(bytes, len, &seen, &findings);
        cr_expect_eq(r, rows[i].is_ok ? 0 : -EINVAL, "%zu%s gives %d", rows[i].len, rows[i].tail,
                     r);
        const char *x = strchr(seen.text, 'x');
        cr_expect_eq(x ? strspn(x, "x") : 0, rows[i].is_ok ? rows[i].len - 4 : 0, "%zu",
                     rows[i].len);
        cr_expect_eq(found(&findings, FINDING_ERROR, 2, "199"), !rows[i].is_ok);
        findings_fini(&findings);
    }
}

Test(conf_inifile, parse__never_makes_a_key_of_a_tail__G04)
{
    struct findings findings = {0};
    struct seen seen;
    char bytes[600];
    size_t len = long_line(bytes, sizeof(bytes), 199, "deny=all");

    cr_expect_eq(parse(bytes, len, &seen, &findings), -EINVAL);
    cr_expect_str_eq(seen.text, "1 [a] ;\n");
    findings_fini(&findings);
}

Test(conf_inifile, parse__takes_long_memos_and_comments__since_inih_never_sees_them)
{
    struct findings findings = {0};
    struct seen seen;
    char bytes[3000], memo[1001];

    memset(memo, 'm', 1000);
    memo[1000] = '\0';
    int len = snprintf(bytes, sizeof(bytes), "; %s\n[a]\nk = v ; %s\n", memo, memo);
    cr_expect_eq(parse(bytes, (size_t)len, &seen, &findings), 0);
    cr_expect_not_null(strstr(seen.text, memo));
    findings_fini(&findings);
}

Test(conf_inifile, parse__limits_names_to_49_bytes__G09)
{
    static const struct {
        const char *format;
        int len;
        bool is_ok;
    } rows[] = {{"[%s]\n", 49, true},
                {"[%s]\n", 50, false},
                {"[a]\n%s = v\n", 49, true},
                {"[a]\n%s = v\n", 50, false}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct seen seen;
        char name[64], bytes[128];
        memset(name, 'n', sizeof(name));
        name[rows[i].len] = '\0';
        int len = strchr(rows[i].format, 'a')
                      ? snprintf(bytes, sizeof(bytes), "[a]\n%s = v\n", name)
                      : snprintf(bytes, sizeof(bytes), "[%s]\n", name);
        cr_expect_eq(parse(bytes, (size_t)len, &seen, &findings), rows[i].is_ok ? 0 : -EINVAL,
                     "row %zu", i);
        cr_expect_eq(strstr(seen.text, name) != NULL, rows[i].is_ok, "row %zu", i);
        findings_fini(&findings);
    }
}

Test(conf_inifile, parse__says_all__when_several_lines_are_wrong)
{
    struct findings findings = {0};
    struct seen seen;
    static const char bytes[] = "[a]\nword\nk: v\n  x = y\nok = 1\nk = v # w\n[b\n";

    cr_expect_eq(parse(bytes, strlen(bytes), &seen, &findings), -EINVAL);
    cr_expect_eq(findings.n_errors, 5);
    cr_expect_str_eq(seen.text, "1 [a] ;\n5 [a] ok=1 ;\n");
    findings_fini(&findings);
}

Test(conf_inifile, parse__warns__when_the_last_line_does_not_end)
{
    struct findings findings = {0};
    struct seen seen;

    cr_expect_eq(parse("[a]\nk = 10.0.0.1", 16, &seen, &findings), 0);
    cr_expect(found(&findings, FINDING_WARNING, 2, "does not end"));
    findings_fini(&findings);
}

static int on_entry_fails(void *arg, const struct inifile_entry *e)
{
    ++*(int *)arg;
    return -ENOMEM;
}

Test(conf_inifile, parse__stops__when_the_handler_fails)
{
    struct findings findings = {0};
    int n_calls = 0;

    cr_expect_eq(
        inifile_parse_bytes("t", "[a]\nk = v\nl = w\n", 16, on_entry_fails, &n_calls, &findings),
        -ENOMEM);
    cr_expect_eq(n_calls, 1);
    findings_fini(&findings);
}

/* ---- files ---- */

static void make_socket(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    close(fd);
}

Test(conf_inifile, load__takes_regular_files_only__G01_G02_G20, .timeout = 10)
{
    char dir[32], path[8][64];
    static const char *const names[] = {"file",   "link", "dangling", "fifo",
                                        "socket", "dir",  "missing",  "loop"};

    found_dir(dir);
    for (size_t i = 0; i < 8; i++)
        snprintf(path[i], sizeof(path[i]), "%s/%s", dir, names[i]);
    found_write(path[0], "[a]\n", 4);
    cr_assert_eq(symlink("file", path[1]), 0);
    cr_assert_eq(symlink("nowhere", path[2]), 0);
    cr_assert_eq(mkfifo(path[3], 0600), 0);
    make_socket(path[4]);
    cr_assert_eq(mkdir(path[5], 0700), 0);
    cr_assert_eq(symlink("loop", path[7]), 0);
    const struct {
        const char *id, *path, *why;
    } rows[] = {
        {"regular", path[0], NULL},
        {"G20 symlink", path[1], NULL},
        {"G20 dangling", path[2], "No such file"},
        {"G20 FIFO", path[3], "FIFO"},
        {"G20 socket", path[4], "socket"},
        {"G20 /dev/zero", "/dev/zero", "device"},
        {"G01 directory", path[5], "directory"},
        {"G02 missing", path[6], "No such file"},
        {"G20 loop", path[7], "symbolic links"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct seen seen = {0};
        int r = inifile_load(rows[i].path, INIFILE_CONF_MAX, on_entry, &seen, &findings);
        cr_expect_eq(r, rows[i].why ? -EINVAL : 0, "%s gives %d", rows[i].id, r);
        cr_expect(!rows[i].why || found(&findings, FINDING_ERROR, 0, rows[i].why), "%s: %s",
                  rows[i].id, findings.n_items ? findings.items[0].text : "");
        findings_fini(&findings);
    }
}

Test(conf_inifile, load__refuses_larger_files__than_its_limit)
{
    struct findings findings = {0};
    struct seen seen = {0};
    char dir[32], path[64];

    found_dir(dir);
    snprintf(path, sizeof(path), "%s/f", dir);
    found_write(path, "[a]\n[b]\n", 8);
    cr_expect_eq(inifile_load(path, 8, on_entry, &seen, &findings), 0);
    cr_expect_eq(inifile_load(path, 7, on_entry, &seen, &findings), -EINVAL);
    cr_expect(found(&findings, FINDING_ERROR, 0, "larger"));
    findings_fini(&findings);
}

Test(conf_inifile, load__judges_modes__G21)
{
    static const struct {
        mode_t file, dir;
        int result;
        enum finding_level level;
        const char *why;
    } rows[] = {
        {0644, 0755, 0, 0, NULL},
        {0600, 0700, 0, 0, NULL},
        {0646, 0755, -EINVAL, FINDING_ERROR, "o-w"},
        {0664, 0755, 0, FINDING_WARNING, "g-w"},
        {0644, 0777, 0, FINDING_WARNING, "o-w"},
        {0644, 0775, 0, FINDING_WARNING, "g-w"},
        {0644, 01777, 0, 0, NULL},
    };
    char dir[32], path[64];

    found_dir(dir);
    snprintf(path, sizeof(path), "%s/f", dir);
    found_write(path, "[a]\n", 4);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct seen seen = {0};
        cr_assert_eq(chmod(path, rows[i].file), 0);
        cr_assert_eq(chmod(dir, rows[i].dir), 0);
        cr_expect_eq(inifile_load(path, INIFILE_CONF_MAX, on_entry, &seen, &findings),
                     rows[i].result, "row %zu", i);
        cr_expect_eq(findings.n_items, rows[i].why ? 1 : 0, "row %zu", i);
        cr_expect(!rows[i].why || found(&findings, rows[i].level, 0, rows[i].why), "row %zu", i);
        findings_fini(&findings);
    }
}

Test(conf_inifile, wholefile_read__gives_one_of_two_versions__G22)
{
    char dir[32], path[64], other[64];
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;

    found_dir(dir);
    snprintf(path, sizeof(path), "%s/f", dir);
    snprintf(other, sizeof(other), "%s/g", dir);
    found_write(path, "old", 3);
    found_write(other, "newer", 5);
    cr_assert_eq(wholefile_read(path, 100, &st, &bytes, &len, &why), 0);
    cr_assert_eq(rename(other, path), 0);
    cr_expect_str_eq(bytes, "old");
    free(bytes);
    cr_assert_eq(wholefile_read(path, 100, &st, &bytes, &len, &why), 0);
    cr_expect_str_eq(bytes, "newer");
    cr_expect_eq(len, 5);
    free(bytes);
}

/* The status page: what it shows is escaped, whoever chose it, and bounded, however much there is.
 */
#include "proxy/daemon/page.h"

#include "proxy/daemon/refusaltext.h"
#include "proxy_bench.h"

#define ACL                                                                                        \
    "[in]\ntcp 8080 = 127.0.0.1 ; Webプロキシ <b>&\ntcp 9999 = 127.0.0.2\n"                    \
    "tcp 8080 = 127.0.0.3\n[out]\nallow = 127.0.0.0/8\ndeny = evil.example ; \"'<img src=x>\n"

struct shown {
    struct bench *bench;
    struct rules rules;
    struct series series;
    struct roster *roster;
    struct refusal refusals[3];
    char *text;
    size_t len;
};

static void never(struct roster *r, void *owner)
{
    (void)r;
    (void)owner;
}

/* A page of @acl with the given refusals and lines of tunnels. The caller ends it. */
static struct shown *show(const char *more, const char *acl, const char *lines,
                          const struct refusal *refusals, size_t n_refusals)
{
    struct shown *s = calloc(1, sizeof(*s));
    s->bench = bench_new(more, acl);
    cr_assert_eq(rules_init(&s->rules, &s->bench->worker, 1), 0);
    cr_assert_eq(rules_number(&s->rules, NULL, s->bench->snapshot->acl), 0);
    s->roster = roster_new(&s->bench->worker, 1, ROSTER_OVERVIEW, never, NULL);
    struct roster_part *p = &s->roster->parts[0];
    p->lines = strdup(lines);
    p->len = strlen(lines);
    p->figures.n_tunnels = lines[0] ? 1 : 0;
    p->figures.n_accepted = 1234567;
    p->servers[0].is_down = true;
    p->n_servers = 1;
    p->refusals = calloc(n_refusals + 1, sizeof(*refusals));
    for (size_t i = 0; i < n_refusals; i++)
        p->refusals[i] = refusals[i];
    p->n_refusals = n_refusals;
    for (uint64_t i = 0; i < 120; i++) {
        struct series_sample sample = {.at_ms = 30000 * (i + 1)};
        for (unsigned k = 0; k < SERIES_KINDS; k++)
            sample.values[k] = i * i * (k + 1);
        series_add(&s->series, &sample);
    }
    struct page_view view = {.snapshot = s->bench->snapshot,
                             .rules = &s->rules,
                             .roster = s->roster,
                             .series = &s->series,
                             .host_name = "<router>",
                             .file = "/etc/ukai/it's.conf",
                             .now_ms = 30000 * 121,
                             .now_wall_s = 1767323045,
                             .started_wall_s = 1767300000,
                             .loaded_wall_s = 1767320000,
                             .max_tunnels = 1000,
                             .refused_wall_s = 1767323000,
                             .refused_reason = "acl.conf:3: <script>"};
    FILE *out = open_memstream(&s->text, &s->len);
    page_write(&view, out);
    fclose(out);
    const char *path = getenv("UKAI_PAGE_OUT");
    FILE *copy = path ? fopen(path, "w") : NULL;
    if (copy) {
        fwrite(s->text, 1, s->len, copy);
        fclose(copy);
    }
    return s;
}

static void end(struct shown *s)
{
    roster_free(s->roster);
    rules_fini(&s->rules);
    bench_free(s->bench);
    free(s->text);
    free(s);
}

static struct refusal refusal(const char *method, const char *host, uint16_t port)
{
    struct refusal r = {.key = 1,
                        .n = 1,
                        .last_ms = 1767323000000,
                        .source = addr_from_ipv4(0xc0a80163),
                        .port = port,
                        .reason = REASON_OUT_DENIED,
                        .rule_line = 12,
                        .listener = "lan",
                        .rule_file = "acl.conf",
                        .memo = "止める"};
    snprintf(r.method, sizeof(r.method), "%s", method);
    snprintf(r.host, sizeof(r.host), "%s", host);
    return r;
}

static unsigned count(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

Test(daemon_page, hostile_texts__are_no_markup)
{
    struct refusal items[] = {refusal("CONNECT", "<script>alert(1)</script>", 443),
                              refusal("\"><svg onload=x>", "a\"onclick='x'.example", 80)};
    items[1].key = 2;
    snprintf(items[1].memo, sizeof(items[1].memo), "\xe2\x80\xae{command}</td>");
    struct shown *s =
        show("", ACL,
             "{\"id\":\"0.1\",\"src\":\"127.0.0.1\",\"host\":\"<iframe>\",\"port\":443,"
             "\"memo\":\"<u>\\u202e\",\"listener\":\"</table>\",\"age_ms\":1000}\nbroken\n",
             items, 2);
    cr_expect_eq(count(s->text, "<script>"), 1, "ours only");
    cr_expect_null(strstr(s->text, "<svg onload"));
    cr_expect_null(strstr(s->text, "onclick='"));
    cr_expect_null(strstr(s->text, "<iframe"));
    cr_expect_null(strstr(s->text, "<u>"));
    cr_expect_null(strstr(s->text, "<img"));
    cr_expect_null(strstr(s->text, "\xe2\x80\xae"));
    cr_expect_null(strstr(s->text, "<router>"));
    cr_expect_not_null(strstr(s->text, "{command}&#60;/td&#62;"));
    cr_expect_not_null(strstr(s->text, "Webプロキシ &#60;b&#62;&#38;"));
    cr_expect_eq(count(s->text, "ukai explain"), 0, "nothing of that is to be pasted");
    end(s);
}

Test(daemon_page, figures__are_there_as_text)
{
    struct refusal item = refusal("CONNECT", "git.lab.example", 443);
    struct shown *s = show("", ACL, "", &item, 1);
    cr_expect_not_null(strstr(s->text, "<data id=\"accepted\" value=\"1234567\">1,234,567</data>"));
    cr_expect_not_null(strstr(s->text, "2026-01-01 20:40:00"));
    cr_expect_not_null(strstr(s->text, "acl.conf:3: &#60;script&#62;"));
    cr_expect_not_null(strstr(s->text, "No tunnel is open."));
    cr_expect_not_null(strstr(s->text, "止める"));
    cr_expect_not_null(strstr(s->text, "class=\"bad\">down</td>"));
    cr_expect_not_null(strstr(s->text, "class=\"never\""));
    cr_expect_not_null(strstr(s->text, "class=\"foreign\""));
    cr_expect_not_null(strstr(s->text, "5, 4 never hit"));
    cr_expect_not_null(
        strstr(s->text,
               "ukai explain -c &#39;/etc/ukai/it&#39;\\&#39;&#39;s.conf&#39; --from 192.168.1.99 "
               "--listener lan &#39;CONNECT git.lab.example:443&#39;"));
    cr_expect_eq(count(s->text, "<path class=\"line\" d=\"M"), SERIES_KINDS);
    cr_expect_null(strstr(s->text, "http://"), "nothing from elsewhere");
    cr_expect_null(strstr(s->text, "https://"));
    end(s);
}

Test(daemon_page, many_rules__are_cut)
{
    char *acl = malloc(100000);
    size_t len = (size_t)snprintf(acl, 100000, "[in]\n");
    for (int i = 0; i < 1000; i++)
        len +=
            (size_t)snprintf(acl + len, 100000 - len, "tcp 8080 = 10.1.%d.%d\n", i / 200, i % 200);
    struct shown *s = show("", acl, "", NULL, 0);
    cr_expect_eq(count(s->text, "tcp 8080 = 10.1."), 300);
    cr_expect_not_null(strstr(s->text, "1000, 1000 never hit; the 300 most hit"));
    cr_expect_not_null(strstr(s->text, "Nothing was refused"));
    end(s);
    free(acl);
}

Test(daemon_page, command__is_one_only_where_a_shell_and_explain_take_it)
{
    static const struct {
        const char *method, *host;
        uint16_t port;
        enum reason reason;
        const char *want; /* NULL: none */
    } rows[] = {
        {"CONNECT", "a.example", 443, REASON_OUT_DENIED,
         "ukai explain --from 192.168.1.99 --listener lan 'CONNECT a.example:443'"},
        {"CONNECT", "2001:db8::1", 443, REASON_SPECIAL_USE,
         "ukai explain --from 192.168.1.99 --listener lan 'CONNECT [2001:db8::1]:443'"},
        {"GET", "a.example", 8080, REASON_OUT_DENIED,
         "ukai explain --from 192.168.1.99 --listener lan 'GET http://a.example:8080/'"},
        {"DNS", "a.example", 0, REASON_OUT_DENIED,
         "ukai explain --from 192.168.1.99 --listener lan 'DNS a.example'"},
        {"DNS/tcp", "", 0, REASON_SOURCE_DENIED,
         "ukai explain --from 192.168.1.99 --listener lan DNS/tcp"},
        {"", "", 0, REASON_SOURCE_DENIED,
         "ukai explain --from 192.168.1.99 --listener lan 'CONNECT example.com:443'"},
        {"", "", 0, REASON_BAD_REQUEST, NULL},
        {"CONNECT", "a.example", 0, REASON_BAD_REQUEST, NULL},
        {"CONNECT", "$(reboot)", 443, REASON_OUT_DENIED, NULL},
        {"CONNECT", "a';reboot;'", 443, REASON_OUT_DENIED, NULL},
        {"CONNECT", "a\nreboot", 443, REASON_OUT_DENIED, NULL},
        {"CONNECT", "--help", 443, REASON_OUT_DENIED, NULL},
        {"DNS", "a\\032b.example", 0, REASON_OUT_DENIED, NULL},
        {"DNS", "日本.example", 0, REASON_OUT_DENIED, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct refusal r = refusal(rows[i].method, rows[i].host, rows[i].port);
        char buf[REFUSALTEXT_MAX];
        r.reason = rows[i].reason;
        cr_expect_eq(refusaltext_command(&r, "/etc/ukai/ukai.conf", buf, sizeof(buf)),
                     rows[i].want != NULL, "row %zu", i);
        cr_expect_str_eq(buf, rows[i].want ? rows[i].want : "", "row %zu", i);
    }
    struct refusal r = refusal("CONNECT", "a.example", 443);
    char buf[REFUSALTEXT_MAX];
    cr_expect(refusaltext_command(&r, NULL, buf, sizeof(buf)));
    cr_expect_str_eq(buf, "ukai explain --live --from 192.168.1.99 --listener lan 'CONNECT "
                          "a.example:443'");
    r.is_host_cut = true;
    cr_expect_not(refusaltext_command(&r, "/etc/ukai/ukai.conf", buf, sizeof(buf)));
    r.is_host_cut = false;
    snprintf(r.listener, sizeof(r.listener), "a'; reboot");
    cr_assert(refusaltext_command(&r, "/etc/ukai/ukai.conf", buf, sizeof(buf)));
    cr_expect_not_null(strstr(buf, "--listener 'a'\\''; reboot' "));
    snprintf(r.listener, sizeof(r.listener), "a\x1b[2J");
    cr_expect_not(refusaltext_command(&r, "/etc/ukai/ukai.conf", buf, sizeof(buf)));
}

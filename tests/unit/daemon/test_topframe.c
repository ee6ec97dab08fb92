/* The frames of `ukai top`: a model, a width and a height in, lines out. */
#include "proxy/daemon/topframe.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/cells.h"

#define MEMO "Web\xe3\x83\x97\xe3\x83\xad\xe3\x82\xad\xe3\x82\xb7" /* Webプロキシ */

static const struct topframe_view plain = {.sort = "rate", .interval_s = 2};

static json_t *row_json(unsigned i, const char *host, const char *memo)
{
    char src[32], id[32];
    snprintf(src, sizeof(src), "192.168.1.%u", i % 250);
    snprintf(id, sizeof(id), "1.%u", i);
    json_t *o =
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "id", id, "src", src,
                  "port", 443, "tunnels", 3, "rate_up", 1500, "rate_down", 2000000, "bytes_up",
                  5000000, "bytes_down", 1000000000, "age_ms", 7500000, "idle_ms", 400);
    json_object_set_new(o, "host", json_string(host));
    json_object_set_new(o, "memo", json_string(memo));
    return o;
}

/* @n rows in each table, rates over two seconds. */
static json_t *model_new(unsigned n, const char *host, const char *memo)
{
    json_t *m = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i, s:i, s:i, s:i}}",
        "version", "0.1.0", "uptime_s", 93784, "workers", 2, "rules", 4, "max_tunnels", 9648,
        "max_clients", 9648, "n_sources", n, "traffic", "tunnels", n, "clients", n + 1, "requests",
        2, "window", "ms", 2000, "refused", 1, "queries", 40, "hits", 30, "bytes_up", 3000,
        "bytes_down", 4000000);
    static const char *const lists[] = {"busy_sources", "busy_tunnels", "busy_destinations"};
    for (unsigned k = 0; k < 3; k++) {
        json_t *list = json_array();
        for (unsigned i = 1; i <= n; i++)
            json_array_append_new(list, row_json(i, host, memo));
        json_object_set_new(m, lists[k], list);
    }
    json_object_set_new(m, "n_destinations", json_integer(n));
    return m;
}

static struct topframe *frame(json_t *m, struct topframe_view *v, unsigned columns, unsigned lines)
{
    struct topframe *f = topframe_new(m, v, columns, lines);
    cr_assert_not_null(f);
    cr_expect_leq(f->n_lines, lines);
    for (unsigned i = 0; i < f->n_lines; i++)
        cr_expect_leq(cells_width(f->lines[i].text), columns < 40 ? 40 : columns,
                      "%ux%u line %u: %s", columns, lines, i, f->lines[i].text);
    return f;
}

static void expect_line(const struct topframe *f, unsigned at, const char *text)
{
    cr_expect_lt(at, f->n_lines);
    if (at < f->n_lines)
        cr_expect_str_eq(f->lines[at].text, text, "line %u: |%s|", at, f->lines[at].text);
}

Test(daemon_topframe, frame__is_readable__at_80_columns)
{
    struct cells_locale locale = cells_enter();
    json_t *m = model_new(12, "agents.deepsecurity.trendmicro.com", MEMO);
    struct topframe_view v = plain;
    struct topframe *f = frame(m, &v, 80, 24);
    expect_line(f, 0, "ukai 0.1.0  up 1 d 2 h  workers 2  rules 4");
    expect_line(f, 1, "tunnels 12/9648  clients 13/9648  requests 2");
    expect_line(f, 2, "up 1.5K/s  down 1.9M/s  refused 0.50/s  sources denied 0/s  accepted 0/s");
    expect_line(f, 3, "dns 20.0/s  cache 75%  errors 0/s");
    expect_line(f, 4, "sources by rate, 1-4 of 12");
    expect_line(f, 5,
                "SOURCE           TUN  UP/S DOWN/S TOTAL    AGE MEMO                             ");
    expect_line(f, 6,
                "192.168.1.1        3  1.5K   1.9M  958M   2h05 " MEMO "                      ");
    expect_line(f, 10, "tunnels by rate, 1-12 of 12");
    expect_line(f, 11,
                "ID        SOURCE          DESTINATION              AGE   IDLE  UP/S DOWN/S TOTAL");
    expect_line(f, 12,
                "1.1       192.168.1.1     agents.deepsecurity.~   2h05     0s  1.5K   1.9M  958M");
    cr_expect_eq(f->lines[11].style, TOPFRAME_TITLE);
    cr_expect_eq(f->n_lines, 24);
    topframe_free(f);
    json_decref(m);
    cells_leave(&locale);
}

Test(daemon_topframe, frame__leaves_columns_out__at_40)
{
    struct cells_locale locale = cells_enter();
    json_t *m = model_new(12, "agents.deepsecurity.trendmicro.com", MEMO);
    struct topframe_view v = plain;
    struct topframe *f = frame(m, &v, 40, 15);
    expect_line(f, 2, "up 1.5K/s  down 1.9M/s  refused 0.50/s");
    expect_line(f, 6, "192.168.1.1     3  1.5K   1.9M  958M");
    expect_line(f, 9, "SOURCE       DESTINATION         DOWN/S");
    topframe_free(f);
    json_decref(m);
    cells_leave(&locale);
}

/* Any size: no line too long, none too many, never a control character. */
Test(daemon_topframe, frame__fits__any_screen)
{
    struct cells_locale locale = cells_enter();
    static const unsigned widths[] = {0, 1, 39, 40, 41, 47, 56, 63, 79, 80, 131, 299, 300, 5000};
    json_t *m = model_new(300, "\033]0;pwned\007\xe6\x97\xa5.example\n", "\033[31m" MEMO MEMO);
    for (unsigned w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
        for (unsigned h = 0; h < 60; h++) {
            struct topframe_view v = plain;
            v.has_keys = h % 2;
            v.table = w % 2 ? TOPFRAME_DESTINATIONS : TOPFRAME_TUNNELS;
            v.shows_help = h % 7 == 3;
            v.chosen = 7 * h;
            struct topframe *f = topframe_new(m, &v, widths[w], h);
            cr_assert_leq(f->n_lines, h < 1 ? 1 : h);
            for (unsigned i = 0; i < f->n_lines; i++) {
                const char *text = f->lines[i].text;
                cr_assert_leq(cells_width(text), widths[w] < 40 ? 40 : widths[w]);
                for (; *text; text++)
                    cr_assert((unsigned char)*text >= 0x20 && *text != 0x7f);
            }
            topframe_free(f);
        }
    }
    json_decref(m);
    cells_leave(&locale);
}

Test(daemon_topframe, chosen_row__stays_on_the_screen)
{
    struct cells_locale locale = cells_enter();
    json_t *m = model_new(100, "a.example", "");
    struct topframe_view v = plain;
    v.has_keys = true;
    for (unsigned chosen = 0; chosen < 120; chosen += 3) {
        v.chosen = chosen;
        struct topframe *f = frame(m, &v, 80, 24);
        unsigned n_chosen = 0;
        for (unsigned i = 0; i < f->n_lines; i++)
            n_chosen += f->lines[i].style == TOPFRAME_CHOSEN;
        cr_expect_eq(n_chosen, 1, "row %u", chosen);
        cr_expect_lt(v.chosen, 100);
        topframe_free(f);
    }
    v.chosen = 0;
    topframe_free(frame(m, &v, 80, 24));
    cr_expect_eq(v.first, 0);
    json_decref(m);
    cells_leave(&locale);
}

Test(daemon_topframe, rates__are_unknown__in_the_first_frame)
{
    struct cells_locale locale = cells_enter();
    json_t *m = model_new(1, "a.example", "");
    struct topframe_view v = plain;
    json_object_set_new(json_object_get(m, "window"), "ms", json_integer(0));
    struct topframe *f = frame(m, &v, 80, 24);
    expect_line(f, 2, "up -/s  down -/s  refused -  sources denied -  accepted -");
    cr_expect(strstr(f->lines[6].text, "  -      -"));
    topframe_free(f);
    json_decref(m);
    cells_leave(&locale);
}

Test(daemon_topframe, model_of_nonsense__is_an_empty_frame)
{
    struct cells_locale locale = cells_enter();
    static const char *const texts[] = {
        "{}", "[]", "{\"busy_sources\":7,\"busy_tunnels\":{},\"window\":[]}",
        "{\"traffic\":{\"tunnels\":-5},\"busy_sources\":[1,null,{}]}"};
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        json_t *m = json_loads(texts[i], 0, NULL);
        struct topframe_view v = plain;
        topframe_free(frame(m, &v, 80, 24));
        json_decref(m);
    }
    cells_leave(&locale);
}

Test(daemon_topframe, state__warns)
{
    struct cells_locale locale = cells_enter();
    json_t *m = model_new(1, "a.example", "");
    struct topframe_view v = plain;
    json_object_set_new(m, "draining", json_true());
    v.is_paused = true;
    struct topframe *f = frame(m, &v, 80, 24);
    cr_expect_eq(f->lines[0].style, TOPFRAME_WARNING);
    cr_expect(strstr(f->lines[0].text, "PAUSED  DRAINING"));
    cr_expect_eq(f->lines[1].style, TOPFRAME_PLAIN);
    cr_expect_eq(f->lines[3].style, TOPFRAME_PLAIN);
    topframe_free(f);
    json_object_set_new(m, "max_tunnels", json_integer(1));
    json_object_set_new(m, "reload_refused_timestamp_s", json_integer(1));
    json_object_set_new(m, "name_servers",
                        json_pack("[{s:s}, {s:s}]", "state", "up", "state", "partly"));
    f = frame(m, &v, 80, 24);
    cr_expect(strstr(f->lines[0].text, "RELOAD REFUSED"));
    cr_expect_eq(f->lines[1].style, TOPFRAME_WARNING);
    cr_expect(strstr(f->lines[3].text, "name servers 1/2 up"));
    cr_expect_eq(f->lines[3].style, TOPFRAME_WARNING);
    topframe_free(f);
    json_decref(m);
    cells_leave(&locale);
}

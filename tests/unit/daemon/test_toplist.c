/* Sources, destinations and tunnels added up, sorted, and their rates, on a clock of the test's
 * own.
 */
#include "proxy/daemon/toplist.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4 };

/* host NUL memo NUL each */
static char texts[] = "b.example\0memo\0"
                      "A.example\0\0"
                      "a.example\0\0"
                      "\xff\xc2\x9b.example\0";

struct bench {
    struct loop loop;
    struct toplist_past past;
    struct roster *roster; /* one worker, N tunnels of two sources to three destinations */
};

static struct roster_tunnel tunnel(uint64_t serial, const char *source, size_t at, uint64_t down)
{
    struct roster_tunnel t = {
        .serial = serial, .texts = at, .port = 443, .bytes_down = down, .age_ms = 1000 * serial};
    cr_assert_eq(addr_parse(source, strlen(source), &t.source), 0);
    return t;
}

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof(*b));
    b->roster = calloc(1, sizeof(*b->roster) + sizeof(b->roster->parts[0]));
    cr_assert_eq(loop_init(&b->loop), 0);
    b->past.loop = &b->loop;
    b->roster->n_parts = 1;
    struct roster_part *p = &b->roster->parts[0];
    p->tunnels = calloc(N, sizeof(*p->tunnels));
    p->lines = malloc(sizeof(texts));
    memcpy(p->lines, texts, sizeof(texts));
    p->tunnels[0] = tunnel(9, "192.168.1.20", 0, 100);
    p->tunnels[1] = tunnel(2, "192.168.1.10", 15, 3000);
    p->tunnels[2] = tunnel(3, "192.168.1.20", 26, 2000);
    p->tunnels[3] = tunnel(4, "192.168.1.20", 37, 50);
    p->n_tunnels = N;
    return b;
}

static void bench_free(struct bench *b)
{
    toplist_past_fini(&b->past);
    roster_free(b->roster);
    loop_fini(&b->loop);
    free(b);
}

static json_t *ask(struct bench *b, enum toplist_sort sort, size_t n_rows, uint64_t now_ms)
{
    json_t *o = json_object();
    cr_assert_eq(toplist_write(&b->past, b->roster, sort, n_rows, now_ms, o), 0);
    return o;
}

static const json_t *row(const json_t *o, const char *list, size_t i)
{
    return json_array_get(json_object_get(o, list), i);
}

static const char *text(const json_t *o, const char *key)
{
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

static json_int_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

Test(daemon_toplist, rows__are_added_up_and_sorted)
{
    struct bench *b = bench_new();
    json_t *o = ask(b, TOPLIST_BY_BYTES, 10, 5000);
    cr_expect_eq(number(o, "n_sources"), 2);
    cr_expect_eq(number(o, "n_destinations"), 3);
    cr_expect_str_eq(text(row(o, "busy_sources", 0), "src"), "192.168.1.10");
    cr_expect_eq(number(row(o, "busy_sources", 1), "bytes_down"), 2150);
    cr_expect_eq(number(row(o, "busy_sources", 1), "tunnels"), 3);
    cr_expect_eq(number(row(o, "busy_sources", 1), "age_ms"), 9000);
    cr_expect_eq(number(row(o, "busy_destinations", 0), "bytes_down"),
                 5000); /* names have no case */
    cr_expect_str_eq(text(row(o, "busy_tunnels", 0), "id"), "0.2");
    cr_expect_str_eq(text(row(o, "busy_tunnels", 2), "memo"), "memo");
    cr_expect_str_eq(text(row(o, "busy_tunnels", 3), "host"), "\\xff\\xc2\\x9b.example");
    json_decref(o);
    bench_free(b);
}

Test(daemon_toplist, orders)
{
    static const struct {
        enum toplist_sort sort;
        const char *ids[N];
    } orders[] = {{TOPLIST_BY_BYTES, {"0.2", "0.3", "0.9", "0.4"}},
                  {TOPLIST_BY_RATE, {"0.2", "0.3", "0.9", "0.4"}}, /* none yet: by bytes */
                  {TOPLIST_BY_AGE, {"0.9", "0.4", "0.3", "0.2"}},
                  {TOPLIST_BY_SOURCE, {"0.2", "0.3", "0.4", "0.9"}}};
    struct bench *b = bench_new();
    for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        json_t *o = ask(b, orders[i].sort, 10, 5000);
        for (unsigned k = 0; k < N; k++)
            cr_expect_str_eq(text(row(o, "busy_tunnels", k), "id"), orders[i].ids[k],
                             "order %u row %u", i, k);
        json_decref(o);
    }
    bench_free(b);
}

Test(daemon_toplist, rates__are_of_the_time_between)
{
    struct bench *b = bench_new();
    struct roster_tunnel *t = b->roster->parts[0].tunnels;
    b->roster->parts[0].figures.open_down = 5150;
    json_t *o = ask(b, TOPLIST_BY_RATE, 10, 5000);
    cr_expect_eq(number(json_object_get(o, "window"), "ms"), 0);
    json_decref(o);
    t[0].bytes_down += 4000;
    t[3].bytes_up += 100;
    b->roster->parts[0].figures.open_down += 4000;
    o = ask(b, TOPLIST_BY_RATE, 10, 7000);
    cr_expect_eq(number(json_object_get(o, "window"), "ms"), 2000);
    cr_expect_eq(number(json_object_get(o, "window"), "bytes_down"), 4000);
    cr_expect_str_eq(text(row(o, "busy_tunnels", 0), "id"), "0.9");
    cr_expect_eq(number(row(o, "busy_tunnels", 0), "rate_down"), 2000);
    cr_expect_eq(number(row(o, "busy_tunnels", 1), "rate_up"), 50);
    cr_expect_eq(number(row(o, "busy_sources", 0), "rate_down"), 2000);
    json_decref(o);
    bench_free(b);
}

/* Two people look every second, half a second apart: both have rates over at least 700 ms. */
Test(daemon_toplist, window__is_long_enough__for_several_who_ask)
{
    struct bench *b = bench_new();
    for (uint64_t now = 1000; now < 20000; now += 500) {
        json_t *o = ask(b, TOPLIST_BY_RATE, 10, now);
        json_int_t ms = number(json_object_get(o, "window"), "ms");
        cr_expect(now <= 1500 || (ms >= 700 && ms <= 2000), "at %llu: %lld",
                  (unsigned long long)now, (long long)ms);
        json_decref(o);
    }
    bench_free(b);
}

Test(daemon_toplist, lists__are_cut)
{
    struct bench *b = bench_new();
    json_t *o = ask(b, TOPLIST_BY_RATE, 1, 5000);
    cr_expect_eq(json_array_size(json_object_get(o, "busy_tunnels")), 1);
    cr_expect_eq(json_array_size(json_object_get(o, "busy_sources")), 1);
    cr_expect_eq(number(o, "n_sources"), 2);
    json_decref(o);
    b->roster->parts[0].n_tunnels = 0;
    o = ask(b, TOPLIST_BY_RATE, 10, 6000);
    cr_expect_eq(json_array_size(json_object_get(o, "busy_sources")), 0);
    json_decref(o);
    bench_free(b);
}

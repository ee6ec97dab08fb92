/* What a reload does to what runs: cut, spared, given time, kept; tunnels, exchanges, the pool. */
#include "proxy_bench.h"

#define IN     "[in]\ntcp 8080 = 127.0.0.1\n"
#define OUT    "[out]\nallow = 127.0.0.0/8\n"
#define NOBODY "[in]\ntcp 8080 = 192.0.2.1\n" OUT
#define GRACE  "[acl]\non-reload = grace=1s\n"
#define KEEP   "[acl]\non-reload = keep\n"

struct tunnel {
    int near, far;
};

static struct tunnel open_tunnel(struct bench *b)
{
    char text[128], buf[256];
    struct tunnel t = {.near = bench_client(b)};
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", b->origin_port);
    bench_send(t.near, text);
    cr_assert_eq(bench_read(b, t.near, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    t.far = bench_accept(b, 2000);
    cr_assert_geq(t.far, 0);
    return t;
}

static void close_tunnel(struct tunnel t)
{
    close(t.near);
    close(t.far);
}

static void expect_open(struct bench *b, struct tunnel t, const char *why)
{
    char buf[64];
    bench_send(t.near, "up");
    cr_expect_eq(bench_read(b, t.far, buf, sizeof(buf), "up", 2000), 1, "%s", why);
    bench_send(t.far, "down");
    cr_expect_eq(bench_read(b, t.near, buf, sizeof(buf), "down", 2000), 1, "%s", why);
}

static void expect_cut(struct bench *b, struct tunnel t, const char *why)
{
    char buf[64];
    cr_expect_eq(bench_read(b, t.near, buf, sizeof(buf), NULL, 3000), -ECONNRESET, "%s", why);
    cr_expect_eq(bench_read(b, t.far, buf, sizeof(buf), NULL, 3000), -ECONNRESET, "%s", why);
}

static void reload(struct bench *b, const char *more, const char *acl)
{
    bench_use(b, bench_load(b, more, acl), -1);
}

static void expect_in_log(struct bench *b, unsigned n, const char *text)
{
    char log[8192];
    cr_expect_eq(bench_records(b, log, sizeof(log), n), n, "%s", log);
    cr_expect_not_null(strstr(log, text), "no %s in %s", text, log);
}

Test(flow_review, revoke__cuts_and_names__what_forbids)
{
    static const struct {
        const char *name, *acl, *rule;
    } rows[] = {
        {"source", NOBODY, "rule=\"no rule\""},
        {"deny line", IN "[out]\ndeny = 127.0.0.1 ; not here\nallow = 127.0.0.0/8\n",
         "rule=\"acl.conf:4\" memo=\"not here\""},
        {"no allow line", IN "[out]\nallow = 127.0.0.2\n", "rule=\"127.0.0.0/8\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench *b = bench_new("", NULL);
        struct tunnel t = open_tunnel(b);
        reload(b, "", rows[i].acl);
        expect_cut(b, t, rows[i].name);
        expect_in_log(b, 1, "closed_by=\"acl\"");
        expect_in_log(b, 1, rows[i].rule);
        close_tunnel(t);
        bench_free(b);
    }
}

Test(flow_review, default_mode__is_revoke__and_spares_what_is_permitted)
{
    struct bench *b = bench_new("", NULL);
    struct tunnel t = open_tunnel(b);
    reload(b, "", "[in]\ntcp 8080 = 127.0.0.0/8 ; another line\n" OUT);
    expect_open(b, t, "permitted by another line");
    bench_reset(t.near);
    expect_in_log(b, 1, "memo=\"another line\"");
    close(t.far);
    bench_free(b);
}

Test(flow_review, many__are_judged_in_slices__and_all_of_them)
{
    enum { N = 40 };
    struct bench *b = bench_new("", NULL);
    struct tunnel t[N];
    for (int i = 0; i < N; i++)
        t[i] = open_tunnel(b);
    reload(b, "", NOBODY);
    for (int i = 0; i < N; i++) {
        expect_cut(b, t[i], "one of many");
        close_tunnel(t[i]);
    }
    bench_free(b);
}

Test(flow_review, keep__lets_live__what_is_forbidden)
{
    struct bench *b = bench_new(KEEP, NULL);
    struct tunnel t = open_tunnel(b);
    reload(b, KEEP, NOBODY);
    bench_run_ms(b, 50);
    expect_open(b, t, "keep");
    close_tunnel(t);
    bench_free(b);
}

Test(flow_review, grace__cuts_in_the_end__and_not_before)
{
    struct bench *b = bench_new(GRACE, NULL);
    struct tunnel t = open_tunnel(b);
    uint64_t start = bench_now_ms();
    reload(b, GRACE, NOBODY);
    bench_run_ms(b, 300);
    expect_open(b, t, "within its grace");
    reload(b, GRACE, NOBODY); /* does not begin it anew */
    expect_cut(b, t, "after its grace");
    cr_expect_geq(bench_now_ms() - start, 1000);
    cr_expect_lt(bench_now_ms() - start, 2000);
    expect_in_log(b, 1, "closed_by=\"acl\"");
    close_tunnel(t);
    bench_free(b);
}

Test(flow_review, grace__is_over__when_a_second_reload_permits_again)
{
    struct bench *b = bench_new(GRACE, NULL);
    struct tunnel t = open_tunnel(b);
    reload(b, GRACE, NOBODY);
    bench_run_ms(b, 100);
    reload(b, GRACE, NULL);
    bench_run_ms(b, 1300);
    expect_open(b, t, "spared");
    close_tunnel(t);
    bench_free(b);
}

Test(flow_review, grace__is_cut_short__by_revoke)
{
    struct bench *b = bench_new(GRACE, NULL);
    struct tunnel t = open_tunnel(b);
    reload(b, GRACE, NOBODY);
    bench_run_ms(b, 100);
    uint64_t start = bench_now_ms();
    reload(b, "", NOBODY);
    expect_cut(b, t, "revoke");
    cr_expect_lt(bench_now_ms() - start, 700);
    close_tunnel(t);
    bench_free(b);
}

/* A request at its origin, the answer begun. */
static struct tunnel begin_exchange(struct bench *b)
{
    char buf[2048];
    struct tunnel t = {.near = bench_client(b)};
    bench_get(b, t.near, "/", "1.1", "");
    t.far = bench_accept(b, 2000);
    cr_assert_geq(t.far, 0);
    cr_assert_eq(bench_read(b, t.far, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(t.far, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    cr_assert_eq(bench_read(b, t.near, buf, sizeof(buf), "ab", 2000), 1);
    return t;
}

Test(flow_review, exchange__is_reset__when_it_is_forbidden)
{
    struct bench *b = bench_new("", NULL);
    struct tunnel t = begin_exchange(b);
    char buf[64];
    reload(b, "", IN "[out]\ndeny = 127.0.0.1\nallow = 127.0.0.0/8\n");
    cr_expect_eq(bench_read(b, t.near, buf, sizeof(buf), NULL, 2000), -ECONNRESET);
    cr_expect_leq(bench_read(b, t.far, buf, sizeof(buf), NULL, 2000), 0);
    expect_in_log(b, 1, "rule=\"acl.conf:4\"");
    close_tunnel(t);
    bench_free(b);
}

Test(flow_review, exchange__ends_well__but_feeds_no_pool)
{
    struct bench *b = bench_new(KEEP, NULL);
    struct tunnel t = begin_exchange(b);
    char buf[256];
    reload(b, KEEP, IN "[out]\ndeny = 127.0.0.1\nallow = 127.0.0.0/8\n");
    bench_run_ms(b, 30);
    bench_send(t.far, "cd");
    cr_expect_eq(bench_read(b, t.near, buf, sizeof(buf), "cd", 2000), 1);
    cr_expect_eq(bench_read(b, t.far, buf, sizeof(buf), NULL, 2000), 0, "pooled");
    bench_get(b, t.near, "/again", "1.1", "");
    cr_expect_eq(bench_read(b, t.near, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    cr_expect_eq(strncmp(buf, "HTTP/1.1 403", 12), 0, "%s", buf);
    close_tunnel(t);
    bench_free(b);
}

/* The same configuration with another listener. */
static void reload_listener(struct bench *b, const char *port, const char *ports)
{
    char path[64], conf[512];
    struct findings findings = {0};
    struct snapshot *s = NULL;
    snprintf(path, sizeof(path), "%s/ukai.conf", b->dir);
    snprintf(conf, sizeof(conf),
             "[web-proxy]\nlisten-network = 127.0.0.1\nlisten-port = %s\nconnect-ports = %s\n"
             "name-server = 127.0.0.1:9\n[log]\naccess = %s\naccess-format = logfmt\n",
             port, ports, b->log_path);
    bench_write(b->dir, "acl.conf", "[in]\nany = 127.0.0.1\n" OUT);
    bench_write(b->dir, "ukai.conf", conf);
    cr_assert_eq(snapshot_load_from(path, "/nonexistent", &findings, &s), 0);
    findings_fini(&findings);
    bench_use(b, s, -1);
}

Test(flow_review, removed_listener__ends_what_came_by_it)
{
    struct bench *b = bench_new("", NULL);
    struct tunnel t = open_tunnel(b);
    reload_listener(b, "8081", "1-65535");
    expect_cut(b, t, "its listener is gone");
    expect_in_log(b, 1, "rule=\"no listener\"");
    close_tunnel(t);
    bench_free(b);
}

Test(flow_review, port_list__ends_what_it_has_no_more)
{
    struct bench *b = bench_new("", NULL);
    struct tunnel t = open_tunnel(b);
    reload_listener(b, "8080", "1-1000");
    expect_cut(b, t, "its port is not listed");
    expect_in_log(b, 1, "rule=\"port list\"");
    close_tunnel(t);
    bench_free(b);
}

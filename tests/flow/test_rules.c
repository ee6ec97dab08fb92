/* What is counted for a line of the ACL, and that it follows the line over reloads. */
#include "proxy/daemon/rules.h"
#include "proxy_bench.h"

struct counted {
    struct bench *bench;
    struct rules rules;
};

static void use(struct counted *t, const char *acl)
{
    struct snapshot *s = bench_load(t->bench, "[acl]\non-reload = keep\n", acl);
    cr_assert_eq(rules_number(&t->rules, t->bench->snapshot->acl, s->acl), 0);
    bench_use(t->bench, s, -1);
}

static struct counted begin(const char *acl)
{
    struct counted t = {.bench = bench_new("", NULL)};
    cr_assert_eq(rules_init(&t.rules, &t.bench->worker, 1), 0);
    use(&t, acl);
    return t;
}

static void end(struct counted *t)
{
    rules_fini(&t->rules);
    bench_free(t->bench);
}

static struct hits_sum sum_in(struct counted *t, size_t i)
{
    return rules_sum(&t->rules, &t->bench->snapshot->acl->in[i].place);
}

static struct hits_sum sum_out(struct counted *t, size_t i)
{
    return rules_sum(&t->rules, &t->bench->snapshot->acl->out[i].place);
}

/* A CONNECT to our origin; the client's socket, its answer read. */
static int ask(struct bench *b, const char *host)
{
    char text[256], buf[2048];
    int fd = bench_client(b);
    snprintf(text, sizeof(text), "CONNECT %s:%u HTTP/1.1\r\n\r\n", host, b->origin_port);
    bench_send(fd, text);
    cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    return fd;
}

#define IN "[in]\ntcp 8080 = 192.0.2.7\ntcp 8080 = 127.0.0.1 ; us\n"

Test(flow_rules, hits_and_bytes__are_of_the_lines_that_decided)
{
    struct counted t = begin(IN "[out]\ndeny = 127.0.0.2\nallow = 127.0.0.0/8\n");
    struct bench *b = t.bench;
    char buf[64];
    int fd = ask(b, "127.0.0.1"), far = bench_accept(b, 2000);
    cr_expect_eq(sum_in(&t, 1).n, 1);
    cr_expect_eq(sum_out(&t, 1).n, 1);
    cr_expect_gt(sum_out(&t, 1).last_ms, 0);
    bench_send(fd, "12345");
    cr_expect_eq(bench_read(b, far, buf, sizeof(buf), "12345", 2000), 1);
    close(fd);
    close(far);
    for (int i = 0; i < 100 && sum_in(&t, 1).bytes == 0; i++)
        bench_run_ms(b, 50);
    cr_expect_eq(sum_in(&t, 1).bytes, 5);
    cr_expect_eq(sum_out(&t, 1).bytes, 5);
    close(ask(b, "127.0.0.2"));
    cr_expect_eq(sum_in(&t, 1).n, 2);
    cr_expect_eq(sum_out(&t, 0).n, 1, "the deny line");
    cr_expect_eq(sum_in(&t, 0).n, 0);
    cr_expect_eq(sum_in(&t, 0).last_ms, 0);
    end(&t);
}

Test(flow_rules, name__counts_the_line_that_names_it)
{
    struct counted t = begin(IN "[out]\ndeny = x.example\nallow = *.example\n");
    int fd = ask(t.bench, "x.example");
    cr_expect_eq(sum_out(&t, 0).n, 1);
    close(fd);
    end(&t);
}

Test(flow_rules, plain_requests__count_each)
{
    struct counted t = begin(IN "[out]\nallow = 127.0.0.0/8\n");
    struct bench *b = t.bench;
    char buf[2048];
    int fd = bench_client(b), origin = -1;
    for (int i = 0; i < 3; i++) {
        bench_get(b, fd, "/", "1.1", "");
        origin = origin < 0 ? bench_accept(b, 2000) : origin;
        cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
        bench_send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\nok", 2000), 1);
    }
    cr_expect_eq(sum_in(&t, 1).n, 1, "one connection");
    cr_expect_eq(sum_out(&t, 0).n, 3, "three requests, pooled or not");
    cr_expect_gt(sum_out(&t, 0).bytes, 5);
    cr_expect_eq(sum_in(&t, 1).bytes, sum_out(&t, 0).bytes);
    close(fd);
    close(origin);
    end(&t);
}

Test(flow_rules, counts__follow_the_line__and_begin_anew_with_a_new_one)
{
    struct counted t = begin(IN "[out]\nallow = 127.0.0.0/8\n");
    struct bench *b = t.bench;
    int fd = ask(b, "127.0.0.1");
    use(&t, "; a comment\n\n[in]\nany = 192.0.2.99\n\ntcp 8080 = 127.0.0.1 ; us\n[out]\nallow = "
            "127.0.0.0/8\n");
    cr_expect_eq(sum_in(&t, 1).n, 1, "the same line");
    cr_expect_eq(sum_out(&t, 0).n, 1);
    bench_send(fd, "later");
    bench_run_ms(b, 20);
    bench_reset(fd);
    bench_run_ms(b, 50);
    cr_expect_eq(sum_in(&t, 1).bytes, 5, "of a tunnel that is older than the reload");
    use(&t, "[in]\ntcp 8080 = 127.0.0.1 ; another memo\n[out]\nallow = 127.0.0.0/8\n");
    cr_expect_eq(sum_in(&t, 0).n, 0, "another line");
    for (int i = 0; i < 20; i++) /* numbers are used again, counts are not */
        use(&t, i % 2 ? "[in]\ntcp 8080 = 127.0.0.0/30\n" : "[in]\ntcp 8080 = 127.0.0.0/31\n");
    cr_expect_eq(sum_in(&t, 0).n + sum_in(&t, 0).bytes, 0);
    end(&t);
}

Test(flow_rules, table__names_each_line__and_those_never_hit)
{
    struct counted t =
        begin(IN "tcp 9999 = 127.0.0.1\n[out]\nallow = 127.0.0.0/8 ; ループ \"x\"\n");
    char *text = NULL;
    size_t len;
    close(ask(t.bench, "127.0.0.1"));
    FILE *out = open_memstream(&text, &len);
    rules_write(&t.rules, t.bench->snapshot, bench_now_ms(), false, out);
    rules_write(&t.rules, t.bench->snapshot, bench_now_ms(), true, out);
    fclose(out);
    cr_expect_not_null(strstr(text, "[in] acl.conf:3: tcp 8080 = 127.0.0.1   ; us"), "%s", text);
    cr_expect_not_null(strstr(text, "never"), "%s", text);
    cr_expect_not_null(strstr(text, "not ours"), "%s", text);
    cr_expect_not_null(strstr(text, "4 rules, 1 never hit"), "%s", text);
    cr_expect_not_null(strstr(text, "\"memo\":\"ループ \\\"x\\\"\",\"ours\":true,\"hits\":1"), "%s",
                       text);
    free(text);
    end(&t);
}

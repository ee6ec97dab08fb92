/* A connection's life on a real worker: limits, timers, records, drain. */
#include "proxy_bench.h"

#include "proxy/flow/drain.h"

static void open_tunnel(struct bench *b, int fd)
{
    char text[128];
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", b->origin_port);
    bench_send(fd, text);
}

Test(flow_conn, max_tunnels__holds__when_tunnels_are_set_up_at_once)
{
    struct bench *b = bench_new("", NULL);
    int clients[3];
    char buf[2048];
    unsigned n_open = 0, n_refused = 0;
    atomic_store(&b->shared.max_tunnels, 1);
    for (int i = 0; i < 3; i++) {
        clients[i] = bench_client(b);
        open_tunnel(b, clients[i]);
    }
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(bench_read(b, clients[i], buf, sizeof(buf), "\r\n\r\n", 2000), 1);
        n_open += strncmp(buf, "HTTP/1.1 200", 12) == 0;
        n_refused += strncmp(buf, "HTTP/1.1 503", 12) == 0;
    }
    cr_expect_eq(n_open, 1, "%u tunnels are open", n_open);
    cr_expect_eq(n_refused, 2);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    bench_free(b);
}

/* One request and its whole answer, after which the connection waits for the next. */
static int serve_one(struct bench *b, int fd, const char *version, const char *fields)
{
    char buf[2048];
    bench_get(b, fd, "/", version, fields);
    int origin = bench_accept(b, 2000);
    cr_assert_geq(origin, 0);
    cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\nok", 2000), 1);
    return origin;
}

Test(flow_conn, drain__closes_a_kept_connection__that_waits_for_its_next_request)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048];
    int fd = bench_client(b);
    int origin = serve_one(b, fd, "1.1", "");
    drain_post(&b->worker, 30000);
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), 0, "it is still open");
    bench_run_ms(b, 50);
    cr_expect_eq(b->n_drained, 1);
    close(fd);
    close(origin);
    bench_free(b);
}

Test(flow_conn, second_drain__is_told_once__and_ends_what_runs)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048];
    int fd = bench_client(b);
    open_tunnel(b, fd);
    cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    drain_post(&b->worker, 30000);
    bench_run_ms(b, 50);
    cr_expect_eq(b->n_drained, 0);
    drain_post(&b->worker, 0);
    cr_expect_neq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), -EAGAIN);
    bench_run_ms(b, 50);
    cr_expect_eq(b->n_drained, 1);
    close(fd);
    bench_free(b);
}

Test(flow_conn, next_head__has_the_limit_of_a_head__once_it_has_begun)
{
    struct bench *b = bench_new("[timeouts]\nhead = 1s\nhttp-idle = 30s\n", NULL);
    char buf[2048];
    int fd = bench_client(b);
    int origin = serve_one(b, fd, "1.1", "");
    bench_send(fd, "GET http");
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\n", 3000), 1, "nothing came");
    cr_expect_eq(strncmp(buf, "HTTP/1.1 408", 12), 0, "%s", buf);
    close(fd);
    close(origin);
    bench_free(b);
}

Test(flow_conn, cut_answer__ends_by_a_reset__when_the_worker_stops)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048];
    int fd = bench_client(b);
    bench_get(b, fd, "/", "1.0", "");
    int origin = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "hello", 2000), 1);
    drain_post(&b->worker, 0);
    /* To an HTTP/1.0 client a FIN is the end of a whole answer. */
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), -ECONNRESET);
    close(fd);
    close(origin);
    bench_free(b);
}

Test(flow_conn, head__is_refused_without_a_body)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048];
    int fd = bench_client(b);
    bench_send(fd, "HEAD http://127.0.0.1:22/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), 0);
    const char *end = strstr(buf, "\r\n\r\n");
    cr_assert_not_null(end);
    cr_expect_eq(strncmp(buf, "HTTP/1.1 403", 12), 0, "%s", buf);
    cr_expect_str_eq(end + 4, "");
    close(fd);
    bench_free(b);
}

/* Whoever is refused and stays is no client. */
Test(flow_conn, refused_clients__take_no_place__while_they_linger)
{
    struct bench *b = bench_new("", "[in]\ntcp 8080 = 127.0.0.1\n");
    char buf[2048];
    int fds[8];
    atomic_store(&b->shared.max_clients, 2);
    for (int i = 0; i < 8; i++)
        fds[i] = bench_client(b);
    bench_run_ms(b, 50);
    cr_expect_eq(atomic_load(&b->shared.n_clients), 2);
    cr_expect_eq(atomic_load(&b->shared.n_turned_away), 6);
    cr_expect_eq(bench_read(b, fds[7], buf, sizeof(buf), "\r\n\r\n", 1000), 1);
    cr_expect_eq(strncmp(buf, "HTTP/1.1 503", 12), 0, "%s", buf);
    close(fds[0]);
    bench_run_ms(b, 50);
    cr_expect_eq(atomic_load(&b->shared.n_clients), 1);
    close(fds[7]);
    fds[7] = bench_client(b);
    bench_run_ms(b, 50);
    cr_expect_eq(atomic_load(&b->shared.n_clients), 2);
    for (int i = 1; i < 8; i++)
        close(fds[i]);
    bench_run_ms(b, 50);
    cr_expect_eq(atomic_load(&b->shared.n_turned_away), 0);
    bench_free(b);
}

Test(flow_conn, denied_sources__take_no_place__when_all_are_taken)
{
    struct bench *b = bench_new("[acl]\ndeny-answer = 403\n", "[in]\ntcp 8080 = 192.0.2.1\n");
    char buf[2048];
    int fds[5];
    atomic_store(&b->shared.max_clients, 2);
    for (int i = 0; i < 5; i++)
        fds[i] = bench_client(b);
    bench_run_ms(b, 50);
    cr_expect_leq(atomic_load(&b->shared.n_clients), 2, "%u", atomic_load(&b->shared.n_clients));
    cr_expect_eq(bench_read(b, fds[0], buf, sizeof(buf), "\r\n\r\n", 1000), 1);
    cr_expect_neq(bench_read(b, fds[4], buf, sizeof(buf), NULL, 1000), -EAGAIN);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    bench_free(b);
}

Test(flow_conn, denied_sources__are_sampled__when_they_are_answered)
{
    enum { N = 80 };
    struct bench *b = bench_new("[acl]\ndeny-answer = 403\n", "[in]\ntcp 8080 = 192.0.2.1\n");
    char *log = malloc(256 * 1024);
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = bench_client(b);
    unsigned n = bench_records(b, log, 256 * 1024, N);
    cr_expect_lt(n, N, "%u records", n);
    cr_expect_gt(n, 0);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    free(log);
    bench_free(b);
}

Test(flow_conn, connect__gets_the_bytes_behind_its_head__after_pipelined_requests)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048], text[512];
    int fd = bench_client(b);
    snprintf(text, sizeof(text),
             "GET http://127.0.0.1:%u/a HTTP/1.1\r\nHost: x\r\n\r\n"
             "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\nglued",
             b->origin_port, b->origin_port);
    bench_send(fd, text);
    int origin = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    int far = bench_accept(b, 2000);
    cr_assert_geq(far, 0);
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), "established\r\n\r\n", 2000), 1);
    cr_expect_eq(bench_read(b, far, buf, sizeof(buf), "glued", 2000), 1);
    bench_send(far, "back");
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), "back", 2000), 1);
    shutdown(fd, SHUT_WR);
    cr_expect_eq(bench_read(b, far, buf, sizeof(buf), NULL, 2000), 0);
    close(far);
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), 0);
    char log[4096];
    cr_expect_eq(bench_records(b, log, sizeof(log), 2), 2, "%s", log);
    close(fd);
    close(origin);
    bench_free(b);
}

/* Whatever happens at which moment: one record each, and all is given back. */
Test(flow_conn, ends__leave_one_record__whenever_they_come)
{
    for (int when = 0; when < 6; when++) {
        struct bench *b = bench_new("", NULL);
        char buf[2048], log[4096];
        int far = -1, fd = bench_client(b);
        bench_send(fd, "GET http://127.0.0.1");
        if (when >= 1) {
            snprintf(buf, sizeof(buf), ":%u/ HTTP/1.1\r\nHost: x\r\n\r\n", b->origin_port);
            bench_send(fd, buf);
        }
        bench_run_ms(b, 20);
        if (when >= 2) {
            far = bench_accept(b, 1000);
            cr_assert_eq(bench_read(b, far, buf, sizeof(buf), "\r\n\r\n", 1000), 1);
        }
        if (when >= 3)
            bench_send(far, "HTTP/1.1 100 Continue\r\n\r\n");
        if (when >= 4)
            bench_send(far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        if (when >= 5)
            bench_send(far, "12345");
        bench_run_ms(b, 20);
        bench_reset(fd);
        bench_run_ms(b, 20);
        cr_expect_eq(bench_records(b, log, sizeof(log), 1), 1, "when %d: %s", when, log);
        bench_run_ms(b, 20);
        cr_expect_eq(bench_records(b, log, sizeof(log), 1), 1, "when %d: %s", when, log);
        if (far >= 0)
            close(far);
        bench_free(b);
    }
}

Test(flow_conn, reload__keeps_what_runs__and_drops_no_reference)
{
    static const char keep[] = "[acl]\non-reload = keep\n";
    struct bench *b = bench_new(keep, NULL);
    char buf[2048];
    int tunnel = bench_client(b), kept = bench_client(b), begun = bench_client(b);
    open_tunnel(b, tunnel);
    cr_assert_eq(bench_read(b, tunnel, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    int far = bench_accept(b, 2000);
    int origin = serve_one(b, kept, "1.1", "");
    bench_send(begun, "GET ht");
    bench_run_ms(b, 20);
    bench_use(b, bench_load(b, keep, "[in]\ntcp 8080 = 192.0.2.1\n"), -1);
    bench_send(far, "still");
    cr_expect_eq(bench_read(b, tunnel, buf, sizeof(buf), "still", 2000), 1);
    cr_expect_eq(recv(kept, buf, 1, MSG_DONTWAIT), 0, "a silent client that nobody admits stays");
    bench_use(b, bench_load(b, "", NULL), -1);
    close(kept);
    kept = bench_client(b);
    bench_get(b, kept, "/again", "1.1", "");
    int again = bench_accept(b, 1000);
    cr_expect_geq(again, 0, "the pool kept a connection over a reload");
    close(tunnel);
    close(kept);
    close(begun);
    close(far);
    close(origin);
    close(again);
    bench_run_ms(b, 50);
    bench_free(b);
}

/* The number behind @key in the record of @method; -1: not there. */
static long number_in(const char *log, const char *method, const char *key)
{
    const char *line = strstr(log, method), *at = line ? strstr(line, key) : NULL;
    return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

Test(flow_conn, times__are_of_this_request__not_of_the_wait_before_it)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048], log[4096];
    int fd = bench_client(b);
    int origin = serve_one(b, fd, "1.1", "User-Agent: first/1\r\n");
    bench_run_ms(b, 500);
    open_tunnel(b, fd);
    cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "established", 2000), 1);
    bench_reset(fd);
    cr_assert_eq(bench_records(b, log, sizeof(log), 2), 2, "%s", log);
    long connect_ms = number_in(log, "CONNECT", "connect_ms=");
    long duration_ms = number_in(log, "CONNECT", "duration_ms=");
    cr_expect(connect_ms >= 0 && connect_ms < 300, "connect_ms=%ld", connect_ms);
    cr_expect(duration_ms >= 0 && duration_ms < 300, "duration_ms=%ld", duration_ms);
    close(origin);
    bench_free(b);
}

Test(flow_conn, bad_head__is_recorded_by_itself__on_a_kept_connection)
{
    struct bench *b = bench_new("", NULL);
    char buf[2048], log[4096];
    int fd = bench_client(b);
    int origin = serve_one(b, fd, "1.1", "User-Agent: first/1\r\n");
    bench_send(fd, "\x16\x03\x01");
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), 0);
    cr_assert_eq(bench_records(b, log, sizeof(log), 2), 2, "%s", log);
    const char *second = strchr(log, '\n') + 1;
    cr_expect_null(strstr(second, "first/1"), "%s", second);
    close(fd);
    close(origin);
    bench_free(b);
}

Test(flow_conn, userinfo__is_not_recorded__of_a_bad_connect)
{
    static const char *const targets[] = {"user:secret@127.0.0.1:443", "http://a/?k=secret",
                                          "127.0.0.1:secret@a:1"};
    struct bench *b = bench_new("", NULL);
    char buf[2048], log[4096];
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        int fd = bench_client(b);
        snprintf(buf, sizeof(buf), "CONNECT %s HTTP/1.1\r\n\r\n", targets[i]);
        bench_send(fd, buf);
        cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), 0);
        cr_expect_null(strstr(buf, "secret"));
        close(fd);
    }
    cr_expect_eq(bench_records(b, log, sizeof(log), 3), 3);
    cr_expect_null(strstr(log, "secret"), "%s", log);
    bench_free(b);
}

/* How bytes of plain HTTP flow on a real worker: slow sides, and work that is not told by its
 * payload. */
#include "proxy_bench.h"

static struct conn *only_conn(struct bench *b)
{
    cr_assert_eq(b->worker.n_conns, 1);
    return list_entry(list_first(&b->worker.conns), struct conn, node);
}

Test(flow_forward_flow, slow_reader__is_not_idle__while_bytes_move)
{
    enum { BODY = 60000, STEP = 4000 };
    struct bench *b = bench_new("[timeouts]\nhttp-idle = 1s\n", NULL);
    char buf[STEP + 1], head[128];
    int small = 4096, fd = bench_client_with(b, small);
    bench_get(b, fd, "/", "1.1", "");
    int origin = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    setsockopt(only_conn(b)->relay.sides[RELAY_CLIENT].io.watch.fd, SOL_SOCKET, SO_SNDBUF, &small,
               sizeof(small));
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY);
    bench_send(origin, head);
    char *body = calloc(1, BODY);
    cr_assert_eq(send(origin, body, BODY, 0), BODY);
    size_t got = 0;
    int error = 0;
    for (int i = 0; i < 40 && got < BODY && !error; i++) {
        bench_run_ms(b, 150);
        ssize_t n = recv(fd, buf, STEP, 0);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            error = n == 0 ? -1 : errno;
    }
    cr_expect_eq(error, 0, "cut after %zu bytes: %s", got, strerror(error));
    cr_expect_geq(got, BODY);
    free(body);
    close(fd);
    close(origin);
    bench_free(b);
}

/* A chunk extension is work without payload. */
Test(flow_forward_flow, one_turn__is_bounded__by_bytes_read)
{
    enum { CHUNKS = 2000, BYTES = CHUNKS * 1020 };
    struct bench *b = bench_new("", NULL);
    char buf[2048], *chunks = malloc(BYTES);
    size_t len = 0;
    int large = 8 * 1024 * 1024, fd = bench_client(b);
    setsockopt(b->origin, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    bench_get(b, fd, "/", "1.1", "");
    int origin = bench_accept(b, 2000);
    cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
    bench_send(origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    bench_run_ms(b, 20);
    for (int i = 0; i < CHUNKS; i++) {
        memcpy(chunks + len, "1;", 2);
        memset(chunks + len + 2, 'e', 1000);
        memcpy(chunks + len + 1002, "\r\nx\r\n", 5);
        len += 1007;
    }
    ssize_t n = send(origin, chunks, len, MSG_DONTWAIT);
    cr_assert_gt(n, 700 * 1000, "only %zd bytes fit", n);
    poll(NULL, 0, 20);
    loop_round(&b->worker.loop, false);
    cr_expect(!list_is_empty(&b->worker.loop.bulk), "all was done in one turn");
    free(chunks);
    close(fd);
    close(origin);
    bench_free(b);
}

/* Ends of a relay that come at an awkward moment. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/relay.h"

struct bench {
    struct loop loop;
    struct relay relay;
    char *scratch;
    int client, origin; /* far ends */
    enum reason reason;
    unsigned n_done;
};

static void on_done(struct relay *r, enum reason reason)
{
    struct bench *b = list_entry(r, struct bench, relay);
    b->reason = reason;
    b->n_done++;
}

static void tcp_pair_with(int bytes, int *ret_near, int *ret_far)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    cr_assert_eq(bind(listener, (struct sockaddr *)&sa, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&sa, &len);
    *ret_far = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(*ret_far, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    cr_assert_eq(connect(*ret_far, (struct sockaddr *)&sa, len), 0);
    *ret_near = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    cr_assert_geq(*ret_near, 0);
    setsockopt(*ret_near, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    close(listener);
}

/* Large buffers for all that a test sends at once. @client_bytes: the client's. */
static struct bench *bench_new_with(const struct relay_limits *limits, int client_bytes)
{
    struct bench *b = calloc(1, sizeof(*b));
    int near[2];
    cr_assert_eq(loop_init(&b->loop), 0);
    b->scratch = malloc(RELAY_CHUNK_BYTES);
    relay_init(&b->relay);
    tcp_pair_with(client_bytes, &near[0], &b->client);
    tcp_pair_with(4 * 1024 * 1024, &near[1], &b->origin);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(io_open(&b->relay.sides[i].io, &b->loop, near[i], NULL, NULL), 0);
    cr_assert_eq(relay_start(&b->relay, &b->loop, b->scratch, limits, NULL, 0, on_done), 0);
    return b;
}

static struct bench *bench_new(void)
{
    static const struct relay_limits relaxed = {60000, 60000, 0};
    return bench_new_with(&relaxed, 4 * 1024 * 1024);
}

static void bench_free(struct bench *b)
{
    if (b->n_done == 0)
        relay_stop(&b->relay);
    close(b->client);
    loop_fini(&b->loop);
    free(b->scratch);
    free(b);
}

/* Less than the first timer of a tunnel: only the event itself can have told. */
enum { AT_ONCE_MS = 400 };

/* A reset right behind @len bytes of the origin, before the relay looks. */
static void send_and_reset(struct bench *b, size_t len)
{
    char *block = calloc(1, len);
    struct linger hard = {.l_onoff = 1};
    cr_assert_eq(send(b->origin, block, len, MSG_DONTWAIT), (ssize_t)len);
    poll(NULL, 0, 20);
    setsockopt(b->origin, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(b->origin);
    free(block);
}

static void run_up_to_ms(struct bench *b, uint64_t ms)
{
    static char sink[65536];
    for (uint64_t end = loop_now_ms(&b->loop) + ms;
         b->n_done == 0 && loop_now_ms(&b->loop) < end;) {
        loop_round(&b->loop, false);
        recv(b->client, sink, sizeof(sink), MSG_DONTWAIT);
        poll(NULL, 0, 1);
    }
}

Test(flow_relay_ends, reset__is_found_at_once__behind_a_bulk_transfer)
{
    struct bench *b = bench_new();
    for (int i = 0; i < 5; i++)
        loop_round(&b->loop, false);
    send_and_reset(b, 3 * RELAY_CHUNK_BYTES + 1000);
    run_up_to_ms(b, AT_ONCE_MS);
    cr_expect_eq(b->n_done, 1, "the reset of the origin was lost");
    cr_expect_eq(b->reason, REASON_ORIGIN_RESET);
    bench_free(b);
}

Test(flow_relay_ends, reset__is_found_at_once__behind_a_few_bytes)
{
    struct bench *b = bench_new();
    for (int i = 0; i < 5; i++)
        loop_round(&b->loop, false);
    send_and_reset(b, 1000);
    run_up_to_ms(b, AT_ONCE_MS);
    cr_expect_eq(b->n_done, 1, "the reset of the origin was lost");
    bench_free(b);
}

Test(flow_relay_ends, slow_reader__is_not_idle__while_bytes_move)
{
    enum { BYTES = 60000, STEP = 4000 };
    struct bench *b = bench_new_with(&(struct relay_limits){1000, 1000, 0}, 4096);
    char buf[STEP], *block = calloc(1, BYTES);
    cr_assert_eq(send(b->origin, block, BYTES, MSG_DONTWAIT), BYTES);
    size_t got = 0;
    for (int i = 0; i < 60 && got < BYTES && b->n_done == 0; i++) {
        for (int k = 0; k < 100; k++) {
            loop_round(&b->loop, false);
            poll(NULL, 0, 1);
        }
        ssize_t n = recv(b->client, buf, STEP, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    }
    cr_expect_eq(got, BYTES, "cut after %zu bytes", got);
    free(block);
    close(b->origin);
    bench_free(b);
}

/* O02: a write that fails for want of something of ours, not because the peer is gone. */
Test(flow_relay_ends, write_error__ends_the_tunnel__without_a_reset)
{
    struct bench *b = bench_new();
    loop_round(&b->loop, false);
    shutdown(b->relay.sides[RELAY_ORIGIN].io.watch.fd, SHUT_WR);
    cr_assert_eq(send(b->client, "lost", 4, 0), 4);
    run_up_to_ms(b, AT_ONCE_MS);
    cr_expect_eq(b->n_done, 1);
    cr_expect_eq(b->reason, REASON_ORIGIN_RESET);
    close(b->origin);
    bench_free(b);
}

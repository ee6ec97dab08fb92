/* The relay between two socketpairs on a real loop: the test holds the far ends. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/relay.h"

/* Every test runs in every way of moving bytes. */
static enum pipes_mode mode;
#define RELAY_TEST(name)                                                                           \
    static void name(void);                                                                        \
    Test(net_relay, name##__copy)                                                                  \
    {                                                                                              \
        mode = PIPES_NEVER;                                                                        \
        name();                                                                                    \
    }                                                                                              \
    Test(net_relay, name##__splice)                                                                \
    {                                                                                              \
        mode = PIPES_ALWAYS;                                                                       \
        name();                                                                                    \
    }                                                                                              \
    Test(net_relay, name##__switch)                                                                \
    {                                                                                              \
        mode = PIPES_SWITCH;                                                                       \
        name();                                                                                    \
    }                                                                                              \
    Test(net_relay, name##__adaptive)                                                              \
    {                                                                                              \
        mode = PIPES_ADAPTIVE;                                                                     \
        name();                                                                                    \
    }                                                                                              \
    static void name(void)

struct bench {
    struct pipes pipes;
    struct loop loop;
    struct relay relay;
    char *scratch;
    int client, origin; /* far ends; -1: closed */
    enum reason reason; /* REASON_NONE while it runs */
    unsigned n_done;
};

static void on_done(struct relay *r, enum reason reason)
{
    struct bench *b = list_entry(r, struct bench, relay);
    b->reason = reason;
    b->n_done++;
}

/* TCP over loopback, since resets do not exist on AF_UNIX. */
static void tcp_pair(int *ret_near, int *ret_far)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&sa, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&sa, &len);
    *ret_far = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(*ret_far, (struct sockaddr *)&sa, len), 0);
    *ret_near = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    cr_assert_geq(*ret_near, 0);
    close(listener);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(*ret_far, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static struct bench *bench_new(const struct relay_limits *limits, const char *early)
{
    static const struct relay_limits relaxed = {60000, 60000, 0};
    struct bench *b = calloc(1, sizeof(*b));
    int near[2];
    cr_assert_eq(loop_init(&b->loop), 0);
    b->scratch = malloc(RELAY_CHUNK_BYTES);
    relay_init(&b->relay);
    b->pipes.mode = mode;
    b->relay.means.pipes = &b->pipes;
    tcp_pair(&near[0], &b->client);
    tcp_pair(&near[1], &b->origin);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(io_open(&b->relay.sides[i].io, &b->loop, near[i], NULL, NULL), 0);
    cr_assert_eq(relay_start(&b->relay, &b->loop, b->scratch, limits ? limits : &relaxed, early,
                             early ? strlen(early) : 0, on_done),
                 0);
    return b;
}

static void bench_free(struct bench *b)
{
    if (b->n_done == 0)
        relay_stop(&b->relay);
    if (b->client >= 0)
        close(b->client);
    if (b->origin >= 0)
        close(b->origin);
    pipes_fini(&b->pipes);
    cr_expect_eq(b->pipes.n_owned, 0);
    loop_fini(&b->loop);
    free(b->scratch);
    free(b);
}

/* Rounds until the far end has @want bytes or an end. Returns bytes read, or -errno. */
static ssize_t drain(struct bench *b, int fd, char *buf, size_t want)
{
    size_t got = 0;
    while (got < want) {
        ssize_t n = recv(fd, buf + got, want - got, MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0)
            break;
        else if (errno != EAGAIN)
            return -errno;
        else
            loop_round(&b->loop, b->n_done == 0);
    }
    return (ssize_t)got;
}

static void expect_bytes(struct bench *b, int fd, const char *text)
{
    char buf[256];
    ssize_t n = drain(b, fd, buf, strlen(text));
    cr_expect_eq(n, (ssize_t)strlen(text), "wanted '%s', got %zd bytes", text, n);
    cr_expect_eq(memcmp(buf, text, strlen(text)), 0);
}

static void run_until_done(struct bench *b)
{
    while (b->n_done == 0)
        loop_round(&b->loop, true);
}

RELAY_TEST(relays__either_side_first)
{
    struct bench *b = bench_new(NULL, NULL);
    cr_assert_eq(send(b->origin, "hello", 5, 0), 5);
    expect_bytes(b, b->client, "hello");
    cr_assert_eq(send(b->client, "world", 5, 0), 5);
    expect_bytes(b, b->origin, "world");
    cr_expect_eq(stream_waiting(&b->relay.sides[0].out), 0);
    bench_free(b);
}

/* A relay whose source may have @per_second, and the quota to leave. */
static struct quota *paced(struct bench *b, struct quotas *t, uint64_t per_second)
{
    struct addr source = addr_from_ipv4(1);
    struct quota *q = NULL;
    cr_assert_eq(quota_join(t, &source, 1, 0, &q), 0);
    cr_assert_eq(relay_pace(&b->relay, q, per_second), 0);
    return q;
}

static size_t push(int fd, size_t len)
{
    static const char zeros[64 * 1024];
    size_t sent = 0;
    while (sent < len) {
        size_t some = len - sent < sizeof(zeros) ? len - sent : sizeof(zeros);
        ssize_t n = send(fd, zeros, some, MSG_DONTWAIT);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return sent;
}

RELAY_TEST(pace__keeps_to_the_rate__and_passes_the_fin_behind_it)
{
    enum { RATE = 512 * 1024, BYTES = 160 * 1024 };
    static char buf[BYTES + 1];
    struct quotas *t = quotas_new();
    struct bench *b = bench_new(NULL, NULL);
    struct quota *q = paced(b, t, RATE);
    uint64_t begin_ms = loop_now_ms(&b->loop);
    size_t n = push(b->origin, BYTES);
    shutdown(b->origin, SHUT_WR);
    cr_expect_eq(drain(b, b->client, buf, BYTES + 1), (ssize_t)n);
    uint64_t least_ms = (n - RATE / 10) * 1000 / RATE;
    cr_expect_geq(loop_now_ms(&b->loop) - begin_ms + 2, least_ms);
    cr_assert_eq(send(b->client, "and back", 8, 0), 8);
    expect_bytes(b, b->origin, "and back");
    bench_free(b);
    quota_leave(q, 1, 0);
    quotas_free(t);
}

RELAY_TEST(pace__does_not_let_one_way_hold_up_the_other)
{
    struct quotas *t = quotas_new();
    struct bench *b = bench_new(NULL, NULL);
    struct quota *q = paced(b, t, 64 * 1024);
    push(b->client, 256 * 1024);
    while (!pace_is_waiting(b->relay.pace))
        loop_round(&b->loop, true);
    cr_assert_eq(send(b->origin, "small", 5, 0), 5);
    expect_bytes(b, b->client, "small");
    cr_expect_lt(b->relay.sides[RELAY_CLIENT].bytes_in, 64 * 1024);
    bench_free(b);
    quota_leave(q, 1, 0);
    quotas_free(t);
}

RELAY_TEST(pace__gives_back__what_it_waited_for)
{
    struct quotas *t = quotas_new();
    struct bench *b = bench_new(NULL, NULL);
    struct quota *q = paced(b, t, 1024);
    push(b->client, 64 * 1024);
    push(b->origin, 64 * 1024);
    while (b->relay.pace->ways[0].awaited == 0 || b->relay.pace->ways[1].awaited == 0)
        loop_round(&b->loop, true);
    uint64_t now_ms = loop_now_ms(&b->loop);
    cr_expect_gt(quota_reserve(q, 1, 1024, now_ms), 1000);
    relay_stop(&b->relay);
    cr_expect_leq(quota_reserve(q, 1, 1024, now_ms), 3);
    bench_free(b);
    quota_leave(q, 1, 0);
    quotas_free(t);
}

RELAY_TEST(pace__ends__when_the_limit_does)
{
    static char buf[64 * 1024];
    struct quotas *t = quotas_new();
    struct bench *b = bench_new(NULL, NULL);
    struct quota *q = paced(b, t, 1024);
    size_t n = push(b->client, sizeof(buf));
    while (!pace_is_waiting(b->relay.pace))
        loop_round(&b->loop, true);
    cr_assert_eq(relay_pace(&b->relay, NULL, 0), 0);
    cr_expect_eq(drain(b, b->origin, buf, n), (ssize_t)n);
    bench_free(b);
    quota_leave(q, 1, 0);
    quotas_free(t);
}

/* The second change comes before who waited was told of the first. */
RELAY_TEST(pace__ends__when_the_limit_changes_twice_at_once)
{
    static char buf[64 * 1024];
    struct quotas *t = quotas_new();
    struct bench *b = bench_new(NULL, NULL);
    struct quota *q = paced(b, t, 1024);
    size_t n = push(b->client, sizeof(buf));
    while (!pace_is_waiting(b->relay.pace))
        loop_round(&b->loop, true);
    cr_assert_eq(relay_pace(&b->relay, q, 2048), 0);
    cr_assert_eq(relay_pace(&b->relay, NULL, 0), 0);
    cr_expect_eq(drain(b, b->origin, buf, n), (ssize_t)n);
    bench_free(b);
    quota_leave(q, 1, 0);
    quotas_free(t);
}

/* recv(2) stops in front of an urgent byte though more stands behind it, and no edge is to come. */
RELAY_TEST(urgent_byte__does_not_hold_up__what_is_behind_it)
{
    for (int side = 0; side < 2; side++) {
        struct bench *b = bench_new(NULL, NULL);
        int a = side ? b->origin : b->client, z = side ? b->client : b->origin;
        for (int i = 0; i < 5; i++)
            loop_round(&b->loop, false);
        cr_assert_eq(send(a, "before ", 7, 0), 7);
        cr_assert_eq(send(a, "!", 1, MSG_OOB), 1);
        cr_assert_eq(send(a, "behind", 6, 0), 6);
        expect_bytes(b, z, "before behind");
        bench_free(b);
    }
}

RELAY_TEST(early_bytes__come_first)
{
    struct bench *b = bench_new(NULL, "early ");
    cr_assert_eq(send(b->client, "late", 4, 0), 4);
    expect_bytes(b, b->origin, "early late");
    cr_expect_eq(b->relay.sides[RELAY_CLIENT].bytes_in, 10);
    bench_free(b);
}

RELAY_TEST(half_close__passes_the_fin_and_keeps_the_other_way)
{
    for (int side = 0; side < 2; side++) {
        struct bench *b = bench_new(NULL, NULL);
        int a = side ? b->origin : b->client, z = side ? b->client : b->origin;
        char buf[8];
        cr_assert_eq(send(a, "bye", 3, 0), 3);
        shutdown(a, SHUT_WR);
        expect_bytes(b, z, "bye");
        cr_expect_eq(drain(b, z, buf, 1), 0);
        cr_expect_eq(b->n_done, 0);
        cr_assert_eq(send(z, "still here", 10, 0), 10);
        expect_bytes(b, a, "still here");
        shutdown(z, SHUT_WR);
        cr_expect_eq(drain(b, a, buf, 1), 0);
        run_until_done(b);
        cr_expect_eq(b->reason, side ? REASON_ORIGIN_CLOSED : REASON_CLIENT_CLOSED);
        bench_free(b);
    }
}

static void reset(int *fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(*fd);
    *fd = -1;
}

RELAY_TEST(reset__resets_the_other_side)
{
    for (int side = 0; side < 2; side++) {
        struct bench *b = bench_new(NULL, NULL);
        loop_round(&b->loop, false);
        reset(side ? &b->origin : &b->client);
        run_until_done(b);
        cr_expect_eq(b->reason, side ? REASON_ORIGIN_RESET : REASON_CLIENT_RESET);
        char c;
        cr_expect_eq(drain(b, side ? b->client : b->origin, &c, 1), -ECONNRESET);
        bench_free(b);
    }
}

RELAY_TEST(reset__is_found_within_a_second__when_it_came_in_one_edge_with_data)
{
    struct bench *b = bench_new(NULL, NULL);
    loop_round(&b->loop, false);
    cr_assert_eq(send(b->client, "last", 4, 0), 4);
    reset(&b->client);
    expect_bytes(b, b->origin, "last");
    uint64_t start = loop_now_ms(&b->loop);
    run_until_done(b);
    cr_expect_eq(b->reason, REASON_CLIENT_RESET);
    cr_expect_lt(loop_now_ms(&b->loop), start + 5000);
    bench_free(b);
}

RELAY_TEST(early_close_of_the_origin__still_delivers_its_answer)
{
    struct bench *b = bench_new(NULL, NULL);
    loop_round(&b->loop, false);
    char block[4096];
    memset(block, 'x', sizeof(block));
    cr_assert_eq(send(b->origin, "413 too large", 13, 0), 13);
    /* Unread input at close makes the kernel send a reset right behind the answer. */
    for (int i = 0; i < 64; i++)
        cr_assert_gt(send(b->client, block, sizeof(block), MSG_DONTWAIT), 0);
    for (int i = 0; i < 20; i++)
        loop_round(&b->loop, false);
    close(b->origin);
    b->origin = -1;
    char buf[13];
    cr_expect_eq(drain(b, b->client, buf, 13), 13);
    send(b->client, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
    run_until_done(b);
    bench_free(b);
}

RELAY_TEST(bulk__is_exact_both_ways__and_memory_stays_bounded)
{
    enum { TOTAL = 64 * 1024 * 1024, STEP = 300007 };
    struct bench *b = bench_new(NULL, NULL);
    uint8_t *out = malloc(STEP), *in = malloc(STEP);
    for (int way = 0; way < 2; way++) {
        int from = way ? b->origin : b->client, to = way ? b->client : b->origin;
        size_t sent = 0, got = 0;
        while (got < TOTAL) {
            size_t n = TOTAL - sent < STEP ? TOTAL - sent : STEP;
            for (size_t i = 0; i < n; i++)
                out[i] = (uint8_t)((sent + i) * 2654435761u >> 13);
            ssize_t w = n ? send(from, out, n, MSG_DONTWAIT) : 0;
            sent += w > 0 ? (size_t)w : 0;
            loop_round(&b->loop, false);
            ssize_t r = recv(to, in, STEP, MSG_DONTWAIT);
            for (ssize_t i = 0; i < r; i++)
                cr_assert_eq(in[i], (uint8_t)((got + (size_t)i) * 2654435761u >> 13), "byte %zu",
                             got + (size_t)i);
            got += r > 0 ? (size_t)r : 0;
            for (int s = 0; s < 2; s++)
                cr_assert_leq(stream_waiting(&b->relay.sides[s].out), PIPE_BYTES);
        }
    }
    cr_expect_eq(b->relay.sides[0].bytes_in, TOTAL);
    cr_expect_eq(b->relay.sides[1].bytes_in, TOTAL);
    free(out);
    free(in);
    bench_free(b);
}

RELAY_TEST(idle__ends_a_silent_tunnel__and_life_a_busy_one)
{
    struct bench *b = bench_new(&(struct relay_limits){120, 60000, 0}, NULL);
    run_until_done(b);
    cr_expect_eq(b->reason, REASON_IDLE);
    bench_free(b);

    b = bench_new(NULL, NULL);
    relay_set_limits(&b->relay, &(struct relay_limits){60000, 60000, loop_now_ms(&b->loop) + 150});
    while (b->n_done == 0) {
        send(b->client, "x", 1, MSG_NOSIGNAL);
        loop_round(&b->loop, true);
    }
    cr_expect_eq(b->reason, REASON_LIFE);
    bench_free(b);
}

RELAY_TEST(half_closed__has_its_own_limit)
{
    struct bench *b = bench_new(&(struct relay_limits){60000, 120, 0}, NULL);
    shutdown(b->origin, SHUT_WR);
    run_until_done(b);
    cr_expect_eq(b->reason, REASON_HALF_CLOSED);
    bench_free(b);
}

RELAY_TEST(stop__is_silent)
{
    struct bench *b = bench_new(NULL, "never sent");
    relay_stop(&b->relay);
    relay_stop(&b->relay);
    loop_round(&b->loop, false);
    cr_expect_eq(b->n_done, 0);
    bench_free(b);
}

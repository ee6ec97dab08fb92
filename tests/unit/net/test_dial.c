/* Dialling addresses of 127.0.0.0/8: a listener answers, a closed port refuses, a full backlog is
 * silent. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/dial.h"

struct bench {
    struct loop loop;
    struct dial dial;
    struct io io;
    enum dial_outcome outcome;
    unsigned winner, n_done;
};

static void on_done(struct dial *d, enum dial_outcome outcome, unsigned winner)
{
    struct bench *b = list_entry(d, struct bench, dial);
    b->outcome = outcome;
    b->winner = winner;
    b->n_done++;
}

/* *@port 0: one below those that the kernel gives out, so that it is free on other addresses too.
 */
static int listen_on(uint32_t addr, uint16_t *port, int backlog)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(addr), .sin_port = htons(*port)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool is_any = *port == 0;
    int rc = is_any ? -1 : bind(fd, (struct sockaddr *)&sa, len);
    for (unsigned i = 0; is_any && rc < 0 && i < 1000; i++) {
        sa.sin_port = htons((uint16_t)(10000 + ((unsigned)getpid() * 31 + i) % 20000));
        rc = bind(fd, (struct sockaddr *)&sa, len);
    }
    cr_assert_eq(rc, 0);
    cr_assert_eq(listen(fd, backlog), 0);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    *port = ntohs(sa.sin_port);
    return fd;
}

/* A port nobody listens on: bound, not listening. */
static int closed_port(uint32_t addr, uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(addr), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static struct endpoint to(uint32_t addr, uint16_t port)
{
    return (struct endpoint){.addr = addr_from_ipv4(addr), .port = port};
}

static void run(struct bench *b, const struct conf_egress *way, const struct endpoint *list,
                unsigned n, uint64_t limit_ms)
{
    struct egress egress = egress_from_conf(way);
    cr_assert_eq(loop_init(&b->loop), 0);
    cr_assert_eq(dial_start(&b->dial, &b->loop, &egress, &b->io, list, n, limit_ms, on_done), 0);
    cr_expect_eq(b->n_done, 0, "done before dial_start() returned");
    while (b->n_done == 0)
        loop_round(&b->loop, true);
}

static void finish(struct bench *b)
{
    io_close(&b->io);
    loop_round(&b->loop, false);
    cr_expect_eq(b->n_done, 1);
    cr_expect_eq(b->loop.timers.n_running, 0);
    loop_fini(&b->loop);
}

static const struct conf_egress by_route;

Test(net_dial, start__connects__to_the_first)
{
    struct bench b = {0};
    uint16_t port = 0;
    int listener = listen_on(0x7f000001, &port, 8);
    struct endpoint list[] = {to(0x7f000001, port), to(0x7f000002, port)};
    run(&b, &by_route, list, 2, 5000);
    cr_expect_eq(b.outcome, DIAL_CONNECTED);
    cr_expect_eq(b.winner, 0);
    cr_expect(io_is_open(&b.io));
    cr_expect(b.io.is_writable);
    finish(&b);
    close(listener);
}

Test(net_dial, start__goes_on__when_the_first_refuses)
{
    struct bench b = {0};
    uint16_t port = 0;
    int listener = listen_on(0x7f000003, &port, 8);
    int closed = closed_port(0x7f000001, port);
    struct endpoint list[] = {to(0x7f000001, port), to(0x7f000003, port)};
    run(&b, &by_route, list, 2, 5000);
    cr_expect_eq(b.outcome, DIAL_CONNECTED);
    cr_expect_eq(b.winner, 1);
    char hello[] = "hello";
    cr_expect_eq(send(b.io.watch.fd, hello, 5, 0), 5);
    finish(&b);
    close(closed);
    close(listener);
}

Test(net_dial, start__says_refused__when_all_refuse)
{
    struct bench b = {0};
    uint16_t port = 0;
    int listener = listen_on(0x7f000003, &port, 8);
    int closed = closed_port(0x7f000001, port), closed2 = closed_port(0x7f000002, port);
    struct endpoint list[] = {to(0x7f000001, port), to(0x7f000002, port)};
    run(&b, &by_route, list, 2, 5000);
    cr_expect_eq(b.outcome, DIAL_REFUSED);
    cr_expect_not(io_is_open(&b.io));
    finish(&b);
    close(closed);
    close(closed2);
    close(listener);
}

Test(net_dial, start__is_bounded__when_nobody_answers)
{
    struct bench b = {0};
    uint16_t port = 0;
    int listener = listen_on(0x7f000001, &port, 0), fill[4];
    for (int i = 0; i < 4; i++) { /* the backlog of one is full: the next SYN is dropped */
        struct sockaddr_storage ss;
        struct endpoint ep = to(0x7f000001, port);
        socklen_t len = endpoint_to_sockaddr(&ep, &ss);
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fill[i], (struct sockaddr *)&ss, len);
    }
    struct endpoint list[] = {to(0x7f000001, port)};
    run(&b, &by_route, list, 1, 150);
    cr_expect_eq(b.outcome, DIAL_TIMEOUT);
    finish(&b);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(listener);
}

Test(net_dial, start__is_unreachable__when_the_family_may_not_leave)
{
    struct bench b = {0};
    struct conf_egress only_ipv6 = {.has_ipv6_source = true, .ipv6_source = {.bytes = {[15] = 1}}};
    struct endpoint list[] = {to(0x7f000001, 9)};
    run(&b, &only_ipv6, list, 1, 5000);
    cr_expect_eq(b.outcome, DIAL_UNREACHABLE);
    finish(&b);
}

Test(net_dial, start__is_unreachable__when_there_is_no_such_interface)
{
    struct bench b = {0};
    struct conf_egress nowhere = {.ifname = "nosuch0"};
    struct endpoint list[] = {to(0x7f000001, 9)};
    run(&b, &nowhere, list, 1, 5000);
    cr_expect_eq(b.outcome, DIAL_UNREACHABLE);
    finish(&b);
}

Test(net_dial, start__leaves_by_the_source__that_egress_names)
{
    struct bench b = {0};
    uint16_t port = 0;
    int listener = listen_on(0x7f000001, &port, 8);
    struct conf_egress way = {.has_ipv4_source = true, .ipv4_source = addr_from_ipv4(0x7f000063)};
    struct endpoint list[] = {to(0x7f000001, port)};
    run(&b, &way, list, 1, 5000);
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    int peer = accept(listener, (struct sockaddr *)&ss, &len);
    struct endpoint from;
    cr_assert_eq(endpoint_from_sockaddr(&ss, &from), 0);
    cr_expect_eq(addr_ipv4(&from.addr), 0x7f000063);
    close(peer);
    finish(&b);
    close(listener);
}

Test(net_dial, cancel__is_silent__in_any_state)
{
    struct bench b = {0};
    struct egress egress = egress_from_conf(&by_route);
    uint16_t port = 0;
    int listener = listen_on(0x7f000001, &port, 8);
    struct endpoint list[] = {to(0x7f000001, port), to(0x7f000002, port)};
    dial_cancel(&b.dial);
    cr_assert_eq(loop_init(&b.loop), 0);
    cr_assert_eq(dial_start(&b.dial, &b.loop, &egress, &b.io, list, 2, 5000, on_done), 0);
    dial_cancel(&b.dial);
    dial_cancel(&b.dial);
    for (int i = 0; i < 5; i++)
        loop_round(&b.loop, false);
    cr_expect_eq(b.n_done, 0);
    cr_expect_not(io_is_open(&b.io));
    cr_expect_eq(b.loop.timers.n_running, 0);
    loop_fini(&b.loop);
    close(listener);
}

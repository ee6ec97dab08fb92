#include "proxy/loop/loop.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    struct watch watch;
    struct peer *other; /* closed by the first that is told */
    int far;
    unsigned n_told;
};

static void on_readable(struct watch *w, uint32_t events)
{
    (void)events;
    struct peer *p = list_entry(w, struct peer, watch);
    p->n_told++;
    if (!p->other)
        return;
    p->other->other = NULL;
    watch_close(&p->other->watch);
    p->other = NULL;
}

static void peer_open(struct peer *p, struct watch_set *set)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *p = (struct peer){.far = fds[1]};
    cr_assert_eq(watch_open(set, &p->watch, fds[0], EPOLLIN, on_readable), 0);
}

static void peer_close(struct peer *p)
{
    watch_close(&p->watch);
    close(p->far);
}

Test(loop_watch, watch__is_told_again__until_read)
{
    struct loop loop;
    struct peer p;
    char byte;
    cr_assert_eq(loop_init(&loop), 0);
    peer_open(&p, &loop.watches);
    loop_round(&loop, false);
    cr_expect_eq(p.n_told, 0);
    cr_assert_eq(send(p.far, "x", 1, 0), 1);
    loop_round(&loop, false);
    loop_round(&loop, false);
    cr_expect_eq(p.n_told, 2);
    cr_assert_eq(recv(p.watch.fd, &byte, 1, 0), 1);
    loop_round(&loop, false);
    cr_expect_eq(p.n_told, 2);
    peer_close(&p);
    watch_close(&p.watch);
    loop_fini(&loop);
}

/* Both are ready in the same call; whoever is told first closes the other, which must hear nothing.
 */
Test(loop_watch, close__silences__what_was_ready_already)
{
    enum { N = 40 };
    struct loop loop;
    struct peer peers[N];
    unsigned n_told = 0;
    cr_assert_eq(loop_init(&loop), 0);
    for (unsigned i = 0; i < N; i++)
        peer_open(&peers[i], &loop.watches);
    for (unsigned i = 0; i < N; i++) {
        peers[i].other = &peers[N - 1 - i];
        cr_assert_eq(send(peers[i].far, "x", 1, 0), 1);
    }
    loop_round(&loop, false);
    for (unsigned i = 0; i < N; i++) {
        n_told += peers[i].n_told;
        cr_expect(peers[i].n_told == 0 || peers[N - 1 - i].n_told == 0, "%u", i);
        peer_close(&peers[i]);
    }
    cr_expect_eq(n_told, N / 2);
    loop_fini(&loop);
}

/* More are ready than one call tells of. */
Test(loop_watch, all__are_told__when_many_are_ready)
{
    enum { N = 3 * WATCH_BATCH };
    struct loop loop;
    static struct peer peers[N];
    cr_assert_eq(loop_init(&loop), 0);
    for (unsigned i = 0; i < N; i++) {
        peer_open(&peers[i], &loop.watches);
        cr_assert_eq(send(peers[i].far, "x", 1, 0), 1);
    }
    for (unsigned i = 0; i < 3; i++)
        loop_round(&loop, false);
    for (unsigned i = 0; i < N; i++) {
        cr_expect_eq(peers[i].n_told, 1, "%u: %u", i, peers[i].n_told);
        peer_close(&peers[i]);
    }
    loop_fini(&loop);
}

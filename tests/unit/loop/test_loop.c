#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/loop/io.h"
#include "proxy/loop/mailbox.h"

struct counted_task {
    struct loop_task task;
    struct loop *loop;
    unsigned n_runs;
    bool wants_again;
};

static void on_task(struct loop_task *t)
{
    struct counted_task *c = list_entry(t, struct counted_task, task);
    c->n_runs++;
    if (c->wants_again)
        loop_bulk_add(c->loop, t);
}

Test(loop_loop, task_add__runs_once_a_round__when_added_twice)
{
    struct loop l;
    cr_assert_eq(loop_init(&l), 0);
    struct counted_task t = {.loop = &l};
    loop_task_init(&t.task, on_task);
    loop_task_add(&l, &t.task);
    loop_task_add(&l, &t.task);
    loop_round(&l, true);
    cr_expect_eq(t.n_runs, 1);
    loop_round(&l, false);
    cr_expect_eq(t.n_runs, 1);
    loop_fini(&l);
}

Test(loop_loop, bulk_add__takes_turns__one_task_a_round)
{
    struct loop l;
    cr_assert_eq(loop_init(&l), 0);
    struct counted_task a = {.loop = &l, .wants_again = true}, b = a;
    loop_task_init(&a.task, on_task);
    loop_task_init(&b.task, on_task);
    loop_bulk_add(&l, &a.task);
    loop_bulk_add(&l, &b.task);
    for (int i = 0; i < 10; i++)
        loop_round(&l, true);
    cr_expect_eq(a.n_runs, 5);
    cr_expect_eq(b.n_runs, 5);
    loop_task_remove(&a.task);
    loop_task_remove(&b.task);
    loop_fini(&l);
}

static void on_timer_stop(struct timer *t)
{
    (void)t;
}

Test(loop_loop, timer__wakes_the_poll)
{
    struct loop l;
    cr_assert_eq(loop_init(&l), 0);
    struct timer t = {0};
    uint64_t start = loop_now_ms(&l);
    loop_timer_start(&l, &t, 30, on_timer_stop);
    while (timer_is_running(&t))
        loop_round(&l, true);
    cr_expect_geq(loop_now_ms(&l), start + 30);
    loop_fini(&l);
}

struct note {
    struct mail mail;
    struct loop *loop;
    int *seen;
    int number;
};

static void on_note(struct mail *m)
{
    struct note *n = list_entry(m, struct note, mail);
    *n->seen = *n->seen * 10 + n->number;
    if (n->number == 3)
        loop_stop(n->loop);
}

static struct mailbox box;
static struct note notes[3];

static void *send_notes(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        mailbox_post(&box, &notes[i].mail, on_note);
    return NULL;
}

Test(loop_loop, mailbox__delivers_in_order__from_another_thread)
{
    struct loop l;
    int seen = 0;
    cr_assert_eq(loop_init(&l), 0);
    cr_assert_eq(mailbox_init(&box, &l), 0);
    for (int i = 0; i < 3; i++)
        notes[i] = (struct note){.loop = &l, .seen = &seen, .number = i + 1};
    pthread_t thread;
    pthread_create(&thread, NULL, send_notes, NULL);
    loop_run(&l);
    pthread_join(thread, NULL);
    cr_expect_eq(seen, 123);
    mailbox_fini(&box);
    loop_fini(&l);
}

static void on_nothing(struct io *io)
{
    (void)io;
}

Test(loop_loop, io__knows_the_end__when_a_fin_comes_with_data)
{
    struct loop l;
    int fds[2];
    cr_assert_eq(loop_init(&l), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct io io;
    cr_assert_eq(io_open(&io, &l, fds[0], on_nothing, NULL), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    shutdown(fds[1], SHUT_WR);
    loop_round(&l, true);
    cr_expect(io.is_readable);
    cr_expect(io.is_peer_done);
    io_close(&io);
    io_close(&io);
    close(fds[1]);
    loop_fini(&l);
}

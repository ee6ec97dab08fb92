#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/report/sink.h"

struct place {
    char dir[32], path[64];
};

static struct place make_place(void)
{
    struct place p = {.dir = "/tmp/ukai-sink-XXXXXX"};
    cr_assert_not_null(mkdtemp(p.dir));
    snprintf(p.path, sizeof(p.path), "%s/access.log", p.dir);
    return p;
}

static void remove_place(const struct place *p)
{
    unlink(p->path);
    rmdir(p->dir);
}

static size_t read_back(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);
    if (fd >= 0)
        close(fd);
    buf[n < 0 ? 0 : n] = '\0';
    return n < 0 ? 0 : (size_t)n;
}

Test(report_sink, put__arrives_whole_and_in_order__before_free_returns)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    struct sink *s = sink_new(&conf, &error);
    cr_assert_not_null(s);
    cr_assert_eq(sink_start(s), 0);
    char line[32], buf[64 * 1024];
    size_t total = 0;
    for (int i = 0; i < 2000; i++) {
        int n = snprintf(line, sizeof(line), "line %d\n", i);
        (void)!sink_put(s, line, (size_t)n, false);
        total += (size_t)n;
    }
    cr_expect_null(sink_free(s));
    cr_expect_eq(read_back(p.path, buf, sizeof(buf)), total);
    cr_expect_eq(strncmp(buf, "line 0\nline 1\n", 14), 0);
    cr_expect_str_eq(buf + total - 10, "line 1999\n");
    remove_place(&p);
}

Test(report_sink, new__fails__with_the_reason)
{
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = (char[]){"/nonexistent/x"}};
    int error = 0;
    cr_expect_null(sink_new(&conf, &error));
    cr_expect_eq(error, -ENOENT);
}

Test(report_sink, reopen__goes_on_in_a_new_file__and_keeps_the_old_on_failure)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    struct conf_log bad = {.access = CONF_ACCESS_FILE, .access_path = (char[]){"/nonexistent/x"}};
    int error = 0;
    char moved[96], buf[64];
    snprintf(moved, sizeof(moved), "%s.1", p.path);
    struct sink *s = sink_new(&conf, &error);
    cr_assert_not_null(s);
    cr_assert_eq(sink_start(s), 0);
    cr_expect_eq(sink_reopen(s, &bad), -ENOENT);
    (void)!sink_put(s, "old\n", 4, false);
    while (read_back(p.path, buf, sizeof(buf)) < 4)
        sched_yield();
    cr_assert_eq(rename(p.path, moved), 0);
    cr_expect_eq(sink_reopen(s, &conf), 0);
    for (size_t n = 0; n < 4; n = read_back(p.path, buf, sizeof(buf))) {
        (void)!sink_put(s, "new\n", 4,
                        false); /* the thread takes the new target between two batches */
        sched_yield();
    }
    sink_free(s);
    read_back(moved, buf, sizeof(buf));
    cr_expect_eq(strncmp(buf, "old\n", 4), 0);
    unlink(moved);
    remove_place(&p);
}

/* A line belongs to the log that was in use when it was put, whether or not the thread came to it.
 */
Test(report_sink, reopen__parts_the_lines__at_the_moment_it_was_called)
{
    for (int round = 0; round < 50; round++) {
        struct place p = make_place();
        struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
        int error = 0;
        char moved[96], buf[256];
        snprintf(moved, sizeof(moved), "%s.1", p.path);
        struct sink *s = sink_new(&conf, &error);
        cr_assert_not_null(s);
        cr_assert_eq(sink_start(s), 0);
        (void)!sink_put(s, "old 1\n", 6, false);
        (void)!sink_put(s, "old 2\n", 6, false);
        cr_assert_eq(rename(p.path, moved), 0);
        cr_expect_eq(sink_reopen(s, &conf), 0);
        (void)!sink_put(s, "new 1\n", 6, false);
        sink_free(s);
        read_back(moved, buf, sizeof(buf));
        cr_expect_str_eq(buf, "old 1\nold 2\n");
        read_back(p.path, buf, sizeof(buf));
        cr_expect_str_eq(buf, "new 1\n");
        unlink(moved);
        remove_place(&p);
    }
}

/* O05: a target that takes nothing costs lines, never the callers' time or unbounded memory. */
Test(report_sink, put__drops_and_counts__when_nobody_reads)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(mkfifo(p.path, 0600), 0);
    int reader = open(p.path, O_RDONLY | O_NONBLOCK);
    struct sink *s = sink_new(&conf, &error);
    cr_assert_not_null(s);
    cr_assert_eq(sink_start(s), 0);
    static char line[4096];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (size_t put = 0; put < 4 * SINK_QUEUE_BYTES; put += sizeof(line))
        (void)!sink_put(s, line, sizeof(line), false);
    cr_expect_gt(sink_n_dropped(s), 0);
    close(reader);
    sink_free(s);
    remove_place(&p);
}

static uint64_t limit_files(rlim_t bytes)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return bytes;
}

static void await_dropped(struct sink *s, uint64_t n)
{
    while (sink_n_dropped(s) < n)
        sched_yield();
}

/* O05: what a full disk cut is ended before the next record, and each lost one counts. */
Test(report_sink, put__begins_a_line__behind_one_that_was_cut)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    char buf[256];
    signal(SIGXFSZ, SIG_IGN);
    struct sink *s = sink_new(&conf, &error);
    limit_files(10);
    cr_expect(sink_put(s, "line 1\nline 2\nline 3\n", 21, false));
    cr_assert_eq(sink_start(s), 0);
    await_dropped(s, 2);
    cr_expect(sink_put(s, "line 4\n", 7, false));
    await_dropped(s, 3);
    limit_files(RLIM_INFINITY);
    cr_expect(sink_put(s, "line 5\n", 7, false));
    sink_free(s);
    read_back(p.path, buf, sizeof(buf));
    cr_expect_str_eq(buf, "line 1\nlin\nline 5\n");
    remove_place(&p);
}

/* One that lacks nothing but its end gets it with the next: it is not lost. */
Test(report_sink, put__ends_a_line__that_only_lacks_its_end)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    char buf[256];
    signal(SIGXFSZ, SIG_IGN);
    struct sink *s = sink_new(&conf, &error);
    limit_files(13);
    cr_expect(sink_put(s, "line 1\nline 2\nline 3\n", 21, false));
    cr_assert_eq(sink_start(s), 0);
    await_dropped(s, 1);
    limit_files(RLIM_INFINITY);
    cr_expect(sink_put(s, "line 4\n", 7, false));
    cr_expect_eq(sink_n_dropped(s), 1);
    sink_free(s);
    read_back(p.path, buf, sizeof(buf));
    cr_expect_str_eq(buf, "line 1\nline 2\nline 4\n");
    remove_place(&p);
}

/* So is what another process, or a reopened log, left behind. */
Test(report_sink, open__ends_the_line__that_it_finds)
{
    for (int is_reopened = 0; is_reopened < 2; is_reopened++) {
        struct place p = make_place();
        struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
        int error = 0;
        char buf[256];
        signal(SIGXFSZ, SIG_IGN);
        int fd = open(p.path, O_CREAT | O_WRONLY, 0600);
        cr_assert_eq(write(fd, is_reopened ? "old\n" : "old\nhal", is_reopened ? 4 : 7),
                     is_reopened ? 4 : 7);
        close(fd);
        struct sink *s = sink_new(&conf, &error);
        cr_assert_eq(sink_start(s), 0);
        if (is_reopened) {
            limit_files(7);
            cr_expect(sink_put(s, "half of it\n", 11, false));
            await_dropped(s, 1);
            cr_expect_eq(sink_reopen(s, &conf), 0);
            limit_files(RLIM_INFINITY);
        }
        cr_expect(sink_put(s, "new\n", 4, false));
        sink_free(s);
        read_back(p.path, buf, sizeof(buf));
        cr_expect_str_eq(buf, "old\nhal\nnew\n", "reopened %d: %s", is_reopened, buf);
        remove_place(&p);
    }
}

/* A record of the other form is for its maker to form anew, and what was put for a target that
 * never came to be used is the next one's, or counted. */
Test(report_sink, use__takes_one_form__from_its_moment_on)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0, pair[2];
    char buf[256];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
    struct sink *s = sink_new(&conf, &error); /* not started: nothing is taken yet */
    cr_expect(!sink_takes_fields(s));
    cr_expect(!sink_put(s, "MESSAGE=1\n\n", 11, true));
    cr_expect(sink_put(s, "first\n", 6, false));
    sink_use(s, &(struct logtarget){.kind = CONF_ACCESS_JOURNALD, .fd = pair[0]});
    cr_expect(sink_takes_fields(s));
    cr_expect(!sink_put(s, "line\n", 5, false));
    cr_expect(sink_put(s, "MESSAGE=2\n\n", 11, true));
    cr_expect(sink_put(s, "MESSAGE=3\n\n", 11, true));
    cr_expect_eq(sink_reopen(s, &conf), 0);
    cr_expect_eq(sink_n_dropped(s), 2);
    cr_expect(sink_put(s, "second\n", 7, false));
    cr_expect_eq(sink_reopen(s, &conf), 0);
    cr_expect(sink_put(s, "third\n", 6, false));
    cr_assert_eq(sink_start(s), 0);
    sink_free(s);
    read_back(p.path, buf, sizeof(buf));
    cr_expect_str_eq(buf, "first\nsecond\nthird\n");
    cr_expect_leq(recv(pair[1], buf, sizeof(buf), 0), 0);
    close(pair[1]);
    remove_place(&p);
}

/* A target that is there and reads nothing costs five seconds a batch, not five a record. */
Test(report_sink, put__waits_no_longer_for_many__than_for_one)
{
    int pair[2];
    atomic_bool is_ending = false;
    static char bytes[64 * 1024];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
    while (send(pair[0], bytes, 4096, MSG_NOSIGNAL) > 0)
        ;
    struct logtarget t = {.kind = CONF_ACCESS_SYSLOG, .fd = pair[0]};
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    cr_expect_eq(logtarget_write(&t, "one\ntwo\nthree\nfour\n", 19, &is_ending), 4);
    clock_gettime(CLOCK_MONOTONIC, &after);
    cr_expect_eq(t.error, -EAGAIN);
    cr_expect_lt(after.tv_sec - before.tv_sec, 9);
    logtarget_close(&t);
    close(pair[1]);
}

/* The group reads it, whoever started us with which umask; see daemon.c for ours. */
Test(report_sink, new__makes_a_file__that_its_group_reads)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    struct stat st;
    umask(0027);
    struct sink *s = sink_new(&conf, &error);
    cr_assert_not_null(s);
    cr_assert_eq(stat(p.path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0640u);
    sink_free(s);
    remove_place(&p);
}

/* Another daemon may be in the middle of its line: it ends that itself. */
Test(report_sink, open__leaves_a_line_alone__that_goes_on)
{
    struct place p = make_place();
    struct conf_log conf = {.access = CONF_ACCESS_FILE, .access_path = p.path};
    int error = 0;
    char buf[256];
    int other = open(p.path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    cr_assert_eq(write(other, "old\nhal", 7), 7);
    struct sink *s = sink_new(&conf, &error);
    cr_assert_eq(write(other, "f\n", 2), 2);
    cr_assert_eq(sink_start(s), 0);
    cr_expect(sink_put(s, "new\n", 4, false));
    sink_free(s);
    close(other);
    read_back(p.path, buf, sizeof(buf));
    cr_expect_str_eq(buf, "old\nhalf\nnew\n");
    remove_place(&p);
}

enum { N_SLOW = 400 };

static void *read_slowly(void *arg)
{
    char buf[256];
    for (int i = 0; i < N_SLOW; i++) {
        poll(NULL, 0, 1);
        if (recv(*(int *)arg, buf, sizeof(buf), 0) <= 0)
            break;
    }
    return NULL;
}

/* A reader that is slow, but reads, loses nothing however often it is waited for. */
Test(report_sink, put__waits_as_often_as_it_takes__while_something_is_taken)
{
    int pair[2], small = 4096;
    atomic_bool is_ending = false;
    static char bytes[N_SLOW * 3];
    pthread_t reader;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    cr_assert_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    cr_assert_eq(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    struct timeval patience = {.tv_sec = 3};
    cr_assert_eq(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    for (int i = 0; i < N_SLOW; i++)
        memcpy(bytes + 3 * i, "ab\n", 3);
    struct logtarget t = {.kind = CONF_ACCESS_SYSLOG, .fd = pair[0], .cut_at = -1};
    cr_assert_eq(pthread_create(&reader, NULL, read_slowly, &pair[1]), 0);
    cr_expect_eq(logtarget_write(&t, bytes, sizeof(bytes), &is_ending), 0);
    pthread_join(reader, NULL);
    logtarget_close(&t);
    close(pair[1]);
}

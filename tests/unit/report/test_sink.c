#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
        sink_put(s, line, (size_t)n);
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
    sink_put(s, "old\n", 4);
    while (read_back(p.path, buf, sizeof(buf)) < 4)
        sched_yield();
    cr_assert_eq(rename(p.path, moved), 0);
    cr_expect_eq(sink_reopen(s, &conf), 0);
    for (size_t n = 0; n < 4; n = read_back(p.path, buf, sizeof(buf))) {
        sink_put(s, "new\n", 4); /* the thread takes the new target between two batches */
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
        sink_put(s, "old 1\n", 6);
        sink_put(s, "old 2\n", 6);
        cr_assert_eq(rename(p.path, moved), 0);
        cr_expect_eq(sink_reopen(s, &conf), 0);
        sink_put(s, "new 1\n", 6);
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
        sink_put(s, line, sizeof(line));
    cr_expect_gt(sink_n_dropped(s), 0);
    close(reader);
    sink_free(s);
    remove_place(&p);
}

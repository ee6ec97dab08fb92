/* The daemon's own lines: levels, one call one line, and a full pipe that stops nobody. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/log.h"

/* Standard error goes into a pipe; Criterion runs each test in its own process. */
static int capture(void)
{
    int fds[2];
    cr_assert_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    cr_assert_neq(dup2(fds[1], STDERR_FILENO), -1);
    close(fds[1]);
    return fds[0];
}

static size_t read_text(int fd, char *buf, size_t size)
{
    ssize_t n = read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

Test(base_log, emit__writes_one_line_with_its_level)
{
    char buf[4096];
    int fd = capture();
    log_notice("msg=ready workers=%d", 2);
    read_text(fd, buf, sizeof(buf));
    cr_expect_str_eq(buf, "level=notice msg=ready workers=2\n");
}

Test(base_log, emit__is_silent__below_the_level)
{
    char buf[4096];
    int fd = capture();
    log_debug("msg=no");
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("msg=no");
    cr_expect_eq(read_text(fd, buf, sizeof(buf)), 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("msg=yes");
    read_text(fd, buf, sizeof(buf));
    cr_expect_str_eq(buf, "level=debug msg=yes\n");
}

Test(base_log, emit__keeps_one_line__whatever_is_in_it)
{
    char buf[4096];
    int fd = capture();
    log_error("msg=\"a\nb\r\x1b[2J\xff\" memo=\"通信用\" esc=\"\\x0a\"");
    read_text(fd, buf, sizeof(buf));
    cr_expect_str_eq(
        buf, "level=error msg=\"a\\x0ab\\x0d\\x1b[2J\\xff\" memo=\"通信用\" esc=\"\\x0a\"\n");
}

Test(base_log, emit__cuts_long_lines)
{
    char buf[8192], text[5000];
    int fd = capture();
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_error("msg=%s", text);
    size_t n = read_text(fd, buf, sizeof(buf));
    cr_expect_leq(n, 2048);
    cr_expect_eq(strchr(buf, '\n'), buf + n - 1);
}

Test(base_log, emit__drops_and_tells__when_nobody_reads)
{
    static char buf[1 << 17];
    int fd = capture();
    for (int i = 0; i < 10000; i++)
        log_error("msg=\"a line that fills the pipe, number %d\"", i);
    size_t n = read_text(fd, buf, sizeof(buf));
    cr_assert_gt(n, 0);
    cr_expect_eq(buf[n - 1], '\n', "no half line");
    log_error("msg=again");
    read_text(fd, buf, sizeof(buf));
    cr_expect_eq(strncmp(buf, "level=error msg=again dropped=", 30), 0, "%s", buf);
    log_error("msg=once");
    read_text(fd, buf, sizeof(buf));
    cr_expect_str_eq(buf, "level=error msg=once\n");
}

Test(base_log, emit__survives__without_standard_error)
{
    close(STDERR_FILENO);
    errno = ENOENT;
    log_error("msg=lost");
    cr_expect_eq(errno, ENOENT, "errno belongs to the caller");
}

Test(base_log, level_names__go_both_ways)
{
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        enum log_level level = LOG_LEVEL_ERROR;
        cr_expect(log_level_from_name(log_level_name((enum log_level)i), &level));
        cr_expect_eq((int)level, i);
    }
    enum log_level level = LOG_LEVEL_INFO;
    cr_expect_not(log_level_from_name("Error", &level));
    cr_expect_not(log_level_from_name("", &level));
    cr_expect_eq(level, LOG_LEVEL_INFO);
}

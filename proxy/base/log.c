/*
 * The daemon's own messages, one write(2) a line to stderr, which systemd hands to the journal. The
 * line is made in one buffer on the stack and cleaned as a whole by escape_write(), so whatever a
 * caller forgot, one call is one printable line. A reader that does not read must not stop the
 * traffic: the descriptor is asked first whether it takes a line (a pipe says so only with PIPE_BUF
 * of room, more than a line), and a line that finds no room is counted instead. Not the access
 * record: that is report/sink. The level and the count are the only state, both atomic; any thread.
 */
#include "proxy/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/escape.h"

enum { LINE_MAX_BYTES = 2048, TAIL_BYTES = 40 };

static atomic_int current_level = LOG_LEVEL_NOTICE;
static atomic_ulong n_dropped;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

enum { N_LEVELS = sizeof(level_names) / sizeof(level_names[0]) };

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
    return level <= log_get_level();
}

bool log_level_from_name(const char *name, enum log_level *ret_level)
{
    for (unsigned i = 0; i < N_LEVELS; i++) {
        if (strcmp(name, level_names[i]) != 0)
            continue;
        *ret_level = (enum log_level)i;
        return true;
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < N_LEVELS ? level_names[level] : "unknown";
}

/* Whether all of the line went out. */
static bool write_line(const char *line, size_t len)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n;

    if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT))
        return false;
    do {
        n = write(STDERR_FILENO, line, len);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

void log_emit(enum log_level level, const char *fmt, ...)
{
    char raw[LINE_MAX_BYTES] = "";
    char line[LINE_MAX_BYTES];
    va_list args;

    if (!log_wants(level))
        return;
    int saved_errno = errno;
    va_start(args, fmt);
    vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);

    size_t len = (size_t)snprintf(line, sizeof(line), "level=%s ", log_level_name(level));
    len += escape_write(ESCAPE_TEXT, raw, strlen(raw), line + len, sizeof(line) - len - TAIL_BYTES);
    unsigned long n_untold = atomic_exchange_explicit(&n_dropped, 0, memory_order_relaxed);
    if (n_untold > 0)
        len += (size_t)snprintf(line + len, TAIL_BYTES - 1, " dropped=%lu", n_untold);
    line[len++] = '\n';

    if (!write_line(line, len))
        atomic_fetch_add_explicit(&n_dropped, n_untold + 1, memory_order_relaxed);
    errno = saved_errno;
}

/*
 * Only the writing thread waits here, and not for ever: a pipe that nobody reads, a full disk, a
 * journal or a syslog daemon that is gone cost the records of the time, and are tried again with
 * the next ones. Datagram sockets are connected anew when they fail: who listens may have been
 * started anew.
 */
#include "proxy/report/logtarget.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
    WAITS_MAX = 5, /* in a row for one batch, with nothing taken between them */
    WAIT_MS = 1000,
    FILE_MODE = 0640,
    PREFIX_MAX = 64,
};

/* One call of logtarget_write(). */
struct writing {
    struct logtarget *target;
    atomic_bool *is_ending;
    unsigned n_waits;
};

static const char *socket_of(enum conf_access_target kind)
{
    return kind == CONF_ACCESS_JOURNALD ? "/run/systemd/journal/socket" : "/dev/log";
}

static int connect_to(enum conf_access_target kind)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", socket_of(kind));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* The size of a file that ends inside a line: cut short by a full disk, or by the end of another
 * process; or by one that is about to write the rest. -1: it does not. */
static int64_t cut_size(const char *path, int fd)
{
    struct stat st;
    char last = '\n';
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return -1;
    int reader = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (reader < 0)
        return -1;
    if (pread(reader, &last, 1, st.st_size - 1) != 1)
        last = '\n';
    close(reader);
    return last == '\n' ? -1 : (int64_t)st.st_size;
}

/* A FIFO that nobody reads yet is opened for both ends: what it holds waits for its reader. */
static int open_file(const char *path)
{
    int flags = O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = open(path, O_WRONLY | flags, FILE_MODE);
    if (fd < 0 && errno == ENXIO)
        fd = open(path, O_RDWR | flags, FILE_MODE);
    return fd < 0 ? -errno : fd;
}

int logtarget_open(const struct conf_log *conf, struct logtarget *ret)
{
    *ret = (struct logtarget){.kind = CONF_ACCESS_OFF, .fd = -1};
    int fd = -1;
    switch (conf->access) {
    case CONF_ACCESS_OFF:
        return 0;
    case CONF_ACCESS_STDERR:
        fd = STDERR_FILENO;
        break;
    case CONF_ACCESS_JOURNALD:
    case CONF_ACCESS_SYSLOG:
        fd = connect_to(conf->access);
        break;
    case CONF_ACCESS_FILE:
        fd = open_file(conf->access_path);
        break;
    }
    if (fd < 0)
        return fd;
    *ret = (struct logtarget){.kind = conf->access, .fd = fd, .cut_at = -1};
    if (conf->access == CONF_ACCESS_FILE)
        ret->cut_at = cut_size(conf->access_path, fd);
    return 0;
}

void logtarget_explain(const struct conf *conf, int rc, char *ret_text, size_t text_size)
{
    bool is_file = conf->log.access == CONF_ACCESS_FILE;
    const char *do_what = "";
    if (is_file && rc == -ENOENT)
        do_what = "; make its directory";
    if (is_file && rc == -EACCES)
        do_what = conf->process.sandbox
                      ? "; the daemon's user must be able to write there, and the sandbox opens "
                        "only the directory of the log named at the start"
                      : "; the daemon's user must be able to write there";
    snprintf(ret_text, text_size, "the access log cannot be opened: %s: %s%s",
             is_file                                    ? conf->log.access_path
             : conf->log.access == CONF_ACCESS_JOURNALD ? "the journal"
                                                        : "/dev/log (syslog)",
             strerror(-rc), do_what);
}

void logtarget_close(struct logtarget *t)
{
    if (t->fd > STDERR_FILENO)
        close(t->fd);
    t->fd = -1;
}

bool logtarget_takes_fields(enum conf_access_target kind)
{
    return kind == CONF_ACCESS_JOURNALD;
}

/* Whether it is worth trying again. */
static bool wait_for(struct writing *w)
{
    if (w->n_waits >= WAITS_MAX || atomic_load(w->is_ending))
        return false;
    struct pollfd p = {.fd = w->target->fd, .events = POLLOUT};
    poll(&p, 1, WAIT_MS);
    w->n_waits++;
    return true;
}

/* ---- datagrams: the journal, syslog ---- */

/* 0 · -errno: it is lost. */
static int send_one(struct writing *w, const struct msghdr *m)
{
    while (sendmsg(w->target->fd, m, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR && (errno != EAGAIN || !wait_for(w)))
            return -errno;
    }
    w->n_waits = 0;
    return 0;
}

/* Tried once more on a new socket; not again and again while nobody listens. */
static bool send_anyhow(struct writing *w, const struct msghdr *m)
{
    struct logtarget *t = w->target;
    bool was_well = t->error == 0;
    int rc = t->fd >= 0 ? send_one(w, m) : -ENOTCONN;
    if (rc < 0 && rc != -EAGAIN && (was_well || t->fd < 0)) {
        logtarget_close(t);
        t->fd = connect_to(t->kind);
        rc = t->fd < 0 ? t->fd : send_one(w, m);
    }
    t->error = rc;
    return rc == 0;
}

/* Records are apart by an empty line, which is not sent. */
static uint64_t write_fields(struct writing *w, const char *bytes, size_t len)
{
    uint64_t n_lost = 0;
    for (size_t at = 0; at < len;) {
        const char *end = memmem(bytes + at, len - at, "\n\n", 2);
        size_t n = end ? (size_t)(end - bytes) - at + 1 : len - at;
        struct iovec part = {.iov_base = (void *)(uintptr_t)(bytes + at), .iov_len = n};
        n_lost += !send_anyhow(w, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
        at += n + 1;
    }
    return n_lost;
}

/* RFC 3164 as local daemons of its kind read it: no host, local time. */
static size_t syslog_prefix(char buf[static PREFIX_MAX])
{
    time_t now = time(NULL);
    struct tm tm;
    char when[32];
    localtime_r(&now, &tm);
    strftime(when, sizeof(when), "%b %e %H:%M:%S", &tm);
    return (size_t)snprintf(buf, PREFIX_MAX, "<%d>%s ukai[%d]: ", LOG_DAEMON | LOG_INFO, when,
                            (int)getpid());
}

static uint64_t write_syslog(struct writing *w, const char *bytes, size_t len)
{
    uint64_t n_lost = 0;
    char prefix[PREFIX_MAX];
    size_t n_prefix = syslog_prefix(prefix);
    for (size_t at = 0; at < len;) {
        const char *end = memchr(bytes + at, '\n', len - at);
        size_t n = end ? (size_t)(end - bytes) - at : len - at;
        struct iovec parts[] = {
            {.iov_base = prefix, .iov_len = n_prefix},
            {.iov_base = (void *)(uintptr_t)(bytes + at), .iov_len = n},
        };
        n_lost += !send_anyhow(w, &(struct msghdr){.msg_iov = parts, .msg_iovlen = 2});
        at += n + 1;
    }
    return n_lost;
}

/* ---- streams: files, pipes, stderr ---- */

/* How many bytes got there. */
static size_t write_bytes(struct writing *w, const char *bytes, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(w->target->fd, bytes + done, len - done);
        if (n > 0) {
            done += (size_t)n;
            w->n_waits = 0;
        } else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !wait_for(w)))) {
            w->target->error = n == 0 ? -EIO : -errno;
            break;
        }
    }
    return done;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += bytes[i] == '\n';
    return n;
}

/* Before our first line: whoever left that one unended has not gone on with it. */
static void look_at_cut(struct logtarget *t)
{
    struct stat st;
    if (t->cut_at >= 0 && fstat(t->fd, &st) == 0 && st.st_size == t->cut_at)
        t->is_mid_line = true;
    t->cut_at = -1;
}

static uint64_t write_lines(struct writing *w, const char *bytes, size_t len)
{
    struct logtarget *t = w->target;
    t->error = 0;
    look_at_cut(t);
    if (t->is_mid_line)
        t->is_mid_line = write_bytes(w, "\n", 1) == 0;
    if (t->is_mid_line)
        return count_lines(bytes, len);
    size_t done = write_bytes(w, bytes, len);
    if (done > 0)
        t->is_mid_line = bytes[done - 1] != '\n';
    bool lacks_end = t->is_mid_line && bytes[done] == '\n'; /* which comes before the next one */
    return count_lines(bytes + done, len - done) - lacks_end;
}

uint64_t logtarget_write(struct logtarget *t, const char *bytes, size_t len, atomic_bool *is_ending)
{
    struct writing w = {.target = t, .is_ending = is_ending};
    switch (t->kind) {
    case CONF_ACCESS_OFF:
        return 0;
    case CONF_ACCESS_JOURNALD:
        return write_fields(&w, bytes, len);
    case CONF_ACCESS_SYSLOG:
        return write_syslog(&w, bytes, len);
    case CONF_ACCESS_STDERR:
    case CONF_ACCESS_FILE:
        break;
    }
    return write_lines(&w, bytes, len);
}

void logtarget_replace(struct logtarget *from, const struct logtarget *to)
{
    struct stat a, b;
    struct logtarget old = *from;
    *from = *to;
    if (old.is_mid_line && fstat(old.fd, &a) == 0 && fstat(to->fd, &b) == 0 &&
        a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        from->is_mid_line = true;
    else if (old.is_mid_line)
        (void)!write(old.fd, "\n", 1);
    logtarget_close(&old);
}

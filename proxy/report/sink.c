/*
 * Workers append under a mutex that is never held across a write; the thread swaps the buffer and
 * writes it out, and may block as long as it likes. What does not fit is dropped and counted, and
 * the count is told in the daemon's log when writing goes on. SIGPIPE is ignored by the daemon; a
 * target that fails is tried again with the next batch.
 */
#include "proxy/report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"

struct batch {
    char *bytes; /* SINK_QUEUE_BYTES, touched only as far as it is used */
    size_t len;
};

struct sink {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    struct batch queue; /* filled by the workers */
    struct batch out;   /* being written by the thread */
    uint64_t n_dropped, n_dropped_told;
    enum conf_access_target target;
    int fd;      /* owned unless it is stderr */
    int next_fd; /* set by sink_reopen(), taken by the thread; -1: none */
    enum conf_access_target next_target;
    size_t n_old_bytes; /* of the queue, when the next target was set: they go to the old one */
    bool has_next, is_writing, is_started;
    atomic_bool is_ending; /* the thread looks at it while it waits for its target too */
};

static int open_journal(int *ret_fd)
{
    static const struct sockaddr_un sa = {.sun_family = AF_UNIX,
                                          .sun_path = "/run/systemd/journal/socket"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int sink_open(const struct conf_log *conf, int *ret_fd)
{
    *ret_fd = -1;
    if (conf->access == CONF_ACCESS_JOURNALD)
        return open_journal(ret_fd);
    if (conf->access == CONF_ACCESS_STDERR)
        *ret_fd = STDERR_FILENO;
    if (conf->access != CONF_ACCESS_FILE)
        return 0;
    int fd = open(conf->access_path,
                  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

static void write_lines_to_syslog(const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(bytes + at, '\n', len - at);
        size_t n = end ? (size_t)(end - bytes) - at : len - at;
        syslog(LOG_INFO, "%.*s", (int)n, bytes + at);
        at += n + 1;
    }
}

/* One datagram; waits while the journal is busy. False: it is lost. */
static bool send_to_journal(struct sink *s, const char *bytes, size_t len)
{
    for (unsigned n_waits = 0; n_waits < 5 && !s->is_ending;) {
        if (send(s->fd, bytes, len, MSG_NOSIGNAL) >= 0)
            return true;
        if (errno == EAGAIN) {
            struct pollfd p = {.fd = s->fd, .events = POLLOUT};
            poll(&p, 1, 1000);
            n_waits++;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return false;
}

/* Records are apart by an empty line, which is not sent. One that cannot be sent is tried once more
 * on a new socket: the journal may have been started anew. */
static uint64_t write_records_to_journal(struct sink *s, const char *bytes, size_t len)
{
    uint64_t n_lost = 0;
    bool may_reopen = true;
    for (size_t at = 0; at < len;) {
        const char *end = memmem(bytes + at, len - at, "\n\n", 2);
        size_t n = end ? (size_t)(end - bytes) - at + 1 : len - at;
        bool is_sent = send_to_journal(s, bytes + at, n);
        int fd;
        if (!is_sent && may_reopen && open_journal(&fd) == 0) {
            close(s->fd);
            s->fd = fd;
            is_sent = send_to_journal(s, bytes + at, n);
        }
        may_reopen = is_sent;
        n_lost += !is_sent;
        at += n + 1;
    }
    return n_lost;
}

/* A pipe nobody reads and a full disk end the batch; the thread alone waits, at most a second a
 * step. */
static bool write_all(struct sink *s, int fd, const char *bytes, size_t len)
{
    size_t done = 0;
    unsigned n_waits = 0;
    while (done < len) {
        ssize_t n = write(fd, bytes + done, len - done);
        if (n > 0) {
            done += (size_t)n;
            n_waits = 0;
        } else if (n < 0 && errno == EAGAIN && n_waits < 5 && !s->is_ending) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, 1000);
            n_waits++;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            return false;
        }
    }
    return true;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += bytes[i] == '\n';
    return n;
}

static void write_batch(struct sink *s)
{
    uint64_t n_lost = 0;
    if (s->target == CONF_ACCESS_SYSLOG)
        write_lines_to_syslog(s->out.bytes, s->out.len);
    else if (s->target == CONF_ACCESS_JOURNALD)
        n_lost = write_records_to_journal(s, s->out.bytes, s->out.len);
    else if (s->fd >= 0 && !write_all(s, s->fd, s->out.bytes, s->out.len))
        n_lost = count_lines(s->out.bytes, s->out.len);
    bool is_written = n_lost == 0;
    pthread_mutex_lock(&s->lock);
    s->n_dropped += n_lost;
    uint64_t n_untold = s->n_dropped - s->n_dropped_told;
    if (is_written)
        s->n_dropped_told = s->n_dropped;
    pthread_mutex_unlock(&s->lock);
    if (is_written && n_untold > 0)
        log_warning("msg=\"access records were dropped\" n=%llu", (unsigned long long)n_untold);
}

static void take_next_target(struct sink *s)
{
    if (s->fd > STDERR_FILENO)
        close(s->fd);
    s->fd = s->next_fd;
    s->target = s->next_target;
    s->has_next = false;
}

/* The first @len bytes of the queue become the batch; the rest stays queued. */
static void take_batch(struct sink *s, size_t len)
{
    struct batch full = s->queue;
    s->queue = s->out;
    s->queue.len = full.len - len;
    memcpy(s->queue.bytes, full.bytes + len, s->queue.len);
    full.len = len;
    s->out = full;
}

static void *sink_thread(void *arg)
{
    struct sink *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->queue.len == 0 && !s->has_next && !s->is_ending)
            pthread_cond_wait(&s->wake, &s->lock);
        bool switches = s->has_next;
        take_batch(s, switches ? s->n_old_bytes : s->queue.len);
        s->is_writing = true;
        pthread_mutex_unlock(&s->lock);
        if (s->out.len > 0)
            write_batch(s);
        s->out.len = 0;
        pthread_mutex_lock(&s->lock);
        s->is_writing = false;
        if (switches)
            take_next_target(s);
        pthread_cond_broadcast(&s->idle);
        if (s->is_ending && s->queue.len == 0)
            break;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct sink *sink_new(const struct conf_log *conf, int *ret_error)
{
    struct sink *s = calloc(1, sizeof(*s));
    if (!s) {
        *ret_error = -ENOMEM;
        return NULL;
    }
    s->fd = s->next_fd = -1;
    s->target = conf->access;
    s->queue.bytes = malloc(SINK_QUEUE_BYTES);
    s->out.bytes = malloc(SINK_QUEUE_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->idle, NULL);
    int rc = s->queue.bytes && s->out.bytes ? sink_open(conf, &s->fd) : -ENOMEM;
    if (rc == 0)
        return s;
    *ret_error = rc;
    return sink_free(s);
}

int sink_start(struct sink *s)
{
    int rc = -pthread_create(&s->thread, NULL, sink_thread, s);
    s->is_started = rc == 0;
    return rc;
}

/* False: it sits in a write that may never return; the process ends anyway. */
static bool end_thread(struct sink *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    pthread_mutex_lock(&s->lock);
    while (s->queue.len > 0 || s->is_writing) {
        if (pthread_cond_timedwait(&s->idle, &s->lock, &until) == ETIMEDOUT)
            break;
    }
    bool is_stuck = s->queue.len > 0 || s->is_writing;
    if (is_stuck)
        s->queue.len = 0;
    s->is_ending = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (is_stuck)
        pthread_detach(s->thread);
    else
        pthread_join(s->thread, NULL);
    return !is_stuck;
}

struct sink *sink_free(struct sink *s)
{
    if (!s)
        return NULL;
    if (s->is_started && !end_thread(s))
        return NULL;
    if (s->fd > STDERR_FILENO)
        close(s->fd);
    free(s->queue.bytes);
    free(s->out.bytes);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    free(s);
    return NULL;
}

void sink_put(struct sink *s, const char *line, size_t len)
{
    pthread_mutex_lock(&s->lock);
    if (s->queue.len + len > SINK_QUEUE_BYTES) {
        s->n_dropped++;
    } else {
        memcpy(s->queue.bytes + s->queue.len, line, len);
        bool was_empty = s->queue.len == 0;
        s->queue.len += len;
        if (was_empty)
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

void sink_use(struct sink *s, const struct conf_log *conf, int fd)
{
    pthread_mutex_lock(&s->lock);
    if (s->has_next)
        sink_drop(s->next_fd);
    s->next_fd = fd;
    s->next_target = conf->access;
    s->n_old_bytes = s->queue.len;
    s->has_next = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void sink_drop(int fd)
{
    if (fd > STDERR_FILENO)
        close(fd);
}

int sink_reopen(struct sink *s, const struct conf_log *conf)
{
    int fd;
    int rc = sink_open(conf, &fd);
    if (rc == 0)
        sink_use(s, conf, fd);
    return rc;
}

uint64_t sink_n_dropped(struct sink *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->n_dropped;
    pthread_mutex_unlock(&s->lock);
    return n;
}

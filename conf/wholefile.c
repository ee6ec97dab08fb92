/*
 * A configuration is taken from one consistent copy of a file, never from a stream: whoever reads a
 * file piece by piece can be handed half of an old and half of a new one. Replacing by rename() is
 * always safe. Who writes in place is waited for: a file that changed a moment ago may change
 * again, and half of a rule list can be a valid one, so what is taken has rested for SETTLED_MS,
 * and its size and time stamp are the same before and after. (A change within the same tick of the
 * file system's clock would leave no trace in the stamp; of a file that has rested that cannot be.)
 *
 * O_NONBLOCK keeps the open of a FIFO from waiting for a writer, O_NOCTTY keeps a terminal from
 * becoming ours; both are refused right after, by fstat() on the descriptor and not by stat() on
 * the path, which could be another file by then.
 */
#include "conf/wholefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SETTLED_MS = 20, PATIENCE_MS = 500 };

static const char *kind_text(mode_t mode)
{
    if (S_ISDIR(mode))
        return "is a directory; give the path of a file in it";
    if (S_ISFIFO(mode))
        return "is a FIFO; only a regular file can be read";
    if (S_ISSOCK(mode))
        return "is a socket; only a regular file can be read";
    return "is a device; only a regular file can be read";
}

static const char *errno_text(int err)
{
    const char *text = strerrordesc_np(err);
    return text ? text : "cannot be read";
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int64_t to_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* How long a file with that stamp has to rest yet; of a stamp in the future nothing can be said. */
static int64_t unrest_ns(const struct stat *st)
{
    const int64_t settled_ns = (int64_t)SETTLED_MS * 1000000;
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return 0;
    int64_t age_ns = to_ns(&now) - to_ns(&st->st_mtim);
    return age_ns < 0 || age_ns >= settled_ns ? 0 : settled_ns - age_ns;
}

/* Wait until nobody has written for a moment; whoever never ends is found out by the next stat. */
static int stat_settled(int fd, struct stat *ret_st)
{
    int64_t waited_ns = 0;

    for (;;) {
        if (fstat(fd, ret_st) < 0)
            return -errno;
        int64_t ns = S_ISREG(ret_st->st_mode) ? unrest_ns(ret_st) : 0;
        if (ns == 0)
            return 0;
        if (waited_ns >= (int64_t)PATIENCE_MS * 1000000)
            return -ESTALE;
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        waited_ns += ns;
    }
}

static int read_all(int fd, char *bytes, size_t len)
{
    size_t n_read = 0;

    while (n_read < len) {
        ssize_t n = read(fd, bytes + n_read, len - n_read);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ESTALE;
        n_read += (size_t)n;
    }
    return 0;
}

static const char CHANGES[] = "changes while it is read; write a new file and rename it into place";

static int read_fd(int fd, size_t max_bytes, struct stat *ret_st, char **ret_bytes, size_t *ret_len,
                   const char **ret_why)
{
    struct stat before, after;

    int r = stat_settled(fd, &before);
    if (r < 0) {
        *ret_why = r == -ESTALE ? CHANGES : errno_text(-r);
        return r == -ESTALE ? -EINVAL : r;
    }
    if (!S_ISREG(before.st_mode)) {
        *ret_why = kind_text(before.st_mode);
        return -EINVAL;
    }
    if (before.st_size < 0 || (uintmax_t)before.st_size > max_bytes) {
        *ret_why = "is larger than such a file may be";
        return -EINVAL;
    }
    size_t len = (size_t)before.st_size;
    char *bytes = malloc(len + 1);
    if (!bytes) {
        *ret_why = "does not fit into memory";
        return -ENOMEM;
    }
    r = read_all(fd, bytes, len);
    if (r == 0 && fstat(fd, &after) < 0)
        r = -errno;
    if (r == -ESTALE || (r == 0 && !is_same(&before, &after))) {
        *ret_why = CHANGES;
        r = -EINVAL;
    } else if (r < 0) {
        *ret_why = errno_text(-r);
    }
    if (r < 0) {
        free(bytes);
        return r;
    }
    bytes[len] = '\0';
    *ret_st = before;
    *ret_bytes = bytes;
    *ret_len = len;
    return 0;
}

int wholefile_read(const char *path, size_t max_bytes, struct stat *ret_st, char **ret_bytes,
                   size_t *ret_len, const char **ret_why)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        /* What open() says of a socket: ENXIO. */
        *ret_why = err == ENXIO ? "is a socket or a device; only a regular file can be read"
                                : errno_text(err);
        return -err;
    }
    int r = read_fd(fd, max_bytes, ret_st, ret_bytes, ret_len, ret_why);
    close(fd);
    return r;
}

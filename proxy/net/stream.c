/*
 * What tunnels and bodies of known length have in common. Copy or splice is decided by what the
 * last read returned: full reads are worth a pipe, small ones are not. A pipe is the worker's and
 * stays lent only while the destination blocks. Nothing here knows why bytes move or when a
 * transfer ends. Measured: below about 32 KiB a read, splice costs more than a copy; at 64 KiB 0.81
 * times it, at 128 KiB 0.54 times.
 */
#include "proxy/net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SPLICE_WORTH_BYTES = 32 * 1024 };

uint32_t stream_waiting(const struct stream *s)
{
    return (s->residue ? s->residue->len - s->residue->sent : 0) + (s->pipe ? s->pipe->held : 0);
}

void stream_drop(struct stream *s, struct pipes *pipes)
{
    free(s->residue);
    s->residue = NULL;
    pipes_give(pipes, s->pipe);
    s->pipe = NULL;
}

static void mark_broken(struct stream *s, struct pipes *pipes)
{
    s->is_broken = true;
    stream_drop(s, pipes);
}

/* Writes what it can. Returns bytes taken, or -1 when the destination is broken. */
static ssize_t write_some(struct io *to, const char *bytes, size_t len)
{
    size_t done = 0;
    while (done < len && to->is_writable) {
        ssize_t n = send(to->watch.fd, bytes + done, len - done, MSG_NOSIGNAL);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            to->is_writable = false;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)done;
}

/* Writes what it can of what the pipe holds; what cannot go stays lent. */
static void write_pipe(struct stream *s, struct pipes *pipes, struct io *to, struct pipe *pipe)
{
    s->pipe = pipe;
    while (pipe->held > 0 && to->is_writable) {
        ssize_t n = splice(pipe->out, NULL, to->watch.fd, NULL, pipe->held,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0) {
            pipe->held -= (uint32_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            to->is_writable = false;
        } else if (n == 0 || errno != EINTR) {
            mark_broken(s, pipes);
            return;
        }
    }
    if (pipe->held == 0)
        stream_drop(s, pipes);
}

bool stream_flush(struct stream *s, struct pipes *pipes, struct io *to)
{
    struct residue *w = s->residue;
    if (s->pipe)
        write_pipe(s, pipes, to, s->pipe);
    if (!w)
        return !s->pipe;
    ssize_t n = write_some(to, w->bytes + w->sent, w->len - w->sent);
    if (n < 0) {
        mark_broken(s, pipes);
        return true;
    }
    w->sent += (uint32_t)n;
    if (w->sent < w->len)
        return false;
    stream_drop(s, pipes);
    return true;
}

int stream_keep(struct stream *s, const char *bytes, size_t len)
{
    struct residue *w = malloc(sizeof(*w) + len);
    if (!w)
        return -ENOMEM;
    w->sent = 0;
    w->len = (uint32_t)len;
    memcpy(w->bytes, bytes, len);
    s->residue = w;
    return 0;
}

/* To the other side, or into a block of its own. 0 · -ENOMEM. */
static int pass_on(struct stream *s, struct pipes *pipes, struct io *to, const char *bytes,
                   size_t len)
{
    if (s->is_broken)
        return 0;
    ssize_t n = write_some(to, bytes, len);
    if (n < 0) {
        mark_broken(s, pipes);
        return 0;
    }
    return (size_t)n < len ? stream_keep(s, bytes + n, len - (size_t)n) : 0;
}

static ssize_t copy_once(struct stream *s, const struct stream_means *means, struct io *from,
                         struct io *to, size_t max)
{
    size_t want = max < STREAM_CHUNK_BYTES ? max : STREAM_CHUNK_BYTES;
    ssize_t n = recv(from->watch.fd, means->scratch, want, 0);
    if (n < 0) {
        if (errno == EAGAIN)
            from->is_readable = false;
        return -errno;
    }
    s->reads_full = (size_t)n == want;
    if ((size_t)n < want && io_short_is_all(from))
        from->is_readable = false;
    if (n > 0 && pass_on(s, means->pipes, to, means->scratch, (size_t)n) < 0)
        return -ENOMEM;
    return n;
}

/*
 * By way of a pipe, whose bytes never come to this process. A short splice proves nothing about
 * what waits; only EAGAIN with an empty pipe says that the source is drained.
 */
static ssize_t splice_once(struct stream *s, struct pipes *pipes, struct io *from, struct io *to,
                           struct pipe *pipe, size_t max)
{
    size_t want = max < pipe->size ? max : pipe->size;
    ssize_t n =
        splice(from->watch.fd, NULL, pipe->in, NULL, want, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n <= 0) {
        int error = errno;
        pipes_give(pipes, pipe);
        return n < 0 ? -error : 0;
    }
    s->reads_full = n >= SPLICE_WORTH_BYTES;
    pipe->held = (uint32_t)n;
    write_pipe(s, pipes, to, pipe);
    return n;
}

static bool wants_splice(struct stream *s, const struct pipes *pipes)
{
    if (!pipes || s->is_broken)
        return false;
    switch (pipes->mode) {
    case PIPES_ADAPTIVE:
        break;
    case PIPES_NEVER:
        return false;
    case PIPES_ALWAYS:
        return true;
    case PIPES_SWITCH:
        s->reads_full = !s->reads_full;
        break;
    }
    return s->reads_full;
}

ssize_t stream_move(struct stream *s, const struct stream_means *means, struct io *from,
                    struct io *to, size_t max)
{
    struct pipe *pipe = wants_splice(s, means->pipes) ? pipes_take(means->pipes) : NULL;
    if (!pipe)
        return copy_once(s, means, from, to, max);
    ssize_t n = splice_once(s, means->pipes, from, to, pipe, max);
    if (n != -EAGAIN && n != -EINVAL) /* the latter: not this kind of socket */
        return n;
    /* splice also says EAGAIN at an urgent byte, whatever stands behind it; recv steps over it. */
    return copy_once(s, means, from, to, max);
}

/*
 * The request's body on its way to the origin. What came behind the head goes first, from the
 * set-up buffer; then a body of known length by the stream, a chunked one decoded and framed anew.
 * An origin that takes no more may have answered already, so its answer is still awaited.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proxy/flow/forward_parts.h"

enum { UP_CHUNKED_BYTES = 32 * 1024 };

/* The origin takes no more. It may have answered already (413 and a close), so its answer is still
 * read. What waits is skipped, not forgotten: a retry sends the head again. */
static void up_broke(struct forward *f)
{
    f->is_up_broken = true;
    f->up.at = f->up.len;
    f->origin->io.is_readable = f->origin->io.is_peer_done = true;
}

static bool up_send(struct forward *f, const char *bytes, size_t len)
{
    f->bytes_up += len;
    if (f->is_up_broken)
        return true;
    int rc = outbuf_send(&f->up, &f->origin->io, bytes, len);
    if (rc == -EPIPE)
        up_broke(f);
    return rc != -ENOMEM;
}

/* Reads into c->setup->buf behind what is there. >0 · 0 nothing now · -1 the client left. */
static ssize_t client_read_buffered(struct forward *f)
{
    struct conn_setup *s = f->c->setup;
    struct io *io = forward_client(f);
    size_t room = forward_may_read(f, RELAY_CLIENT, s->buf_size - s->n_buf);
    if (room == 0)
        return 0;
    ssize_t n = recv(io->watch.fd, s->buf + s->n_buf, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        io->is_readable = errno == EINTR;
        return 0;
    }
    if (n <= 0)
        return -1;
    s->n_buf += (uint32_t)n;
    forward_was_read(f, RELAY_CLIENT, (size_t)n);
    return n;
}

/* What came behind the head: it was read before anybody asked. */
static void was_read_early(struct forward *f, size_t n)
{
    forward_touch(f, n);
    if (f->pace)
        pace_charge(f->pace, n);
}

/* What came behind the head already. */
static enum step up_buffered(struct forward *f)
{
    struct conn_setup *s = f->c->setup;
    struct body *b = &f->up_body;
    size_t n = s->n_buf < b->left ? s->n_buf : (size_t)b->left;
    if (!up_send(f, s->buf, n)) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    forward_consume(s, n);
    was_read_early(f, n);
    b->left -= n;
    b->is_done = b->left == 0;
    return STEP_MOVED;
}

static enum step up_length(struct forward *f)
{
    struct body *b = &f->up_body;
    if (f->c->setup->n_buf > 0)
        return up_buffered(f);
    if (!forward_client(f)->is_readable)
        return STEP_NOTHING;
    b->stream.is_broken = f->is_up_broken;
    ssize_t n = forward_move_body(f, b, forward_client(f), &f->origin->io);
    if (n == -EAGAIN || n == -EINTR)
        return STEP_NOTHING;
    if (n == -ENOMEM) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    if (n <= 0)
        return forward_client_left(f);
    f->bytes_up += (uint64_t)n;
    if (b->stream.is_broken && !f->is_up_broken)
        up_broke(f);
    return STEP_MOVED;
}

/* A set-up buffer that was sized for a head costs a chunked upload many small reads. */
static void widen_setup(struct conn_setup *s)
{
    char *wider = s->buf_size < UP_CHUNKED_BYTES ? realloc(s->buf, UP_CHUNKED_BYTES) : NULL;
    if (!wider)
        return;
    s->buf = wider;
    s->buf_size = UP_CHUNKED_BYTES;
}

static enum step up_chunked(struct forward *f)
{
    struct conn_setup *s = f->c->setup;
    if (s->n_buf == 0) {
        if (!forward_client(f)->is_readable)
            return STEP_NOTHING;
        widen_setup(s);
        ssize_t n = client_read_buffered(f);
        if (n < 0)
            return forward_client_left(f);
        if (n == 0)
            return STEP_NOTHING;
    }
    size_t at = 0;
    enum chunked_result result = CHUNKED_MORE;
    outbuf_clear(&f->up);
    while (at < s->n_buf) {
        size_t used, n_data;
        const char *data;
        result =
            chunked_feed(&f->up_body.chunks, s->buf + at, s->n_buf - at, &used, &data, &n_data);
        at += used;
        if (result != CHUNKED_DATA)
            break;
        f->bytes_up += n_data;
        if (!f->is_up_broken && outbuf_chunk(&f->up, data, n_data) < 0) {
            forward_fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
    }
    forward_touch(f, at);
    forward_consume(s, at);
    if (result == CHUNKED_BAD) {
        forward_fail(f, REASON_BAD_REQUEST, 400, f->up_body.chunks.why);
        return STEP_OVER;
    }
    if (result == CHUNKED_DONE) {
        f->up_body.is_done = true;
        if (!f->is_up_broken && outbuf_add(&f->up, "0\r\n\r\n", 5) < 0) {
            forward_fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
    }
    return STEP_MOVED;
}

enum step forward_up_pump(struct forward *f)
{
    if (!f->is_up_broken && forward_flush(f, &f->up, &f->origin->io) < 0)
        up_broke(f);
    if (!f->is_up_broken && outbuf_is_empty(&f->up))
        forward_flush_stream(f, &f->up_body, &f->origin->io);
    if (f->up_body.stream.is_broken && !f->is_up_broken)
        up_broke(f);
    if (!outbuf_is_empty(&f->up) || f->up_body.is_done || stream_waiting(&f->up_body.stream) > 0)
        return STEP_NOTHING;
    return f->up_body.kind == BODY_CHUNKED ? up_chunked(f) : up_length(f);
}

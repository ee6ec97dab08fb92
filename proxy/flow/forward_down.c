/*
 * The answer on its way to the client: interim heads, the final head written anew, and the body by
 * the framing that the head gave it. A body of known length goes by the stream; one that ends with
 * the connection becomes chunks for a client that understands them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/flow/forward_parts.h"

enum {
    IN_FIRST_BYTES = 4096,
    IN_MAX_BYTES = 64 * 1024,
    INFORMATIONAL_MAX = 32,
};

static void bad_answer(struct forward *f, const char *why)
{
    forward_fail(f, REASON_BAD_ANSWER, 502, why);
}

static bool down_send(struct forward *f, const char *bytes, size_t len)
{
    int rc = outbuf_send(&f->down, forward_client(f), bytes, len);
    if (rc == 0)
        return true;
    if (rc == -EPIPE)
        forward_client_left(f);
    else
        forward_fail(f, REASON_INTERNAL, 0, NULL);
    return false;
}

static bool may_retry(const struct forward *f)
{
    return f->origin->is_reused && !f->is_retried && f->is_idempotent && !f->has_body &&
           f->n_in == 0 && !f->has_answer && f->n_informational == 0;
}

static enum step origin_ended(struct forward *f, bool is_reset)
{
    if (may_retry(f))
        return forward_retry(f);
    if (f->has_answer && f->down_body.kind == BODY_CLOSE && !is_reset) {
        f->down_body.is_done = true;
        if (f->down_frame == REWRITE_BODY_CHUNKED && outbuf_add(&f->down, "0\r\n\r\n", 5) < 0) {
            forward_fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
        return STEP_MOVED;
    }
    forward_fail(f, is_reset ? REASON_ORIGIN_RESET : REASON_ORIGIN_CLOSED, 502,
                 "the origin closed before its answer was complete");
    return STEP_OVER;
}

/* A socket that takes no more and has nothing to say, yet was not reset: what was asked will never
 * be answered. */
static bool is_origin_deaf(const struct forward *f)
{
    return f->is_up_broken && !f->has_answer;
}

/* Into @buf. >0 bytes · 0 nothing now · -1 the origin ended (*ret_step says what came of it). */
static ssize_t origin_read(struct forward *f, char *buf, size_t size, enum step *ret_step)
{
    struct io *io = &f->origin->io;
    *ret_step = STEP_NOTHING;
    if (!io->is_readable || (size = forward_may_read(f, RELAY_ORIGIN, size)) == 0)
        return 0;
    ssize_t n = recv(io->watch.fd, buf, size, 0);
    if (n > 0) {
        /* A short read is no proof that it is drained: data and a reset may share one edge. A whole
         * answer is not read past, so this costs no call for those that come in one piece. */
        forward_was_read(f, RELAY_ORIGIN, (size_t)n);
        return n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        io->is_readable = errno == EINTR;
        if (io->is_readable || !is_origin_deaf(f))
            return 0;
    }
    *ret_step = origin_ended(f, n < 0);
    return -1;
}

/* ---- the head ---- */

static void await_head(struct forward *f)
{
    head_init(&f->answer, HEAD_RESPONSE, forward_conf(f)->limits.request_line_bytes,
              IN_MAX_BYTES / 2);
}

void forward_down_reset(struct forward *f)
{
    f->has_answer = f->keeps_origin = false;
    f->n_informational = f->status = 0;
    f->bytes_down = 0;
    f->first_byte_ms = -1;
    f->n_in = f->in_at = 0;
    f->down_body = (struct body){0};
    outbuf_clear(&f->down);
    await_head(f);
}

static int in_make_room(struct forward *f)
{
    if (f->in_at > 0) {
        memmove(f->in, f->in + f->in_at, f->n_in - f->in_at);
        f->n_in -= f->in_at;
        f->in_at = 0;
    }
    if (f->n_in < f->in_size)
        return 0;
    uint32_t size = f->in_size ? f->in_size * 2 : IN_FIRST_BYTES;
    if (size > IN_MAX_BYTES)
        return -ENOBUFS;
    char *bigger = realloc(f->in, size);
    if (!bigger)
        return -ENOMEM;
    f->in = bigger;
    f->in_size = size;
    return 0;
}

static void frame_answer(struct forward *f)
{
    const struct head_framing *framing = &f->answer.framing;
    unsigned code = f->answer.status_code;
    bool has_none = f->is_head || code < 200 || code == 204 || code == 304;
    bool is_modern = f->c->setup->head.minor >= 1;
    f->down_body = (struct body){.kind = has_none              ? BODY_NONE
                                         : framing->is_chunked ? BODY_CHUNKED
                                         : framing->has_length ? BODY_LENGTH
                                                               : BODY_CLOSE,
                                 .left = framing->length};
    chunked_init(&f->down_body.chunks);
    switch (f->down_body.kind) {
    case BODY_NONE:
        f->down_frame = REWRITE_BODY_NONE;
        break;
    case BODY_LENGTH:
        f->down_frame = REWRITE_BODY_LENGTH;
        break;
    case BODY_CHUNKED:
    case BODY_CLOSE:
        f->down_frame = is_modern ? REWRITE_BODY_CHUNKED : REWRITE_BODY_CLOSE;
        break;
    }
    f->down_body.is_done = has_none || (f->down_body.kind == BODY_LENGTH && framing->length == 0);
    f->keeps_origin = f->down_body.kind != BODY_CLOSE && !framing->wants_close &&
                      (f->answer.minor >= 1 || framing->wants_keep);
    if (f->down_frame == REWRITE_BODY_CLOSE)
        f->keeps_client = false;
}

/* The parsed head goes down; false: the connection is finished. */
static bool pass_head(struct forward *f)
{
    const char *buf = f->in + f->in_at;
    size_t size = f->answer.head_bytes + 512, len;
    bool is_final = f->answer.status_code >= 200;
    if (is_final && !f->up_body.is_done)
        f->keeps_client = false; /* it need not send the rest for an answer that it has */
    bool closes = is_final && !f->keeps_client;
    bool says_keep = is_final && f->keeps_client && f->c->setup->head.minor == 0;
    outbuf_clear(&f->down);
    if (outbuf_reserve(&f->down, size) < 0) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return false;
    }
    if (rewrite_response(&f->answer, buf, f->c->worker->shared->via, f->down_frame, closes,
                         says_keep, f->down.bytes, f->down.size, &len) != REWRITE_OK) {
        bad_answer(f, "the origin's answer head cannot be passed on");
        return false;
    }
    f->down.len = (uint32_t)len;
    return true;
}

/* What of a plain body came with its head goes out with it: one call and one packet for a small
 * answer.
 */
static bool join_body(struct forward *f)
{
    struct body *b = &f->down_body;
    size_t n = f->n_in - f->in_at;
    if (b->kind != BODY_LENGTH || f->down_frame != REWRITE_BODY_LENGTH || b->is_done)
        return true;
    n = n < b->left ? n : (size_t)b->left;
    if (outbuf_add(&f->down, f->in + f->in_at, n) < 0) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return false;
    }
    f->bytes_down += n;
    f->in_at += (uint32_t)n;
    b->left -= n;
    b->is_done = b->left == 0;
    return true;
}

static enum step take_head(struct forward *f)
{
    unsigned code = f->answer.status_code;
    if (code == 101) {
        bad_answer(f, "the origin switched protocols, which nobody asked for");
        return STEP_OVER;
    }
    if (code < 200 && ++f->n_informational > INFORMATIONAL_MAX) {
        bad_answer(f, "the origin sent too many interim answers");
        return STEP_OVER;
    }
    frame_answer(f);
    bool is_wanted = code >= 200 || f->c->setup->head.minor >= 1;
    if (is_wanted && !pass_head(f))
        return STEP_OVER;
    f->in_at += f->answer.head_bytes;
    if (code >= 200 && !join_body(f))
        return STEP_OVER;
    if (code >= 200) {
        f->has_answer = true;
        f->status = code;
        f->c->status = (uint16_t)code;
        f->first_byte_ms = (int64_t)(loop_now_ms(forward_loop(f)) - f->start_ms);
    } else {
        f->down_body.is_done = false;
        await_head(f);
    }
    return STEP_MOVED;
}

static enum step down_head(struct forward *f)
{
    if (f->in_at == f->n_in || f->answer.scanned > 0) {
        int rc = in_make_room(f);
        if (rc < 0) {
            bad_answer(f, "the origin's answer head is too long");
            return STEP_OVER;
        }
        enum step step;
        ssize_t n = origin_read(f, f->in + f->n_in, f->in_size - f->n_in, &step);
        if (n <= 0)
            return step;
        f->n_in += (uint32_t)n;
    }
    switch (head_feed(&f->answer, f->in + f->in_at, f->n_in - f->in_at)) {
    case HEAD_MORE:
        return STEP_MOVED;
    case HEAD_DONE:
        return take_head(f);
    case HEAD_BAD:
        break;
    }
    bad_answer(f, f->answer.bad_why);
    return STEP_OVER;
}

/* ---- the body ---- */

static bool down_data(struct forward *f, const char *bytes, size_t len)
{
    f->bytes_down += len;
    if (f->down_frame != REWRITE_BODY_CHUNKED)
        return down_send(f, bytes, len);
    if (outbuf_is_empty(&f->down))
        outbuf_clear(&f->down);
    if (outbuf_chunk(&f->down, bytes, len) == 0)
        return true;
    forward_fail(f, REASON_INTERNAL, 0, NULL);
    return false;
}

/* What came behind the answer's head already. */
static enum step down_buffered(struct forward *f)
{
    struct body *b = &f->down_body;
    size_t n = f->n_in - f->in_at;
    const char *bytes = f->in + f->in_at;
    if (b->kind == BODY_LENGTH) {
        n = n < b->left ? n : (size_t)b->left;
        b->left -= n;
        b->is_done = b->left == 0;
    }
    f->in_at += (uint32_t)n;
    return down_data(f, bytes, n) ? STEP_MOVED : STEP_OVER;
}

/* A body that ends with the connection, for a client that is told by chunks. */
static enum step down_close_chunked(struct forward *f)
{
    enum step step;
    ssize_t n = origin_read(f, f->c->worker->scratch, RELAY_CHUNK_BYTES, &step);
    if (n <= 0)
        return step;
    return down_data(f, f->c->worker->scratch, (size_t)n) ? STEP_MOVED : STEP_OVER;
}

/* BODY_LENGTH and BODY_CLOSE: bytes pass as they are. */
static enum step down_plain(struct forward *f)
{
    struct body *b = &f->down_body;
    if (f->in_at < f->n_in)
        return down_buffered(f);
    if (f->down_frame == REWRITE_BODY_CHUNKED)
        return down_close_chunked(f);
    if (!f->origin->io.is_readable)
        return STEP_NOTHING;
    ssize_t n = forward_move_body(f, b, &f->origin->io, forward_client(f));
    if (n == -EAGAIN || n == -EINTR)
        return STEP_NOTHING;
    if (n == -ENOMEM) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    if (n <= 0)
        return origin_ended(f, n < 0);
    f->bytes_down += (uint64_t)n;
    return b->stream.is_broken ? forward_client_left(f) : STEP_MOVED;
}

static enum step down_chunked(struct forward *f)
{
    const char *bytes = f->in + f->in_at;
    size_t len = f->n_in - f->in_at, at = 0;
    if (len == 0) {
        enum step step;
        ssize_t n = origin_read(f, f->c->worker->scratch, RELAY_CHUNK_BYTES, &step);
        if (n <= 0)
            return step;
        bytes = f->c->worker->scratch;
        len = (size_t)n;
    }
    f->in_at = f->n_in;
    while (at < len) {
        size_t used, n_data;
        const char *data;
        enum chunked_result result =
            chunked_feed(&f->down_body.chunks, bytes + at, len - at, &used, &data, &n_data);
        at += used;
        if (result == CHUNKED_BAD) {
            bad_answer(f, f->down_body.chunks.why);
            return STEP_OVER;
        }
        if (result == CHUNKED_DATA && !down_data(f, data, n_data))
            return STEP_OVER;
        if (result == CHUNKED_DONE) {
            f->down_body.is_done = true;
            f->keeps_origin = f->keeps_origin && at == len; /* stray bytes are nobody's */
            if (f->down_frame == REWRITE_BODY_CHUNKED && outbuf_add(&f->down, "0\r\n\r\n", 5) < 0) {
                forward_fail(f, REASON_INTERNAL, 0, NULL);
                return STEP_OVER;
            }
            break;
        }
    }
    return STEP_MOVED;
}

enum step forward_down_pump(struct forward *f)
{
    if (forward_flush(f, &f->down, forward_client(f)) < 0)
        return forward_client_left(f);
    if (outbuf_is_empty(&f->down))
        forward_flush_stream(f, &f->down_body, forward_client(f));
    if (f->down_body.stream.is_broken)
        return forward_client_left(f);
    if (!outbuf_is_empty(&f->down) || stream_waiting(&f->down_body.stream) > 0 ||
        (f->has_answer && f->down_body.is_done))
        return STEP_NOTHING;
    if (!f->has_answer)
        return down_head(f);
    return f->down_body.kind == BODY_CHUNKED ? down_chunked(f) : down_plain(f);
}

/*
 * Plain HTTP. A request head is parsed, judged like a CONNECT, and written anew; bodies are decoded
 * by their own framing and framed anew, so nothing that two parsers could read in two ways ever
 * goes on. One exchange at a time: the next pipelined request is not looked at before this answer
 * has been handed to the kernel, so answers are in order and each request is judged by the rules of
 * its moment.
 *
 * Buffers: the head and what came behind it in c->setup, one outgoing buffer a direction that is
 * refilled only when it is empty, one buffer for the origin's heads and chunks; bodies of known
 * length pass through the worker's scratch. So memory is bounded and a slow side slows the other.
 *
 * An origin connection goes back to the pool only after a complete answer that ended where its
 * framing said, with nothing behind it and the request sent whole. Every other end closes it.
 */
#include "proxy/flow/forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "proxy/flow/origin.h"
#include "proxy/flow/reach.h"
#include "proxy/flow/worker.h"
#include "proxy/http/chunked.h"
#include "proxy/http/rewrite.h"

enum {
    IN_FIRST_BYTES = 4096,
    IN_MAX_BYTES = 64 * 1024,
    INFORMATIONAL_MAX = 32,
    TURN_BYTES = 256 * 1024,
    PATH_SHOWN_MAX = 1024,
    CHUNK_FRAME_BYTES = 24, /* size line and the CRLF behind the data */
    UP_CHUNKED_BYTES = 32 * 1024,
};

/* Bytes on their way out; refilled only when empty. */
struct outbuf {
    char *bytes; /* owned */
    uint32_t size, at, len;
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_CLOSE };

/* One direction's body. */
struct body {
    enum body_kind kind;
    uint64_t left; /* BODY_LENGTH */
    struct chunked chunks;
    struct stream stream; /* bytes that pass as they are go by it, like a tunnel's */
    bool is_done;
};

struct forward {
    struct conn *c;
    struct origin *origin; /* owned; NULL: none yet */
    struct loop_task bulk;
    struct timer timer;
    struct pace *pace; /* owned; NULL: as fast as it goes */
    uint64_t last_active_ms, start_ms;
    char method[33];
    char *path; /* owned: for the record, without the query unless it is wanted */
    /* request */
    struct body up_body;
    struct outbuf up;
    bool is_head, is_idempotent, has_body, keeps_client, is_retried, is_up_broken;
    /* answer */
    struct head answer;
    char *in; /* owned: from the origin, not used yet: in[in_at..n_in) */
    uint32_t in_size, n_in, in_at;
    struct body down_body;
    enum rewrite_body down_frame;
    struct outbuf down;
    bool has_answer; /* the final head went out */
    bool keeps_origin;
    unsigned n_informational;
    uint64_t bytes_moved; /* read and written, framing too: what a turn costs */
    unsigned status;
    uint64_t bytes_up, bytes_down;
    int64_t first_byte_ms;
};

static void pump(struct forward *f);
static void on_origin_ready(struct io *io);
static void on_exchange_late(struct timer *t);

static struct io *client_io(struct forward *f)
{
    return &f->c->relay.sides[RELAY_CLIENT].io;
}

static struct loop *loop_of(struct forward *f)
{
    return &f->c->worker->loop;
}

static const struct conf *conf_of(struct forward *f)
{
    return &f->c->view->snapshot->conf;
}

/* ---- outgoing buffers ---- */

static int out_reserve(struct outbuf *o, size_t room)
{
    if (o->size - o->len >= room)
        return 0;
    size_t size = o->len + room;
    if (size < 2 * (size_t)o->size) /* many small chunks cost few moves */
        size = 2 * (size_t)o->size;
    char *bigger = realloc(o->bytes, size);
    if (!bigger)
        return -ENOMEM;
    o->bytes = bigger;
    o->size = (uint32_t)size;
    return 0;
}

static int out_add(struct outbuf *o, const char *bytes, size_t len)
{
    if (out_reserve(o, len) < 0)
        return -ENOMEM;
    memcpy(o->bytes + o->len, bytes, len);
    o->len += (uint32_t)len;
    return 0;
}

static bool out_is_empty(const struct outbuf *o)
{
    return o->at == o->len;
}

static void out_clear(struct outbuf *o)
{
    o->at = o->len = 0;
}

/* 0: as much as the socket takes · -EPIPE: it is broken. */
static int out_flush(struct outbuf *o, struct io *io)
{
    while (o->at < o->len && io->is_writable) {
        ssize_t n = send(io->watch.fd, o->bytes + o->at, o->len - o->at, MSG_NOSIGNAL);
        if (n >= 0)
            o->at += (uint32_t)n;
        else if (errno == EAGAIN)
            io->is_writable = false;
        else if (errno != EINTR)
            return -EPIPE;
    }
    return 0;
}

/* Straight to the socket while nothing waits; the rest into the buffer. 0 · -EPIPE · -ENOMEM. */
static int out_send(struct outbuf *o, struct io *io, const char *bytes, size_t len)
{
    size_t done = 0;
    if (out_is_empty(o)) {
        out_clear(o);
        while (done < len && io->is_writable) {
            ssize_t n = send(io->watch.fd, bytes + done, len - done, MSG_NOSIGNAL);
            if (n >= 0)
                done += (size_t)n;
            else if (errno == EAGAIN)
                io->is_writable = false;
            else if (errno != EINTR)
                return -EPIPE;
        }
    }
    return done < len ? out_add(o, bytes + done, len - done) : 0;
}

static int out_chunk(struct outbuf *o, const char *bytes, size_t len)
{
    char line[CHUNK_FRAME_BYTES];
    int n = snprintf(line, sizeof(line), "%zx\r\n", len);
    if (out_reserve(o, len + CHUNK_FRAME_BYTES) < 0)
        return -ENOMEM;
    if (out_add(o, line, (size_t)n) < 0 || out_add(o, bytes, len) < 0)
        return -ENOMEM;
    return out_add(o, "\r\n", 2);
}

/* ---- ends ---- */

static struct pipes *pipes_of(struct forward *f)
{
    return &f->c->worker->pipes;
}

/* Nothing of this exchange happens any more; one that waits for its turn must not be woken. */
static void stop(struct forward *f)
{
    loop_task_remove(&f->bulk);
    if (f->pace)
        pace_stop(f->pace);
    loop_timer_stop(loop_of(f), &f->timer);
    stream_drop(&f->up_body.stream, pipes_of(f));
    stream_drop(&f->down_body.stream, pipes_of(f));
}

struct forward *forward_free(struct forward *f)
{
    if (!f)
        return NULL;
    stop(f);
    pace_free(f->pace);
    origin_free(f->origin);
    free(f->path);
    free(f->up.bytes);
    free(f->down.bytes);
    free(f->in);
    free(f);
    return NULL;
}

void forward_stop(struct forward *f)
{
    stop(f);
    f->origin = origin_free(f->origin);
}

void forward_describe(const struct forward *f, struct access_record *ret)
{
    ret->method = f->method[0] ? f->method : NULL;
    ret->path = f->path;
    ret->bytes_up = f->bytes_up;
    ret->bytes_down = f->bytes_down;
    ret->first_byte_ms = f->first_byte_ms;
    ret->duration_ms = (int64_t)(loop_now_ms(&f->c->worker->loop) - f->start_ms);
}

uint64_t forward_bytes(const struct forward *f)
{
    return f->bytes_up + f->bytes_down;
}

bool forward_is_head(const struct forward *f)
{
    return strcmp(f->method, "HEAD") == 0;
}

/* The exchange cannot go on. An answer that has begun is cut by a reset, never by an end that looks
 * clean; behind whole interim answers there is still room for ours. */
static void fail(struct forward *f, enum reason reason, unsigned status, const char *body)
{
    struct conn *c = f->c;
    forward_stop(f);
    if (f->has_answer || !out_is_empty(&f->down)) {
        c->status = (uint16_t)f->status;
        conn_abort(c, reason);
        return;
    }
    conn_refuse(c, &(struct conn_refusal){.reason = reason, .status = status, .body = body});
}

static void bad_answer(struct forward *f, const char *why)
{
    fail(f, REASON_BAD_ANSWER, 502, why);
}

/* ---- the request goes up ---- */

static void touch(struct forward *f, size_t n)
{
    f->bytes_moved += n;
    if (n > 0)
        f->last_active_ms = loop_now_ms(loop_of(f));
}

/* What a slow side takes is activity too. 0 · -EPIPE. */
static int flush(struct forward *f, struct outbuf *o, struct io *io)
{
    uint32_t before = o->at;
    int rc = out_flush(o, io);
    touch(f, o->at - before);
    return rc;
}

static void flush_stream(struct forward *f, struct body *b, struct io *to)
{
    uint32_t before = stream_waiting(&b->stream);
    if (before == 0)
        return;
    stream_flush(&b->stream, pipes_of(f), to);
    touch(f, before - stream_waiting(&b->stream));
}

/* ---- bandwidth: all that is read of both sides ---- */

/* How much of @max may be read now; 0: the pump will run again. */
static size_t may_read(struct forward *f, enum relay_side from, size_t max)
{
    return f->pace ? pace_ask(f->pace, from, max) : max;
}

static void was_read(struct forward *f, enum relay_side from, size_t n)
{
    touch(f, n);
    if (f->pace)
        pace_used(f->pace, from, n);
}

/* What came behind the head: it was read before anybody asked. */
static void was_read_early(struct forward *f, size_t n)
{
    touch(f, n);
    if (f->pace)
        pace_charge(f->pace, n);
}

/* One read of a body that passes as it is. As stream_move(). */
static ssize_t move_body(struct forward *f, struct body *b, struct io *from, struct io *to)
{
    struct stream_means means = {.pipes = pipes_of(f), .scratch = f->c->worker->scratch};
    size_t max = b->kind == BODY_LENGTH && b->left < TURN_BYTES ? (size_t)b->left : TURN_BYTES;
    enum relay_side side = from == client_io(f) ? RELAY_CLIENT : RELAY_ORIGIN;
    max = may_read(f, side, max);
    if (max == 0)
        return -EAGAIN;
    ssize_t n = stream_move(&b->stream, &means, from, to, max);
    if (n <= 0)
        return n;
    was_read(f, side, (size_t)n);
    from->is_readable = true; /* a short read may hide a reset; a whole body is not read past */
    if (b->kind == BODY_LENGTH) {
        b->left -= (uint64_t)n;
        b->is_done = b->left == 0;
    }
    return n;
}

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
    int rc = out_send(&f->up, &f->origin->io, bytes, len);
    if (rc == -EPIPE)
        up_broke(f);
    return rc != -ENOMEM;
}

/* Reads into c->setup->buf behind what is there. >0 · 0 nothing now · -1 the client left. */
static ssize_t client_read_buffered(struct forward *f)
{
    struct conn_setup *s = f->c->setup;
    struct io *io = client_io(f);
    size_t room = may_read(f, RELAY_CLIENT, s->buf_size - s->n_buf);
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
    was_read(f, RELAY_CLIENT, (size_t)n);
    return n;
}

enum step { STEP_NOTHING, STEP_MOVED, STEP_OVER };

static enum step client_left(struct forward *f)
{
    f->origin = origin_free(f->origin);
    conn_finish(f->c, REASON_CLIENT_GONE);
    return STEP_OVER;
}

static void consume_setup(struct conn_setup *s, size_t n)
{
    memmove(s->buf, s->buf + n, s->n_buf - n);
    s->n_buf -= (uint32_t)n;
}

/* What came behind the head already. */
static enum step up_buffered(struct forward *f)
{
    struct conn_setup *s = f->c->setup;
    struct body *b = &f->up_body;
    size_t n = s->n_buf < b->left ? s->n_buf : (size_t)b->left;
    if (!up_send(f, s->buf, n)) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    consume_setup(s, n);
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
    if (!client_io(f)->is_readable)
        return STEP_NOTHING;
    b->stream.is_broken = f->is_up_broken;
    ssize_t n = move_body(f, b, client_io(f), &f->origin->io);
    if (n == -EAGAIN || n == -EINTR)
        return STEP_NOTHING;
    if (n == -ENOMEM) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    if (n <= 0)
        return client_left(f);
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
        if (!client_io(f)->is_readable)
            return STEP_NOTHING;
        widen_setup(s);
        ssize_t n = client_read_buffered(f);
        if (n < 0)
            return client_left(f);
        if (n == 0)
            return STEP_NOTHING;
    }
    size_t at = 0;
    enum chunked_result result = CHUNKED_MORE;
    out_clear(&f->up);
    while (at < s->n_buf) {
        size_t used, n_data;
        const char *data;
        result =
            chunked_feed(&f->up_body.chunks, s->buf + at, s->n_buf - at, &used, &data, &n_data);
        at += used;
        if (result != CHUNKED_DATA)
            break;
        f->bytes_up += n_data;
        if (!f->is_up_broken && out_chunk(&f->up, data, n_data) < 0) {
            fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
    }
    touch(f, at);
    consume_setup(s, at);
    if (result == CHUNKED_BAD) {
        fail(f, REASON_BAD_REQUEST, 400, f->up_body.chunks.why);
        return STEP_OVER;
    }
    if (result == CHUNKED_DONE) {
        f->up_body.is_done = true;
        if (!f->is_up_broken && out_add(&f->up, "0\r\n\r\n", 5) < 0) {
            fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
    }
    return STEP_MOVED;
}

static enum step pump_up(struct forward *f)
{
    if (!f->is_up_broken && flush(f, &f->up, &f->origin->io) < 0)
        up_broke(f);
    if (!f->is_up_broken && out_is_empty(&f->up))
        flush_stream(f, &f->up_body, &f->origin->io);
    if (f->up_body.stream.is_broken && !f->is_up_broken)
        up_broke(f);
    if (!out_is_empty(&f->up) || f->up_body.is_done || stream_waiting(&f->up_body.stream) > 0)
        return STEP_NOTHING;
    return f->up_body.kind == BODY_CHUNKED ? up_chunked(f) : up_length(f);
}

/* ---- the answer comes down ---- */

static bool down_send(struct forward *f, const char *bytes, size_t len)
{
    int rc = out_send(&f->down, client_io(f), bytes, len);
    if (rc == 0)
        return true;
    if (rc == -EPIPE)
        client_left(f);
    else
        fail(f, REASON_INTERNAL, 0, NULL);
    return false;
}

static bool may_retry(const struct forward *f)
{
    return f->origin->is_reused && !f->is_retried && f->is_idempotent && !f->has_body &&
           f->n_in == 0 && !f->has_answer && f->n_informational == 0;
}

static void on_connected(struct conn *c);

/* RFC 9110 section 9.2.2: the kept connection was already dying; the request is repeated once on a
 * new one. */
static enum step retry(struct forward *f)
{
    struct conn *c = f->c;
    stop(f); /* begin() starts anew; the dial has its own limit */
    f->is_retried = true;
    f->is_up_broken = false;
    origin_free(f->origin);
    f->origin = origin_new();
    if (!f->origin) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    f->up.at = 0; /* the head is still there: nothing was added behind it */
    reach_dial(c, &f->origin->io, on_connected);
    return STEP_OVER;
}

static enum step origin_ended(struct forward *f, bool is_reset)
{
    if (may_retry(f))
        return retry(f);
    if (f->has_answer && f->down_body.kind == BODY_CLOSE && !is_reset) {
        f->down_body.is_done = true;
        if (f->down_frame == REWRITE_BODY_CHUNKED && out_add(&f->down, "0\r\n\r\n", 5) < 0) {
            fail(f, REASON_INTERNAL, 0, NULL);
            return STEP_OVER;
        }
        return STEP_MOVED;
    }
    fail(f, is_reset ? REASON_ORIGIN_RESET : REASON_ORIGIN_CLOSED, 502,
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
    if (!io->is_readable || (size = may_read(f, RELAY_ORIGIN, size)) == 0)
        return 0;
    ssize_t n = recv(io->watch.fd, buf, size, 0);
    if (n > 0) {
        /* A short read is no proof that it is drained: data and a reset may share one edge. A whole
         * answer is not read past, so this costs no call for those that come in one piece. */
        was_read(f, RELAY_ORIGIN, (size_t)n);
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
    out_clear(&f->down);
    if (out_reserve(&f->down, size) < 0) {
        fail(f, REASON_INTERNAL, 0, NULL);
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
    if (out_add(&f->down, f->in + f->in_at, n) < 0) {
        fail(f, REASON_INTERNAL, 0, NULL);
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
        f->first_byte_ms = (int64_t)(loop_now_ms(loop_of(f)) - f->start_ms);
    } else {
        f->down_body.is_done = false;
        head_init(&f->answer, HEAD_RESPONSE, conf_of(f)->limits.request_line_bytes,
                  IN_MAX_BYTES / 2);
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

static bool down_data(struct forward *f, const char *bytes, size_t len)
{
    f->bytes_down += len;
    if (f->down_frame != REWRITE_BODY_CHUNKED)
        return down_send(f, bytes, len);
    if (out_is_empty(&f->down))
        out_clear(&f->down);
    if (out_chunk(&f->down, bytes, len) == 0)
        return true;
    fail(f, REASON_INTERNAL, 0, NULL);
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
    ssize_t n = move_body(f, b, &f->origin->io, client_io(f));
    if (n == -EAGAIN || n == -EINTR)
        return STEP_NOTHING;
    if (n == -ENOMEM) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    if (n <= 0)
        return origin_ended(f, n < 0);
    f->bytes_down += (uint64_t)n;
    return b->stream.is_broken ? client_left(f) : STEP_MOVED;
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
            if (f->down_frame == REWRITE_BODY_CHUNKED && out_add(&f->down, "0\r\n\r\n", 5) < 0) {
                fail(f, REASON_INTERNAL, 0, NULL);
                return STEP_OVER;
            }
            break;
        }
    }
    return STEP_MOVED;
}

static enum step pump_down(struct forward *f)
{
    if (flush(f, &f->down, client_io(f)) < 0)
        return client_left(f);
    if (out_is_empty(&f->down))
        flush_stream(f, &f->down_body, client_io(f));
    if (f->down_body.stream.is_broken)
        return client_left(f);
    if (!out_is_empty(&f->down) || stream_waiting(&f->down_body.stream) > 0 ||
        (f->has_answer && f->down_body.is_done))
        return STEP_NOTHING;
    if (!f->has_answer)
        return down_head(f);
    return f->down_body.kind == BODY_CHUNKED ? down_chunked(f) : down_plain(f);
}

/* ---- the end of an exchange ---- */

static void settle_origin(struct forward *f)
{
    struct origin *o = f->origin;
    bool is_clean = f->keeps_origin && f->up_body.is_done && out_is_empty(&f->up) &&
                    stream_waiting(&f->up_body.stream) == 0 && !f->is_up_broken &&
                    f->in_at == f->n_in && !o->io.is_peer_done &&
                    f->c->view == f->c->worker->view; /* nothing outlives its permission */
    f->origin = NULL;
    if (is_clean)
        origin_give(&f->c->worker->origins, o, conf_of(f)->timeouts.http_idle_ms);
    else
        origin_free(o);
}

/* The record of a next request that is not even one must not tell of this one. */
static void forget_request(struct conn *c)
{
    struct forward *f = c->forward;
    if (!f)
        return; /* the connection is finished */
    free(f->path);
    f->path = NULL;
    conn_forget_texts(c);
    c->port = 0;
    f->method[0] = '\0';
    f->bytes_up = f->bytes_down = 0;
    f->first_byte_ms = -1;
    f->start_ms = loop_now_ms(loop_of(f));
}

/* Between two requests a client costs what it needs to wait, not what its last body needed. */
static void shrink(struct outbuf *o)
{
    if (o->size <= IN_FIRST_BYTES)
        return;
    free(o->bytes);
    *o = (struct outbuf){0};
}

static void exchange_over(struct forward *f)
{
    struct conn *c = f->c;
    bool keeps_client = f->keeps_client && f->up_body.is_done;
    settle_origin(f);
    stop(f);
    shrink(&f->up);
    shrink(&f->down);
    conn_request_over(c, keeps_client);
    forget_request(c);
}

static bool is_over(const struct forward *f)
{
    return f->has_answer && f->down_body.is_done && out_is_empty(&f->down) &&
           stream_waiting(&f->down_body.stream) == 0;
}

/* A client that reset is found while we wait for its origin; one that only half-closed is served.
 */
static bool client_is_gone(struct forward *f)
{
    struct io *io = client_io(f);
    char byte;
    if (!io->is_readable || !f->up_body.is_done)
        return false;
    return recv(io->watch.fd, &byte, 1, MSG_PEEK) < 0 && errno != EAGAIN && errno != EINTR;
}

static void pump(struct forward *f)
{
    uint64_t before = f->bytes_moved;
    for (;;) {
        enum step up = pump_up(f);
        if (up == STEP_OVER)
            return;
        enum step down = pump_down(f);
        if (down == STEP_OVER)
            return;
        if (is_over(f)) {
            exchange_over(f);
            return;
        }
        if (up == STEP_NOTHING && down == STEP_NOTHING) {
            if (f->pace)
                pace_rest(f->pace);
            return;
        }
        if (f->bytes_moved - before > TURN_BYTES) {
            loop_bulk_add(loop_of(f), &f->bulk);
            return;
        }
    }
}

static void on_bulk_turn(struct loop_task *t)
{
    pump(list_entry(t, struct forward, bulk));
}

static void on_origin_ready(struct io *io)
{
    pump(io->owner);
}

static uint64_t exchange_limit_ms(struct forward *f)
{
    const struct conf_timeouts *t = &conf_of(f)->timeouts;
    uint64_t limit = f->up_body.is_done && !f->has_answer ? t->http_response_ms : t->http_idle_ms;
    /* A FIN may be the end of a client or of its requests only: it is served, but not for long. */
    if (client_io(f)->is_peer_done && t->half_closed_ms < limit)
        limit = t->half_closed_ms;
    return limit;
}

/* The limit changes when the request is sent whole, so the timer looks no later than the shorter of
 * the two. */
static void watch(struct forward *f, uint64_t left_ms)
{
    const struct conf_timeouts *t = &conf_of(f)->timeouts;
    uint64_t look_ms =
        t->http_idle_ms < t->http_response_ms ? t->http_idle_ms : t->http_response_ms;
    loop_timer_start(loop_of(f), &f->timer, left_ms < look_ms ? left_ms : look_ms,
                     on_exchange_late);
}

static void on_exchange_late(struct timer *t)
{
    struct forward *f = list_entry(t, struct forward, timer);
    uint64_t now = loop_now_ms(loop_of(f)), due = f->last_active_ms + exchange_limit_ms(f);
    if (f->pace && pace_is_waiting(f->pace)) { /* it is us who wait */
        f->last_active_ms = now;
        due = now + exchange_limit_ms(f);
    }
    bool is_origin_slow = f->up_body.is_done || !out_is_empty(&f->up);
    if (now < due) {
        watch(f, due - now);
        return;
    }
    if (is_origin_slow)
        fail(f, f->has_answer ? REASON_IDLE : REASON_ANSWER_TIMEOUT, 504, NULL);
    else
        fail(f, REASON_HEAD_LATE, 408, "the body of the request did not come");
}

void forward_client_ready(struct conn *c)
{
    struct forward *f = c->forward;
    if (client_is_gone(f)) {
        client_left(f);
        return;
    }
    if (client_io(f)->is_peer_done)
        watch(f, exchange_limit_ms(f));
    pump(f);
}

/* ---- the beginning ---- */

static void on_turn(struct pace *p)
{
    struct forward *f = p->owner;
    loop_bulk_add(loop_of(f), &f->bulk);
}

/* By the limit of now. 0 · -ENOMEM. */
static int set_pace(struct forward *f)
{
    struct conn *c = f->c;
    uint64_t per_second = c->worker->view->snapshot->conf.limits.per_source_bandwidth;
    if (!c->quota || (!f->pace && per_second == 0))
        return 0;
    if (!f->pace)
        f->pace = pace_new(loop_of(f), c->quota, on_turn, f);
    if (!f->pace)
        return -ENOMEM;
    pace_set(f->pace, per_second);
    bool is_chunked = f->up_body.kind == BODY_CHUNKED; /* else up_buffered() tells */
    pace_charge(f->pace, c->setup->head.head_bytes + (is_chunked ? c->setup->n_buf : 0));
    return 0;
}

static void begin(struct forward *f)
{
    struct conn *c = f->c;
    if (!review_setup_over(c))
        return;
    if (set_pace(f) < 0) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return;
    }
    io_own(&f->origin->io, on_origin_ready, f);
    conn_set_state(c, CONN_STATE_EXCHANGE);
    review_running(c); /* permitted just now: at most its grace begins */
    f->last_active_ms = loop_now_ms(loop_of(f));
    watch(f, exchange_limit_ms(f));
    pump(f);
}

static void on_connected(struct conn *c)
{
    struct forward *f = c->forward;
    f->origin->to = c->origin;
    begin(f);
}

static void on_permitted(struct conn *c)
{
    struct forward *f = c->forward;
    struct egress egress = egress_from_conf(&c->proxy->base.egress);
    f->origin = origin_take(&c->worker->origins, c->setup->to, c->setup->n_to, &egress);
    if (f->origin) {
        reach_took(c, &f->origin->to);
        begin(f);
        return;
    }
    f->origin = origin_new();
    if (!f->origin) {
        fail(f, REASON_INTERNAL, 0, NULL);
        return;
    }
    f->origin->egress = egress;
    reach_dial(c, &f->origin->io, on_connected);
}

static bool is_method(const struct forward *f, const char *name)
{
    return strcmp(f->method, name) == 0;
}

/* A Host that could not be a Host (RFC 9112 section 3.2), or none where there must be one. NULL:
 * fine. */
static const char *bad_host(const struct conn_setup *s)
{
    const struct head_framing *framing = &s->head.framing;
    if (framing->n_hosts == 0)
        return s->head.minor >= 1 ? "an HTTP/1.1 request needs a Host" : NULL;
    const struct head_span v = s->head.fields[framing->host_field].value;
    for (uint32_t i = 0; i < v.len; i++) {
        if (strchr("/\\@,?# \t\"<>", s->buf[v.at + i]) || (unsigned char)s->buf[v.at + i] >= 0x80)
            return "Host is not a host";
    }
    return NULL;
}

/* Max-Forwards of OPTIONS: the value, -1 when there is none, -2 when it is no number. */
static int max_forwards(const struct conn_setup *s)
{
    const struct head_field *f = head_find(&s->head, s->buf, "Max-Forwards");
    if (!f)
        return -1;
    int value = 0;
    for (uint32_t i = 0; i < f->value.len; i++) {
        char ch = s->buf[f->value.at + i];
        if (ch < '0' || ch > '9' || value > 100000)
            return -2;
        value = value * 10 + (ch - '0');
    }
    return f->value.len ? value : -2;
}

static void refuse(struct forward *f, enum reason reason, unsigned status, const char *why)
{
    conn_refuse(f->c, &(struct conn_refusal){.reason = reason, .status = status, .body = why});
}

static void frame_request(struct forward *f)
{
    const struct head_framing *framing = &f->c->setup->head.framing;
    f->up_body = (struct body){.kind = framing->is_chunked   ? BODY_CHUNKED
                                       : framing->has_length ? BODY_LENGTH
                                                             : BODY_NONE,
                               .left = framing->length};
    chunked_init(&f->up_body.chunks);
    f->has_body =
        f->up_body.kind == BODY_CHUNKED || (f->up_body.kind == BODY_LENGTH && framing->length > 0);
    f->up_body.is_done = !f->has_body;
    f->keeps_client =
        !framing->wants_close && (f->c->setup->head.minor >= 1 || framing->wants_keep);
}

/* Writes the outgoing head into f->up and takes the incoming one out of the set-up buffer. */
static bool write_request(struct forward *f, const char *path, size_t n_path, int n_forwards)
{
    struct conn_setup *s = f->c->setup;
    enum rewrite_body body = f->up_body.kind == BODY_CHUNKED  ? REWRITE_BODY_CHUNKED
                             : f->up_body.kind == BODY_LENGTH ? REWRITE_BODY_LENGTH
                                                              : REWRITE_BODY_NONE;
    size_t len;
    out_clear(&f->up);
    if (out_reserve(&f->up, s->head.head_bytes + 512) < 0) {
        refuse(f, REASON_INTERNAL, 0, NULL);
        return false;
    }
    switch (rewrite_request(&s->head, s->buf, &s->target, path, n_path, f->c->worker->shared->via,
                            n_forwards, body, f->up.bytes, f->up.size, &len)) {
    case REWRITE_OK:
        break;
    case REWRITE_LOOP:
        refuse(f, REASON_LOOP, 508, "this request came by here before");
        return false;
    case REWRITE_BAD_OPTIONS:
        refuse(f, REASON_BAD_REQUEST, 400, "too many connection options");
        return false;
    case REWRITE_NO_ROOM:
        refuse(f, REASON_HEAD_TOO_LONG, 431, NULL);
        return false;
    }
    f->up.len = (uint32_t)len;
    return true;
}

static void keep_path(struct forward *f, const char *path, size_t len)
{
    if (!conf_of(f)->log.log_query_strings) {
        const char *query = memchr(path, '?', len);
        len = query ? (size_t)(query - path) : len;
    }
    len = len < PATH_SHOWN_MAX ? len : PATH_SHOWN_MAX;
    free(f->path);
    f->path = malloc(len + 1);
    if (!f->path)
        return;
    memcpy(f->path, path, len);
    f->path[len] = '\0';
}

/* What this kind of request may not be, before it is sent anywhere. True: answered. */
static bool refused_early(struct forward *f, int n_forwards)
{
    const struct conn_setup *s = f->c->setup;
    const char *why = bad_host(s);
    if (why) {
        refuse(f, REASON_BAD_REQUEST, 400, why);
        return true;
    }
    const struct head_field *expect = head_find(&s->head, s->buf, "Expect");
    if (expect && !head_span_is_nocase(s->buf, expect->value, "100-continue")) {
        refuse(f, REASON_BAD_REQUEST, 417, "only 100-continue can be expected");
        return true;
    }
    if (is_method(f, "OPTIONS") && n_forwards == 0) {
        conn_answer_options(f->c);
        return true;
    }
    if (n_forwards == -2 && is_method(f, "OPTIONS")) {
        refuse(f, REASON_BAD_REQUEST, 400, "Max-Forwards is not a number");
        return true;
    }
    return false;
}

static struct forward *forward_of(struct conn *c)
{
    if (!c->forward) {
        c->forward = calloc(1, sizeof(*c->forward));
        if (!c->forward)
            return NULL;
        c->forward->c = c;
        loop_task_init(&c->forward->bulk, on_bulk_turn);
    }
    return c->forward;
}

/* host:port belongs to CONNECT alone (RFC 9112 section 3.2.3). */
static bool is_authority_form(const char *target, size_t len)
{
    struct authority ignored;
    const char *why;
    return authority_parse_connect(target, len, &ignored, &why) == AUTHORITY_OK;
}

/* `get` is no GET (RFC 9110 section 9.1), and nobody means anything else by it. */
static bool is_misspelt(const struct forward *f)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(f->method, known[i]) == 0)
            return !is_method(f, known[i]);
    }
    return false;
}

static void reset_for(struct forward *f, const struct conn_setup *s)
{
    f->start_ms = loop_now_ms(loop_of(f));
    size_t n = s->head.method.len < sizeof(f->method) ? s->head.method.len : sizeof(f->method) - 1;
    memcpy(f->method, s->buf + s->head.method.at, n);
    f->method[n] = '\0';
    f->is_head = is_method(f, "HEAD");
    f->is_idempotent = f->is_head || is_method(f, "GET") || is_method(f, "OPTIONS");
    f->is_retried = f->is_up_broken = f->has_answer = f->keeps_origin = false;
    f->n_informational = f->status = 0;
    f->bytes_up = f->bytes_down = 0;
    f->first_byte_ms = -1;
    f->n_in = f->in_at = 0;
    f->down_body = (struct body){0};
    out_clear(&f->down);
    head_init(&f->answer, HEAD_RESPONSE, conf_of(f)->limits.request_line_bytes, IN_MAX_BYTES / 2);
}

void forward_start(struct conn *c)
{
    struct conn_setup *s = c->setup;
    struct forward *f = forward_of(c);
    if (!f) {
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_INTERNAL});
        return;
    }
    reset_for(f, s);
    const char *target = s->buf + s->head.target.at, *why = NULL;
    size_t n_target = s->head.target.len, path_at = n_target;
    if (is_misspelt(f)) {
        refuse(f, REASON_METHOD, 501, "methods are written in capitals");
        return;
    }
    if (is_method(f, "TRACE")) {
        refuse(f, REASON_METHOD, 405, "TRACE is not served");
        return;
    }
    if (is_method(f, "OPTIONS") && n_target == 1 && target[0] == '*') {
        conn_answer_options(c);
        return;
    }
    enum authority_result parsed =
        authority_parse_absolute(target, n_target, &s->target, &path_at, &why);
    if (parsed != AUTHORITY_OK) {
        /* The target is not logged: it may hold userinfo, and nobody can say where. */
        bool is_form = parsed == AUTHORITY_BAD_SCHEME || is_authority_form(target, n_target);
        refuse(f, is_form ? REASON_METHOD : REASON_BAD_REQUEST, is_form ? 501 : 400, why);
        return;
    }
    conn_keep_host(c, s->target.name, s->target.name_len);
    c->port = s->target.port;
    keep_path(f, target + path_at, n_target - path_at);
    int n_forwards = max_forwards(s);
    if (refused_early(f, n_forwards))
        return;
    frame_request(f);
    bool counts = is_method(f, "OPTIONS") && n_forwards > 0;
    if (!write_request(f, target + path_at, n_target - path_at, counts ? n_forwards - 1 : -1))
        return;
    consume_setup(s, s->head.head_bytes);
    if (conn_join(c, false))
        reach_start(c, &c->proxy->http_ports, on_permitted);
}

/*
 * Plain HTTP: the exchange as a whole. A request is parsed, judged like a CONNECT and written anew
 * (forward_request); bodies are decoded by their own framing and framed anew (forward_up,
 * forward_down), so nothing that two parsers could read in two ways ever goes on. One exchange at a
 * time: the next pipelined request is not looked at before this answer has been handed to the
 * kernel, so answers are in order and each request is judged by the rules of its moment.
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
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/flow/forward_parts.h"
#include "proxy/flow/reach.h"

enum { TURN_BYTES = 256 * 1024 };

static void on_exchange_late(struct timer *t);

/* ---- ends ---- */

/* Nothing of this exchange happens any more; one that waits for its turn must not be woken. */
static void stop(struct forward *f)
{
    loop_task_remove(&f->bulk);
    if (f->pace)
        pace_stop(f->pace);
    loop_timer_stop(forward_loop(f), &f->timer);
    stream_drop(&f->up_body.stream, forward_pipes(f));
    stream_drop(&f->down_body.stream, forward_pipes(f));
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

void forward_fail(struct forward *f, enum reason reason, unsigned status, const char *body)
{
    struct conn *c = f->c;
    forward_stop(f);
    if (f->has_answer || !outbuf_is_empty(&f->down)) {
        c->status = (uint16_t)f->status;
        conn_abort(c, reason);
        return;
    }
    conn_refuse(c, &(struct conn_refusal){.reason = reason, .status = status, .body = body});
}

enum step forward_client_left(struct forward *f)
{
    f->origin = origin_free(f->origin);
    conn_finish(f->c, REASON_CLIENT_GONE);
    return STEP_OVER;
}

/* ---- moving bytes ---- */

int forward_flush(struct forward *f, struct outbuf *o, struct io *io)
{
    uint32_t before = o->at;
    int rc = outbuf_flush(o, io);
    forward_touch(f, o->at - before);
    return rc;
}

void forward_flush_stream(struct forward *f, struct body *b, struct io *to)
{
    uint32_t before = stream_waiting(&b->stream);
    if (before == 0)
        return;
    stream_flush(&b->stream, forward_pipes(f), to);
    forward_touch(f, before - stream_waiting(&b->stream));
}

ssize_t forward_move_body(struct forward *f, struct body *b, struct io *from, struct io *to)
{
    struct stream_means means = {.pipes = forward_pipes(f), .scratch = f->c->worker->scratch};
    size_t max = b->kind == BODY_LENGTH && b->left < TURN_BYTES ? (size_t)b->left : TURN_BYTES;
    enum relay_side side = from == forward_client(f) ? RELAY_CLIENT : RELAY_ORIGIN;
    max = forward_may_read(f, side, max);
    if (max == 0)
        return -EAGAIN;
    ssize_t n = stream_move(&b->stream, &means, from, to, max);
    if (n <= 0)
        return n;
    forward_was_read(f, side, (size_t)n);
    from->is_readable = true; /* a short read may hide a reset; a whole body is not read past */
    if (b->kind == BODY_LENGTH) {
        b->left -= (uint64_t)n;
        b->is_done = b->left == 0;
    }
    return n;
}

/* ---- the end of an exchange ---- */

static void settle_origin(struct forward *f)
{
    struct origin *o = f->origin;
    bool is_clean = f->keeps_origin && f->up_body.is_done && outbuf_is_empty(&f->up) &&
                    stream_waiting(&f->up_body.stream) == 0 && !f->is_up_broken &&
                    f->in_at == f->n_in && !o->io.is_peer_done &&
                    f->c->view == f->c->worker->view; /* nothing outlives its permission */
    f->origin = NULL;
    if (is_clean)
        origin_give(&f->c->worker->origins, o, forward_conf(f)->timeouts.http_idle_ms);
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
    f->start_ms = loop_now_ms(forward_loop(f));
}

static void exchange_over(struct forward *f)
{
    struct conn *c = f->c;
    bool keeps_client = f->keeps_client && f->up_body.is_done;
    settle_origin(f);
    stop(f);
    outbuf_shrink(&f->up);
    outbuf_shrink(&f->down);
    conn_request_over(c, keeps_client);
    forget_request(c);
}

static bool is_over(const struct forward *f)
{
    return f->has_answer && f->down_body.is_done && outbuf_is_empty(&f->down) &&
           stream_waiting(&f->down_body.stream) == 0;
}

/* ---- both directions ---- */

/* A client that reset is found while we wait for its origin; one that only half-closed is served.
 */
static bool client_is_gone(struct forward *f)
{
    struct io *io = forward_client(f);
    char byte;
    if (!io->is_readable || !f->up_body.is_done)
        return false;
    return recv(io->watch.fd, &byte, 1, MSG_PEEK) < 0 && errno != EAGAIN && errno != EINTR;
}

static void pump(struct forward *f)
{
    uint64_t before = f->bytes_moved;
    for (;;) {
        enum step up = forward_up_pump(f);
        if (up == STEP_OVER)
            return;
        enum step down = forward_down_pump(f);
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
            loop_bulk_add(forward_loop(f), &f->bulk);
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
    const struct conf_timeouts *t = &forward_conf(f)->timeouts;
    uint64_t limit = f->up_body.is_done && !f->has_answer ? t->http_response_ms : t->http_idle_ms;
    /* A FIN may be the end of a client or of its requests only: it is served, but not for long. */
    if (forward_client(f)->is_peer_done && t->half_closed_ms < limit)
        limit = t->half_closed_ms;
    return limit;
}

/* The limit changes when the request is sent whole, so the timer looks no later than the shorter of
 * the two. */
static void watch(struct forward *f, uint64_t left_ms)
{
    const struct conf_timeouts *t = &forward_conf(f)->timeouts;
    uint64_t look_ms =
        t->http_idle_ms < t->http_response_ms ? t->http_idle_ms : t->http_response_ms;
    loop_timer_start(forward_loop(f), &f->timer, left_ms < look_ms ? left_ms : look_ms,
                     on_exchange_late);
}

static void on_exchange_late(struct timer *t)
{
    struct forward *f = list_entry(t, struct forward, timer);
    uint64_t now = loop_now_ms(forward_loop(f)), due = f->last_active_ms + exchange_limit_ms(f);
    if (f->pace && pace_is_waiting(f->pace)) { /* it is us who wait */
        f->last_active_ms = now;
        due = now + exchange_limit_ms(f);
    }
    bool is_origin_slow = f->up_body.is_done || !outbuf_is_empty(&f->up);
    if (now < due) {
        watch(f, due - now);
        return;
    }
    if (is_origin_slow)
        forward_fail(f, f->has_answer ? REASON_IDLE : REASON_ANSWER_TIMEOUT, 504, NULL);
    else
        forward_fail(f, REASON_HEAD_LATE, 408, "the body of the request did not come");
}

void forward_client_ready(struct conn *c)
{
    struct forward *f = c->forward;
    if (client_is_gone(f)) {
        forward_client_left(f);
        return;
    }
    if (forward_client(f)->is_peer_done)
        watch(f, exchange_limit_ms(f));
    pump(f);
}

/* ---- the beginning ---- */

static void on_turn(struct pace *p)
{
    struct forward *f = p->owner;
    loop_bulk_add(forward_loop(f), &f->bulk);
}

/* By the limit of now. 0 · -ENOMEM. */
static int set_pace(struct forward *f)
{
    struct conn *c = f->c;
    uint64_t per_second = c->worker->view->snapshot->conf.limits.per_source_bandwidth;
    if (!c->quota || (!f->pace && per_second == 0))
        return 0;
    if (!f->pace)
        f->pace = pace_new(forward_loop(f), c->quota, on_turn, f);
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
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return;
    }
    io_own(&f->origin->io, on_origin_ready, f);
    conn_set_state(c, CONN_STATE_EXCHANGE);
    review_running(c); /* permitted just now: at most its grace begins */
    f->last_active_ms = loop_now_ms(forward_loop(f));
    watch(f, exchange_limit_ms(f));
    pump(f);
}

static void on_connected(struct conn *c)
{
    struct forward *f = c->forward;
    f->origin->to = c->origin;
    begin(f);
}

void forward_permitted(struct conn *c)
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
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return;
    }
    f->origin->egress = egress;
    reach_dial(c, &f->origin->io, on_connected);
}

enum step forward_retry(struct forward *f)
{
    struct conn *c = f->c;
    stop(f); /* begin() starts anew; the dial has its own limit */
    f->is_retried = true;
    f->is_up_broken = false;
    origin_free(f->origin);
    f->origin = origin_new();
    if (!f->origin) {
        forward_fail(f, REASON_INTERNAL, 0, NULL);
        return STEP_OVER;
    }
    f->up.at = 0; /* the head is still there: nothing was added behind it */
    reach_dial(c, &f->origin->io, on_connected);
    return STEP_OVER;
}

struct forward *forward_of(struct conn *c)
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

/* forward_parts - an exchange as the files of proxy/flow/forward share it: the request goes up, the
 * answer comes down. */
#ifndef PROXY_FLOW_FORWARD_PARTS_H
#define PROXY_FLOW_FORWARD_PARTS_H

#include <string.h>

#include "proxy/flow/forward.h"
#include "proxy/flow/origin.h"
#include "proxy/flow/outbuf.h"
#include "proxy/flow/worker.h"
#include "proxy/http/chunked.h"
#include "proxy/http/rewrite.h"

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

/* Of one go at a direction. OVER: the exchange is another's now or ended; nothing of it may be
 * touched. */
enum step { STEP_NOTHING, STEP_MOVED, STEP_OVER };

static inline struct io *forward_client(struct forward *f)
{
    return &f->c->relay.sides[RELAY_CLIENT].io;
}
static inline struct loop *forward_loop(struct forward *f)
{
    return &f->c->worker->loop;
}
static inline const struct conf *forward_conf(struct forward *f)
{
    return &f->c->view->snapshot->conf;
}
static inline struct pipes *forward_pipes(struct forward *f)
{
    return &f->c->worker->pipes;
}

/* ---- moving bytes (forward.c) ---- */

static inline void forward_touch(struct forward *f, size_t n)
{
    f->bytes_moved += n;
    if (n > 0)
        f->last_active_ms = loop_now_ms(forward_loop(f));
}
/* How much of @max may be read now, by the bandwidth of the source; 0: the pump will run again. */
static inline size_t forward_may_read(struct forward *f, enum relay_side from, size_t max)
{
    return f->pace ? pace_ask(f->pace, from, max) : max;
}
static inline void forward_was_read(struct forward *f, enum relay_side from, size_t n)
{
    forward_touch(f, n);
    if (f->pace)
        pace_used(f->pace, from, n);
}
/* What a slow side takes is activity too. 0 · -EPIPE. */
int forward_flush(struct forward *f, struct outbuf *o, struct io *io)
    __attribute__((warn_unused_result));
void forward_flush_stream(struct forward *f, struct body *b, struct io *to);
/* One read of a body that passes as it is. As stream_move(). */
ssize_t forward_move_body(struct forward *f, struct body *b, struct io *from, struct io *to);
/* @n bytes of the set-up buffer are used. */
static inline void forward_consume(struct conn_setup *s, size_t n)
{
    memmove(s->buf, s->buf + n, s->n_buf - n);
    s->n_buf -= (uint32_t)n;
}

/* ---- ends (forward.c) ---- */

/* The exchange cannot go on. An answer that has begun is cut by a reset, never by an end that looks
 * clean; behind whole interim answers there is still room for ours. */
void forward_fail(struct forward *f, enum reason reason, unsigned status, const char *body);
enum step forward_client_left(struct forward *f); /* STEP_OVER */

/* ---- the beginning ---- */

/* forward.c: that of @c, made when there is none. NULL: out of memory. */
struct forward *forward_of(struct conn *c);
/* forward.c: [out] permits it (as reach_start() tells); a kept connection, or a dial. */
void forward_permitted(struct conn *c);
/* forward.c: the kept connection was already dying: the request is repeated once on a new one (RFC
 * 9110 section 9.2.2). */
enum step forward_retry(struct forward *f);

/* ---- the directions ---- */

enum step forward_up_pump(struct forward *f);
void forward_down_reset(struct forward *f); /* no answer yet */
enum step forward_down_pump(struct forward *f);

#endif

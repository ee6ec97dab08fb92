/*
 * The data path: two streams (net/stream) and when each may run. An idle tunnel holds no buffer,
 * and memory a tunnel is bounded by one read a direction.
 *
 * Small traffic is served from the event. Whoever fills a whole chunk is a bulk transfer: its
 * events only put it in the loop's bulk queue, from which one tunnel at a time is served between
 * polls.
 *
 * Ends. A FIN is passed on once everything before it is written; the other direction lives on,
 * bounded by half-closed. An error on one side resets the other. A write that fails may precede
 * data we have not read yet (an origin that answers and closes early), so the broken side is read
 * to its end before the other is reset.
 *
 * A limit of bandwidth (net/pace) ends a turn like an empty socket does; the tunnel goes on from
 * the bulk queue when its turn has come, and is not idle while it waits for it.
 */
#include "proxy/net/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/log.h"
#include "proxy/net/egress.h"

enum { PROBE_AFTER_MS = 800 };

static void on_side_ready(struct io *io);
static void on_bulk_turn(struct loop_task *t);
static void on_timer(struct timer *t);

void relay_init(struct relay *r)
{
    *r = (struct relay){0};
    r->sides[RELAY_CLIENT].io.watch.fd = r->sides[RELAY_ORIGIN].io.watch.fd = -1;
}

static void quiesce(struct relay *r)
{
    if (r->is_running) {
        loop_timer_stop(r->loop, &r->timer);
        loop_task_remove(&r->bulk);
    }
    r->is_running = false;
    r->pace = pace_free(r->pace);
    stream_drop(&r->sides[RELAY_CLIENT].out, r->means.pipes);
    stream_drop(&r->sides[RELAY_ORIGIN].out, r->means.pipes);
}

void relay_stop(struct relay *r)
{
    quiesce(r);
    io_close(&r->sides[RELAY_CLIENT].io);
    io_close(&r->sides[RELAY_ORIGIN].io);
}

static void finish(struct relay *r, enum reason reason)
{
    relay_stop(r);
    r->done(r, reason);
}

static void finish_reset(struct relay *r, enum relay_side who)
{
    quiesce(r);
    io_reset(&r->sides[RELAY_CLIENT].io);
    io_reset(&r->sides[RELAY_ORIGIN].io);
    r->done(r, who == RELAY_CLIENT ? REASON_CLIENT_RESET : REASON_ORIGIN_RESET);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t idle_limit_ms(const struct relay *r)
{
    bool is_half = r->sides[RELAY_CLIENT].is_eof || r->sides[RELAY_ORIGIN].is_eof;
    return is_half ? earlier(r->idle_ms, r->half_closed_ms) : r->idle_ms;
}

static void arm_timer(struct relay *r)
{
    uint64_t due = earlier(r->last_active_ms + idle_limit_ms(r), r->end_ms);
    uint64_t now = loop_now_ms(r->loop);
    if (!r->is_grown)
        due = earlier(due, now + PROBE_AFTER_MS);
    loop_timer_start(r->loop, &r->timer, due > now ? due - now : 1, on_timer);
}

/* A write to @s failed: its reset is learnt by reading it to the end. With nothing to read either,
 * the write failed for want of something of ours, and its bytes are lost: the end as well. */
static void mark_broken(struct side *s)
{
    s->is_broken = true;
    s->io.is_readable = s->io.is_peer_done = true;
}

/* What waits goes first; what a slow reader takes is activity too. Returns whether the way is free.
 */
static bool flush(struct relay *r, struct side *from, struct side *to)
{
    uint32_t before = stream_waiting(&from->out);
    if (before == 0)
        return true;
    bool is_free = stream_flush(&from->out, r->means.pipes, &to->io);
    if (stream_waiting(&from->out) < before)
        r->last_active_ms = loop_now_ms(r->loop);
    if (from->out.is_broken && !to->is_broken)
        mark_broken(to);
    return is_free;
}

enum pump_result { PUMP_IDLE, PUMP_MORE, PUMP_RESET, PUMP_NO_MEMORY };

/* One direction, at most about @budget bytes. PUMP_MORE: the budget ended it, not the sockets. */
static enum pump_result pump(struct relay *r, enum relay_side who, size_t budget)
{
    struct side *from = &r->sides[who];
    struct side *to = &r->sides[!who];
    if (!flush(r, from, to))
        return PUMP_IDLE;
    while (from->io.is_readable && !from->is_eof) {
        if (budget == 0)
            return PUMP_MORE;
        size_t max = budget < STREAM_CHUNK_BYTES ? STREAM_CHUNK_BYTES : budget;
        if (r->pace && (max = pace_ask(r->pace, who, max)) == 0)
            return PUMP_IDLE; /* on_turn() goes on */
        ssize_t n = stream_move(&from->out, &r->means, &from->io, &to->io, max);
        if (from->out.is_broken && !to->is_broken)
            mark_broken(to);
        if (n > 0) {
            from->bytes_in += (uint64_t)n;
            if (r->pace)
                pace_used(r->pace, who, (size_t)n);
            r->last_active_ms = loop_now_ms(r->loop);
            budget -= (size_t)n < budget ? (size_t)n : budget;
            if (stream_waiting(&from->out) > 0)
                return PUMP_IDLE;
        } else if (n == 0) {
            from->is_eof = true;
        } else if (n == -ENOMEM) {
            return PUMP_NO_MEMORY;
        } else if (n == -EAGAIN ? from->is_broken : n != -EINTR) {
            return PUMP_RESET; /* after a real reset a read never has to wait */
        }
    }
    return PUMP_IDLE;
}

/* Passes a FIN on once all before it is written. */
static void pass_fin(struct relay *r, enum relay_side who)
{
    struct side *from = &r->sides[who];
    struct side *to = &r->sides[!who];
    if (!from->is_eof || stream_waiting(&from->out) > 0 || to->is_shut || to->is_broken)
        return;
    shutdown(to->io.watch.fd, SHUT_WR);
    to->is_shut = true;
}

/* What the two pumps left behind. Returns whether the relay is over (and may be gone). */
static bool conclude(struct relay *r, bool had_eof)
{
    struct side *c = &r->sides[RELAY_CLIENT], *o = &r->sides[RELAY_ORIGIN];
    if ((c->is_broken && c->is_eof) || (o->is_broken && o->is_eof)) {
        finish_reset(r, c->is_broken && c->is_eof ? RELAY_CLIENT : RELAY_ORIGIN);
        return true;
    }
    bool is_over = c->is_eof && o->is_eof && stream_waiting(&c->out) == 0 &&
                   stream_waiting(&o->out) == 0 && !c->is_broken && !o->is_broken;
    if (!is_over) { /* else closing sends what FIN is missing */
        pass_fin(r, RELAY_CLIENT);
        pass_fin(r, RELAY_ORIGIN);
    }
    if (is_over || (c->is_shut && o->is_shut)) {
        finish(r, r->first_eof == RELAY_CLIENT ? REASON_CLIENT_CLOSED : REASON_ORIGIN_CLOSED);
        return true;
    }
    if (!had_eof && (c->is_eof || o->is_eof)) {
        r->first_eof = c->is_eof ? RELAY_CLIENT : RELAY_ORIGIN;
        r->last_active_ms = loop_now_ms(r->loop);
        arm_timer(r);
    }
    return false;
}

/* Both directions. Returns whether more waits than the budget allowed; false too when it is over.
 */
static bool run(struct relay *r, size_t budget, bool *ret_is_over)
{
    *ret_is_over = true;
    bool wants_more = false;
    bool had_eof = r->sides[RELAY_CLIENT].is_eof || r->sides[RELAY_ORIGIN].is_eof;
    for (unsigned turn = 0; turn < 2; turn++) {
        for (enum relay_side who = RELAY_CLIENT; who <= RELAY_ORIGIN; who++) {
            if (turn == 1 && !r->sides[who].is_broken)
                continue; /* the second turn reads a side that broke while the other was pumped */
            switch (pump(r, who, budget)) {
            case PUMP_IDLE:
                break;
            case PUMP_MORE:
                wants_more = true;
                break;
            case PUMP_RESET:
                finish_reset(r, who);
                return false;
            case PUMP_NO_MEMORY:
                quiesce(r);
                io_reset(&r->sides[RELAY_CLIENT].io);
                io_reset(&r->sides[RELAY_ORIGIN].io);
                r->done(r, REASON_INTERNAL);
                return false;
            }
        }
    }
    if (conclude(r, had_eof))
        return false;
    if (r->pace && !wants_more)
        pace_rest(r->pace);
    *ret_is_over = false;
    return wants_more;
}

static void on_side_ready(struct io *io)
{
    struct relay *r = io->owner;
    if (r->is_bulk) {
        loop_bulk_add(r->loop, &r->bulk);
        return;
    }
    bool is_over;
    bool wants_more = run(r, RELAY_CHUNK_BYTES, &is_over);
    if (is_over)
        return;
    if (wants_more) {
        r->is_bulk = true;
        r->quantum_left = RELAY_QUANTUM_BYTES;
        loop_bulk_add(r->loop, &r->bulk);
    }
}

static void on_bulk_turn(struct loop_task *t)
{
    struct relay *r = list_entry(t, struct relay, bulk);
    bool is_over;
    uint64_t before = r->sides[0].bytes_in + r->sides[1].bytes_in;
    bool wants_more = run(r, RELAY_TURN_BYTES, &is_over);
    if (is_over)
        return;
    uint64_t moved = r->sides[0].bytes_in + r->sides[1].bytes_in - before;
    if (!wants_more) {
        r->is_bulk = moved >= RELAY_CHUNK_BYTES;
        r->quantum_left = RELAY_QUANTUM_BYTES;
        return;
    }
    if (moved < r->quantum_left) {
        r->quantum_left -= (uint32_t)moved;
        loop_bulk_keep(r->loop, t);
    } else {
        r->quantum_left = RELAY_QUANTUM_BYTES;
        loop_bulk_add(r->loop, t);
    }
}

static void on_turn(struct pace *p)
{
    struct relay *r = p->owner;
    loop_bulk_add(r->loop, &r->bulk);
}

int relay_pace(struct relay *r, struct quota *quota, uint64_t per_second)
{
    if (!r->pace && per_second == 0)
        return 0;
    if (!r->pace)
        r->pace = pace_new(r->loop, quota, on_turn, r);
    if (!r->pace)
        return -ENOMEM;
    pace_set(r->pace, per_second);
    return 0;
}

/* Ten system calls and two kernel timers that a short tunnel is spared: its sockets learn to probe
 * their peers once it has lived a while. */
static void watch_for_death(struct relay *r)
{
    r->is_grown = true;
    if (egress_keep_alive(r->sides[RELAY_CLIENT].io.watch.fd) < 0 ||
        egress_keep_alive(r->sides[RELAY_ORIGIN].io.watch.fd) < 0)
        log_debug("msg=\"a tunnel's peers are not probed\" errno=%d", errno);
}

static void on_timer(struct timer *t)
{
    struct relay *r = list_entry(t, struct relay, timer);
    uint64_t now = loop_now_ms(r->loop);
    if (now >= r->end_ms) {
        finish(r, REASON_LIFE);
        return;
    }
    if (r->pace && pace_is_waiting(r->pace)) /* it is us who wait */
        r->last_active_ms = now;
    if (now >= r->last_active_ms + idle_limit_ms(r)) {
        bool is_half = r->sides[RELAY_CLIENT].is_eof || r->sides[RELAY_ORIGIN].is_eof;
        finish(r, is_half && r->half_closed_ms <= r->idle_ms ? REASON_HALF_CLOSED : REASON_IDLE);
        return;
    }
    if (!r->is_grown)
        watch_for_death(r);
    arm_timer(r);
}

void relay_set_limits(struct relay *r, const struct relay_limits *limits)
{
    uint64_t cap = UINT32_MAX;
    r->idle_ms = (uint32_t)earlier(limits->idle_ms, cap);
    r->half_closed_ms = (uint32_t)earlier(limits->half_closed_ms, cap);
    r->end_ms = limits->end_ms ? limits->end_ms : UINT64_MAX;
    if (r->is_running)
        arm_timer(r);
}

int relay_start(struct relay *r, struct loop *loop, char *scratch,
                const struct relay_limits *limits, const char *early, size_t n_early,
                relay_done_fn done)
{
    if (n_early > 0 && stream_keep(&r->sides[RELAY_CLIENT].out, early, n_early) < 0)
        return -ENOMEM;
    r->loop = loop;
    r->means.scratch = scratch;
    r->done = done;
    r->sides[RELAY_CLIENT].bytes_in = n_early;
    r->quantum_left = RELAY_QUANTUM_BYTES;
    r->last_active_ms = loop_now_ms(loop);
    relay_set_limits(r, limits);
    loop_task_init(&r->bulk, on_bulk_turn);
    io_own(&r->sides[RELAY_CLIENT].io, on_side_ready, r);
    io_own(&r->sides[RELAY_ORIGIN].io, on_side_ready, r);
    r->is_running = true;
    arm_timer(r);
    /* What is ready already raised its edge before we owned it: the first turn comes from the loop.
     */
    loop_bulk_add(loop, &r->bulk);
    return 0;
}

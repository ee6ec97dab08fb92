/*
 * A reader reserves a piece of its source's next bytes, waits for its turn, reads it and reserves
 * again. Pieces are of one size for all, so readers of one source share evenly (net/quota): a
 * fiftieth of a second's worth, so that a turn costs a timer some fifty times a second at most and
 * a newcomer waits only that long for each that was there before. The two directions of a
 * connection are two readers: one that is busy does not hold up the other. Neither side is asked
 * for more than its turn holds; what it sends meanwhile waits in its socket, whose window slows it
 * down.
 */
#include "proxy/net/pace.h"

#include <stdlib.h>

enum { PIECES_A_SECOND = 50, PIECE_MIN_BYTES = 1024, PIECE_MAX_BYTES = 1024 * 1024 };

struct pace *pace_new(struct loop *loop, struct quota *quota, pace_fn on_turn, void *owner)
{
    struct pace *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->loop = loop;
    p->quota = quota;
    p->on_turn = on_turn;
    p->owner = owner;
    p->ways[0].pace = p->ways[1].pace = p;
    return p;
}

struct pace *pace_free(struct pace *p)
{
    if (p)
        pace_stop(p);
    free(p);
    return NULL;
}

static uint32_t piece_bytes(uint64_t per_second)
{
    uint64_t bytes = per_second / PIECES_A_SECOND;
    if (bytes > PIECE_MAX_BYTES)
        return PIECE_MAX_BYTES;
    return bytes < PIECE_MIN_BYTES ? PIECE_MIN_BYTES : (uint32_t)bytes;
}

static void on_timer(struct timer *t)
{
    struct pace_way *w = list_entry(t, struct pace_way, timer);
    w->left += w->awaited;
    w->awaited = 0;
    w->pace->on_turn(w->pace);
}

size_t pace_ask(struct pace *p, unsigned way, size_t max)
{
    struct pace_way *w = &p->ways[way];
    if (p->per_second == 0)
        return max;
    if (w->left == 0 && w->awaited == 0) {
        uint32_t bytes = piece_bytes(p->per_second);
        uint64_t wait_ms = quota_reserve(p->quota, bytes, p->per_second, loop_now_ms(p->loop));
        if (wait_ms == 0) {
            w->left = bytes;
        } else {
            w->awaited = bytes;
            loop_timer_start(p->loop, &w->timer, wait_ms, on_timer);
        }
    }
    return max < w->left ? max : w->left;
}

void pace_charge(struct pace *p, size_t n)
{
    if (p->per_second > 0 && n > 0)
        (void)quota_reserve(p->quota, (uint32_t)n, p->per_second, loop_now_ms(p->loop));
}

static void rest(struct pace *p, struct pace_way *w)
{
    if (w->left > 0)
        quota_refund(p->quota, w->left, p->per_second);
    w->left = 0;
}

void pace_rest(struct pace *p)
{
    rest(p, &p->ways[0]);
    rest(p, &p->ways[1]);
}

void pace_stop(struct pace *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pace_way *w = &p->ways[i];
        loop_timer_stop(p->loop, &w->timer);
        w->left += w->awaited;
        w->awaited = 0;
        rest(p, w);
    }
}

void pace_set(struct pace *p, uint64_t per_second)
{
    /* For its turn, or to be told of the limit before this one. */
    bool was_waiting = timer_is_running(&p->ways[0].timer) || timer_is_running(&p->ways[1].timer);
    if (p->per_second == per_second)
        return;
    if (p->per_second > 0)
        pace_stop(p);
    p->per_second = per_second;
    if (was_waiting)
        loop_timer_start(p->loop, &p->ways[0].timer, 1, on_timer);
}

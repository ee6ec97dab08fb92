/*
 * The pool of one worker. The one used last is taken first: it is the least likely to have been
 * closed meanwhile. A socket that becomes readable while nobody asked anything has either ended or
 * sent bytes that belong to no request; both ways it is closed, so nothing an origin sent for one
 * client can ever be the start of another's answer.
 */
#include "proxy/flow/origin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void origin_pool_init(struct origin_pool *p, struct loop *loop)
{
    *p = (struct origin_pool){.loop = loop};
    for (unsigned i = 0; i < ORIGIN_BUCKETS; i++)
        list_init(&p->buckets[i]);
    list_init(&p->by_age);
}

static struct list *bucket_of(struct origin_pool *p, const struct endpoint *to)
{
    uint32_t hash = to->port;
    for (unsigned i = 0; i < sizeof(to->addr.bytes); i++)
        hash = hash * 31 + to->addr.bytes[i];
    return &p->buckets[hash % ORIGIN_BUCKETS];
}

static void leave_pool(struct origin *o)
{
    if (!o->pool)
        return;
    loop_timer_stop(o->pool->loop, &o->idle);
    list_remove(&o->node);
    list_remove(&o->in_age);
    o->pool->n_idle--;
    o->pool = NULL;
}

struct origin *origin_new(void)
{
    struct origin *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->io.watch.fd = -1;
    list_init(&o->node);
    list_init(&o->in_age);
    return o;
}

struct origin *origin_free(struct origin *o)
{
    if (!o)
        return NULL;
    leave_pool(o);
    io_close(&o->io);
    free(o);
    return NULL;
}

void origin_pool_close_all(struct origin_pool *p)
{
    for (struct list *pos; (pos = list_first(&p->by_age));)
        origin_free(list_entry(pos, struct origin, in_age));
}

/* Free of an end and of bytes nobody asked for. */
static bool is_clean(struct origin *o)
{
    char byte;
    return recv(o->io.watch.fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

struct origin *origin_take(struct origin_pool *p, const struct endpoint *to, unsigned n_to,
                           const struct egress *egress)
{
    for (unsigned i = 0; i < n_to; i++) {
        list_for_each_safe (pos, tmp, bucket_of(p, &to[i])) {
            struct origin *o = list_entry(pos, struct origin, node);
            if (!endpoint_equal(&o->to, &to[i]) || !egress_equal(&o->egress, egress))
                continue;
            if (!is_clean(o)) {
                origin_free(o);
                continue;
            }
            leave_pool(o);
            o->is_reused = true;
            return o;
        }
    }
    return NULL;
}

static void on_idle_over(struct timer *t)
{
    origin_free(list_entry(t, struct origin, idle));
}

static void on_idle_ready(struct io *io)
{
    struct origin *o = io->owner;
    if (io->is_readable || io->is_peer_done)
        origin_free(o);
}

void origin_give(struct origin_pool *p, struct origin *o, uint64_t idle_ms)
{
    o->io.is_readable = false; /* origin_take() looks whether it is clean, so nobody does twice */
    if (p->n_max == 0) {
        origin_free(o);
        return;
    }
    while (p->n_idle >= p->n_max)
        origin_free(list_entry(list_first(&p->by_age), struct origin, in_age));
    o->pool = p;
    p->n_idle++;
    list_insert_after(bucket_of(p, &o->to), &o->node);
    list_append(&p->by_age, &o->in_age);
    io_own(&o->io, on_idle_ready, o);
    loop_timer_start(p->loop, &o->idle, idle_ms, on_idle_over);
}

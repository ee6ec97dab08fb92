/*
 * Which connection a question takes. One is enough for most: a name server answers in any order,
 * and connections are what servers are short of. A second is opened when many questions wait on the
 * first, or when that has gone silent; past the fourth, and when all are full, the question fails
 * and the resolver goes to another server. A question whose connection died goes to a fresh one: a
 * server may close when it likes (RFC 7766 section 6.2.4), and one that answers a few questions a
 * connection gets all of them answered; one that answers none gets two more tries. Belongs to one
 * worker.
 */
#include "proxy/dns/upstream_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/upstream_stream.h"
#include "proxy/dns/upstream_udp.h"

enum {
    STREAMS_MAX = 4,
    SPREAD = 64,         /* questions on the emptiest connection that make another one worth it */
    MOVES_MAX = 2,       /* off connections that brought nothing */
    MOVES_ALL_MAX = 128, /* in all */
};

/* ---- who there is ---- */

static bool is_same_name(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

struct upstream_peer *upstream_peer_get(struct upstream_env *env, const struct endpoint *server,
                                        const char *tls_name, const struct egress *egress)
{
    list_for_each (pos, &env->peers) {
        struct upstream_peer *p = list_entry(pos, struct upstream_peer, node);
        if (endpoint_equal(&p->server, server) && is_same_name(p->tls_name, tls_name) &&
            egress_equal(&p->egress, egress))
            return upstream_peer_ref(p);
    }
    struct upstream_peer *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    *p = (struct upstream_peer){.env = env, .n_refs = 1, .server = *server, .egress = *egress};
    p->tls_name = tls_name ? strdup(tls_name) : NULL;
    if (tls_name && !p->tls_name) {
        free(p);
        return NULL;
    }
    list_init(&p->streams);
    list_init(&p->idle_udp);
    list_append(&env->peers, &p->node);
    return p;
}

struct upstream_peer *upstream_peer_ref(struct upstream_peer *p)
{
    p->n_refs++;
    return p;
}

struct upstream_peer *upstream_peer_unref(struct upstream_peer *p)
{
    if (!p || --p->n_refs > 0)
        return NULL;
    for (struct list *pos; (pos = list_first(&p->streams));)
        upstream_stream_close(list_entry(pos, struct upstream_stream, node));
    upstream_udp_fini(p);
    list_remove(&p->node);
    tls_ticket_fini(&p->ticket);
    free(p->tls_name);
    free(p);
    return NULL;
}

/* ---- questions ---- */

/* The emptiest that takes more. */
static struct upstream_stream *best_stream(struct upstream_peer *p, size_t n_bytes)
{
    struct upstream_stream *best = NULL;
    list_for_each (pos, &p->streams) {
        struct upstream_stream *s = list_entry(pos, struct upstream_stream, node);
        if (upstream_stream_takes(s, n_bytes) && (!best || s->n_asks < best->n_asks))
            best = s;
    }
    return best;
}

/* One that is silent holds up the way for a fresh one: the next question will find room. */
static void make_room(struct upstream_peer *p)
{
    list_for_each (pos, &p->streams) {
        struct upstream_stream *s = list_entry(pos, struct upstream_stream, node);
        if (s->is_silent) {
            upstream_stream_end_soon(s);
            return;
        }
    }
}

static int place(struct upstream_peer_ask *a)
{
    struct upstream_peer *p = a->peer;
    size_t n_bytes = a->ask->raw ? a->ask->n_raw : WIRE_ASK_MAX;
    struct upstream_stream *s = best_stream(p, n_bytes);
    if (!s && p->n_streams >= STREAMS_MAX)
        make_room(p);
    if ((!s || s->n_asks >= SPREAD) && p->n_streams < STREAMS_MAX) {
        struct upstream_stream *fresh;
        int rc = upstream_stream_open(p, &fresh);
        if (rc < 0 && !s)
            return rc;
        s = rc < 0 ? s : fresh;
    }
    return s ? upstream_stream_add(s, a) : -EAGAIN;
}

int upstream_peer_send(struct upstream_peer *p, struct upstream_peer_ask *a, struct wire_ask *ask,
                       upstream_peer_done_fn done)
{
    *a = (struct upstream_peer_ask){.peer = p, .ask = ask, .done = done};
    list_init(&a->node);
    int rc = place(a);
    if (rc == 0 && p->tls_name)
        p->env->counters.n_tls++;
    else if (rc == 0)
        p->env->counters.n_tcp++;
    return rc;
}

void upstream_peer_cancel(struct upstream_peer_ask *a)
{
    list_remove(&a->node);
    if (a->stream)
        upstream_stream_forget(a->stream, a);
    a->stream = NULL;
}

void upstream_peer_lost(struct upstream_peer_ask *a, enum upstream_outcome outcome, bool was_open,
                        bool had_answers)
{
    if (!was_open || ++a->n_moves > (had_answers ? MOVES_ALL_MAX : MOVES_MAX)) {
        a->done(a, outcome, NULL);
        return;
    }
    a->peer->env->counters.n_moved++;
    int rc = place(a);
    if (rc < 0)
        a->done(a, rc == -ECONNREFUSED ? UPSTREAM_REFUSED : outcome, NULL);
}

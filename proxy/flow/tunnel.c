/*
 * CONNECT. The request target alone decides: Host, Connection and Content-Length: 0 are ignored
 * (real clients send all kinds). What follows the head is kept and goes to the destination once it
 * has accepted.
 */
#include "proxy/flow/tunnel.h"

#include <string.h>

#include "proxy/flow/reach.h"
#include "proxy/flow/worker.h"

/* What a CONNECT head may not hold. NULL: fine. */
static const char *bad_framing(const struct head *h)
{
    if (h->framing.is_chunked)
        return "a CONNECT request has no Transfer-Encoding";
    if (h->framing.has_length && h->framing.length > 0)
        return "a CONNECT request has no body";
    return NULL;
}

static void on_permitted(struct conn *c)
{
    reach_dial(c, &c->relay.sides[RELAY_ORIGIN].io, conn_open_tunnel);
}

void tunnel_start(struct conn *c)
{
    struct conn_setup *s = c->setup;
    struct shared *shared = c->worker->shared;
    const char *text = s->buf + s->head.target.at;
    const char *why = bad_framing(&s->head);
    if (why ||
        authority_parse_connect(text, s->head.target.len, &s->target, &why) != AUTHORITY_OK) {
        if (!memchr(text, '@', s->head.target.len) && !memchr(text, '?', s->head.target.len))
            conn_keep_host(c, text, s->head.target.len); /* else it may hold what is not logged */
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_BAD_REQUEST, .body = why});
        return;
    }
    conn_keep_host(c, s->target.name, s->target.name_len);
    if (atomic_load_explicit(&shared->n_tunnels, memory_order_relaxed) >=
        atomic_load_explicit(&shared->max_tunnels, memory_order_relaxed)) {
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_LIMIT});
        return;
    }
    if (!conn_join(c, true))
        return;
    reach_start(c, &c->proxy->connect_ports, on_permitted);
}

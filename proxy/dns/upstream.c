/*
 * One exchange with one name server, made hard to answer for anybody else: a connected UDP socket
 * with a new port each time (the kernel draws it at random from ip_local_port_range, some 28,000,
 * and checks address and port of what comes in), a 16-bit id from getrandom(2), and a full check of
 * the reply. A packet that fails the check is no answer and no error: the wait goes on. Many such
 * packets mean that somebody guesses; then TCP ends the game (RFC 5452 section 9.3). Streams are
 * shared and are the peer's. An exchange sends once: resending, other servers and their order are
 * the resolver's. Belongs to one worker.
 */
#include "proxy/dns/upstream.h"

#include <errno.h>
#include <sys/socket.h>

enum { DATAGRAMS_A_CALL = 32 };

/* ---- the end ---- */

void upstream_cancel(struct upstream *x)
{
    x->udp = upstream_udp_give_back(x->udp);
    upstream_peer_cancel(&x->by_stream);
    loop_timer_stop(x->env->loop, &x->limit);
}

static void finish(struct upstream *x, enum upstream_outcome outcome)
{
    upstream_cancel(x);
    x->done(x, outcome, NULL, NULL);
}

/* The caller returns at once. */
static void finish_with(struct upstream *x, const uint8_t *msg)
{
    upstream_cancel(x);
    x->done(x, UPSTREAM_REPLY, &x->env->reply, msg);
}

static void on_late(struct timer *t)
{
    finish(list_entry(t, struct upstream, limit), UPSTREAM_TIMEOUT);
}

/* ---- by stream ---- */

static void on_stream_done(struct upstream_peer_ask *a, enum upstream_outcome outcome,
                           const uint8_t *msg)
{
    struct upstream *x = list_entry(a, struct upstream, by_stream);
    if (outcome == UPSTREAM_REPLY)
        finish_with(x, msg);
    else
        finish(x, outcome);
}

static int start_stream(struct upstream *x)
{
    x->udp = upstream_udp_give_back(x->udp);
    return upstream_peer_send(x->peer, &x->by_stream, &x->ask, on_stream_done);
}

static void turn_to_tcp(struct upstream *x)
{
    int rc = start_stream(x);
    if (rc < 0)
        finish(x, rc == -ECONNREFUSED ? UPSTREAM_REFUSED : UPSTREAM_BROKEN);
}

/* ---- UDP ---- */

/* draft-vixie-dnsext-dns0x20: a bit more to guess for every letter. */
static int randomise_case(struct upstream *x)
{
    struct wire_name *name = &x->question.name;
    uint8_t bits[WIRE_NAME_MAX / 8 + 1];
    int rc = upstream_random(x->env, bits, sizeof(bits));
    for (size_t i = 0; rc == 0 && i < name->len; i++) {
        uint8_t c = name->bytes[i] | 0x20;
        if (c >= 'a' && c <= 'z' &&
            name->bytes[i] > WIRE_LABEL_MAX) /* a length byte is no letter */
            name->bytes[i] = bits[i / 8] >> i % 8 & 1 ? c : c & ~0x20;
    }
    return rc;
}

/* A new id, and what else is drawn. A raw query keeps its id, since SIG(0) signs that too (RFC 2931
 * section 3.1); who guesses it deceives nobody but the asker. */
static int draw(struct upstream *x)
{
    x->ask.id = x->ask.raw ? wire_get16(x->ask.raw) : 0;
    int rc = x->ask.raw ? 0 : upstream_random(x->env, &x->ask.id, sizeof(x->ask.id));
    return rc == 0 && x->random_case ? randomise_case(x) : rc;
}

static int start_udp(struct upstream *x);

/* Once more by another port and id, in one case: by far the most likely, the server does not keep
 * it. */
static void ask_in_one_case(struct upstream *x)
{
    x->env->counters.n_case++;
    x->udp = upstream_udp_give_back(x->udp);
    x->random_case = false;
    wire_name_lower(&x->question.name);
    if (start_udp(x) < 0)
        turn_to_tcp(x);
}

/* Not an answer. Returns whether the wait goes on. */
static bool take_wrong(struct upstream *x, size_t n)
{
    struct upstream_env *env = x->env;
    env->counters.n_wrong++;
    if (x->random_case && wire_reply_check(env->message, n, &x->ask, false, &env->reply) == 0) {
        ask_in_one_case(x);
        return false;
    }
    if (++x->n_wrong < UPSTREAM_WRONG_MAX)
        return true;
    else
        env->counters.n_suspicious++;
    turn_to_tcp(x);
    return false;
}

/* Returns whether more may be read from this socket. */
static bool take_datagram(struct upstream *x, size_t n)
{
    struct upstream_env *env = x->env;
    if (wire_reply_check(env->message, n, &x->ask, x->random_case, &env->reply) != 0)
        return take_wrong(x, n);
    if (env->reply.is_truncated && !x->ask.raw) {
        env->counters.n_truncated++;
        turn_to_tcp(x);
    } else {
        finish_with(x, env->message);
    }
    return false;
}

static void on_udp_readable(struct upstream_udp *u)
{
    struct upstream *x = u->owner;
    for (unsigned i = 0; i < DATAGRAMS_A_CALL; i++) {
        ssize_t n = recv(u->watch.fd, x->env->message, sizeof(x->env->message), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            finish(x, UPSTREAM_REFUSED);
            return;
        }
        if (!take_datagram(x, (size_t)n))
            return;
    }
}

static int start_udp(struct upstream *x)
{
    int rc = draw(x);
    if (rc == 0)
        rc = upstream_udp_take(x->peer, on_udp_readable, x, &x->udp);
    if (rc < 0)
        return rc;
    size_t len = wire_ask_write(&x->ask, x->env->message);
    ssize_t n = send(x->udp->watch.fd, x->env->message, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { /* a full queue is a loss like any other */
        rc = -errno;
        x->udp = upstream_udp_give_back(x->udp);
        return rc;
    }
    x->env->counters.n_udp++;
    return 0;
}

/* ---- the beginning ---- */

int upstream_start(struct upstream *x, struct upstream_env *env,
                   const struct upstream_request *request, upstream_done_fn done)
{
    *x = (struct upstream){
        .env = env,
        .peer = request->peer,
        .question = *request->question,
        .ask = {.wants_dnssec = request->wants_dnssec,
                .checking_disabled = request->checking_disabled,
                .authentic_data = request->authentic_data,
                .without_opt = request->without_opt,
                .is_padded = request->peer->tls_name != NULL,
                .raw = request->raw,
                .n_raw = request->n_raw},
        .random_case = request->random_case && !request->raw,
        .started_ms = loop_now_ms(env->loop),
        .done = done,
    };
    x->ask.question = &x->question;
    int rc = request->by_tcp || x->peer->tls_name ? start_stream(x) : start_udp(x);
    if (rc < 0)
        return rc;
    loop_timer_start(env->loop, &x->limit, request->limit_ms, on_late);
    return 0;
}

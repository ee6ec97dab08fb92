/*
 * One exchange with one name server, made hard to answer for anybody else: a new connected UDP
 * socket each time (the kernel draws its port at random from ip_local_port_range, some 28,000, and
 * checks address and port of what comes in), a 16-bit id from getrandom(2), and a full check of the
 * reply. A packet that fails the check is no answer and no error: the wait goes on. Many such
 * packets mean that somebody guesses; then TCP ends the game (RFC 5452 section 9.3). An exchange
 * sends once: resending, other servers and their order are the resolver's. Belongs to one worker.
 */
#include "proxy/dns/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAMS_A_CALL = 32, PREFIX_BYTES = 2 };

struct upstream_env *upstream_env_new(struct loop *loop)
{
    struct upstream_env *env = calloc(1, sizeof(*env));
    if (!env)
        return NULL;
    env->loop = loop;
    if (watch_set_init(&env->watches, loop) == 0)
        return env;
    free(env);
    return NULL;
}

struct upstream_env *upstream_env_free(struct upstream_env *env)
{
    if (!env)
        return NULL;
    watch_set_fini(&env->watches);
    explicit_bzero(env->random, sizeof(env->random));
    free(env);
    return NULL;
}

int upstream_random(struct upstream_env *env, void *ret_bytes, size_t n)
{
    if (env->n_random < n) {
        if (getrandom(env->random, sizeof(env->random), 0) != (ssize_t)sizeof(env->random))
            return errno ? -errno : -EIO;
        env->n_random = sizeof(env->random);
    }
    env->n_random -= n;
    memcpy(ret_bytes, env->random + env->n_random, n);
    memset(env->random + env->n_random, 0, n);
    return 0;
}

/* ---- the end ---- */

static void drop_socket(struct upstream *x)
{
    watch_close(&x->env->watches, &x->udp);
    if (x->fd < 0)
        return;
    event_del(&x->event);
    close(x->fd);
    x->fd = -1;
}

void upstream_cancel(struct upstream *x)
{
    drop_socket(x);
    loop_timer_stop(x->env->loop, &x->limit);
    free(x->message);
    x->message = NULL;
}

static void finish(struct upstream *x, enum upstream_outcome outcome)
{
    upstream_cancel(x);
    x->done(x, outcome, NULL, NULL);
}

/* The caller returns at once. */
static void finish_with(struct upstream *x, const uint8_t *msg)
{
    uint8_t *message = x->message;
    x->message = NULL;
    upstream_cancel(x);
    x->done(x, UPSTREAM_REPLY, &x->env->reply, msg);
    free(message);
}

static void on_late(struct timer *t)
{
    finish(list_entry(t, struct upstream, limit), UPSTREAM_TIMEOUT);
}

/* ---- sockets ---- */

static int watch_tcp(struct upstream *x, short what, event_callback_fn callback)
{
    event_assign(&x->event, x->env->loop->base, x->fd, what | EV_PERSIST, callback, x);
    return event_add(&x->event, NULL) < 0 ? -ENOMEM : 0;
}

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

/* A connected socket with a new id to go with it: fd · -errno. EINPROGRESS is success. */
static int open_socket(struct upstream *x, int type)
{
    int rc = upstream_random(x->env, &x->ask.id, sizeof(x->ask.id));
    if (rc == 0 && x->random_case && type == SOCK_DGRAM)
        rc = randomise_case(x);
    if (rc < 0)
        return rc;
    int fd = egress_socket(x->egress, &x->server, type);
    if (fd < 0)
        return fd;
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&x->server, &ss);
    if (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static void on_tcp_writable(evutil_socket_t fd, short what, void *arg);

static int start_tcp(struct upstream *x)
{
    drop_socket(x);
    x->is_tcp = true;
    x->n_sent = x->n_read = 0;
    x->fd = open_socket(x, SOCK_STREAM);
    if (x->fd < 0)
        return x->fd;
    int rc = watch_tcp(x, EV_WRITE, on_tcp_writable);
    if (rc == 0)
        x->env->counters.n_tcp++;
    return rc;
}

static void turn_to_tcp(struct upstream *x)
{
    if (start_tcp(x) < 0)
        finish(x, UPSTREAM_BROKEN);
}

/* ---- UDP ---- */

/* Not an answer. Returns whether the wait goes on. */
static bool take_wrong(struct upstream *x, size_t n)
{
    struct upstream_env *env = x->env;
    env->counters.n_wrong++;
    if (x->random_case && wire_reply_check(env->datagram, n, &x->ask, false, &env->reply) == 0)
        env->counters.n_case++;
    else if (++x->n_wrong < UPSTREAM_WRONG_MAX)
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
    if (wire_reply_check(env->datagram, n, &x->ask, x->random_case, &env->reply) != 0)
        return take_wrong(x, n);
    if (env->reply.is_truncated) {
        env->counters.n_truncated++;
        turn_to_tcp(x);
    } else {
        finish_with(x, env->datagram);
    }
    return false;
}

static void on_udp_readable(struct watch *w)
{
    struct upstream *x = list_entry(w, struct upstream, udp);
    for (unsigned i = 0; i < DATAGRAMS_A_CALL; i++) {
        ssize_t n = recv(w->fd, x->env->datagram, sizeof(x->env->datagram), 0);
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
    int fd = open_socket(x, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    uint8_t query[WIRE_QUERY_MAX];
    size_t len = wire_ask_write(&x->ask, query);
    ssize_t n = send(fd, query, len, MSG_NOSIGNAL);
    int rc = n < 0 && errno != EAGAIN ? -errno : 0; /* a full queue is a loss like any other */
    if (rc == 0)
        rc = watch_open(&x->env->watches, &x->udp, fd, on_udp_readable);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    x->env->counters.n_udp++;
    return 0;
}

/* ---- TCP ---- */

static bool is_refusal(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == ETIMEDOUT;
}

static void take_message(struct upstream *x)
{
    struct wire_reply *reply = &x->env->reply;
    size_t len = wire_get16(x->prefix);
    if (wire_reply_check(x->message, len, &x->ask, false, reply) != 0) {
        x->env->counters.n_wrong++;
        finish(x, UPSTREAM_BROKEN);
    } else if (reply->is_truncated) {
        finish(x, UPSTREAM_BROKEN);
    } else {
        finish_with(x, x->message);
    }
}

/* What is still to be read: the rest of the prefix, then the rest of the message. NULL: no memory,
 * or too short. */
static uint8_t *next_part(struct upstream *x, size_t *ret_len)
{
    if (x->n_read < PREFIX_BYTES) {
        *ret_len = PREFIX_BYTES - x->n_read;
        return x->prefix + x->n_read;
    }
    size_t len = wire_get16(x->prefix);
    if (!x->message && len >= WIRE_HEADER_BYTES)
        x->message = malloc(len);
    if (!x->message)
        return NULL;
    *ret_len = PREFIX_BYTES + len - x->n_read;
    return x->message + (x->n_read - PREFIX_BYTES);
}

static bool is_complete(const struct upstream *x)
{
    return x->n_read >= PREFIX_BYTES && x->n_read == PREFIX_BYTES + (size_t)wire_get16(x->prefix);
}

static void on_tcp_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct upstream *x = arg;
    for (;;) {
        size_t want;
        uint8_t *into = next_part(x, &want);
        ssize_t n = into ? recv(fd, into, want, 0) : 0;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            finish(x, UPSTREAM_BROKEN);
            return;
        }
        x->n_read += (size_t)n;
        if (is_complete(x)) {
            take_message(x);
            return;
        }
    }
}

/* The query is small and made again the same way, so nothing is kept of it. */
static void on_tcp_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct upstream *x = arg;
    uint8_t query[PREFIX_BYTES + WIRE_QUERY_MAX];
    size_t len = wire_ask_write(&x->ask, query + PREFIX_BYTES);
    wire_put16(query, (unsigned)len);
    ssize_t n = send(fd, query + x->n_sent, PREFIX_BYTES + len - x->n_sent, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        finish(x, is_refusal(errno) ? UPSTREAM_REFUSED : UPSTREAM_BROKEN);
        return;
    }
    x->n_sent += (size_t)n;
    if (x->n_sent < PREFIX_BYTES + len)
        return;
    event_del(&x->event);
    if (watch_tcp(x, EV_READ, on_tcp_readable) < 0)
        finish(x, UPSTREAM_BROKEN);
}

/* ---- the beginning ---- */

int upstream_start(struct upstream *x, struct upstream_env *env,
                   const struct upstream_request *request, upstream_done_fn done)
{
    *x = (struct upstream){
        .env = env,
        .egress = request->egress,
        .server = *request->server,
        .question = *request->question,
        .ask = {.wants_dnssec = request->wants_dnssec,
                .checking_disabled = request->checking_disabled,
                .authentic_data = request->authentic_data,
                .without_opt = request->without_opt},
        .random_case = request->random_case,
        .udp = {.fd = -1},
        .fd = -1,
        .started_ms = loop_now_ms(env->loop),
        .done = done,
    };
    x->ask.question = &x->question;
    int rc = request->by_tcp ? start_tcp(x) : start_udp(x);
    if (rc < 0) {
        drop_socket(x);
        return rc;
    }
    loop_timer_start(env->loop, &x->limit, request->limit_ms, on_late);
    return 0;
}

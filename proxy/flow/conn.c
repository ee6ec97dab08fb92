/*
 * A connection's life. States change only in conn_set_state(), which knows the legal ones;
 * everything ends in conn_finish() or, where the client is owed an answer, conn_refuse(), each of
 * which writes the one access record. Nothing is freed inside a callback: the reap task does it at
 * the end of the round. A connection belongs to its worker.
 *
 * Before the relay the client's socket is read only as far as a head needs; bytes behind it stay in
 * the set-up buffer or in the kernel until the destination accepts (domain: early tunnel bytes are
 * held, bounded).
 */
#include "proxy/flow/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/flow/forward.h"
#include "proxy/flow/reach.h"
#include "proxy/flow/tunnel.h"
#include "proxy/flow/worker.h"
#include "proxy/http/reply.h"
#include "proxy/net/quota.h"

enum {
    BUF_FIRST_BYTES = 2048,
    EARLY_MAX_BYTES = 64 * 1024,
    LINGER_MS = 2000,
    HURRY_MS = 3500, /* a lost request is sent again after 0.2, 0.6, 1.4 and 3.0 s */
    LINGER_MAX_BYTES = 1024 * 1024,
    USER_AGENT_MAX = 160,
    HOST_SHOWN_MAX = 512,
};

#define METHODS_SERVED "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT"

static void on_client_ready(struct io *io);
static void on_head_late(struct timer *t);
static void on_linger_over(struct timer *t);

static struct side *client_side(struct conn *c)
{
    return &c->relay.sides[RELAY_CLIENT];
}

void conn_set_state(struct conn *c, enum conn_state state)
{
    static const uint8_t legal[] = {
        [CONN_STATE_HEAD] = 1 << CONN_STATE_RESOLVE | 1 << CONN_STATE_DIAL |
                            1 << CONN_STATE_EXCHANGE | 1 << CONN_STATE_LINGER |
                            1 << CONN_STATE_CLOSED,
        [CONN_STATE_RESOLVE] = 1 << CONN_STATE_DIAL | 1 << CONN_STATE_EXCHANGE |
                               1 << CONN_STATE_LINGER | 1 << CONN_STATE_CLOSED,
        [CONN_STATE_DIAL] = 1 << CONN_STATE_RELAY | 1 << CONN_STATE_EXCHANGE |
                            1 << CONN_STATE_LINGER | 1 << CONN_STATE_CLOSED,
        [CONN_STATE_EXCHANGE] = 1 << CONN_STATE_HEAD | 1 << CONN_STATE_DIAL |
                                1 << CONN_STATE_LINGER | 1 << CONN_STATE_CLOSED,
        [CONN_STATE_RELAY] = 1 << CONN_STATE_CLOSED,
        [CONN_STATE_LINGER] = 1 << CONN_STATE_CLOSED,
        [CONN_STATE_CLOSED] = 0,
    };
    if (!(legal[c->state] & 1 << state)) {
        log_error("msg=\"illegal state\" conn=%u.%llu from=%u to=%u", c->worker->index,
                  (unsigned long long)c->serial, c->state, state);
        state = CONN_STATE_CLOSED;
    }
    log_debug("msg=state conn=%u.%llu from=%u to=%u", c->worker->index,
              (unsigned long long)c->serial, c->state, state);
    c->state = (uint8_t)state;
    loop_timer_stop(&c->worker->loop, &c->timer);
    if (state == CONN_STATE_LINGER)
        loop_timer_start(&c->worker->loop, &c->timer, LINGER_MS, on_linger_over);
}

static void setup_free(struct conn *c)
{
    if (!c->setup)
        return;
    reach_cancel(c);
    free(c->setup->buf);
    free(c->setup);
    c->setup = NULL;
}

static void reap(struct conn *c)
{
    struct worker *w = c->worker;
    walk_forget(&w->review.walk, c);
    walk_forget(&w->periodic.walk, c);
    survey_forget(w->survey, c);
    roster_forget(w->roster, c);
    list_remove(&c->node);
    view_unref(c->view);
    free(c->texts);
    free(c);
    worker_conn_gone(w);
}

/* The one place where it is counted no more. */
static void leave_quota(struct conn *c)
{
    if (c->quota)
        c->quota = quota_leave(c->quota, c->is_quota_tunnel, loop_now_ms(&c->worker->loop));
    c->is_quota_tunnel = false;
}

/* By the limits of now, not of its snapshot. 0 · QUOTA_FULL · -ENOMEM. */
static int join_quota(struct conn *c, bool is_tunnel, bool is_open)
{
    const struct conf_limits *limits = &c->worker->view->snapshot->conf.limits;
    if (limits->per_source_bandwidth == 0 && !(is_tunnel && limits->per_source_tunnels > 0))
        return 0;
    if (c->quota && c->is_quota_tunnel == is_tunnel)
        return 0;
    leave_quota(c);
    c->is_quota_tunnel = is_tunnel;
    return quota_join(c->worker->shared->quotas, &c->client.addr, is_tunnel,
                      is_open ? 0 : limits->per_source_tunnels, &c->quota);
}

bool conn_join(struct conn *c, bool is_tunnel)
{
    int rc = join_quota(c, is_tunnel, false);
    if (rc == QUOTA_FULL)
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_SOURCE_LIMIT,
                                              .body = "this source has too many tunnels"});
    else if (rc < 0)
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_INTERNAL});
    return rc == 0;
}

/* The first reason counts: a refusal is followed by the client's own end. */
static void note_end(struct conn *c, enum reason reason)
{
    if (c->end == REASON_NONE)
        c->end = (uint8_t)reason;
}

/* The last step from any state; no record here. */
static void close_now(struct conn *c)
{
    struct worker *w = c->worker;
    c->tally->n_ended[c->end]++;
    setup_free(c);
    c->forward = forward_free(c->forward);
    relay_stop(&c->relay);
    leave_quota(c);
    conn_set_state(c, CONN_STATE_CLOSED);
    if (c->is_tunnel)
        atomic_fetch_sub_explicit(&w->shared->n_tunnels, 1, memory_order_relaxed);
    c->is_tunnel = false;
    atomic_fetch_sub_explicit(c->is_turned_away ? &w->shared->n_turned_away : &w->shared->n_clients,
                              1, memory_order_relaxed);
    loop_task_add(&w->loop, &c->task);
}

const char *conn_host(const struct conn *c)
{
    return c->texts && c->texts[0] ? c->texts : NULL;
}

static const char *user_agent(const struct conn *c)
{
    const char *agent = c->texts ? c->texts + strlen(c->texts) + 1 : "";
    return agent[0] ? agent : NULL;
}

/* Once a request: it is answered, or will never be. */
static void count_request(struct conn *c)
{
    bool has_begun = c->is_connect || c->forward || (c->setup && c->setup->n_buf > 0);
    struct access_record r = {.method = c->is_connect ? "CONNECT" : NULL};
    if (!has_begun)
        return;
    if (c->forward) {
        forward_describe(c->forward, &r);
        c->tally->bytes_up += r.bytes_up;
        c->tally->bytes_down += r.bytes_down;
    }
    tally_request(c->tally, r.method, c->status);
}

void conn_tell_bytes(struct conn *c)
{
    uint64_t up = client_side(c)->bytes_in, down = c->relay.sides[RELAY_ORIGIN].bytes_in;
    c->tally->bytes_up += up - c->told_up;
    c->tally->bytes_down += down - c->told_down;
    c->told_up = up;
    c->told_down = down;
}

/* @place: the line that decided, NULL: the one that admits the source; @words: what decided instead
 * of a line, or NULL. */
static void record(struct conn *c, enum access_event event, enum reason reason,
                   const struct rule_place *place, const char *words)
{
    struct worker *w = c->worker;
    bool is_written = w->view->snapshot->conf.log.access != CONF_ACCESS_OFF;
    bool is_sampled =
        reason == REASON_SOURCE_DENIED || reason == REASON_SOURCE_LIMIT || event == ACCESS_OBSERVED;
    if (!is_written && event != ACCESS_REFUSED && !is_sampled && reason != REASON_ACL_REVOKED)
        return;
    if (!place && !words && c->rule)
        place = &c->rule->place;
    if (!place && !words && c->view->snapshot->conf.acl_observe)
        words = "no rule"; /* nobody admits the source */
    uint64_t now = loop_now_ms(&w->loop);
    const char *host = conn_host(c), *agent = user_agent(c);
    struct access_record r = {
        .event = event,
        .worker = w->index,
        .serial = c->serial,
        .source = c->client,
        .listener = c->proxy->base.name,
        .method = c->is_connect ? "CONNECT" : NULL,
        .host = host,
        .host_len = host ? strlen(host) : 0,
        .port = c->port,
        .addr = c->has_origin ? &c->origin : NULL,
        .user_agent = agent,
        .user_agent_len = agent ? strlen(agent) : 0,
        .status = c->status,
        .reason = reason,
        .bytes_up = c->is_tunnel ? client_side(c)->bytes_in : 0,
        .bytes_down = c->is_tunnel ? c->relay.sides[RELAY_ORIGIN].bytes_in : 0,
        .dns_ms = c->times.dns_ms == UINT32_MAX ? -1 : (int64_t)c->times.dns_ms,
        .connect_ms = c->times.connect_ms == UINT32_MAX ? -1 : (int64_t)c->times.connect_ms,
        .first_byte_ms = -1,
        .duration_ms = (int64_t)(now - c->times.start_ms),
    };
    access_set_rule(&r, place, words);
    if (c->forward)
        forward_describe(c->forward, &r);
    worker_note_refusal(w, &r);
    if (is_written && (!is_sampled || worker_may_log_refusal(w)))
        worker_record(w, &r);
}

/* The transaction is over: what it carried belongs to the lines that let it. */
static void count_carried(struct conn *c)
{
    uint64_t bytes = client_side(c)->bytes_in + c->relay.sides[RELAY_ORIGIN].bytes_in;
    if (c->forward)
        bytes = forward_bytes(c->forward);
    if (c->rule)
        hits_carried(c->worker->hits, c->rule->place.slot, bytes);
    hits_carried(c->worker->hits, c->out_slot, bytes);
}

void conn_record_open(struct conn *c)
{
    record(c, ACCESS_PERIODIC, REASON_NONE, NULL, NULL);
}

/* All it asked for was answered: what ends it now is not worth a word. */
static bool is_settled(const struct conn *c)
{
    bool is_between = c->state == CONN_STATE_HEAD && c->forward;
    return c->state == CONN_STATE_LINGER || (is_between && (!c->setup || c->setup->n_buf == 0));
}

static void finish(struct conn *c, enum reason reason, const struct rule_place *place,
                   const char *words)
{
    struct counters *n = &c->worker->counters;
    if (!is_settled(c))
        note_end(c, reason);
    switch ((enum conn_state)c->state) {
    case CONN_STATE_RELAY:
        counter_add(&n->n_closed, 1);
        counter_add(&n->bytes_up, client_side(c)->bytes_in);
        counter_add(&n->bytes_down, c->relay.sides[RELAY_ORIGIN].bytes_in);
        count_carried(c);
        conn_tell_bytes(c);
        record(c, ACCESS_CLOSE, reason, place, words);
        break;
    case CONN_STATE_HEAD:
        if (!c->setup || c->setup->n_buf == 0) /* it came and went without a byte: no transaction */
            break;
        __attribute__((fallthrough));
    case CONN_STATE_RESOLVE:
    case CONN_STATE_DIAL:
        count_request(c);
        record(c, ACCESS_REFUSED, reason, place, words);
        break;
    case CONN_STATE_EXCHANGE:
        count_carried(c);
        count_request(c);
        record(c, ACCESS_REFUSED, reason, place, words);
        io_reset(&client_side(c)->io); /* a FIN could pass for the end of the answer */
        break;
    case CONN_STATE_LINGER: /* its record is written */
        break;
    case CONN_STATE_CLOSED:
        return;
    }
    close_now(c);
}

void conn_finish(struct conn *c, enum reason reason)
{
    finish(c, reason, NULL, NULL);
}

void conn_revoke(struct conn *c, const struct rule_place *place, const char *words)
{
    if (c->state == CONN_STATE_RELAY) {
        io_reset(&client_side(c)->io);
        io_reset(&c->relay.sides[RELAY_ORIGIN].io);
    }
    finish(c, REASON_ACL_REVOKED, place, words);
}

void conn_observe(struct conn *c, const struct conn_refusal *why)
{
    record(c, ACCESS_OBSERVED, why->reason, why->rule ? &why->rule->place : NULL,
           why->rule ? NULL : "no rule");
}

static unsigned retry_after_s(const struct conn_refusal *why)
{
    if (why->retry_after_s)
        return why->retry_after_s;
    bool is_ours = why->reason == REASON_LIMIT || why->reason == REASON_SOURCE_LIMIT ||
                   why->reason == REASON_INTERNAL;
    return is_ours ? 10 : 0;
}

static size_t build_answer(struct conn *c, const struct conn_refusal *why, char *buf, size_t size)
{
    const struct reason_info *info = reason_info(why->reason);
    char id[48];
    snprintf(id, sizeof(id), "%u.%llu", c->worker->index, (unsigned long long)c->serial);
    struct reply reply = {
        .status = c->status,
        .phrase = why->phrase,
        .proxy_status = why->proxy_status ? why->proxy_status : info->proxy_status,
        .request_id = id,
        .body = why->body,
        .retry_after_s = retry_after_s(why),
        .allow = c->status == 405 ? METHODS_SERVED : NULL,
        .is_head = c->forward && forward_is_head(c->forward),
    };
    return reply_build(&reply, buf, size);
}

/* What refused where no line did. */
static const char *refusal_words(enum reason reason)
{
    switch ((int)reason) {
    case REASON_SOURCE_DENIED:
    case REASON_OUT_DENIED:
        return "no rule";
    case REASON_PORT_DENIED:
        return "port list";
    case REASON_SPECIAL_USE:
        return "special use";
    case REASON_OWN_LISTENER:
        return "own listener";
    default:
        return NULL;
    }
}

void conn_refuse(struct conn *c, const struct conn_refusal *why)
{
    struct io *io = &client_side(c)->io;
    c->status = (uint16_t)(why->status ? why->status : reason_info(why->reason)->status);
    counter_add(&c->worker->counters.n_refused, 1);
    note_end(c, why->reason);
    count_request(c);
    record(c, ACCESS_REFUSED, why->reason, why->rule ? &why->rule->place : NULL,
           refusal_words(why->reason));
    char buf[REPLY_MAX];
    size_t len = build_answer(c, why, buf, sizeof(buf));
    setup_free(c);
    if (c->forward)
        forward_stop(c->forward);
    leave_quota(c);
    io_close(&c->relay.sides[RELAY_ORIGIN].io);
    conn_set_state(c, CONN_STATE_LINGER);
    /* An empty send buffer takes it whole. Behind answers that a client does not read it may not
     * fit; an answer that nobody reads is not waited for. */
    if (send(io->watch.fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len ||
        shutdown(io->watch.fd, SHUT_WR) < 0) {
        close_now(c);
        return;
    }
    io->is_readable = true;
    on_client_ready(io);
}

void conn_turn_away(struct conn *c, const struct conn_refusal *why)
{
    struct shared *shared = c->worker->shared;
    c->is_turned_away = true;
    atomic_fetch_sub_explicit(&shared->n_clients, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared->n_turned_away, 1, memory_order_relaxed);
    conn_refuse(c, why);
}

void conn_abort(struct conn *c, enum reason reason)
{
    count_carried(c);
    note_end(c, reason);
    count_request(c);
    record(c, ACCESS_REQUEST, reason, NULL, NULL);
    io_reset(&client_side(c)->io);
    close_now(c);
}

static void begin_linger(struct conn *c)
{
    struct io *io = &client_side(c)->io;
    conn_set_state(c, CONN_STATE_LINGER);
    if (shutdown(io->watch.fd, SHUT_WR) < 0) {
        close_now(c);
        return;
    }
    io->is_readable = true;
    on_client_ready(io);
}

/* The head of the next request; what came of it already is in the set-up buffer. */
static void next_head(struct conn *c)
{
    const struct conf *conf = &c->view->snapshot->conf;
    struct conn_setup *s = c->setup;
    bool has_begun = s->n_buf > 0;
    conn_set_state(c, CONN_STATE_HEAD);
    c->serial = ++c->worker->n_serial;
    c->status = 0;
    c->has_origin = false;
    c->out_slot = SLOTS_NONE;
    conn_forget_texts(c);
    c->times.dns_ms = c->times.connect_ms = UINT32_MAX;
    c->times.start_ms = loop_now_ms(&c->worker->loop);
    head_init(&s->head, HEAD_REQUEST, conf->limits.request_line_bytes, conf->limits.head_bytes);
    loop_timer_start(&c->worker->loop, &c->timer,
                     has_begun ? conf->timeouts.head_ms : conf->timeouts.http_idle_ms,
                     on_head_late);
    loop_task_add(&c->worker->loop, &c->task);
}

void conn_request_over(struct conn *c, bool keeps_client)
{
    count_carried(c);
    count_request(c);
    record(c, ACCESS_REQUEST, REASON_NONE, NULL, NULL);
    if (!keeps_client || c->worker->is_draining || !review_between(c)) {
        begin_linger(c);
        return;
    }
    next_head(c);
}

void conn_answer_options(struct conn *c)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n"
                                 "Allow: " METHODS_SERVED "\r\n\r\n";
    struct io *io = &client_side(c)->io;
    c->status = 200;
    count_request(c);
    record(c, ACCESS_REQUEST, REASON_NONE, NULL, NULL);
    if (send(io->watch.fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) != sizeof(answer) - 1) {
        close_now(c);
        return;
    }
    begin_linger(c);
}

static void on_head_late(struct timer *t)
{
    struct conn *c = list_entry(t, struct conn, timer);
    if (c->forward && c->setup->n_buf == 0) {
        close_now(c); /* between two requests: nothing is owed */
        return;
    }
    conn_refuse(c, &(struct conn_refusal){.reason = REASON_HEAD_LATE});
}

/* Read already, or come in this very round. */
static bool has_begun(struct conn *c)
{
    char byte;
    return (c->setup && c->setup->n_buf > 0) ||
           recv(client_side(c)->io.watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A request that has begun has its whole time. */
static void on_hurry_over(struct timer *t)
{
    struct conn *c = list_entry(t, struct conn, timer);
    struct worker *w = c->worker;
    if (!has_begun(c))
        conn_finish(c, REASON_SHUTDOWN);
    else
        loop_timer_start(&w->loop, &c->timer, w->view->snapshot->conf.timeouts.head_ms,
                         on_head_late);
}

bool conn_hurry(struct conn *c)
{
    if (c->state != CONN_STATE_HEAD || (c->setup && c->setup->n_buf > 0))
        return true;
    if (c->forward) { /* between two requests: nothing is owed */
        conn_finish(c, REASON_SHUTDOWN);
        return false;
    }
    loop_timer_start(&c->worker->loop, &c->timer, HURRY_MS, on_hurry_over);
    return true;
}

static void on_linger_over(struct timer *t)
{
    close_now(list_entry(t, struct conn, timer));
}

/* Discards so that the close is no reset that would take the answer from the client's hands;
 * bounded in time and bytes. */
static void linger_read(struct conn *c)
{
    struct io *io = &client_side(c)->io;
    while (io->is_readable) {
        ssize_t n = recv(io->watch.fd, c->worker->scratch, RELAY_CHUNK_BYTES, 0);
        if (n < 0 && errno == EAGAIN) {
            io->is_readable = false;
            return;
        }
        if (n < 0 && errno == EINTR)
            continue;
        c->discarded_bytes += n > 0 ? (uint32_t)n : 0;
        if (n <= 0 || c->discarded_bytes > LINGER_MAX_BYTES) {
            close_now(c);
            return;
        }
    }
}

static void keep_texts(struct conn *c, const char *host, size_t n_host, const char *agent,
                       size_t n_agent)
{
    char *texts = malloc(n_host + n_agent + 2);
    if (texts) {
        memcpy(texts, host, n_host);
        texts[n_host] = '\0';
        memcpy(texts + n_host + 1, agent, n_agent);
        texts[n_host + 1 + n_agent] = '\0';
    }
    free(c->texts);
    c->texts = texts;
}

void conn_keep_host(struct conn *c, const char *text, size_t len)
{
    const char *agent = user_agent(c);
    keep_texts(c, text, len < HOST_SHOWN_MAX ? len : HOST_SHOWN_MAX, agent ? agent : "",
               agent ? strlen(agent) : 0);
}

void conn_forget_texts(struct conn *c)
{
    free(c->texts);
    c->texts = NULL;
}

static void keep_user_agent(struct conn *c)
{
    struct conn_setup *s = c->setup;
    const struct head_field *f = head_find(&s->head, s->buf, "User-Agent");
    conn_forget_texts(c);
    if (f)
        keep_texts(c, "", 0, s->buf + f->value.at,
                   f->value.len < USER_AGENT_MAX ? f->value.len : USER_AGENT_MAX);
}

static enum reason reason_of_bad_head(unsigned status)
{
    switch (status) {
    case 414:
        return REASON_LINE_TOO_LONG;
    case 431:
        return REASON_HEAD_TOO_LONG;
    case 501:
        return REASON_METHOD;
    case 505:
        return REASON_VERSION;
    default:
        return REASON_BAD_REQUEST;
    }
}

static void dispatch(struct conn *c)
{
    struct conn_setup *s = c->setup;
    loop_timer_stop(&c->worker->loop, &c->timer);
    keep_user_agent(c);
    if (head_span_is(s->buf, s->head.method, "CONNECT")) {
        c->is_connect = true;
        c->forward = forward_free(c->forward);
        tunnel_start(c);
        return;
    }
    forward_start(c);
}

/* Room for at least one more read; never beyond what a head of the permitted size needs. */
static int make_room(struct conn *c)
{
    struct conn_setup *s = c->setup;
    const struct conf_limits *limits = &c->view->snapshot->conf.limits;
    uint32_t max = limits->request_line_bytes + limits->head_bytes + BUF_FIRST_BYTES;
    if (s->n_buf < s->buf_size)
        return 0;
    uint32_t size = s->buf_size ? s->buf_size * 2 : BUF_FIRST_BYTES;
    if (size > max)
        size = max;
    if (size <= s->buf_size)
        return -ENOBUFS;
    char *bigger = realloc(s->buf, size);
    if (!bigger)
        return -ENOMEM;
    s->buf = bigger;
    s->buf_size = size;
    return 0;
}

static int make_setup(struct conn *c)
{
    const struct conf_limits *limits = &c->view->snapshot->conf.limits;
    c->setup = calloc(1, sizeof(*c->setup));
    if (!c->setup)
        return -ENOMEM;
    head_init(&c->setup->head, HEAD_REQUEST, limits->request_line_bytes, limits->head_bytes);
    return 0;
}

/* One recv into the set-up buffer. >0 bytes · 0 nothing now · -1 it left or failed (conn finished).
 */
static ssize_t read_some(struct conn *c, bool is_eof_fine)
{
    struct conn_setup *s = c->setup;
    struct io *io = &client_side(c)->io;
    size_t room = s->buf_size - s->n_buf;
    ssize_t n;
    do {
        n = recv(io->watch.fd, s->buf + s->n_buf, room, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        io->is_readable = false;
        return 0;
    }
    if (n == 0 && is_eof_fine) {
        client_side(c)->is_eof = true;
        io->is_readable = false;
        return 0;
    }
    if (n <= 0) {
        conn_finish(c, REASON_CLIENT_GONE);
        return -1;
    }
    s->n_buf += (uint32_t)n;
    if ((size_t)n < room && io_short_is_all(io))
        io->is_readable = false;
    return n;
}

/* True: the head is not complete yet, read on. */
static bool feed_head(struct conn *c)
{
    struct conn_setup *s = c->setup;
    switch (head_feed(&s->head, s->buf, s->n_buf)) {
    case HEAD_MORE:
        return true;
    case HEAD_DONE:
        dispatch(c);
        return false;
    case HEAD_BAD:
        break;
    }
    conn_refuse(c, &(struct conn_refusal){.reason = reason_of_bad_head(s->head.bad_status),
                                          .status = s->head.bad_status,
                                          .body = s->head.bad_why});
    return false;
}

static void head_read(struct conn *c)
{
    struct io *io = &client_side(c)->io;
    while (io->is_readable) {
        if (!c->setup && make_setup(c) < 0) {
            conn_finish(c, REASON_INTERNAL);
            return;
        }
        bool is_next = c->forward && c->setup->n_buf == 0;
        int rc = make_room(c);
        if (rc < 0) {
            conn_refuse(c, &(struct conn_refusal){.reason = rc == -ENOMEM ? REASON_INTERNAL
                                                                          : REASON_HEAD_TOO_LONG});
            return;
        }
        if (read_some(c, false) <= 0)
            return;
        if (is_next) { /* it waited for its first byte; from there on it is a head like any other */
            c->times.start_ms = loop_now_ms(&c->worker->loop);
            loop_timer_start(&c->worker->loop, &c->timer, c->view->snapshot->conf.timeouts.head_ms,
                             on_head_late);
        }
        if (!feed_head(c))
            return;
        io->is_readable = true; /* a short read may hide a reset behind half a head */
    }
}

/* The next request of the same client, in a round of its own: pipelined requests do not recurse. */
static void resume(struct conn *c)
{
    if (c->state != CONN_STATE_HEAD)
        return;
    if (c->setup->n_buf == 0 || feed_head(c))
        head_read(c);
}

/* Once it is closed nothing else is to be done. */
static void on_task(struct loop_task *t)
{
    struct conn *c = list_entry(t, struct conn, task);
    if (c->state == CONN_STATE_CLOSED)
        reap(c);
    else
        resume(c);
}

bool conn_read_early(struct conn *c)
{
    struct io *io = &client_side(c)->io;
    struct conn_setup *s = c->setup;
    while (io->is_readable && !client_side(c)->is_eof) {
        if (s->n_buf == s->buf_size) {
            if (s->buf_size >= EARLY_MAX_BYTES)
                return true; /* enough is held; the rest waits in the kernel */
            char *bigger = realloc(s->buf, s->buf_size * 2);
            if (!bigger)
                return true;
            s->buf = bigger;
            s->buf_size *= 2;
        }
        if (read_some(c, true) < 0)
            return false;
    }
    return true;
}

static void on_client_ready(struct io *io)
{
    struct conn *c = io->owner;
    switch ((enum conn_state)c->state) {
    case CONN_STATE_HEAD:
        head_read(c);
        break;
    case CONN_STATE_RESOLVE:
    case CONN_STATE_DIAL:
        if (c->is_connect)
            conn_read_early(c);
        break;
    case CONN_STATE_EXCHANGE:
        forward_client_ready(c);
        break;
    case CONN_STATE_LINGER:
        linger_read(c);
        break;
    case CONN_STATE_RELAY:
    case CONN_STATE_CLOSED:
        break;
    }
}

struct conn *conn_accept(struct worker *w, struct view *view, const struct conf_web_proxy *proxy,
                         const struct in_rule *rule, int fd, const struct endpoint *client)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return NULL;
    }
    relay_init(&c->relay);
    if (io_open(&client_side(c)->io, &w->loop, fd, on_client_ready, c) < 0) {
        free(c);
        return NULL;
    }
    c->worker = w;
    c->view = view_ref(view);
    c->proxy = proxy;
    c->tally = view_tally(view, proxy);
    c->rule = rule;
    c->client = *client;
    c->serial = ++w->n_serial;
    c->times = (struct conn_times){loop_now_ms(&w->loop), UINT32_MAX, UINT32_MAX};
    c->state = CONN_STATE_HEAD;
    loop_task_init(&c->task, on_task);
    list_append(&w->conns, &c->node);
    w->n_conns++;
    atomic_fetch_add_explicit(&w->shared->n_clients, 1, memory_order_relaxed);
    loop_timer_start(&w->loop, &c->timer, view->snapshot->conf.timeouts.head_ms, on_head_late);
    return c;
}

static void on_relay_done(struct relay *r, enum reason reason)
{
    conn_finish(list_entry(r, struct conn, relay), reason);
}

static struct relay_limits limits_of(const struct conn *c)
{
    const struct conf *conf = &c->view->snapshot->conf;
    uint64_t life_ms = conf->timeouts.tunnel_life_ms;
    return (struct relay_limits){
        .idle_ms = conf->timeouts.tunnel_idle_ms,
        .half_closed_ms = conf->timeouts.half_closed_ms,
        .end_ms = life_ms ? c->times.start_ms + life_ms : 0,
    };
}

/* By the limit of now. 0 · -ENOMEM. */
static int pace_tunnel(struct conn *c, size_t n_early)
{
    const struct conf_limits *limits = &c->worker->view->snapshot->conf.limits;
    int rc = relay_pace(&c->relay, c->quota, c->quota ? limits->per_source_bandwidth : 0);
    if (rc == 0 && c->relay.pace)
        pace_charge(c->relay.pace, n_early);
    return rc;
}

/* Counted before it is compared: of tunnels that are set up at once none passes the limit. */
static bool take_tunnel_place(struct conn *c)
{
    struct shared *shared = c->worker->shared;
    unsigned n = atomic_fetch_add_explicit(&shared->n_tunnels, 1, memory_order_relaxed);
    c->is_tunnel = n < atomic_load_explicit(&shared->max_tunnels, memory_order_relaxed);
    if (!c->is_tunnel)
        atomic_fetch_sub_explicit(&shared->n_tunnels, 1, memory_order_relaxed);
    return c->is_tunnel;
}

void conn_open_tunnel(struct conn *c)
{
    struct worker *w = c->worker;
    struct conn_setup *s = c->setup;
    if (!review_setup_over(c))
        return;
    if (!take_tunnel_place(c)) {
        conn_refuse(c, &(struct conn_refusal){.reason = REASON_LIMIT});
        return;
    }
    size_t len = reply_tunnel_open_bytes();
    if (send(client_side(c)->io.watch.fd, REPLY_TUNNEL_OPEN, len, MSG_NOSIGNAL) != (ssize_t)len) {
        conn_finish(c, REASON_CLIENT_GONE);
        return;
    }
    c->status = 200;
    tally_request(c->tally, "CONNECT", 200);
    counter_add(&w->counters.n_opened, 1);
    struct relay_limits limits = limits_of(c);
    c->relay.means.pipes = &w->pipes;
    size_t n_early = s->n_buf - s->head.head_bytes;
    int rc = relay_start(&c->relay, &w->loop, w->scratch, &limits, s->buf + s->head.head_bytes,
                         n_early, on_relay_done);
    if (rc == 0)
        rc = pace_tunnel(c, n_early);
    conn_set_state(c, CONN_STATE_RELAY);
    if (rc < 0) {
        conn_finish(c, REASON_INTERNAL);
        return;
    }
    setup_free(c);
    if (log_wants(LOG_LEVEL_DEBUG) || c->view->snapshot->conf.log.format == CONF_FORMAT_JSON)
        record(c, ACCESS_OPEN, REASON_NONE, NULL, NULL);
    review_running(c);
}

void conn_adopt(struct conn *c, const struct conf_web_proxy *proxy, const struct in_rule *rule,
                uint32_t out_slot)
{
    struct view *old = c->view;
    if (!proxy)
        return;
    c->proxy = proxy;
    c->rule = rule;
    c->out_slot = out_slot;
    c->view = view_ref(c->worker->view);
    view_unref(old);
    if (c->state != CONN_STATE_RELAY)
        return;
    /* It runs already: at worst it is not counted. */
    if (join_quota(c, true, true) < 0 || pace_tunnel(c, 0) < 0)
        log_warning("msg=\"out of memory, a tunnel goes on without its limits\" conn=%u.%llu",
                    c->worker->index, (unsigned long long)c->serial);
    struct relay_limits limits = limits_of(c);
    relay_set_limits(&c->relay, &limits);
}

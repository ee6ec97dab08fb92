/*
 * A worker owns all that happens on its thread; nothing here takes a lock. The main thread speaks
 * to it by mail only: an update carries the snapshot, our own addresses and the complete list of
 * sockets. Sockets that the new list names by the same id are never touched. Out of memory what
 * could not be applied is kept and tried again until it is, or a newer update comes.
 */
#include "proxy/flow/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/dns/words.h"
#include "proxy/flow/balance.h"
#include "proxy/http/reply.h"
#include "proxy/net/egress.h"

enum {
    LOGGED_A_SECOND = 50,
    TURNED_AWAY_MAX = 64,
    DRAIN_NEAR_SHARE = 10, /* the last tenth of the time */
    DRAIN_QUIET_MS = 1000, /* a tunnel without a byte for so long is idle then */
    DRAIN_LOOK_MS = 250,
    BEHIND_RETRY_MS = 250,
};

struct worker_socket {
    struct list node;
    struct worker *worker;
    uint64_t id;
    enum socket_kind kind;
    unsigned conf_index;
    int fd;                   /* DNS: owned by the DNS server */
    struct listener listener; /* SOCKET_WEB */
};

struct own_set *own_set_ref(struct own_set *o)
{
    atomic_fetch_add(&o->n_refs, 1);
    return o;
}

struct own_set *own_set_unref(struct own_set *o)
{
    if (o && atomic_fetch_sub(&o->n_refs, 1) == 1) {
        free(o->own.listeners);
        free(o);
    }
    return NULL;
}

/* ---- view ---- */

static void on_view_back(struct mail *m)
{
    struct view *v = list_entry(m, struct view, mail);
    snapshot_unref(v->snapshot);
    free(v);
}

/* The last user of a hundred thousand rules frees them, which takes tens of milliseconds: that is
 * the main thread's, which serves nobody. */
static struct view *view_free(struct view *v)
{
    for (size_t i = 0; v->groups && i < v->snapshot->conf.n_web_proxies; i++)
        resolver_group_unref(v->groups[i]);
    free(v->groups);
    free(v->tallies);
    mailbox_post(v->worker->shared->main_mailbox, &v->mail, on_view_back);
    return NULL;
}

/* Takes the reference on @s also on failure. */
static struct view *view_new(struct worker *w, struct snapshot *s)
{
    struct view *v = calloc(1, sizeof(*v));
    if (!v) {
        snapshot_unref(s);
        return NULL;
    }
    v->worker = w;
    v->snapshot = s;
    v->n_users = 1;
    v->groups = calloc(s->conf.n_web_proxies + 1, sizeof(*v->groups));
    v->tallies = calloc(s->conf.n_web_proxies + 1, sizeof(struct tally_listener *));
    if (!v->groups || !v->tallies)
        return view_free(v);
    for (size_t i = 0; i < s->conf.n_web_proxies; i++) {
        const struct conf_listener *base = &s->conf.web_proxies[i].base;
        v->tallies[i] = tally_listener_get(&w->tally, base->name);
        struct egress egress = egress_from_conf(&base->egress);
        struct resolver_policy policy = resolver_policy_web(&s->conf, &s->conf.web_proxies[i]);
        v->groups[i] = resolver_group_new_with(&w->resolver, &base->name_servers, &egress, &policy);
        if (!v->groups[i])
            return view_free(v);
    }
    return v;
}

struct tally_listener *view_tally(const struct view *v, const struct conf_web_proxy *proxy)
{
    return v->tallies[proxy - v->snapshot->conf.web_proxies];
}

struct view *view_ref(struct view *v)
{
    v->n_users++;
    return v;
}

void view_unref(struct view *v)
{
    if (v && --v->n_users == 0)
        view_free(v);
}

/* ---- records ---- */

static uint64_t wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void worker_record(struct worker *w, struct access_record *r)
{
    const struct conf_log *conf = &w->view->snapshot->conf.log;
    if (conf->access == CONF_ACCESS_OFF || !w->shared->sink)
        return;
    r->wall_ms = wall_ms();
    /* Filled before it is read; zeroing it first would cost more than the record. */
    char text[ACCESS_RECORD_MAX] __attribute__((uninitialized));
    struct access_log log = {.format = conf->format,
                             .format_text = conf->format_text,
                             .is_journal = conf->access == CONF_ACCESS_JOURNALD};
    sink_put(w->shared->sink, text, access_format(&log, r, text, sizeof(text)));
}

void worker_note_refusal(struct worker *w, const struct access_record *r)
{
    refusals_note(w->refusals, r, wall_ms());
}

static void on_sample_over(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, log_sample);
    if (w->n_unlogged > 0)
        log_warning("msg=\"refusals not recorded one by one\" worker=%u n=%u", w->index,
                    w->n_unlogged);
    w->n_logged = w->n_unlogged = 0;
}

bool worker_may_log_refusal(struct worker *w)
{
    if (!timer_is_running(&w->log_sample))
        loop_timer_start(&w->loop, &w->log_sample, 1000, on_sample_over);
    if (w->n_logged < LOGGED_A_SECOND) {
        w->n_logged++;
        return true;
    }
    w->n_unlogged++;
    return false;
}

/* ---- accepting ---- */

/* A refusal by [in] or of a query, or what would be one; unless it is one of very many. */
static struct access_record denied_record(enum access_event event, const char *listener,
                                          const char *method, const struct endpoint *source)
{
    return (struct access_record){
        .event = event,
        .source = *source,
        .listener = listener,
        .method = method,
        .rule_words = "no rule",
        .reason = REASON_SOURCE_DENIED,
        .dns_ms = -1,
        .connect_ms = -1,
        .first_byte_ms = -1,
    };
}

static void record_denied(struct worker *w, struct access_record *r)
{
    worker_note_refusal(w, r);
    if (!worker_may_log_refusal(w))
        return;
    r->worker = w->index;
    r->serial = r->serial ? r->serial : ++w->n_serial;
    worker_record(w, r);
}

/* Whoever is not let in lingers apart from the clients: were it counted with them, it could keep
 * their places by coming again and again. */
static bool has_room_to_answer(struct worker *w)
{
    return atomic_load_explicit(&w->shared->n_turned_away, memory_order_relaxed) < TURNED_AWAY_MAX;
}

static void refuse_source(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                          const struct endpoint *peer)
{
    counter_add(&w->counters.n_source_denied, 1);
    if (w->view->snapshot->conf.acl_deny_403 && has_room_to_answer(w)) {
        struct conn *c = conn_accept(w, w->view, proxy, NULL, fd, peer);
        if (c)
            conn_turn_away(c, &(struct conn_refusal){.reason = REASON_SOURCE_DENIED,
                                                     .status = 403,
                                                     .phrase = "Forbidden source"});
        return;
    }
    close(fd);
    view_tally(w->view, proxy)->n_ended[REASON_SOURCE_DENIED]++;
    struct access_record r = denied_record(ACCESS_REFUSED, proxy->base.name, NULL, peer);
    record_denied(w, &r);
}

static void on_dns_denied(void *owner, const struct dns_server_denial *d)
{
    struct worker *w = owner;
    struct access_record r =
        denied_record(d->is_observed ? ACCESS_OBSERVED : ACCESS_REFUSED, d->conf->base.name,
                      d->is_tcp ? "DNS/tcp" : "DNS", d->source);
    if (!d->is_observed)
        counter_add(&w->counters.n_source_denied, 1);
    if (d->name) {
        r.reason = REASON_OUT_DENIED;
        r.host = d->name;
        r.host_len = strlen(d->name);
    }
    access_set_rule(&r, d->rule ? &d->rule->place : NULL, "no rule");
    record_denied(w, &r);
}

/* `mode = observe`: [in] does not admit it, and it is served all the same. */
static void observe_source(struct worker *w, const struct conn *c)
{
    struct access_record r = denied_record(ACCESS_OBSERVED, c->proxy->base.name, NULL, &c->client);
    r.serial = c->serial;
    record_denied(w, &r);
}

/* log-queries. */
static void on_dns_query(void *owner, const struct dns_server_note *n)
{
    struct worker *w = owner;
    char name[WIRE_NAME_TEXT_MAX], type[WORDS_MAX], rcode[WORDS_MAX];
    struct access_record r = {
        .event = ACCESS_DNS,
        .worker = w->index,
        .serial = ++w->n_serial,
        .source = n->source,
        .listener = n->conf->base.name,
        .method = n->is_tcp ? "DNS/tcp" : "DNS",
        .rcode = n->reply_bytes ? words_rcode(n->rcode, rcode) : NULL,
        .result = n->result,
        .bytes_up = n->query_bytes,
        .bytes_down = n->reply_bytes,
        .dns_ms = -1,
        .connect_ms = -1,
        .first_byte_ms = -1,
        .duration_ms = (int64_t)n->took_ms,
    };
    if (n->question) {
        r.host = wire_name_text(&n->question->name, name);
        r.host_len = strlen(r.host);
        r.type = words_type(n->question->type, type);
    }
    access_set_rule(&r, n->rule ? &n->rule->place : NULL, "no rule");
    worker_record(w, &r);
}

static void on_name_server(void *owner, const struct resolver_server_news *news)
{
    struct worker *w = owner;
    char server[ENDPOINT_TEXT_MAX];
    endpoint_text(news->server, server);
    if (news->is_up)
        log_notice("msg=\"name server answers again\" server=%s tls_name=%s worker=%u", server,
                   news->tls_name ? news->tls_name : "-", w->index);
    else
        log_warning("msg=\"name server is down\" server=%s tls_name=%s worker=%u reason=%s "
                    "detail=\"%s\"",
                    server, news->tls_name ? news->tls_name : "-", w->index, news->reason,
                    news->detail);
}

/* What per-source-rate counts: connections, and those of too many that are answered. */
enum { CONNECTS_SERVED, CONNECTS_ANSWERED };

static bool is_within_rate(struct worker *w, unsigned kind, const struct endpoint *peer)
{
    uint32_t rate = w->view->snapshot->conf.limits.per_source_rate;
    return rate == 0 ||
           rates_take(w->shared->connects, &peer->addr, kind, rate, loop_now_ms(&w->loop));
}

/* Answered while there is room for it and its source is not told too often; else closed at once,
 * which is cheap. */
static void turn_away(struct worker *w, const struct conf_web_proxy *proxy,
                      const struct in_rule *rule, int fd, const struct endpoint *peer,
                      const struct conn_refusal *why)
{
    if (has_room_to_answer(w) && is_within_rate(w, CONNECTS_ANSWERED, peer)) {
        struct conn *c = conn_accept(w, w->view, proxy, rule, fd, peer);
        if (c)
            conn_turn_away(c, why);
        return;
    }
    close(fd);
    counter_add(&w->counters.n_refused, 1);
    view_tally(w->view, proxy)->n_ended[why->reason]++;
    struct access_record r = denied_record(ACCESS_REFUSED, proxy->base.name, NULL, peer);
    r.reason = why->reason;
    access_set_rule(&r, rule ? &rule->place : NULL, rule ? NULL : "no rule");
    record_denied(w, &r);
}

static void take_client(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                        const struct endpoint *peer)
{
    counter_add(&w->counters.n_accepted, 1);
    const struct in_rule *rule = in_table_ask(proxy->table, &peer->addr);
    if (!rule && !w->view->snapshot->conf.acl_observe) {
        refuse_source(w, proxy, fd, peer);
        return;
    }
    if (rule)
        hits_count(w->hits, rule->place.slot, loop_now_ms(&w->loop));
    if (!is_within_rate(w, CONNECTS_SERVED, peer)) {
        turn_away(w, proxy, rule, fd, peer,
                  &(struct conn_refusal){.reason = REASON_SOURCE_LIMIT,
                                         .retry_after_s = 1,
                                         .body = "too many new connections a second"});
        return;
    }
    if (atomic_load_explicit(&w->shared->n_clients, memory_order_relaxed) >=
        atomic_load_explicit(&w->shared->max_clients, memory_order_relaxed)) {
        turn_away(w, proxy, rule, fd, peer, &(struct conn_refusal){.reason = REASON_LIMIT});
        return;
    }
    struct conn *c = conn_accept(w, w->view, proxy, rule, fd, peer);
    if (c && !rule)
        observe_source(w, c);
}

/* Of another worker, by the listener's name: a reload may be between the two. */
static void take_passed(struct worker *w, const char *listener, int fd, const struct endpoint *peer)
{
    const struct conf *conf = w->view ? &w->view->snapshot->conf : NULL;
    for (size_t i = 0; conf && i < conf->n_web_proxies; i++) {
        if (strcmp(conf->web_proxies[i].base.name, listener) == 0) {
            take_client(w, &conf->web_proxies[i], fd, peer);
            return;
        }
    }
    close(fd);
}

static void on_client_accepted(struct listener *l, int fd, const struct endpoint *peer)
{
    struct worker_socket *socket = l->owner;
    struct worker *w = socket->worker;
    const struct conf_web_proxy *proxy = &w->view->snapshot->conf.web_proxies[socket->conf_index];
    if (!balance_pass(w, proxy, fd, peer, take_passed))
        take_client(w, proxy, fd, peer);
}

/* ---- sockets ---- */

static struct worker_socket *find_socket(struct worker *w, uint64_t id)
{
    list_for_each (pos, &w->sockets) {
        struct worker_socket *s = list_entry(pos, struct worker_socket, node);
        if (s->id == id)
            return s;
    }
    return NULL;
}

static void socket_forget(struct worker_socket *s)
{
    list_remove(&s->node);
    free(s);
}

static void socket_close(struct worker_socket *s)
{
    if (s->kind == SOCKET_WEB)
        listener_close(&s->listener);
    else
        dns_server_remove(s->worker->dns, s->id);
    socket_forget(s);
}

static int socket_open(struct worker_socket *s, int fd)
{
    switch (s->kind) {
    case SOCKET_WEB:
        return listener_open(&s->listener, &s->worker->loop, fd, on_client_accepted, s);
    case SOCKET_DNS_UDP:
        return dns_server_add_udp(s->worker->dns, s->id, fd);
    case SOCKET_DNS_TCP:
        return dns_server_add_tcp(s->worker->dns, s->id, fd);
    case SOCKET_ADMIN:
        break;
    }
    return -EINVAL;
}

/* Takes the order's socket only on success. */
static int socket_new(struct worker *w, struct socket_order *order, struct worker_socket **ret)
{
    struct worker_socket *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->worker = w;
    s->id = order->id;
    s->kind = order->kind;
    s->conf_index = order->conf_index;
    s->listener.fd = -1;
    list_append(&w->sockets, &s->node);
    int rc = socket_open(s, order->fd);
    if (rc < 0) {
        socket_forget(s);
        return rc;
    }
    order->fd = -1;
    *ret = s;
    return 0;
}

/* A new one, or the one there is with its new place in the configuration. */
static int apply_order(struct worker *w, struct socket_order *order)
{
    struct worker_socket *s = find_socket(w, order->id);
    int rc = 0;
    if (!s && order->fd >= 0)
        rc = socket_new(w, order, &s);
    if (!s)
        return rc;
    s->conf_index = order->conf_index;
    if (s->kind == SOCKET_WEB)
        return 0;
    struct snapshot *snapshot = w->view->snapshot;
    return dns_server_set_view(w->dns, s->id, snapshot, &snapshot->conf.dns[order->conf_index]);
}

static bool is_ordered(const struct socket_order *orders, unsigned n_orders, uint64_t id)
{
    for (unsigned i = 0; i < n_orders; i++) {
        if (orders[i].id == id)
            return true;
    }
    return false;
}

/* ---- back to the main thread ---- */

/* From here on the notice may be posted again. */
static unsigned notice_take(struct mail *m)
{
    return atomic_exchange(&list_entry(m, struct notice, mail)->n, 0);
}

static void notice_post(struct notice *n, struct mailbox *to, mail_fn deliver)
{
    if (atomic_fetch_add(&n->n, 1) == 0)
        mailbox_post(to, &n->mail, deliver);
}

static void on_updates_applied(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, updated.mail);
    for (unsigned n = notice_take(m); n > 0; n--)
        w->shared->on_updated(w->shared);
}

static void on_all_gone(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, drained.mail);
    for (unsigned n = notice_take(m); n > 0; n--)
        w->shared->on_drained(w->shared);
}

static void tell_updated(struct worker *w)
{
    notice_post(&w->updated, w->shared->main_mailbox, on_updates_applied);
}

/* Neither a client is left nor a question of one. */
static void tell_if_drained(struct worker *w)
{
    if (w->n_conns > 0 || !dns_server_is_retired(w->dns))
        return;
    if (w->has_told_drained) /* another worker had given it one more client before it drained too */
        return;
    w->has_told_drained = true;
    notice_post(&w->drained, w->shared->main_mailbox, on_all_gone);
}

/* ---- mail from the main thread ---- */

struct update {
    struct mail mail;
    struct worker *worker;
    struct snapshot *snapshot;
    struct own_set *own;
    unsigned n_orders;
    struct socket_order orders[];
};

/* With the sockets that nobody took. */
static void update_free(struct update *u)
{
    for (unsigned i = 0; i < u->n_orders; i++) {
        if (u->orders[i].fd >= 0)
            close(u->orders[i].fd);
    }
    snapshot_unref(u->snapshot);
    own_set_unref(u->own);
    free(u);
}

/* The old view is left to the caller: it lets go last. */
static void use_snapshot(struct worker *w, struct view *view)
{
    bool is_first = !w->view;
    w->view = view;
    if (view->snapshot->conf.acl_observe && !atomic_load_explicit(&w->seen, memory_order_relaxed))
        atomic_store_explicit(&w->seen, seen_new(), memory_order_release);
    resolver_refresh(&w->resolver);
    if (!is_first)
        review_start(w);
    periodic_update(&w->periodic);
    origin_pool_close_all(&w->origins); /* nothing outlives its permission */
}

/* Asked again after a failure it does what is left. */
static int apply_update(struct worker *w, struct update *u)
{
    struct view *view = NULL;
    int rc = 0;
    if (!w->view || w->view->snapshot != u->snapshot) {
        view = view_new(w, snapshot_ref(u->snapshot));
        if (!view)
            return -ENOMEM;
    }
    struct own_set *old_own = w->own;
    struct view *old_view = view ? w->view : NULL;
    w->own = own_set_ref(u->own);
    own_set_unref(old_own);
    if (view)
        use_snapshot(w, view);
    list_for_each_safe (pos, tmp, &w->sockets) {
        struct worker_socket *s = list_entry(pos, struct worker_socket, node);
        if (!is_ordered(u->orders, u->n_orders, s->id))
            socket_close(s);
    }
    for (unsigned i = 0; i < u->n_orders; i++) {
        int one = apply_order(w, &u->orders[i]);
        rc = one < 0 ? one : rc;
    }
    view_unref(old_view); /* behind the DNS sockets, whose views hold the old snapshot, too */
    return rc;
}

/* Nothing of it is tried any more. */
static void behind_drop(struct worker *w)
{
    loop_timer_stop(&w->loop, &w->retry);
    if (w->behind)
        update_free(w->behind);
    w->behind = NULL;
    atomic_store(&w->is_behind, false);
}

static void on_retry(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, retry);
    if (apply_update(w, w->behind) < 0) {
        loop_timer_start(&w->loop, t, BEHIND_RETRY_MS, on_retry);
        return;
    }
    behind_drop(w);
    log_notice("msg=\"the new configuration is in force here too\" worker=%u", w->index);
}

/* @old is superseded: sockets that @u takes for given and @old still has go over. */
static void pass_sockets(struct update *old, struct update *u)
{
    for (unsigned i = 0; i < old->n_orders; i++) {
        for (unsigned j = 0; j < u->n_orders && old->orders[i].fd >= 0; j++) {
            if (u->orders[j].id != old->orders[i].id)
                continue;
            u->orders[j].fd = old->orders[i].fd;
            old->orders[i].fd = -1;
        }
    }
}

static void on_update(struct mail *m)
{
    struct update *u = list_entry(m, struct update, mail);
    struct worker *w = u->worker;
    w->origins.n_max = atomic_load_explicit(&w->shared->max_pooled, memory_order_relaxed);
    if (w->behind)
        pass_sockets(w->behind, u);
    behind_drop(w);
    int rc = apply_update(w, u);
    if (rc == 0) {
        update_free(u);
    } else {
        log_error("msg=\"the new configuration is not in force here, trying again\" "
                  "worker=%u error=\"%s\"",
                  w->index, strerror(-rc));
        w->behind = u;
        atomic_store(&w->is_behind, true);
        loop_timer_start(&w->loop, &w->retry, BEHIND_RETRY_MS, on_retry);
    }
    tell_updated(w);
}

struct update *worker_update_new(struct worker *w, struct snapshot *snapshot, struct own_set *own,
                                 const struct socket_order *orders, unsigned n_orders)
{
    struct update *u = malloc(sizeof(*u) + n_orders * sizeof(*orders));
    if (!u) {
        for (unsigned i = 0; i < n_orders; i++) {
            if (orders[i].fd >= 0)
                close(orders[i].fd);
        }
        return NULL;
    }
    u->worker = w;
    u->snapshot = snapshot_ref(snapshot);
    u->own = own_set_ref(own);
    u->n_orders = n_orders;
    memcpy(u->orders, orders, n_orders * sizeof(*orders));
    return u;
}

void worker_update_post(struct update *u)
{
    mailbox_post(&u->worker->mailbox, &u->mail, on_update);
}

void worker_update_drop(struct update *u)
{
    if (u)
        update_free(u);
}

static void finish_all(struct worker *w)
{
    list_for_each (pos, &w->conns)
        conn_finish(list_entry(pos, struct conn, node), REASON_SHUTDOWN);
}

static void on_drain_limit(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, drain_limit);
    dns_server_close_all(w->dns);
    finish_all(w);
    tell_if_drained(w);
}

static void on_dns_retired(void *owner)
{
    tell_if_drained(owner);
}

/* The limit is near, and would end them all: those on which nothing moves are let go now, so that
 * the end may come before it. */
static void on_drain_near(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, drain_near);
    uint64_t now = loop_now_ms(&w->loop);
    list_for_each (pos, &w->conns) {
        struct conn *c = list_entry(pos, struct conn, node);
        if (c->state == CONN_STATE_RELAY && now - c->relay.last_active_ms >= DRAIN_QUIET_MS)
            conn_finish(c, REASON_SHUTDOWN);
    }
    loop_timer_start(&w->loop, t, DRAIN_LOOK_MS, on_drain_near);
}

static void start_drain_timers(struct worker *w, uint64_t limit_ms)
{
    loop_timer_start(&w->loop, &w->drain_limit, limit_ms, on_drain_limit);
    loop_timer_start(&w->loop, &w->drain_near, limit_ms - limit_ms / DRAIN_NEAR_SHARE,
                     on_drain_near);
}

static void on_drain(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, drain_order.mail);
    notice_take(m);
    uint64_t limit_ms = atomic_load(&w->drain_limit_ms);
    bool was_draining = w->is_draining;
    w->is_draining = true;
    behind_drop(w);
    dns_server_retire(w->dns, on_dns_retired, w);
    if (limit_ms == 0)
        dns_server_close_all(w->dns);
    list_for_each_safe (pos, tmp, &w->sockets) {
        struct worker_socket *s = list_entry(pos, struct worker_socket, node);
        if (s->kind == SOCKET_WEB)
            socket_close(s);
        else
            socket_forget(s);
    }
    list_for_each (pos, &w->conns) {
        struct conn *c = list_entry(pos, struct conn, node);
        if (limit_ms == 0)
            conn_finish(c, REASON_SHUTDOWN);
        else
            conn_hurry(c);
    }
    if (limit_ms > 0 && !was_draining)
        start_drain_timers(w, limit_ms);
    tell_if_drained(w);
}

void worker_post_drain(struct worker *w, uint64_t limit_ms)
{
    atomic_store(&w->drain_limit_ms, limit_ms);
    notice_post(&w->drain_order, &w->mailbox, on_drain);
}

void worker_conn_gone(struct worker *w)
{
    w->n_conns--;
    if (w->is_draining)
        tell_if_drained(w);
}

static void on_stop(struct mail *m)
{
    loop_stop(&list_entry(m, struct worker, stop_order.mail)->loop);
}

void worker_post_stop(struct worker *w)
{
    notice_post(&w->stop_order, &w->mailbox, on_stop);
}

/* ---- life ---- */

int worker_init(struct worker *w, unsigned index, struct shared *shared, uint64_t cache_bytes)
{
    *w = (struct worker){.index = index, .shared = shared, .mailbox = {.watch.fd = -1}};
    list_init(&w->sockets);
    list_init(&w->conns);
    w->hits = calloc(1, sizeof(*w->hits));
    w->refusals = refusals_new(&shared->refusals_key);
    review_init(&w->review, w);
    periodic_init(&w->periodic, w);
    w->scratch = malloc(RELAY_CHUNK_BYTES);
    if (!w->scratch || !w->hits || !w->refusals)
        return -ENOMEM;
    int rc = loop_init(&w->loop);
    if (rc == 0)
        origin_pool_init(&w->origins, &w->loop);
    if (rc == 0)
        rc = mailbox_init(&w->mailbox, &w->loop);
    if (rc == 0)
        rc = resolver_init(&w->resolver, &w->loop, cache_bytes);
    if (rc < 0)
        return rc;
    w->dns = dns_server_new(&w->loop, &w->resolver);
    if (!w->dns)
        return -ENOMEM;
    dns_server_on_denied(w->dns, on_dns_denied, w);
    dns_server_on_query(w->dns, on_dns_query, w);
    dns_server_use_rates(w->dns, shared->rates);
    dns_server_use_loops(w->dns, shared->loops);
    resolver_use_loops(&w->resolver, shared->loops);
    resolver_use_tally(&w->resolver, &w->tally);
    dns_server_count_hits(w->dns, w->hits);
    resolver_on_server(&w->resolver, on_name_server, w);
    return 0;
}

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    loop_run(&w->loop);
    return NULL;
}

int worker_start(struct worker *w)
{
    return -pthread_create(&w->thread, NULL, worker_thread, w);
}

void worker_fini(struct worker *w)
{
    mailbox_fini(&w->mailbox); /* first: what was never delivered still brings sockets to close */
    behind_drop(w);
    list_for_each_safe (pos, tmp, &w->sockets)
        socket_close(list_entry(pos, struct worker_socket, node));
    review_fini(&w->review);
    periodic_fini(&w->periodic);
    survey_part_end(w->survey);
    roster_part_end(w->roster);
    finish_all(w);
    if (w->loop.base)
        loop_round(&w->loop, false);
    if (w->origins.loop)
        origin_pool_close_all(&w->origins);
    pipes_fini(&w->pipes);
    dns_server_free(w->dns);
    view_unref(w->view);
    w->view = NULL;
    if (w->loop.base)
        resolver_fini(&w->resolver);
    own_set_unref(w->own);
    loop_fini(&w->loop);
    seen_free(w->seen);
    hits_fini(w->hits);
    free(w->hits);
    refusals_free(w->refusals);
    tally_fini(&w->tally);
    free(w->scratch);
}

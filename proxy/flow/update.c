/*
 * An update carries the snapshot, our own addresses and the complete list of sockets. Sockets that
 * the new list names by the same id are never touched. Out of memory what could not be applied is
 * kept and tried again until it is, or a newer update comes.
 */
#include "proxy/flow/update.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/flow/accept.h"

enum { BEHIND_RETRY_MS = 250 };

struct worker_socket {
    struct list node;
    struct worker *worker;
    uint64_t id;
    enum socket_kind kind;
    unsigned conf_index;
    struct listener listener; /* SOCKET_WEB; of DNS sockets the DNS server has what there is */
};

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

static void on_client_accepted(struct listener *l, int fd, const struct endpoint *peer)
{
    struct worker_socket *socket = l->owner;
    accept_client(socket->worker, socket->conf_index, fd, peer);
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

/* ---- the whole ---- */

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

static void on_updates_applied(struct mail *m)
{
    struct worker *w = list_entry(m, struct worker, updated.mail);
    for (unsigned n = notice_take(m); n > 0; n--)
        w->shared->on_updated(w->shared);
}

static void tell_updated(struct worker *w)
{
    notice_post(&w->updated, w->shared->main_mailbox, on_updates_applied);
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

/* ---- what is left for later ---- */

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

/* ---- the mail ---- */

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

struct update *update_new(struct worker *w, struct snapshot *snapshot, struct own_set *own,
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

void update_post(struct update *u)
{
    mailbox_post(&u->worker->mailbox, &u->mail, on_update);
}

void update_drop(struct update *u)
{
    if (u)
        update_free(u);
}

void update_stop_accepting(struct worker *w)
{
    behind_drop(w);
    list_for_each_safe (pos, tmp, &w->sockets) {
        struct worker_socket *s = list_entry(pos, struct worker_socket, node);
        if (s->kind == SOCKET_WEB)
            socket_close(s);
        else
            socket_forget(s);
    }
}

void update_fini(struct worker *w)
{
    behind_drop(w);
    list_for_each_safe (pos, tmp, &w->sockets)
        socket_close(list_entry(pos, struct worker_socket, node));
}

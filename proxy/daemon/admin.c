/*
 * On the main thread's loop, which serves no traffic. One request a connection, and the strict
 * parser of the proxy itself reads it. Whoever is not in `allow` is closed at accept. Of the few
 * places, one that has not said its request yet is given to a new client when all are taken, or
 * that of a reader who was given his answer a while ago and has not taken it, so that silent and
 * slow clients cannot keep the monitoring out.
 *
 * A browser of somebody who may ask can be made to ask by any page it shows; it cannot read the
 * answer unless the name in the address bar is pointed here (DNS rebinding). So pages are given
 * under literal addresses and our own names only.
 *
 * A page under way outlives its client: it comes to its end, and the answer is dropped. It keeps
 * its place until then, so that whoever asks and leaves cannot have the workers make pages without
 * end.
 */
#include "proxy/daemon/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/http/head.h"
#include "proxy/http/reply.h"
#include "proxy/net/listener.h"

enum { FIELDS_MAX = 1024, NAME_MAX_BYTES = 256, LINGER_BYTES = 64 * 1024 };

struct door {
    struct list node;
    uint64_t id;
    struct listener listener;
};

enum call_state { CALL_HEAD, CALL_PAGE, CALL_SEND, CALL_LINGER };

struct admin_call {
    struct list node;    /* of the server, while there is one */
    struct admin *admin; /* NULL: it is gone */
    int fd;              /* -1: the client is gone */
    enum call_state state;
    struct event event;
    struct timer limit;
    const struct admin_route *route; /* NULL: an error of ours */
    struct head head;
    bool is_head;
    FILE *out;
    char *body; /* owned by free(); valid once out is closed */
    size_t body_len;
    uint64_t answered_ms;
    char fields[FIELDS_MAX]; /* what stands before the body */
    size_t n_fields, n_sent, n_lingered;
    size_t n_in;
    char in[ADMIN_HEAD_MAX];
};

/* ---- life of a call ---- */

static void drop_client(struct admin_call *call)
{
    if (call->fd < 0)
        return;
    loop_timer_stop(call->admin->loop, &call->limit);
    event_del(&call->event);
    close(call->fd);
    call->fd = -1;
}

static void call_free(struct admin_call *call)
{
    if (call->admin) {
        drop_client(call);
        list_remove(&call->node);
        call->admin->n_calls--;
    }
    if (call->out)
        fclose(call->out);
    free(call->body);
    free(call);
}

/* The client is gone or late; a page that is being made still has the call. */
static void lose_client(struct admin_call *call)
{
    if (call->state == CALL_PAGE)
        drop_client(call);
    else
        call_free(call);
}

static void on_late(struct timer *t)
{
    lose_client(list_entry(t, struct admin_call, limit));
}

static int watch(struct admin_call *call, short what, void (*on)(evutil_socket_t, short, void *))
{
    event_del(&call->event);
    event_assign(&call->event, call->admin->loop->base, call->fd, (short)(what | EV_PERSIST), on,
                 call);
    return event_add(&call->event, NULL) < 0 ? -ENOMEM : 0;
}

/* ---- the answer ---- */

/* Unread bytes would turn our close into a reset that takes the answer back. */
static void on_lingering(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct admin_call *call = arg;
    char spare[4096];
    ssize_t n = recv(fd, spare, sizeof(spare), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (call->n_lingered += (size_t)n) > LINGER_BYTES)
        call_free(call);
}

static void linger(struct admin_call *call)
{
    call->state = CALL_LINGER;
    if (shutdown(call->fd, SHUT_WR) < 0 || watch(call, EV_READ, on_lingering) < 0) {
        call_free(call);
        return;
    }
    loop_timer_start(call->admin->loop, &call->limit, ADMIN_LINGER_MS, on_late);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct admin_call *call = arg;
    size_t body_len = call->is_head ? 0 : call->body_len;
    size_t of_body = call->n_sent > call->n_fields ? call->n_sent - call->n_fields : 0;
    size_t of_fields = call->n_sent - of_body;
    struct iovec parts[] = {{call->fields + of_fields, call->n_fields - of_fields},
                            {call->body + of_body, body_len - of_body}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        call_free(call);
    else if ((call->n_sent += (size_t)n) == call->n_fields + body_len)
        linger(call);
}

static const char *phrase_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 404:
        return "Not Found";
    case 421:
        return "Misdirected Request";
    default:
        return reply_phrase(status);
    }
}

static int compose(struct admin_call *call, unsigned status)
{
    FILE *out = call->out;
    call->out = NULL;
    if (fclose(out) != 0)
        return -ENOMEM;
    const char *policy =
        call->route && call->route->policy ? call->route->policy() : "default-src 'none'";
    const char *type = call->route && (status == 200 || status == 503)
                           ? call->route->type
                           : "text/plain; charset=utf-8";
    int n = snprintf(call->fields, sizeof(call->fields),
                     "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                     "Connection: close\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
                     "Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n"
                     "Content-Security-Policy: %s; frame-ancestors 'none'\r\n\r\n",
                     status, phrase_of(status), type, call->body_len,
                     status == 405 ? "Allow: GET, HEAD\r\n" : "", policy);
    if (n < 0 || (size_t)n >= sizeof(call->fields))
        return -EFBIG;
    call->n_fields = (size_t)n;
    return 0;
}

void admin_end(struct admin_call *call, unsigned status)
{
    bool is_gone = !call->admin || call->fd < 0;
    call->state = CALL_SEND;
    if (is_gone || compose(call, status) < 0 || watch(call, EV_WRITE, on_writable) < 0) {
        call_free(call);
        return;
    }
    call->answered_ms = loop_now_ms(call->admin->loop);
    loop_timer_start(call->admin->loop, &call->limit, ADMIN_READ_LIMIT_MS, on_late);
}

/* An answer of the server itself. */
static void refuse(struct admin_call *call, unsigned status, const char *why)
{
    call->route = NULL;
    fprintf(call->out, "%u %s: %s\n", status, phrase_of(status), why);
    admin_end(call, status);
}

void *admin_owner(const struct admin_call *call)
{
    return call->admin ? call->admin->owner : NULL;
}

FILE *admin_out(struct admin_call *call)
{
    return call->out;
}

int admin_local(const struct admin_call *call, struct endpoint *ret_local)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    if (call->fd < 0 || getsockname(call->fd, (struct sockaddr *)&ss, &len) < 0)
        return -ENOTCONN;
    return endpoint_from_sockaddr(&ss, ret_local);
}

bool admin_is_awaited(const struct admin_call *call)
{
    return call->admin && call->fd >= 0;
}

/* ---- the request ---- */

/* The host of `HOST[:PORT]`, without brackets; false: it is longer than any name. */
static bool cut_host(const char *text, size_t len, char ret[static NAME_MAX_BYTES])
{
    bool is_bracketed = len > 0 && text[0] == '[';
    const char *end = memchr(text, is_bracketed ? ']' : ':', len);
    size_t n = end ? (size_t)(end - text) : len;
    if (is_bracketed && n > 0) {
        text++;
        n--;
    }
    if (n == 0 || n >= NAME_MAX_BYTES)
        return false;
    memcpy(ret, text, n);
    ret[n] = '\0';
    return true;
}

/* The machine's name, with or without its domain. */
static bool is_machine(const char *host)
{
    char name[NAME_MAX_BYTES] = "";
    gethostname(name, sizeof(name) - 1);
    if (name[0] && strcasecmp(host, name) == 0)
        return true;
    name[strcspn(name, ".")] = '\0';
    return name[0] && strcasecmp(host, name) == 0;
}

static bool is_record(const struct conf *conf, const char *host)
{
    struct addr addrs[HOSTS_ADDRS_MAX];
    bool is_found = conf->hosts && hosts_find_text(conf->hosts, host, addrs) > 0;
    for (size_t i = 0; !is_found && i < conf->n_dns; i++)
        is_found = conf->dns[i].hosts && hosts_find_text(conf->dns[i].hosts, host, addrs) > 0;
    return is_found;
}

static bool is_our_name(const struct admin_call *call, const char *text, size_t len)
{
    char host[NAME_MAX_BYTES];
    struct addr unused;
    if (!cut_host(text, len, host))
        return false;
    return addr_parse(host, strlen(host), &unused) == 0 || strcasecmp(host, "localhost") == 0 ||
           is_machine(host) || is_record(&call->admin->snapshot->conf, host);
}

static const struct admin_route *find_route(const struct admin_call *call)
{
    const char *path = call->in + call->head.target.at;
    const char *query = memchr(path, '?', call->head.target.len);
    size_t len = query ? (size_t)(query - path) : call->head.target.len;
    for (const struct admin_route *r = call->admin->routes; r->path; r++) {
        if (strlen(r->path) == len && memcmp(r->path, path, len) == 0)
            return r;
    }
    return NULL;
}

/* Whether the page may be shown under the name that was asked. */
static bool may_show(const struct admin_call *call, const struct admin_route *route)
{
    const struct head_framing *f = &call->head.framing;
    if (route->has_any_host || f->n_hosts == 0) /* HTTP/1.0: no browser */
        return true;
    struct head_span host = call->head.fields[f->host_field].value;
    return is_our_name(call, call->in + host.at, host.len);
}

static void run(struct admin_call *call)
{
    const struct head *h = &call->head;
    call->is_head = head_span_is(call->in, h->method, "HEAD");
    if (!call->is_head && !head_span_is(call->in, h->method, "GET")) {
        refuse(call, 405, "there is nothing here to do but to read");
        return;
    }
    if (h->target.len == 0 || call->in[h->target.at] != '/') {
        refuse(call, 400, "this is not the proxy, only its own pages");
        return;
    }
    if (h->minor > 0 && h->framing.n_hosts == 0) {
        refuse(call, 400, "Host is missing");
        return;
    }
    const struct admin_route *route = find_route(call);
    if (!route) {
        refuse(call, 404, "there is no such page");
    } else if (!may_show(call, route)) {
        refuse(call, 421, "ask by the address, or by the machine's name");
    } else {
        call->route = route;
        loop_timer_start(call->admin->loop, &call->limit, ADMIN_PAGE_LIMIT_MS, on_late);
        route->run(call);
    }
}

static void feed(struct admin_call *call)
{
    enum head_result result = head_feed(&call->head, call->in, call->n_in);
    if (result == HEAD_MORE)
        return;
    call->state = CALL_PAGE;
    if (result == HEAD_BAD)
        refuse(call, call->head.bad_status, call->head.bad_why);
    else
        run(call);
}

/* While a page is made, the only news a client can have is that it left. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct admin_call *call = arg;
    char spare[4096];
    bool is_deaf = call->state != CALL_HEAD;
    ssize_t n = is_deaf ? recv(fd, spare, sizeof(spare), 0)
                        : recv(fd, call->in + call->n_in, sizeof(call->in) - call->n_in, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 0 && is_deaf) { /* half closed: it may still read */
        if (event_del(&call->event) == 0)
            return;
    }
    if (n <= 0) {
        lose_client(call);
        return;
    }
    if (is_deaf)
        return;
    call->n_in += (size_t)n;
    feed(call);
}

/* ---- accepting ---- */

static bool may_ask(const struct admin *a, const struct addr *source)
{
    const struct conf_ranges *allow = &a->snapshot->conf.admin_allow;
    for (size_t i = 0; i < allow->n_items; i++) {
        if (addr_range_has(&allow->items[i], source))
            return true;
    }
    return false;
}

/* It has not said its request, has its answer, or was given time enough to take it. */
static bool may_lose_place(const struct admin_call *call)
{
    if (call->fd < 0 || call->state == CALL_PAGE)
        return false;
    return call->state != CALL_SEND ||
           loop_now_ms(call->admin->loop) - call->answered_ms >= ADMIN_SLOW_MS;
}

static void make_room(struct admin *a)
{
    list_for_each (pos, &a->calls) { /* the first that came is the first to go */
        struct admin_call *call = list_entry(pos, struct admin_call, node);
        if (may_lose_place(call)) {
            call_free(call);
            return;
        }
    }
}

static void on_accept(struct listener *l, int fd, const struct endpoint *peer)
{
    struct admin *a = l->owner;
    char text[ADDR_TEXT_MAX];
    if (!may_ask(a, &peer->addr)) {
        log_debug("msg=\"not in allow of [admin]\" client=%s", addr_text(&peer->addr, text));
        close(fd);
        return;
    }
    if (a->n_calls == ADMIN_CLIENTS_MAX)
        make_room(a);
    struct admin_call *call = a->n_calls < ADMIN_CLIENTS_MAX ? calloc(1, sizeof(*call)) : NULL;
    if (!call) {
        close(fd);
        return;
    }
    call->admin = a;
    call->fd = fd;
    a->n_calls++;
    list_append(&a->calls, &call->node);
    head_init(&call->head, HEAD_REQUEST, ADMIN_LINE_MAX, ADMIN_HEAD_MAX);
    call->out = open_memstream(&call->body, &call->body_len);
    event_assign(&call->event, a->loop->base, fd, EV_READ | EV_PERSIST, on_readable, call);
    if (!call->out || event_add(&call->event, NULL) < 0) {
        call_free(call);
        return;
    }
    loop_timer_start(a->loop, &call->limit, ADMIN_HEAD_LIMIT_MS, on_late);
}

/* ---- the server ---- */

void admin_init(struct admin *a, struct loop *loop, const struct admin_route *routes, void *owner)
{
    *a = (struct admin){.loop = loop, .routes = routes, .owner = owner};
    list_init(&a->doors);
    list_init(&a->calls);
}

static void door_close(struct door *d)
{
    listener_close(&d->listener);
    list_remove(&d->node);
    free(d);
}

static bool is_ordered(const struct socket_order *orders, unsigned n_orders, uint64_t id)
{
    for (unsigned i = 0; i < n_orders; i++) {
        if (orders[i].id == id)
            return true;
    }
    return false;
}

static int door_open(struct admin *a, struct socket_order *order)
{
    struct door *d = calloc(1, sizeof(*d));
    int rc = d ? listener_open(&d->listener, a->loop, order->fd, on_accept, a) : -ENOMEM;
    if (rc < 0) {
        free(d);
        return rc;
    }
    order->fd = -1;
    d->id = order->id;
    list_append(&a->doors, &d->node);
    return 0;
}

int admin_use(struct admin *a, struct snapshot *snapshot, struct socket_order *orders,
              unsigned n_orders)
{
    int rc = 0;
    struct snapshot *old = a->snapshot;
    a->snapshot = snapshot_ref(snapshot);
    snapshot_unref(old);
    list_for_each_safe (pos, tmp, &a->doors) {
        struct door *d = list_entry(pos, struct door, node);
        if (!is_ordered(orders, n_orders, d->id))
            door_close(d);
    }
    for (unsigned i = 0; i < n_orders; i++) {
        int one = orders[i].fd >= 0 ? door_open(a, &orders[i]) : 0;
        rc = one < 0 ? one : rc;
    }
    return rc;
}

void admin_close_doors(struct admin *a)
{
    list_for_each_safe (pos, tmp, &a->doors)
        door_close(list_entry(pos, struct door, node));
}

void admin_fini(struct admin *a)
{
    if (!a->loop)
        return;
    admin_close_doors(a);
    list_for_each_safe (pos, tmp, &a->calls) {
        struct admin_call *call = list_entry(pos, struct admin_call, node);
        bool is_being_made = call->state == CALL_PAGE;
        drop_client(call);
        list_remove(&call->node);
        call->admin = NULL;
        if (!is_being_made)
            call_free(call);
    }
    a->snapshot = snapshot_unref(a->snapshot);
    a->loop = NULL;
}

/*
 * The LAN side of one worker as others see it: sockets by id, each with the view (rules, settings,
 * name servers) it works by. A new view changes what is admitted and asked from the next query on
 * and touches no socket, no connection and no question in flight. What happens to a datagram is in
 * server_udp, to a connection in server_tcp, to a query in serve.
 */
#include "proxy/dns/server.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/dns/server_tcp.h"
#include "proxy/dns/server_udp.h"

struct server_socket {
    struct list node;
    uint64_t id;
    bool is_tcp;
    struct serve_view view;
    union {
        struct server_udp_socket udp;
        struct server_tcp_socket tcp;
    } of;
};

struct dns_server {
    struct serve_context context;
    struct dns_server_counters counters;
    struct sources sources;
    struct server_udp udp;
    struct server_tcp tcp;
    struct list sockets;
    struct loop_task reap;           /* of sockets that retired and have nothing left */
    void (*on_retired)(void *owner); /* NULL: none has to retire */
    void *retired_owner;
};

static void on_reap(struct loop_task *t);

struct dns_server *dns_server_new(struct loop *loop, struct resolver *resolver)
{
    struct dns_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->context =
        (struct serve_context){.loop = loop, .resolver = resolver, .counters = &s->counters};
    list_init(&s->sockets);
    loop_task_init(&s->reap, on_reap);
    sources_init(&s->sources);
    s->tcp = (struct server_tcp){.context = &s->context, .sources = &s->sources};
    if (server_udp_init(&s->udp, &s->context, &s->sources) == 0)
        return s;
    free(s);
    return NULL;
}

static void view_release(struct serve_view *v)
{
    resolver_group_unref(v->group);
    snapshot_unref(v->snapshot);
    *v = (struct serve_view){.snapshot = NULL};
}

static void socket_free(struct server_socket *s)
{
    if (s->is_tcp)
        server_tcp_close(&s->of.tcp);
    else
        server_udp_close(&s->of.udp);
    view_release(&s->view);
    list_remove(&s->node);
    free(s);
}

void dns_server_on_denied(struct dns_server *s, dns_server_denied_fn on_denied, void *owner)
{
    s->context.on_denied = on_denied;
    s->context.owner = owner;
}

void dns_server_count_hits(struct dns_server *s, struct hits *hits)
{
    s->context.hits = hits;
}

void dns_server_on_query(struct dns_server *s, dns_server_note_fn on_query, void *owner)
{
    s->context.on_query = on_query;
    s->context.query_owner = owner;
}

void dns_server_use_loops(struct dns_server *s, struct loops *loops)
{
    s->context.loops = loops;
}

void dns_server_use_rates(struct dns_server *s, struct rates *rates)
{
    s->context.rates = rates;
}

struct dns_server *dns_server_free(struct dns_server *s)
{
    if (!s)
        return NULL;
    dns_server_close_all(s);
    loop_task_remove(&s->reap);
    server_udp_fini(&s->udp);
    free(s);
    return NULL;
}

static int add(struct dns_server *server, uint64_t id, int fd, bool is_tcp)
{
    struct server_socket *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->id = id;
    s->is_tcp = is_tcp;
    int rc = is_tcp ? server_tcp_open(&s->of.tcp, &server->tcp, &s->view, fd)
                    : server_udp_open(&s->of.udp, &server->udp, &s->view, fd);
    if (rc < 0) {
        free(s);
        return rc;
    }
    list_append(&server->sockets, &s->node);
    return 0;
}

int dns_server_add_udp(struct dns_server *s, uint64_t id, int fd)
{
    return add(s, id, fd, false);
}

int dns_server_add_tcp(struct dns_server *s, uint64_t id, int fd)
{
    return add(s, id, fd, true);
}

static struct server_socket *find(struct dns_server *server, uint64_t id)
{
    list_for_each (pos, &server->sockets) {
        struct server_socket *s = list_entry(pos, struct server_socket, node);
        if (s->id == id)
            return s;
    }
    return NULL;
}

void dns_server_remove(struct dns_server *server, uint64_t id)
{
    struct server_socket *s = find(server, id);
    if (s)
        socket_free(s);
}

void dns_server_close_all(struct dns_server *s)
{
    while (!list_is_empty(&s->sockets))
        socket_free(list_entry(s->sockets.next, struct server_socket, node));
}

static bool is_idle(const struct server_socket *s)
{
    return s->is_tcp ? server_tcp_is_idle(&s->of.tcp) : server_udp_is_idle(&s->of.udp);
}

static void on_reap(struct loop_task *t)
{
    struct dns_server *server = list_entry(t, struct dns_server, reap);
    list_for_each_safe (pos, tmp, &server->sockets) {
        struct server_socket *s = list_entry(pos, struct server_socket, node);
        if (is_idle(s))
            socket_free(s);
    }
    if (dns_server_is_retired(server))
        server->on_retired(server->retired_owner);
}

void dns_server_retire(struct dns_server *server, void (*on_retired)(void *owner), void *owner)
{
    if (server->on_retired)
        return;
    server->on_retired = on_retired;
    server->retired_owner = owner;
    list_for_each (pos, &server->sockets) {
        struct server_socket *s = list_entry(pos, struct server_socket, node);
        if (s->is_tcp)
            server_tcp_retire(&s->of.tcp, &server->reap);
        else
            server_udp_retire(&s->of.udp, &server->reap);
    }
}

bool dns_server_is_retired(const struct dns_server *s)
{
    return list_is_empty(&s->sockets);
}

int dns_server_set_view(struct dns_server *server, uint64_t id, struct snapshot *snapshot,
                        const struct conf_dns *conf)
{
    struct server_socket *s = find(server, id);
    if (!s)
        return 0;
    struct egress egress = egress_from_conf(&conf->base.egress);
    struct resolver_policy policy = resolver_policy_dns(&snapshot->conf, conf);
    struct resolver_group *group = resolver_group_new_with(
        server->context.resolver, &conf->base.name_servers, &egress, &policy);
    if (!group)
        return -ENOMEM;
    view_release(&s->view);
    s->view = (struct serve_view){.snapshot = snapshot_ref(snapshot), .conf = conf, .group = group};
    if (s->is_tcp)
        server_tcp_review(&s->of.tcp);
    return 0;
}

const struct dns_server_counters *dns_server_counters(const struct dns_server *s)
{
    return &s->counters;
}

/*
 * The main thread's list of listening sockets. A socket's key is what it is bound to; the same key
 * is the same socket, whatever section of the configuration it serves after a reload. An interface
 * is keyed by its index too: one that was removed and made again is another interface, and a socket
 * bound to the old one would stay deaf forever.
 */
#include "proxy/daemon/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/listener.h"

struct key {
    enum socket_kind kind;
    bool is_ipv6;
    uint16_t port;
    unsigned ifindex; /* 0: by address */
    char ifname[CONF_IFNAME_MAX];
    struct addr addr;
};

struct bound {
    struct list node;
    struct key key;
    uint64_t id;
    unsigned conf_index;
    bool is_wanted;
    bool is_fresh; /* opened by this prepare: fds are still ours */
    unsigned n_fds;
    int *fds;   /* owned: one for each that serves by it; -1: given, or there is none of this one */
    int *given; /* what fds were before they were given */
};

struct plan {
    struct sockets *sockets;
    char *text;
    size_t text_size;
    bool only_marks; /* what is there already and stays; nothing is opened */
};

void sockets_init(struct sockets *s, unsigned n_workers)
{
    *s = (struct sockets){.n_workers = n_workers};
    list_init(&s->all);
}

static void bound_free(struct bound *b)
{
    for (unsigned i = 0; b->fds && i < b->n_fds; i++) {
        if (b->fds[i] >= 0)
            close(b->fds[i]);
    }
    list_remove(&b->node);
    free(b->fds);
    free(b->given);
    free(b);
}

void sockets_fini(struct sockets *s)
{
    list_for_each_safe (pos, tmp, &s->all)
        bound_free(list_entry(pos, struct bound, node));
}

static bool key_equal(const struct key *a, const struct key *b)
{
    return a->kind == b->kind && a->is_ipv6 == b->is_ipv6 && a->port == b->port &&
           a->ifindex == b->ifindex && strcmp(a->ifname, b->ifname) == 0 &&
           addr_compare(&a->addr, &b->addr) == 0;
}

static bool is_any(const struct key *k)
{
    struct addr any = k->is_ipv6 ? (struct addr){{0}} : addr_from_ipv4(0);
    return k->ifindex || addr_compare(&k->addr, &any) == 0;
}

/* Whether the kernel would call one of them in use because of the other. */
static bool key_overlaps(const struct key *a, const struct key *b)
{
    return (a->kind == SOCKET_DNS_UDP) == (b->kind == SOCKET_DNS_UDP) && a->is_ipv6 == b->is_ipv6 &&
           a->port == b->port && (!a->ifindex || !b->ifindex || a->ifindex == b->ifindex) &&
           (is_any(a) || is_any(b) || addr_compare(&a->addr, &b->addr) == 0);
}

static int open_one(const struct key *k)
{
    return listener_socket(k->kind == SOCKET_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM, k->ifname,
                           k->is_ipv6, &k->addr, k->port);
}

/* A socket of ours that this reload takes away is in its successor's place still. */
static bool is_ours(const struct sockets *s, const struct key *k)
{
    list_for_each (pos, &s->all) {
        const struct bound *b = list_entry(pos, struct bound, node);
        if (!b->is_wanted && key_overlaps(&b->key, k))
            return true;
    }
    return false;
}

/*
 * SO_REUSEPORT lets a second daemon of the same user share our port without a word. So each new key
 * is first bound without it: that fails when somebody is there.
 */
static int probe(const struct key *k)
{
    int type = k->kind == SOCKET_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(k->is_ipv6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    struct sockaddr_storage ss;
    struct endpoint ep = {.addr = k->addr, .port = k->port};
    if (k->ifindex)
        ep.addr = k->is_ipv6 ? (struct addr){{0}} : addr_from_ipv4(0);
    socklen_t len = endpoint_to_sockaddr(&ep, &ss);
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
    if (k->is_ipv6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (k->ifindex)
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, k->ifname, (socklen_t)strlen(k->ifname));
    int rc = bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static void explain_failure(const struct plan *p, const struct key *k, int error)
{
    char where[ENDPOINT_TEXT_MAX + CONF_IFNAME_MAX];
    struct endpoint ep = {.addr = k->addr, .port = k->port};
    if (k->ifindex)
        snprintf(where, sizeof(where), "%s port %u", k->ifname, k->port);
    else
        endpoint_text(&ep, where);
    const char *hint = "";
    if (error == -EADDRINUSE)
        hint = ": another program listens there, see `ss -lntup`";
    else if (error == -EACCES || error == -EPERM)
        hint = ": start as root, or give the process CAP_NET_BIND_SERVICE";
    else if (error == -EMFILE)
        hint = ": raise the limit of open files";
    snprintf(p->text, p->text_size, "cannot listen on %s %s: %s%s",
             k->kind == SOCKET_DNS_UDP ? "UDP" : "TCP", where, strerror(-error), hint);
}

static int offered(struct offers *offers, const struct key *k)
{
    return offers ? offers_take(offers, k->kind == SOCKET_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM,
                                k->is_ipv6, k->ifname, &k->addr, k->port)
                  : -1;
}

/* Every worker has one of its own; the admin's pages are the main thread's. */
static unsigned n_serving(const struct sockets *s, enum socket_kind kind)
{
    return kind == SOCKET_ADMIN ? 1 : s->n_workers;
}

static struct bound *bound_new(unsigned n_fds, const struct key *k, unsigned conf_index)
{
    struct bound *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    list_init(&b->node);
    b->key = *k;
    b->conf_index = conf_index;
    b->is_wanted = b->is_fresh = true;
    b->fds = malloc(n_fds * sizeof(*b->fds));
    b->given = malloc(n_fds * sizeof(*b->given));
    if (!b->fds || !b->given) {
        bound_free(b);
        return NULL;
    }
    b->n_fds = n_fds;
    for (unsigned i = 0; i < n_fds; i++)
        b->fds[i] = b->given[i] = -1;
    return b;
}

/* Takes what is offered, one for each that serves. Returns how many there were. */
static unsigned adopt(const struct sockets *s, struct bound *b)
{
    unsigned n = 0;
    while (n < b->n_fds && (b->fds[n] = offered(s->offers, &b->key)) >= 0)
        n++;
    return n;
}

static int open_all(const struct plan *p, struct bound *b)
{
    const struct sockets *s = p->sockets;
    unsigned n_adopted = adopt(s, b);
    int rc = n_adopted || is_ours(s, &b->key) ? 0 : probe(&b->key);
    for (unsigned i = n_adopted; rc == 0 && i < b->n_fds; i++) {
        b->fds[i] = open_one(&b->key);
        if (b->fds[i] < 0 && n_adopted) /* opened by who does not share the port: one for all */
            b->fds[i] = fcntl(b->fds[0], F_DUPFD_CLOEXEC, 0);
        if (b->fds[i] < 0)
            rc = n_adopted ? -errno : b->fds[i];
    }
    return rc;
}

static void add(struct sockets *s, struct bound *b)
{
    b->id = ++s->last_id;
    list_append(&s->all, &b->node);
}

/* Offered are more than there are workers: what waits in their backlogs is served all the same. */
static int adopt_the_rest(struct sockets *s, const struct key *k, unsigned conf_index)
{
    for (;;) {
        struct bound *b = bound_new(n_serving(s, k->kind), k, conf_index);
        if (!b)
            return -ENOMEM;
        if (adopt(s, b) == 0) {
            bound_free(b);
            return 0;
        }
        add(s, b);
    }
}

/* Whether the key is there already; then it is wanted, and by that section. */
static bool is_there(struct sockets *s, const struct key *k, unsigned conf_index)
{
    bool is_found = false;
    list_for_each (pos, &s->all) {
        struct bound *b = list_entry(pos, struct bound, node);
        if (!key_equal(&b->key, k))
            continue;
        b->is_wanted = is_found = true;
        b->conf_index = conf_index;
    }
    return is_found;
}

/* The key is wanted by section @conf_index: there already, or opened now. */
static int want(const struct plan *p, const struct key *k, unsigned conf_index)
{
    struct sockets *s = p->sockets;
    if (is_there(s, k, conf_index) || p->only_marks)
        return 0;
    struct bound *b = bound_new(n_serving(s, k->kind), k, conf_index);
    if (!b)
        return -ENOMEM;
    int rc = open_all(p, b);
    if (rc == -EAFNOSUPPORT ||
        rc == -ENODEV) { /* no IPv6 here, or the interface went away meanwhile */
        bound_free(b);
        return 0;
    }
    if (rc < 0) {
        explain_failure(p, k, rc);
        bound_free(b);
        return rc;
    }
    add(s, b);
    return s->offers ? adopt_the_rest(s, k, conf_index) : 0;
}

static int want_network(const struct plan *p, const struct conf_network *net, enum socket_kind kind,
                        uint16_t port, unsigned conf_index)
{
    struct key k = {.kind = kind, .port = port};
    if (!net->ifname[0]) {
        k.addr = net->addr;
        k.is_ipv6 = !addr_is_ipv4(&net->addr);
        return want(p, &k, conf_index);
    }
    k.ifindex = if_nametoindex(net->ifname);
    if (!k.ifindex)
        return 0; /* waited for; the daemon says so */
    memcpy(k.ifname, net->ifname, sizeof(k.ifname));
    int rc = want(p, &k, conf_index);
    k.is_ipv6 = true;
    return rc < 0 ? rc : want(p, &k, conf_index);
}

static int want_listener(const struct plan *p, const struct conf_listener *l, bool is_dns,
                         unsigned conf_index)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->n_networks; i++) {
        rc = want_network(p, &l->networks[i], is_dns ? SOCKET_DNS_UDP : SOCKET_WEB, l->port,
                          conf_index);
        if (rc == 0 && is_dns)
            rc = want_network(p, &l->networks[i], SOCKET_DNS_TCP, l->port, conf_index);
    }
    return rc;
}

static int want_admin(const struct plan *p, const struct endpoint *ep, unsigned conf_index)
{
    struct key k = {.kind = SOCKET_ADMIN,
                    .port = ep->port,
                    .addr = ep->addr,
                    .is_ipv6 = !addr_is_ipv4(&ep->addr)};
    return want(p, &k, conf_index);
}

void sockets_rollback(struct sockets *s)
{
    list_for_each_safe (pos, tmp, &s->all) {
        struct bound *b = list_entry(pos, struct bound, node);
        if (b->is_fresh)
            bound_free(b);
        else
            b->is_wanted = true;
    }
}

static int want_all(const struct plan *p, const struct conf *conf)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < conf->n_web_proxies; i++)
        rc = want_listener(p, &conf->web_proxies[i].base, false, (unsigned)i);
    for (size_t i = 0; rc == 0 && i < conf->n_dns; i++)
        rc = want_listener(p, &conf->dns[i].base, true, (unsigned)i);
    for (size_t i = 0; rc == 0 && i < conf->admin_listen.n_items; i++)
        rc = want_admin(p, &conf->admin_listen.items[i], (unsigned)i);
    return rc;
}

/* What stays is known before anything is opened, so that a newcomer is told apart from what goes.
 */
int sockets_prepare(struct sockets *s, const struct conf *conf, char *ret_text, size_t text_size)
{
    struct plan p = {s, ret_text, text_size, true};
    list_for_each (pos, &s->all)
        list_entry(pos, struct bound, node)->is_wanted = false;
    int rc = want_all(&p, conf);
    p.only_marks = false;
    if (rc == 0)
        rc = want_all(&p, conf);
    if (rc < 0)
        sockets_rollback(s);
    return rc;
}

bool sockets_has_changes(const struct sockets *s)
{
    list_for_each (pos, &s->all) {
        const struct bound *b = list_entry(pos, struct bound, node);
        if (b->is_fresh || !b->is_wanted)
            return true;
    }
    return false;
}

/* Orders of all that @index serves by: a worker's, or the admin's. */
static struct socket_order *orders_of(struct sockets *s, bool is_admin, unsigned index,
                                      unsigned *ret_n)
{
    unsigned n = 0;
    list_for_each (pos, &s->all)
        n++;
    struct socket_order *orders = calloc(n + 1, sizeof(*orders));
    if (!orders)
        return NULL;
    unsigned at = 0;
    list_for_each (pos, &s->all) {
        struct bound *b = list_entry(pos, struct bound, node);
        if (!b->is_wanted || (b->key.kind == SOCKET_ADMIN) != is_admin)
            continue;
        orders[at++] = (struct socket_order){b->id, b->key.kind, b->conf_index, b->fds[index]};
        if (b->fds[index] >= 0)
            b->given[index] = b->fds[index];
        b->fds[index] = -1;
    }
    *ret_n = at;
    return orders;
}

struct socket_order *sockets_orders(struct sockets *s, unsigned index, unsigned *ret_n)
{
    return orders_of(s, false, index, ret_n);
}

struct socket_order *sockets_admin_orders(struct sockets *s, unsigned *ret_n)
{
    return orders_of(s, true, 0, ret_n);
}

void sockets_take_back(struct sockets *s, const struct socket_order *orders, unsigned n_orders)
{
    list_for_each (pos, &s->all) {
        struct bound *b = list_entry(pos, struct bound, node);
        for (unsigned i = 0; i < n_orders; i++) {
            if (orders[i].id != b->id || orders[i].fd < 0)
                continue;
            b->fds[0] = orders[i].fd;
            b->given[0] = -1;
        }
    }
}

void sockets_commit(struct sockets *s)
{
    list_for_each_safe (pos, tmp, &s->all) {
        struct bound *b = list_entry(pos, struct bound, node);
        if (b->is_wanted)
            b->is_fresh = false;
        else
            bound_free(b);
    }
}

size_t sockets_lend(const struct sockets *s, int *ret_fds, size_t max)
{
    size_t n = 0;
    list_for_each (pos, &s->all) {
        const struct bound *b = list_entry(pos, struct bound, node);
        for (unsigned i = 0; i < b->n_fds && n < max; i++) {
            if (b->given[i] >= 0)
                ret_fds[n++] = b->given[i];
        }
    }
    return n;
}

bool sockets_has_interface(const char *ifname)
{
    return if_nametoindex(ifname) != 0;
}

/* ---- our own addresses ---- */

static size_t collect_ports(const struct conf *conf, uint16_t *ports, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < conf->n_web_proxies && n < max; i++)
        ports[n++] = conf->web_proxies[i].base.port;
    for (size_t i = 0; i < conf->n_dns && n < max; i++)
        ports[n++] = conf->dns[i].base.port;
    for (size_t i = 0; i < conf->admin_listen.n_items && n < max; i++)
        ports[n++] = conf->admin_listen.items[i].port;
    return n;
}

static int compare_endpoints(const void *a, const void *b)
{
    const struct endpoint *x = a, *y = b;
    int order = addr_compare(&x->addr, &y->addr);
    return order ? order : (int)x->port - (int)y->port;
}

static int add_own(struct guard_own *own, size_t *capacity, const struct addr *a,
                   const uint16_t *ports, size_t n_ports)
{
    if (own->n_listeners + n_ports > *capacity) {
        size_t bigger = (*capacity + n_ports) * 2;
        struct endpoint *moved = realloc(own->listeners, bigger * sizeof(*moved));
        if (!moved)
            return -ENOMEM;
        own->listeners = moved;
        *capacity = bigger;
    }
    for (size_t i = 0; i < n_ports; i++)
        own->listeners[own->n_listeners++] = (struct endpoint){.addr = *a, .port = ports[i]};
    return 0;
}

static int add_configured(struct guard_own *own, size_t *capacity, const struct conf_listener *l)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->n_networks; i++) {
        if (!l->networks[i].ifname[0])
            rc = add_own(own, capacity, &l->networks[i].addr, &l->port, 1);
    }
    return rc;
}

struct own_set *sockets_own(const struct conf *conf, struct addresses *addresses)
{
    uint16_t ports[256];
    size_t n_ports = collect_ports(conf, ports, sizeof(ports) / sizeof(ports[0]));
    struct own_set *o = calloc(1, sizeof(*o));
    struct addr *local = NULL;
    size_t n_local = 0;
    if (!o || addresses_read(addresses, &local, &n_local) < 0) {
        free(o);
        return NULL;
    }
    atomic_init(&o->n_refs, 1);
    size_t capacity = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_local; i++)
        rc = add_own(&o->own, &capacity, &local[i], ports, n_ports);
    free(local);
    for (size_t i = 0; rc == 0 && i < conf->n_web_proxies; i++)
        rc = add_configured(&o->own, &capacity, &conf->web_proxies[i].base);
    for (size_t i = 0; rc == 0 && i < conf->n_dns; i++)
        rc = add_configured(&o->own, &capacity, &conf->dns[i].base);
    for (size_t i = 0; rc == 0 && i < conf->admin_listen.n_items; i++) {
        const struct endpoint *ep = &conf->admin_listen.items[i];
        rc = add_own(&o->own, &capacity, &ep->addr, &ep->port, 1);
    }
    if (rc < 0)
        return own_set_unref(o);
    if (o->own.n_listeners > 0)
        qsort(o->own.listeners, o->own.n_listeners, sizeof(struct endpoint), compare_endpoints);
    return o;
}

struct own_set *sockets_own_once(const struct conf *conf)
{
    struct addresses addresses;
    if (addresses_open(&addresses) < 0)
        return NULL;
    struct own_set *o = sockets_own(conf, &addresses);
    addresses_close(&addresses);
    return o;
}

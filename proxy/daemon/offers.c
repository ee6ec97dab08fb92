/*
 * A socket says itself what it is bound to, so an offer needs no label, and one that does not fit
 * the configuration is never used by mistake. The protocol of socket activation is systemd's
 * (sd_listen_fds(3)): descriptors from 3 on, their number in LISTEN_FDS, meant for LISTEN_PID.
 */
#include "proxy/daemon/offers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/listener.h"

enum { FIRST_FD = 3 };

static bool get_int(int fd, int name, int *ret)
{
    socklen_t len = sizeof(*ret);
    return getsockopt(fd, SOL_SOCKET, name, ret, &len) == 0;
}

static int describe(int fd, struct offer *ret)
{
    int is_listening = 0, domain = 0;
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss), name_len = sizeof(ret->ifname);
    *ret = (struct offer){.fd = fd};
    if (!get_int(fd, SO_TYPE, &ret->type) || !get_int(fd, SO_DOMAIN, &domain) ||
        !get_int(fd, SO_ACCEPTCONN, &is_listening) ||
        getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
        return -EINVAL;
    if ((domain != AF_INET && domain != AF_INET6) ||
        (ret->type == SOCK_STREAM ? !is_listening : ret->type != SOCK_DGRAM) ||
        endpoint_from_sockaddr(&ss, &ret->local) < 0 || ret->local.port == 0)
        return -EINVAL;
    ret->is_ipv6 = domain == AF_INET6;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ret->ifname, &name_len) < 0)
        ret->ifname[0] = '\0';
    return 0;
}

int offers_add(struct offers *o, int fd)
{
    struct offer offer;
    int rc = describe(fd, &offer);
    if (rc == 0)
        rc = listener_prepare(fd, offer.type, offer.is_ipv6);
    if (rc == 0 && o->n_items == OFFERS_MAX)
        rc = -ENOSPC;
    struct offer *moved = rc == 0 ? realloc(o->items, (o->n_items + 1) * sizeof(*o->items)) : NULL;
    if (!moved) {
        close(fd);
        return rc < 0 ? rc : -ENOMEM;
    }
    o->items = moved;
    o->items[o->n_items++] = offer;
    return 0;
}

unsigned offers_from_manager(struct offers *o)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    char *end = NULL;
    unsigned long n = count ? strtoul(count, &end, 10) : 0;
    bool is_ours = pid && count && strtol(pid, NULL, 10) == getpid() && *count >= '0' &&
                   *count <= '9' && *end == '\0' && n <= OFFERS_MAX;
    unsigned n_added = 0;
    for (unsigned long i = 0; is_ours && i < n; i++)
        n_added += offers_add(o, FIRST_FD + (int)i) == 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return n_added;
}

static bool fits(const struct offer *offer, int type, bool is_ipv6, const char *ifname,
                 const struct addr *addr, uint16_t port)
{
    return offer->fd >= 0 && offer->type == type && offer->is_ipv6 == is_ipv6 &&
           offer->local.port == port && strcmp(offer->ifname, ifname) == 0 &&
           (ifname[0] || addr_compare(&offer->local.addr, addr) == 0);
}

int offers_take(struct offers *o, int type, bool is_ipv6, const char *ifname,
                const struct addr *addr, uint16_t port)
{
    for (size_t i = 0; i < o->n_items; i++) {
        struct offer *offer = &o->items[i];
        if (!fits(offer, type, is_ipv6, ifname, addr, port))
            continue;
        int fd = offer->fd;
        offer->fd = -1;
        return fd;
    }
    return -1;
}

unsigned offers_close(struct offers *o)
{
    unsigned n = 0;
    for (size_t i = 0; i < o->n_items; i++) {
        if (o->items[i].fd < 0)
            continue;
        close(o->items[i].fd);
        n++;
    }
    free(o->items);
    *o = (struct offers){0};
    return n;
}

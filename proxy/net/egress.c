/*
 * How a socket leaves: by device, by source address, by mark, or by the routing table. Held as a
 * copy of the configuration's scalars, so connections in flight outlive a reload. The source port
 * is left to connect() (IP_BIND_ADDRESS_NO_PORT): binding it early would spend one of 28,000 ports
 * a source address.
 */
#include "proxy/net/egress.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* First probe after 5 minutes of silence: far below the usual NAT time-outs of 15-60 minutes; dead
 * after ~7 minutes. */
enum { KEEP_IDLE_S = 300, KEEP_INTERVAL_S = 30, KEEP_COUNT = 4, USER_TIMEOUT_MS = 120000 };

struct egress egress_from_conf(const struct conf_egress *c)
{
    struct egress e;
    memset(&e, 0, sizeof(e)); /* padding too: egress_equal() may be used on keys of a pool */
    e.conf = *c;
    return e;
}

bool egress_equal(const struct egress *a, const struct egress *b)
{
    const struct conf_egress *x = &a->conf, *y = &b->conf;
    return strcmp(x->ifname, y->ifname) == 0 && x->has_ipv4_source == y->has_ipv4_source &&
           x->has_ipv6_source == y->has_ipv6_source && x->has_mark == y->has_mark &&
           (!x->has_mark || x->mark == y->mark) &&
           (!x->has_ipv4_source || addr_compare(&x->ipv4_source, &y->ipv4_source) == 0) &&
           (!x->has_ipv6_source || addr_compare(&x->ipv6_source, &y->ipv6_source) == 0);
}

bool egress_permits(const struct egress *e, bool is_ipv4)
{
    bool has_any = e->conf.has_ipv4_source || e->conf.has_ipv6_source;
    return !has_any || (is_ipv4 ? e->conf.has_ipv4_source : e->conf.has_ipv6_source);
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

int egress_keep_alive(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(options) / sizeof(options[0]); i++)
        rc = set_option(fd, options[i].level, options[i].name, options[i].value);
    return rc;
}

int egress_no_delay(int fd)
{
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int egress_bind_device(const struct egress *e, int fd)
{
    if (!e->conf.ifname[0])
        return 0;
    int rc = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, e->conf.ifname,
                        (socklen_t)strlen(e->conf.ifname));
    return rc < 0 ? -errno : 0;
}

static int bind_source(const struct egress *e, int fd, bool is_ipv4, int type)
{
    if (is_ipv4 ? !e->conf.has_ipv4_source : !e->conf.has_ipv6_source)
        return 0;
    int on = 1;
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    struct endpoint from = {.addr = is_ipv4 ? e->conf.ipv4_source : e->conf.ipv6_source};
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(&from, &ss);
    return bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
}

static int apply(const struct egress *e, int fd, bool is_ipv4, int type)
{
    int on = 1;
    if (!is_ipv4 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -errno;
    int rc = egress_bind_device(e, fd);
    if (rc == 0 && e->conf.has_mark &&
        setsockopt(fd, SOL_SOCKET, SO_MARK, &e->conf.mark, sizeof(e->conf.mark)) < 0)
        rc = -errno;
    if (rc == 0 && type == SOCK_STREAM)
        rc = egress_no_delay(fd);
    return rc < 0 ? rc : bind_source(e, fd, is_ipv4, type);
}

int egress_socket(const struct egress *e, const struct endpoint *to, int type)
{
    bool is_ipv4 = addr_is_ipv4(&to->addr);
    if (!egress_permits(e, is_ipv4))
        return -EAFNOSUPPORT;
    int fd = socket(is_ipv4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = apply(e, fd, is_ipv4, type);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/*
 * getifaddrs() opens a route socket for each look; the sandbox forbids that, and rightly. So one is
 * kept, apart from the one of links.c, whose wake-ups would mix with the answers. The messages are
 * the kernel's; libmnl checks their lengths all the same.
 */
#include "proxy/daemon/addresses.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MESSAGE_BYTES = 32 * 1024, N_TRIES = 4, READ_LIMIT_S = 2, N_ADDRESSES_MAX = 65536 };

struct dump {
    struct addr *list;
    size_t n, capacity;
};

int addresses_open(struct addresses *a)
{
    *a = (struct addresses){0};
    a->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!a->socket)
        return -errno;
    struct timeval limit = {.tv_sec = READ_LIMIT_S};
    if (mnl_socket_bind(a->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(a->socket), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) <
            0) {
        int rc = -errno;
        addresses_close(a);
        return rc;
    }
    return 0;
}

void addresses_close(struct addresses *a)
{
    if (a->socket)
        mnl_socket_close(a->socket);
    a->socket = NULL;
}

static int add(struct dump *d, const struct addr *address)
{
    if (d->n == d->capacity) {
        size_t bigger = d->capacity ? d->capacity * 2 : 16;
        struct addr *moved =
            bigger <= N_ADDRESSES_MAX ? realloc(d->list, bigger * sizeof(*moved)) : NULL;
        if (!moved)
            return -ENOMEM;
        d->list = moved;
        d->capacity = bigger;
    }
    d->list[d->n++] = *address;
    return 0;
}

static int on_attribute(const struct nlattr *attribute, void *arg)
{
    const struct nlattr **found = arg;
    unsigned type = mnl_attr_get_type(attribute);
    if (type == IFA_LOCAL || (type == IFA_ADDRESS && !*found))
        *found = attribute;
    return MNL_CB_OK;
}

/* The local one where the interface is a point-to-point link, whose IFA_ADDRESS is the peer. */
static int on_address(const struct nlmsghdr *message, void *arg)
{
    struct dump *d = arg;
    if (message->nlmsg_type != RTM_NEWADDR)
        return MNL_CB_OK;
    const struct ifaddrmsg *head = mnl_nlmsg_get_payload(message);
    const struct nlattr *found = NULL;
    struct addr address;
    if (mnl_attr_parse(message, sizeof(*head), on_attribute, &found) < 0 || !found)
        return MNL_CB_OK;
    if (head->ifa_family == AF_INET && mnl_attr_get_payload_len(found) == 4)
        address = addr_from_ipv4(ntohl(mnl_attr_get_u32(found)));
    else if (head->ifa_family == AF_INET6 && mnl_attr_get_payload_len(found) == sizeof(address))
        memcpy(&address, mnl_attr_get_payload(found), sizeof(address));
    else
        return MNL_CB_OK;
    int rc = add(d, &address);
    if (rc < 0)
        errno = -rc;
    return rc < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

/* What an answer left that was given up half way: while it stands, the kernel begins no other. */
static void drop_rest(struct addresses *a, char *buffer, size_t size)
{
    while (recv(mnl_socket_get_fd(a->socket), buffer, size, MSG_DONTWAIT) > 0)
        ;
}

static int ask(struct addresses *a, struct dump *d)
{
    char buffer[MESSAGE_BYTES];
    drop_rest(a, buffer, sizeof(buffer));
    struct nlmsghdr *query = mnl_nlmsg_put_header(buffer);
    query->nlmsg_type = RTM_GETADDR;
    query->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    query->nlmsg_seq = ++a->sequence;
    struct ifaddrmsg *head = mnl_nlmsg_put_extra_header(query, sizeof(*head));
    head->ifa_family = AF_UNSPEC;
    if (mnl_socket_sendto(a->socket, query, query->nlmsg_len) < 0)
        return -errno;
    int more = MNL_CB_OK;
    while (more > MNL_CB_STOP) {
        ssize_t n = mnl_socket_recvfrom(a->socket, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        more = mnl_cb_run(buffer, (size_t)n, a->sequence, mnl_socket_get_portid(a->socket),
                          on_address, d);
    }
    return more < 0 ? -errno : 0;
}

int addresses_read(struct addresses *a, struct addr **ret_list, size_t *ret_n)
{
    struct dump d = {0};
    if (!a->socket)
        return -EBADF;
    int rc = -EINTR;
    /* EINTR: the table changed under the dump. EPROTO: what is left of an answer given up before.
     */
    for (unsigned i = 0; i < N_TRIES && (rc == -EINTR || rc == -EPROTO); i++) {
        d.n = 0;
        rc = ask(a, &d);
    }
    if (rc < 0) {
        free(d.list);
        return rc;
    }
    *ret_list = d.list;
    *ret_n = d.n;
    return 0;
}

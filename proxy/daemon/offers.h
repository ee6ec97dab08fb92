/* offers - bound sockets that somebody else opened for us: the service manager, or the daemon that
 * we take over from. */
#ifndef PROXY_DAEMON_OFFERS_H
#define PROXY_DAEMON_OFFERS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

enum { OFFERS_MAX = 4096 };

struct offer {
    int fd;   /* owned until it is taken */
    int type; /* SOCK_STREAM (listening) or SOCK_DGRAM */
    bool is_ipv6;
    char ifname[IFNAMSIZ]; /* bound to that device; empty: to the address */
    struct endpoint local;
};

struct offers {
    struct offer *items; /* owned */
    size_t n_items;
};

/* @fd is taken in any case. -EINVAL, and closed: it is no bound UDP or listening TCP socket.
 * -ENOSPC, -ENOMEM: closed too. */
int offers_add(struct offers *o, int fd) __attribute__((warn_unused_result));
/* Those of socket activation: LISTEN_FDS and LISTEN_PID, which leave the environment. What is no
 * socket of ours to use is closed. Returns how many were added. */
unsigned offers_from_manager(struct offers *o);
/* One that is bound just so; @addr counts without @ifname only. Returns fd, given · -1: there is
 * none (any more). */
int offers_take(struct offers *o, int type, bool is_ipv6, const char *ifname,
                const struct addr *addr, uint16_t port);
/* Closes what nobody took. Returns how many. */
unsigned offers_close(struct offers *o);

#endif

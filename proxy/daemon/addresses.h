/* addresses - the local addresses of this machine, asked over a route socket that is opened before
 * the sandbox. */
#ifndef PROXY_DAEMON_ADDRESSES_H
#define PROXY_DAEMON_ADDRESSES_H

#include <stddef.h>

#include "proxy/base/addr.h"

struct mnl_socket;

struct addresses {
    struct mnl_socket *socket; /* owned */
    unsigned sequence;
};

/* 0 · -errno. Main thread only, as the rest. */
int addresses_open(struct addresses *a) __attribute__((warn_unused_result));
void addresses_close(struct addresses *a);

/**
 * addresses_read - every IPv4 and IPv6 address of every interface, as of now
 * @ret_list: owned by the caller, free(); NULL when there are none
 *
 * Returns: 0 · -errno; the list is whole or there is none (RFC 3549; a dump that the kernel says
 * was interrupted is asked again, a few times).
 */
int addresses_read(struct addresses *a, struct addr **ret_list, size_t *ret_n)
    __attribute__((warn_unused_result));

#endif

/* egress - by which way a socket leaves: bypass interface, source address, mark. */
#ifndef PROXY_NET_EGRESS_H
#define PROXY_NET_EGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/snapshot.h"
#include "proxy/base/addr.h"

/* A copy of the scalars of conf_egress, so that nothing points into a snapshot. Equal values, equal
 * way. */
struct egress {
    struct conf_egress conf;
};

struct egress egress_from_conf(const struct conf_egress *c);
bool egress_equal(const struct egress *a, const struct egress *b);
/* Whether this family can leave at all (with only one source given, the other family is not
 * dialled). */
bool egress_permits(const struct egress *e, bool is_ipv4);

/**
 * egress_socket - a non-blocking, close-on-exec socket for @to's family, bound the way @e says, not
 * connected
 * @type: SOCK_STREAM or SOCK_DGRAM. Device by SO_BINDTODEVICE, source by bind() with
 * IP_BIND_ADDRESS_NO_PORT for streams (a datagram socket gets its port from the kernel at connect
 * time), SO_MARK, IPV6_V6ONLY; TCP_NODELAY for streams; egress_keep_alive() is for those that live
 * long. Returns: fd
 * (>= 0) · -errno (-ENODEV no such interface, -EAFNOSUPPORT family not permitted, -EMFILE ...).
 */
int egress_socket(const struct egress *e, const struct endpoint *to, int type)
    __attribute__((warn_unused_result));

/* The device again, for a socket that connect(2) with AF_UNSPEC has made forget it. 0 · -errno. */
int egress_bind_device(const struct egress *e, int fd) __attribute__((warn_unused_result));
/* TCP_NODELAY: for both legs; accepted sockets inherit it from their listener. 0 · -errno. */
int egress_no_delay(int fd) __attribute__((warn_unused_result));
/* Probing of a silent peer and TCP_USER_TIMEOUT, for a connected stream. 0 · -errno. */
int egress_keep_alive(int fd) __attribute__((warn_unused_result));

#endif

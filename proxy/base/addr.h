/* addr - one IP address as a value, endpoints, ranges, and the one strict literal parser (pure). */
#ifndef PROXY_BASE_ADDR_H
#define PROXY_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * An address, always 16 bytes in network order. IPv4 is kept in its mapped form ::ffff:a.b.c.d, so
 * a mapped IPv6 address and the IPv4 address it holds are the same value: nothing can be judged
 * as the one and dialled as the other.
 */
struct addr {
    uint8_t bytes[16];
};

/* Inclusive on both ends, both of one family, first <= last. */
struct addr_range {
    struct addr first;
    struct addr last;
};

/* An address with a port (host byte order); scope_id only for fe80::/10. */
struct endpoint {
    struct addr addr;
    uint32_t scope_id;
    uint16_t port;
};

enum { ADDR_TEXT_MAX = 46, ENDPOINT_TEXT_MAX = 72 };

struct addr addr_from_ipv4(uint32_t host_order);
struct addr addr_from_in6(const struct in6_addr *in6);
bool addr_is_ipv4(const struct addr *a);
uint32_t addr_ipv4(const struct addr *a); /* host order; only meaningful when addr_is_ipv4() */
int addr_compare(const struct addr *a, const struct addr *b);
bool addr_range_has(const struct addr_range *r, const struct addr *a);
struct addr addr_next(const struct addr *a); /* plus one; wraps at the end of the space */
struct addr addr_prev(const struct addr *a);

/**
 * addr_parse - the one literal parser: dotted quad of four decimal numbers without leading zeros,
 * or RFC 4291 IPv6 text without zone and without brackets, exactly as inet_pton takes them
 *
 * Returns: 0 · -EINVAL (also for 127.1, 0x7f.1, 010.0.0.1, trailing bytes, NULs).
 */
int addr_parse(const char *text, size_t len, struct addr *ret_addr)
    __attribute__((warn_unused_result));

/* "a.b.c.d" or RFC 5952 text; never fails. Returns @buf. */
const char *addr_text(const struct addr *a, char buf[static ADDR_TEXT_MAX]);

/* CIDR to range. Returns 0 · -EINVAL malformed · -ERANGE host bits set (ret_range is the masked one
 * then). */
int addr_parse_cidr(const char *text, size_t len, struct addr_range *ret_range)
    __attribute__((warn_unused_result));
/* `A`, `A/n` or `A-B`. Returns as addr_parse_cidr(); reversed or mixed-family range: -EDOM. */
int addr_parse_range(const char *text, size_t len, struct addr_range *ret_range)
    __attribute__((warn_unused_result));
/* The shortest text that gives the range back: address, CIDR, or A-B. buf holds 2*ADDR_TEXT_MAX. */
const char *addr_range_text(const struct addr_range *r, char *buf, size_t size);
/* 0.0.0.0/0 or ::/0. */
bool addr_range_is_family(const struct addr_range *r);

/* `ADDR`, `ADDR:PORT`, `[V6]:PORT`, bare V6; missing port gives @default_port. 0 · -EINVAL. */
int endpoint_parse(const char *text, size_t len, uint16_t default_port, struct endpoint *ret_ep)
    __attribute__((warn_unused_result));
/* "a.b.c.d:p" or "[v6]:p". Returns @buf. */
const char *endpoint_text(const struct endpoint *ep, char buf[static ENDPOINT_TEXT_MAX]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* From accept4/recvmsg. AF_INET and AF_INET6 only: 0 · -EAFNOSUPPORT. */
int endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *ret_ep)
    __attribute__((warn_unused_result));
/* IPv4 gives sockaddr_in, everything else sockaddr_in6. Returns the length to pass to the kernel.
 */
socklen_t endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *ret_ss);

#endif

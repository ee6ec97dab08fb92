/* sources - how much each client has of what is limited a client; nothing is kept of those who have
 * nothing. */
#ifndef PROXY_DNS_SOURCES_H
#define PROXY_DNS_SOURCES_H

#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/list.h"

enum { SOURCES_BUCKETS = 256 };

/* One IPv4 address or one IPv6 /64. */
struct source {
    struct list node;
    uint8_t key[16];
    unsigned n_users;
    unsigned n_waiting;     /* UDP queries that wait for an answer */
    unsigned n_conns;       /* TCP connections */
    unsigned n_tcp_waiting; /* queries of those that wait for an answer */
};

struct sources {
    struct list buckets[SOURCES_BUCKETS];
};

void sources_init(struct sources *s);
/* The entry of @a, made when there is none; give it back with sources_put(). NULL: out of memory.
 */
struct source *sources_get(struct sources *s, const struct addr *a);
/* The entry of @a if there is one; nothing is taken. */
const struct source *sources_find(struct sources *s, const struct addr *a);
void sources_put(struct source *source); /* NULL is fine */

#endif

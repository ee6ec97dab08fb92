/* loops - which name servers lead back to us: asked for a name that only we can know. */
#ifndef PROXY_DNS_LOOPS_H
#define PROXY_DNS_LOOPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/list.h"
#include "proxy/dns/wire.h"
#include "proxy/net/egress.h"

enum { LOOPS_TOKEN_BYTES = 16 };

/* What is known about one name server and way to it; all workers share it. */
struct loop_probe {
    struct list node;
    struct endpoint server;
    struct egress egress;
    unsigned n_refs;
    uint8_t token[LOOPS_TOKEN_BYTES]; /* of the last question; it is looked for until the next */
    uint64_t sent_ms;
    bool came_back;
    _Atomic uint64_t next_ms; /* when there is something to do; UINT64_MAX: nothing */
    atomic_bool is_looping;
    atomic_bool is_told;
};

struct loops;

/* One a daemon; every function may be called by any thread. NULL: out of memory. */
struct loops *loops_new(void);
struct loops *loops_free(struct loops *l); /* all probes were given back */

/* The one of @server by @egress, new or shared; give it back with loops_put(). NULL: out of memory.
 */
struct loop_probe *loops_get(struct loops *l, const struct endpoint *server,
                             const struct egress *egress);
void loops_put(struct loops *l, struct loop_probe *p); /* NULL is fine */

/* It came back, or stays away: ask again soon, though not more than every few seconds. */
void loops_want(struct loops *l, struct loop_probe *p, uint64_t now_ms);
/* Whether the question @ret_name (type TXT) is to be sent to the server now. */
bool loops_due(struct loops *l, struct loop_probe *p, uint64_t now_ms, struct wire_name *ret_name);
/* A question for @name came to one of our listeners. Returns whether it was one of ours, which
 * makes its server a looping one. */
bool loops_take(struct loops *l, const struct wire_name *name);

/* Not to be asked. */
static inline bool loop_probe_is_looping(const struct loop_probe *p)
{
    return p && atomic_load_explicit(&p->is_looping, memory_order_relaxed);
}
/* Whether that has changed since it was told last; true for one caller only. */
bool loops_has_news(struct loop_probe *p);

#endif

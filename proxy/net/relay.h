/* relay - bytes between two connected sockets, both ways, until both have ended or one is reset. */
#ifndef PROXY_NET_RELAY_H
#define PROXY_NET_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/loop/io.h"
#include "proxy/net/pace.h"
#include "proxy/net/stream.h"
#include "proxy/report/reason.h"

/*
 * RELAY_CHUNK_BYTES: one read; more than that waiting is a bulk transfer. A turn of a bulk transfer
 * between two polls and its quantum before the next one's turn are measured figures: with 32 busy
 * streams 1 MiB a turn and 8 MiB a quantum kept the p99 of interactive tunnels at 13-16 ms at the
 * cost of a plain loop.
 */
enum {
    RELAY_CHUNK_BYTES = STREAM_CHUNK_BYTES,
    RELAY_TURN_BYTES = 1024 * 1024,
    RELAY_QUANTUM_BYTES = 8 * 1024 * 1024
};

enum relay_side { RELAY_CLIENT, RELAY_ORIGIN };

struct side {
    struct io io;
    struct stream out; /* from this side to the other */
    uint64_t bytes_in; /* read from this side */
    bool is_eof;       /* its FIN was read */
    bool is_shut;      /* our FIN was sent to it */
    bool is_broken;    /* a write to it failed: what it sent before is still delivered */
};

struct relay_limits {
    uint64_t idle_ms;
    uint64_t half_closed_ms; /* idle time while one direction has ended */
    uint64_t end_ms;         /* on the loop's clock, however busy it is; 0: never */
};

struct relay;
/* Called once, later or from an event; both sockets are closed (or reset) already. */
typedef void (*relay_done_fn)(struct relay *r, enum reason reason);

struct relay {
    struct loop *loop;
    struct stream_means means; /* borrowed, of the worker; pipes may be set before the start */
    relay_done_fn done;
    struct side sides[2];
    struct timer timer;
    struct pace *pace; /* owned; NULL: both directions as fast as they go */
    struct loop_task bulk;
    uint64_t last_active_ms;
    uint64_t end_ms; /* of its life; UINT64_MAX: never */
    uint32_t idle_ms, half_closed_ms;
    uint32_t quantum_left;
    uint8_t first_eof; /* enum relay_side, valid once a side is_eof */
    bool is_running;
    bool is_bulk;
    bool is_grown; /* past its first moments: both sockets probe their peers */
};

/* Both ios closed; nothing else. */
void relay_init(struct relay *r);
/**
 * relay_start - take over two registered sockets
 * @r:     sides[].io are open; stays in place until done or relay_stop()
 * @early, @n_early: bytes of the client that came behind its request head; copied
 * Returns: 0 started, @done will be called once, from a later event · -ENOMEM nothing started.
 */
int relay_start(struct relay *r, struct loop *loop, char *scratch,
                const struct relay_limits *limits, const char *early, size_t n_early,
                relay_done_fn done) __attribute__((warn_unused_result));
/* New limits for a running relay; times count on from the last activity. */
void relay_set_limits(struct relay *r, const struct relay_limits *limits);
/**
 * relay_pace - both directions together read at most @per_second bytes, of what @quota has
 * @quota: borrowed until the relay ends, or until @per_second is 0: no limit
 * Only while it runs. Returns 0 · -ENOMEM: nothing changed.
 */
int relay_pace(struct relay *r, struct quota *quota, uint64_t per_second)
    __attribute__((warn_unused_result));
/* Ends it at once in any state: both sockets closed, done stays silent. */
void relay_stop(struct relay *r);

#endif

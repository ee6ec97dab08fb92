/* dial - connect to the first address that answers: happy eyeballs over already permitted
 * addresses. */
#ifndef PROXY_NET_DIAL_H
#define PROXY_NET_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/loop/io.h"
#include "proxy/net/egress.h"

enum { DIAL_ADDRS_MAX = 16, DIAL_STAGGER_MS = 250 };

enum dial_outcome {
    DIAL_CONNECTED = 1,
    DIAL_REFUSED,     /* at least one address refused, none answered */
    DIAL_UNREACHABLE, /* no route, no such interface, no permitted family */
    DIAL_TIMEOUT,
    DIAL_NO_PORTS, /* no local port or fd left: our limit */
};

struct dial;
/**
 * Called once, later, on the worker of the dial. DIAL_CONNECTED: @io given to dial_start() holds
 * the socket, registered; its on_ready still is the dial's: the owner replaces it. @local_error:
 * the last errno of a failed attempt, for the log.
 */
typedef void (*dial_done_fn)(struct dial *d, enum dial_outcome outcome, unsigned winner);

struct dial_attempt {
    struct io io;
    struct dial *dial;
    bool is_running;
};

struct dial {
    struct loop *loop;
    struct egress egress;
    struct io *io; /* borrowed: storage for the winner; the first attempt runs in it */
    dial_done_fn done;
    struct timer limit, stagger;
    struct loop_task
        report; /* an outcome known before dial_start() returned is told at the end of the round */
    struct endpoint to[DIAL_ADDRS_MAX];
    unsigned n_to, n_started, n_running;
    unsigned winner;
    enum dial_outcome worst;
    struct dial_attempt *attempts; /* owned: the second to the last */
};

/**
 * dial_start - connect to the first address that answers
 * @d:        storage inside the caller; stays in place until done or cancelled
 * @io:       storage of the caller, closed; gets the connected socket
 * @to, @n_to: borrowed for the call, 1..DIAL_ADDRS_MAX; each already permitted by verdict_addr()
 * @limit_ms: whole attempt, milliseconds
 * @done:     called once, later, never before returning
 *
 * Returns: 0 started · -ENOMEM nothing started, @done stays silent.
 * Source:  RFC 8305 section 5: 250 ms between attempts, the next at once when one fails.
 */
int dial_start(struct dial *d, struct loop *loop, const struct egress *egress, struct io *io,
               const struct endpoint *to, unsigned n_to, uint64_t limit_ms, dial_done_fn done)
    __attribute__((warn_unused_result));
/* Any state, zero-initialised too; closes what is in flight; done stays silent. */
void dial_cancel(struct dial *d);

#endif

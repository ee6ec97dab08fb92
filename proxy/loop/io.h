/* io - one socket registered once, edge-triggered, with its readiness remembered. */
#ifndef PROXY_LOOP_IO_H
#define PROXY_LOOP_IO_H

#include <stdbool.h>

#include "proxy/loop/loop.h"
#include "proxy/loop/watch.h"

struct io;
/* Something became ready; the bits say what. The socket may be closed in it. */
typedef void (*io_ready_fn)(struct io *io);

struct io {
    struct watch watch;   /* the socket, owned */
    io_ready_fn on_ready; /* whoever owns the socket now; may be replaced at any time */
    void *owner;          /* for on_ready; set by whoever sets on_ready */
    /* Set by events, cleared by the owner on EAGAIN, or on a short read if that says so:
     * io_short_is_all(). */
    bool is_readable;
    bool is_writable;
    bool is_peer_done; /* FIN or error seen: read on until the end shows */
    bool has_urgent;   /* an urgent byte was seen, once */
};

/* Whether less than was asked for is all there was. */
static inline bool io_short_is_all(const struct io *io)
{
    return !io->is_peer_done && !io->has_urgent;
}

/* @fd is taken (also on failure). Returns 0 · -errno. */
int io_open(struct io *io, struct loop *loop, int fd, io_ready_fn on_ready, void *owner)
    __attribute__((warn_unused_result));
/* Safe on a closed or zero-initialised-with-fd--1 one. */
void io_close(struct io *io);
/* Closes so that the peer gets a RST: what was not sent is not taken for complete. */
void io_reset(struct io *io);
/* Moves a registered socket to another object, which is told anew of what is ready. Returns as
 * io_open(); @from is closed. */
int io_move(struct io *from, struct io *to, io_ready_fn on_ready, void *owner)
    __attribute__((warn_unused_result));
/* Another owner from now on; the registration stays. */
static inline void io_own(struct io *io, io_ready_fn on_ready, void *owner)
{
    io->on_ready = on_ready;
    io->owner = owner;
}

static inline bool io_is_open(const struct io *io)
{
    return io->watch.fd >= 0;
}

#endif

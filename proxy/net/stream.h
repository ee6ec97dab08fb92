/* stream - one direction between two sockets: read, pass on by copy or splice, keep what blocks. */
#ifndef PROXY_NET_STREAM_H
#define PROXY_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy/loop/io.h"
#include "proxy/net/pipes.h"

/* One read by copy; reads that fill it are worth a pipe. */
enum { STREAM_CHUNK_BYTES = 64 * 1024 };

/* Bytes that wait until a socket takes them; a heap block of exactly their size. */
struct residue {
    uint32_t sent;
    uint32_t len;
    char bytes[];
};

/* Zero-initialised is empty. It holds nothing while nothing blocks. */
struct stream {
    struct residue *residue; /* owned: waits to be written */
    struct pipe *pipe;       /* lent by the worker: the same, of a spliced read */
    bool reads_full;         /* the last read filled what it was given: worth splicing */
    bool is_broken;          /* the destination takes no more: what is read is discarded */
};

/* What a worker lends. */
struct stream_means {
    struct pipes *pipes; /* NULL: everything is copied */
    char *scratch;       /* STREAM_CHUNK_BYTES */
};

/* Bytes that wait to be written. */
uint32_t stream_waiting(const struct stream *s);
/* Writes what waits, as far as @to takes it. Returns whether the way is free. May set is_broken. */
bool stream_flush(struct stream *s, struct pipes *pipes, struct io *to);

/**
 * stream_move - one read of at most @max bytes, passed on; only with nothing waiting
 * Clears @from's readiness by EAGAIN, or by a short copied read while no FIN is known.
 * Returns: >0 bytes read (written, waiting, or discarded when is_broken) · 0 the source has ended ·
 *          -EAGAIN, -EINTR nothing now · -ENOMEM the bytes are lost · -errno of the source.
 */
ssize_t stream_move(struct stream *s, const struct stream_means *means, struct io *from,
                    struct io *to, size_t max);
/* Bytes that came another way wait to be written. 0 · -ENOMEM. Only with nothing waiting. */
int stream_keep(struct stream *s, const char *bytes, size_t len)
    __attribute__((warn_unused_result));
/* Forgets what waits. */
void stream_drop(struct stream *s, struct pipes *pipes);

#endif

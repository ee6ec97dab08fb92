/* outbuf - bytes on their way to a socket that does not take them all at once. */
#ifndef PROXY_FLOW_OUTBUF_H
#define PROXY_FLOW_OUTBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/loop/io.h"

enum { OUTBUF_KEPT_BYTES = 4096 };

/* A zeroed one is empty. Bytes at..len wait. */
struct outbuf {
    char *bytes; /* owned */
    uint32_t size, at, len;
};

static inline bool outbuf_is_empty(const struct outbuf *o)
{
    return o->at == o->len;
}
static inline void outbuf_clear(struct outbuf *o)
{
    o->at = o->len = 0;
}
/* Room for @room bytes behind what is there; 0 · -ENOMEM. */
int outbuf_reserve(struct outbuf *o, size_t room) __attribute__((warn_unused_result));
int outbuf_add(struct outbuf *o, const char *bytes, size_t len)
    __attribute__((warn_unused_result)); /* 0 · -ENOMEM */
/* As a chunk of RFC 9112 section 7.1; @len > 0. 0 · -ENOMEM. */
int outbuf_chunk(struct outbuf *o, const char *bytes, size_t len)
    __attribute__((warn_unused_result));
/* 0: as much as the socket takes · -EPIPE: it is broken. */
int outbuf_flush(struct outbuf *o, struct io *io) __attribute__((warn_unused_result));
/* Straight to the socket while nothing waits; the rest into the buffer. 0 · -EPIPE · -ENOMEM. */
int outbuf_send(struct outbuf *o, struct io *io, const char *bytes, size_t len)
    __attribute__((warn_unused_result));
/* An empty one that grew beyond OUTBUF_KEPT_BYTES gives its memory back. */
void outbuf_shrink(struct outbuf *o);

#endif

/*
 * One buffer a direction, refilled only when it is empty: what waits is bounded by what one read
 * brings, and a slow reader slows who sends to it.
 */
#include "proxy/flow/outbuf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { CHUNK_FRAME_BYTES = 24 /* size line and the CRLF behind the data */ };

int outbuf_reserve(struct outbuf *o, size_t room)
{
    if (o->size - o->len >= room)
        return 0;
    size_t size = o->len + room;
    if (size < 2 * (size_t)o->size) /* many small chunks cost few moves */
        size = 2 * (size_t)o->size;
    char *bigger = realloc(o->bytes, size);
    if (!bigger)
        return -ENOMEM;
    o->bytes = bigger;
    o->size = (uint32_t)size;
    return 0;
}

int outbuf_add(struct outbuf *o, const char *bytes, size_t len)
{
    if (outbuf_reserve(o, len) < 0)
        return -ENOMEM;
    memcpy(o->bytes + o->len, bytes, len);
    o->len += (uint32_t)len;
    return 0;
}

/* 0: as much as the socket takes · -EPIPE: it is broken. */
int outbuf_flush(struct outbuf *o, struct io *io)
{
    while (o->at < o->len && io->is_writable) {
        ssize_t n = send(io->watch.fd, o->bytes + o->at, o->len - o->at, MSG_NOSIGNAL);
        if (n >= 0)
            o->at += (uint32_t)n;
        else if (errno == EAGAIN)
            io->is_writable = false;
        else if (errno != EINTR)
            return -EPIPE;
    }
    return 0;
}

/* Straight to the socket while nothing waits; the rest into the buffer. 0 · -EPIPE · -ENOMEM. */
int outbuf_send(struct outbuf *o, struct io *io, const char *bytes, size_t len)
{
    size_t done = 0;
    if (outbuf_is_empty(o)) {
        outbuf_clear(o);
        while (done < len && io->is_writable) {
            ssize_t n = send(io->watch.fd, bytes + done, len - done, MSG_NOSIGNAL);
            if (n >= 0)
                done += (size_t)n;
            else if (errno == EAGAIN)
                io->is_writable = false;
            else if (errno != EINTR)
                return -EPIPE;
        }
    }
    return done < len ? outbuf_add(o, bytes + done, len - done) : 0;
}

int outbuf_chunk(struct outbuf *o, const char *bytes, size_t len)
{
    char line[CHUNK_FRAME_BYTES];
    int n = snprintf(line, sizeof(line), "%zx\r\n", len);
    if (outbuf_reserve(o, len + CHUNK_FRAME_BYTES) < 0)
        return -ENOMEM;
    if (outbuf_add(o, line, (size_t)n) < 0 || outbuf_add(o, bytes, len) < 0)
        return -ENOMEM;
    return outbuf_add(o, "\r\n", 2);
}

/* Between two requests a client costs what it needs to wait, not what its last body needed. */
void outbuf_shrink(struct outbuf *o)
{
    if (o->size <= OUTBUF_KEPT_BYTES)
        return;
    free(o->bytes);
    *o = (struct outbuf){0};
}

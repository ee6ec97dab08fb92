/*
 * DNS on a stream: two bytes of length, then the message (RFC 1035 section 4.2.2). Memory follows
 * what has arrived, not what a length claims, and never exceeds one message and what came with it:
 * whoever reads takes all whole messages before asking for room again.
 */
#include "proxy/dns/framing.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/dns/wire.h"

enum { FIRST_BYTES = 1024 };

void framing_fini(struct framing *f)
{
    free(f->bytes);
    *f = (struct framing){.bytes = NULL};
}

uint8_t *framing_room(struct framing *f, size_t n, size_t *ret_n)
{
    if (f->at > 0) {
        memmove(f->bytes, f->bytes + f->at, f->end - f->at);
        f->end -= f->at;
        f->at = 0;
    }
    size_t size = f->size ? f->size : FIRST_BYTES;
    while (size - f->end < n)
        size *= 2;
    if (size != f->size) {
        uint8_t *bytes = realloc(f->bytes, size);
        if (!bytes)
            return NULL;
        f->bytes = bytes;
        f->size = size;
    }
    *ret_n = f->size - f->end;
    return f->bytes + f->end;
}

void framing_grow(struct framing *f, size_t n)
{
    f->end += n;
}

void framing_drop(struct framing *f, size_t n)
{
    f->at += n;
}

int framing_next(struct framing *f, const uint8_t **ret_msg, size_t *ret_len)
{
    if (framing_waiting(f) < FRAMING_PREFIX_BYTES)
        return FRAMING_MORE;
    size_t len = wire_get16(f->bytes + f->at);
    if (len < WIRE_HEADER_BYTES)
        return FRAMING_BAD;
    if (framing_waiting(f) < FRAMING_PREFIX_BYTES + len)
        return FRAMING_MORE;
    *ret_msg = f->bytes + f->at + FRAMING_PREFIX_BYTES;
    *ret_len = len;
    f->at += FRAMING_PREFIX_BYTES + len;
    return 0;
}

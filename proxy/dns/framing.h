/* framing - messages with a length before them, in and out of a growing buffer (pure). */
#ifndef PROXY_DNS_FRAMING_H
#define PROXY_DNS_FRAMING_H

#include <stddef.h>
#include <stdint.h>

enum { FRAMING_PREFIX_BYTES = 2 };

/* Zero-initialised is empty. What is between at and end is still to be taken. */
struct framing {
    uint8_t *bytes; /* owned */
    size_t size, at, end;
};

void framing_fini(struct framing *f); /* empty afterwards, usable again */
static inline size_t framing_waiting(const struct framing *f)
{
    return f->end - f->at;
}

/* Room for at least @n bytes behind the end; *ret_n says how much there is. NULL: out of memory.
 * Pointers into the buffer are no longer valid. */
uint8_t *framing_room(struct framing *f, size_t n, size_t *ret_n);
/* @n bytes were written there. */
void framing_grow(struct framing *f, size_t n);
/* @n bytes at the beginning were taken. */
void framing_drop(struct framing *f, size_t n);

enum framing_outcome {
    FRAMING_MORE = 1, /* no whole message yet */
    FRAMING_BAD,      /* a length that no message has */
};

/**
 * framing_next - the next whole message, which leaves the buffer
 * @ret_msg: into the buffer, valid until framing_room() or framing_fini()
 * Returns: 0 · an enum framing_outcome.
 */
int framing_next(struct framing *f, const uint8_t **ret_msg, size_t *ret_len)
    __attribute__((warn_unused_result));

#endif

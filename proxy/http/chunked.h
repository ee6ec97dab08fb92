/* chunked - strict incremental decoder of the chunked transfer coding (pure). */
#ifndef PROXY_HTTP_CHUNKED_H
#define PROXY_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

enum { CHUNKED_EXTENSION_MAX = 1024, CHUNKED_TRAILER_MAX = 16 * 1024 };

enum chunked_result {
    CHUNKED_MORE = 1, /* all input is used, the body goes on */
    CHUNKED_DATA,     /* a piece of body: ret_data, ret_n_data; call again with what is left */
    CHUNKED_DONE,     /* the body is over; what is behind ret_used belongs to the next message */
    CHUNKED_BAD,      /* the coding is broken: neither connection may be used again */
};

struct chunked {
    uint64_t left;        /* bytes of the current chunk that are still to come */
    uint32_t n_extension; /* bytes of extensions of this chunk */
    uint32_t n_trailer;   /* bytes of the trailer section */
    uint8_t state;
    uint8_t n_digits;
    const char *why; /* CHUNKED_BAD: static text */
};

void chunked_init(struct chunked *d);

/**
 * chunked_feed - decode one step
 * @buf, @len: input not used yet. @ret_used: bytes of it that are done with (data included)
 *
 * RFC 9112 section 7.1 strictly: 1-16 hex digits (value below 2^63) right before an optional
 * extension or CRLF, no blanks before or after the size except within an extension, CRLF behind the
 * data. Extensions and trailers are checked, bounded and dropped: trailers are not needed by any
 * client of plain HTTP and could be mistaken for fields. Any split of the input gives the same
 * bytes and the same end.
 */
enum chunked_result chunked_feed(struct chunked *d, const char *buf, size_t len, size_t *ret_used,
                                 const char **ret_data, size_t *ret_n_data);

#endif

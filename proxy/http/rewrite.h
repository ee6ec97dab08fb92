/* rewrite - heads as they go on: what was parsed is written anew, nothing is copied unseen (pure).
 */
#ifndef PROXY_HTTP_REWRITE_H
#define PROXY_HTTP_REWRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/http/authority.h"
#include "proxy/http/head.h"

enum { REWRITE_OPTIONS_MAX = 64, REWRITE_VIA_MAX = 32 };

enum rewrite_result {
    REWRITE_OK = 1,
    REWRITE_NO_ROOM,     /* does not fit @size */
    REWRITE_LOOP,        /* Via names us, or far too many Via: 508 */
    REWRITE_BAD_OPTIONS, /* more connection options than anybody sends: 400 (a response: 502) */
};

/* How the body is framed on the outgoing leg. */
enum rewrite_body {
    REWRITE_BODY_NONE,
    REWRITE_BODY_LENGTH,
    REWRITE_BODY_CHUNKED,
    REWRITE_BODY_CLOSE
};

/**
 * rewrite_request - the request in origin-form: Host from the target, hop-by-hop fields gone, Via
 * added, HTTP/1.1
 * @path, @n_path: origin-form part of the target; empty: "/", beginning with `?`: "/" is put before
 * it
 * @via: our pseudonym. @max_forwards: -1 leave the field as it is, else written in its place
 *
 * Removed: Connection, Proxy-Connection, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade,
 * HTTP2-Settings, Proxy-Authorization, Proxy-Authenticate, and what Connection names, except Host
 * and the framing fields, which are written from what was parsed (RFC 9110 section 7.6.1).
 * Everything else goes on byte for byte in its order.
 */
enum rewrite_result rewrite_request(const struct head *h, const char *buf,
                                    const struct authority *target, const char *path, size_t n_path,
                                    const char *via, int max_forwards, enum rewrite_body body,
                                    char *out, size_t size, size_t *ret_len);

/**
 * rewrite_response - the response head for the client: HTTP/1.1, hop-by-hop fields gone, Via added
 * @body: how the body goes on to the client. REWRITE_BODY_NONE keeps a Content-Length (HEAD, 304).
 * @closes: the client connection ends behind it. @says_keep: the client is HTTP/1.0 and is kept
 */
enum rewrite_result rewrite_response(const struct head *h, const char *buf, const char *via,
                                     enum rewrite_body body, bool closes, bool says_keep, char *out,
                                     size_t size, size_t *ret_len);

#endif

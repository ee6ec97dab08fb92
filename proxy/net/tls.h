/* tls - TLS on a socket that never blocks; the only place that knows OpenSSL. */
#ifndef PROXY_NET_TLS_H
#define PROXY_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { TLS_TROUBLE_MAX = 160 };

/* Before any fence around the process: OpenSSL reads its openssl.cnf, and may load code that it
 * names. Again is fine. 0 · -ENOMEM. */
int tls_start(void) __attribute__((warn_unused_result));

/**
 * tls_store_check - whether there is any certificate that others could be verified by
 * The store is OpenSSL's own: the file and the directory (of files named by hash) that it was built
 * with, or those in SSL_CERT_FILE and SSL_CERT_DIR, which a set-user-id program does not heed.
 * @ret_text: what is wrong and what to do, @size bytes. Returns: 0 · -ENOENT · -ENOMEM.
 */
int tls_store_check(char *ret_text, size_t size) __attribute__((warn_unused_result));

/* ---- settings ---- */

struct tls_client;
/* TLS 1.2 or later, the peer verified, @alpn offered. NULL: out of memory, or no OpenSSL. */
struct tls_client *tls_client_new(const char *alpn);
struct tls_client *tls_client_free(struct tls_client *c); /* sessions in use keep what they need */

/* The last session of one server, to be taken up again. Zero-initialised is none. */
struct tls_ticket {
    void *session;    /* owned */
    void *made_by;    /* owned reference: only sessions of the same settings count */
    uint64_t until_s; /* CLOCK_MONOTONIC */
};
void tls_ticket_fini(struct tls_ticket *t);

/* ---- a session ---- */

struct tls;

enum tls_outcome {
    TLS_UNTRUSTED = 1, /* the certificate: chain, dates or name; tls_trouble() says which */
    TLS_FAILED,        /* the other side speaks something else, or broke it off */
};

/**
 * tls_client_open - a session to come, over a connected non-blocking socket
 * @fd: borrowed, outlives it. @name: DNS name, or a literal address, that the certificate must be
 * for; a name goes out as SNI. @ticket: borrowed until tls_free(); its
 * session is tried, and a newer one put there. Returns NULL: out of memory.
 */
struct tls *tls_client_open(struct tls_client *c, int fd, const char *name,
                            struct tls_ticket *ticket);
/* Says goodbye (close_notify) when @is_orderly, as far as the socket takes it. NULL is fine. */
struct tls *tls_free(struct tls *t, bool is_orderly);

/* 0 done · -EAGAIN see tls_wants_write() · an enum tls_outcome. */
int tls_handshake(struct tls *t) __attribute__((warn_unused_result));
/* > 0 bytes · 0 the end, announced or not: whoever needs to know has lengths · -EAGAIN · -EPROTO.
 */
ssize_t tls_read(struct tls *t, void *buf, size_t n) __attribute__((warn_unused_result));
ssize_t tls_write(struct tls *t, const void *buf, size_t n) __attribute__((warn_unused_result));
/* After -EAGAIN: the socket would not take more; else nothing was there. */
bool tls_wants_write(const struct tls *t);
bool tls_is_resumed(const struct tls *t);
/* Why the handshake failed, in OpenSSL's words. Returns @buf. */
const char *tls_trouble(const struct tls *t, char buf[static TLS_TROUBLE_MAX]);

#endif

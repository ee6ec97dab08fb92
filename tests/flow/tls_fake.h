/* tls_fake - a name server over TLS on 127.0.0.1 in the loop of the test, with a certificate made
 * for it. */
#ifndef TESTS_FLOW_TLS_FAKE_H
#define TESTS_FLOW_TLS_FAKE_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tests/flow/dns_fake.h"

enum { TLS_FAKE_CONNS = 16 };

struct tls_fake;
struct tls_fake_conn {
    struct tls_fake *fake;
    SSL *ssl;
    int fd;
    struct event event;
    uint8_t in[8192];
    size_t n_in;
    unsigned n_queries;
    bool is_resumed;
};

struct tls_fake {
    struct loop *loop;
    struct endpoint at;
    int fd;
    struct event event;
    SSL_CTX *ctx;
    bool is_mute;        /* accepts, and says nothing */
    unsigned close_each; /* hangs up after so many queries; 0: never */
    size_t piece;        /* bytes a record of TLS; 0: all at once */
    struct tls_fake_conn conns[TLS_FAKE_CONNS];
    unsigned n_conns, n_queries, n_resumed, n_odd_sizes;
    char ca_path[64];
};

static inline X509 *tls_fake_certificate(EVP_PKEY *key, const char *name)
{
    X509 *cert = X509_new();
    char san[128];
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"fake", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    snprintf(san, sizeof(san), "DNS:%s", name);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    X509_sign(cert, key, EVP_sha256());
    return cert;
}

/* A certificate that is its own CA, in the store that SSL_CERT_FILE names from now on. */
static inline void tls_fake_trust(struct tls_fake *f, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = tls_fake_certificate(key, name);
    f->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_PrivateKey(f->ctx, key);
    SSL_CTX_use_certificate(f->ctx, cert);
    SSL_CTX_set_session_id_context(f->ctx, (const unsigned char *)"fake", 4);
    snprintf(f->ca_path, sizeof(f->ca_path), "/tmp/ukai-tls-XXXXXX");
    FILE *file = fdopen(mkstemp(f->ca_path), "w");
    PEM_write_X509(file, cert);
    fclose(file);
    setenv("SSL_CERT_FILE", f->ca_path, 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void tls_fake_hang_up(struct tls_fake_conn *c)
{
    if (c->fd < 0)
        return;
    event_del(&c->event);
    SSL_free(c->ssl);
    close(c->fd);
    c->fd = -1;
}

static inline void tls_fake_write(struct tls_fake_conn *c, const uint8_t *bytes, size_t n)
{
    size_t piece = c->fake->piece ? c->fake->piece : n;
    for (size_t at = 0; at < n; at += piece)
        SSL_write(c->ssl, bytes + at, (int)(n - at < piece ? n - at : piece));
}

static inline void tls_fake_answer(struct tls_fake_conn *c, const uint8_t *msg, size_t len)
{
    struct fake_query *q = calloc(1, sizeof(*q));
    struct fake_reply *r = malloc(sizeof(*r));
    cr_assert_eq(wire_query_parse(msg, len, &q->parsed), 0);
    reply_begin(r, q, 0);
    reply_add_a(r, 300, 0xc0000201);
    uint8_t *framed = malloc(r->len + 2);
    wire_put16(framed, (unsigned)r->len);
    memcpy(framed + 2, r->msg, r->len);
    tls_fake_write(c, framed, r->len + 2);
    c->fake->n_odd_sizes += len % 128 != 0;
    free(framed);
    free(r);
    free(q);
}

static inline void on_tls_fake_conn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct tls_fake_conn *c = arg;
    bool was_done = SSL_is_init_finished(c->ssl);
    int n = c->fake->is_mute ? recv(c->fd, c->in, sizeof(c->in), 0)
                             : SSL_read(c->ssl, c->in + c->n_in, (int)(sizeof(c->in) - c->n_in));
    if (!was_done && SSL_is_init_finished(c->ssl) && SSL_session_reused(c->ssl))
        c->fake->n_resumed++;
    if (n <= 0) {
        if (c->fake->is_mute ? n == 0 : SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
            tls_fake_hang_up(c);
        return;
    }
    c->n_in += c->fake->is_mute ? 0 : (size_t)n;
    while (c->n_in >= 2 && c->n_in >= 2u + wire_get16(c->in)) {
        size_t len = wire_get16(c->in);
        c->fake->n_queries++;
        tls_fake_answer(c, c->in + 2, len);
        c->n_in -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->n_in);
        if (c->fake->close_each && ++c->n_queries == c->fake->close_each) {
            tls_fake_hang_up(c);
            return;
        }
    }
    if (SSL_pending(c->ssl) > 0)
        on_tls_fake_conn(fd, what, arg);
}

static inline void on_tls_fake_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct tls_fake *f = arg;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (unsigned i = 0; peer >= 0 && i < TLS_FAKE_CONNS; i++) {
        struct tls_fake_conn *c = &f->conns[i];
        if (c->fd >= 0)
            continue;
        f->n_conns++;
        *c = (struct tls_fake_conn){.fake = f, .fd = peer, .ssl = SSL_new(f->ctx)};
        SSL_set_fd(c->ssl, peer);
        SSL_set_accept_state(c->ssl);
        event_assign(&c->event, f->loop->base, peer, EV_READ | EV_PERSIST, on_tls_fake_conn, c);
        event_add(&c->event, NULL);
        return;
    }
    close(peer);
}

static inline void tls_fake_open(struct tls_fake *f, struct loop *loop, const char *name)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    *f = (struct tls_fake){.loop = loop, .at = {.addr = addr_from_ipv4(0x7f000001)}};
    for (unsigned i = 0; i < TLS_FAKE_CONNS; i++)
        f->conns[i].fd = -1;
    tls_fake_trust(f, name);
    f->fd = fake_bind(SOCK_STREAM, &f->at);
    cr_assert_eq(getsockname(f->fd, (struct sockaddr *)&ss, &len), 0);
    cr_assert_eq(endpoint_from_sockaddr(&ss, &f->at), 0);
    event_assign(&f->event, loop->base, f->fd, EV_READ | EV_PERSIST, on_tls_fake_accept, f);
    event_add(&f->event, NULL);
}

static inline void tls_fake_close(struct tls_fake *f)
{
    for (unsigned i = 0; i < TLS_FAKE_CONNS; i++)
        tls_fake_hang_up(&f->conns[i]);
    event_del(&f->event);
    close(f->fd);
    SSL_CTX_free(f->ctx);
    unlink(f->ca_path);
}

#endif

/*
 * The strict profile of RFC 8310: the chain must end in the system's store and the certificate must
 * hold the configured name; there is no "verified, but". OpenSSL works on the socket itself, which
 * never blocks; a write to a closed one raises SIGPIPE, so the program ignores that. A session that
 * is resumed was verified when it was made, so it is kept for an hour at most and only for the same
 * server, name and reading of the store. The store's directory is searched by hash when a chain is
 * verified; its files are local and small. Belongs to one worker.
 */
#include "proxy/net/tls.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/addr.h"

enum { TICKET_LIFE_S = 3600, ALPN_MAX = 32 };

struct tls_client {
    SSL_CTX *ctx;
};

struct tls {
    SSL *ssl;
    struct tls_ticket *ticket; /* borrowed */
    int last_error;            /* SSL_get_error() of the last call */
    unsigned long reason;      /* of the error queue, with SSL_ERROR_SSL */
};

int tls_start(void)
{
    return OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL) == 1
               ? 0
               : -ENOMEM;
}

/* ---- the store ---- */

/* secure_getenv() is what OpenSSL asks, too. */
static const char *store_path(const char *variable, const char *preset)
{
    const char *value = secure_getenv(variable);
    return value ? value : preset;
}

static bool has_file_certificate(const char *path)
{
    FILE *file = fopen(path, "re");
    X509 *cert = file ? PEM_read_X509_AUX(file, NULL, NULL, NULL) : NULL;
    bool is_there = cert != NULL;
    X509_free(cert);
    if (file)
        fclose(file);
    ERR_clear_error();
    return is_there;
}

/* One readable file named as OpenSSL looks them up: eight digits of hash, a dot, a number. */
static bool has_directory_certificate(const char *path)
{
    char file[4096];
    struct dirent *entry;
    DIR *dir = opendir(path);
    bool is_there = false;
    while (dir && !is_there && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        if (strspn(name, "0123456789abcdef") != 8 || name[8] != '.' ||
            snprintf(file, sizeof(file), "%s/%s", path, name) >= (int)sizeof(file))
            continue;
        is_there = has_file_certificate(file);
    }
    if (dir)
        closedir(dir);
    return is_there;
}

int tls_store_check(char *ret_text, size_t size)
{
    const char *file = store_path(X509_get_default_cert_file_env(), X509_get_default_cert_file());
    const char *dirs = store_path(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
    bool is_there = has_file_certificate(file);
    char *copy = strdup(dirs), *rest = copy;
    if (!copy)
        return -ENOMEM;
    for (char *dir; !is_there && (dir = strsep(&rest, ":"));)
        is_there = has_directory_certificate(dir);
    free(copy);
    if (is_there)
        return 0;
    snprintf(
        ret_text, size,
        "no CA certificate can be read, neither from %s nor from the hashed files of %s, so no "
        "name server over TLS will be believed: install ca-certificates, or name your CAs in "
        "%s",
        file, dirs, X509_get_default_cert_file_env());
    return -ENOENT;
}

/* ---- settings ---- */

static uint64_t now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec;
}

void tls_ticket_fini(struct tls_ticket *t)
{
    SSL_SESSION_free(t->session);
    SSL_CTX_free(t->made_by);
    *t = (struct tls_ticket){.session = NULL};
}

/* OpenSSL has a new session. Returns 1: it is taken. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = SSL_get_app_data(ssl);
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    if (!t || !t->ticket || !SSL_SESSION_is_resumable(session) || SSL_CTX_up_ref(ctx) != 1)
        return 0;
    tls_ticket_fini(t->ticket);
    long life_s = SSL_SESSION_get_timeout(session);
    *t->ticket = (struct tls_ticket){
        .session = session,
        .made_by = ctx,
        .until_s = now_s() + (life_s < 0               ? 0
                              : life_s < TICKET_LIFE_S ? (uint64_t)life_s
                                                       : TICKET_LIFE_S),
    };
    return 1;
}

static bool offer(SSL_CTX *ctx, const char *alpn)
{
    unsigned char list[1 + ALPN_MAX];
    size_t len = strlen(alpn);
    if (len > ALPN_MAX)
        return false;
    list[0] = (unsigned char)len;
    memcpy(list + 1, alpn, len);
    return SSL_CTX_set_alpn_protos(ctx, list, (unsigned)len + 1) == 0; /* 0 is success here */
}

struct tls_client *tls_client_new(const char *alpn)
{
    struct tls_client *c = calloc(1, sizeof(*c));
    if (!c || tls_start() < 0)
        goto fail;
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (!c->ctx || SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1 ||
        !offer(c->ctx, alpn))
        goto fail;
    /* A store that cannot be read leaves us with nobody to believe, which is what then happens. */
    (void)!SSL_CTX_set_default_verify_paths(c->ctx);
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(c->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION |
                                    SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
    ERR_clear_error();
    return c;
fail:
    ERR_clear_error();
    return tls_client_free(c);
}

struct tls_client *tls_client_free(struct tls_client *c)
{
    if (c)
        SSL_CTX_free(c->ctx);
    free(c);
    return NULL;
}

/* ---- a session ---- */

/* The name is what the certificate is checked against, and nothing else of it (no CN). */
static bool set_name(SSL *ssl, const char *name)
{
    struct addr literal;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (addr_parse(name, strlen(name), &literal) == 0)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    /* The macro for this casts const away, which one of our compilers minds; the name is copied. */
    return SSL_set1_host(ssl, name) == 1 &&
           SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)name) == 1;
}

static void try_ticket(struct tls *t, const struct tls_client *c)
{
    if (!t->ticket->session)
        return;
    if (t->ticket->made_by != c->ctx || now_s() >= t->ticket->until_s)
        tls_ticket_fini(t->ticket);
    else
        SSL_set_session(t->ssl, t->ticket->session);
}

struct tls *tls_client_open(struct tls_client *c, int fd, const char *name,
                            struct tls_ticket *ticket)
{
    struct tls *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->ticket = ticket;
    t->ssl = SSL_new(c->ctx);
    if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1 || !set_name(t->ssl, name)) {
        ERR_clear_error();
        return tls_free(t, false);
    }
    SSL_set_app_data(t->ssl, t);
    SSL_set_connect_state(t->ssl);
    try_ticket(t, c);
    return t;
}

struct tls *tls_free(struct tls *t, bool is_orderly)
{
    if (!t)
        return NULL;
    if (t->ssl && is_orderly && SSL_is_init_finished(t->ssl)) {
        (void)!SSL_shutdown(t->ssl);
    } else if (t->ssl && SSL_is_init_finished(t->ssl)) {
        /* Else OpenSSL takes the session for one that must not be resumed. */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    ERR_clear_error();
    SSL_free(t->ssl);
    free(t);
    return NULL;
}

/* Notes how a call ended. Returns -EAGAIN where it only has to wait, 0 at an announced end, else
 * -EPROTO. */
static int note(struct tls *t, int rc)
{
    int error = errno;
    t->last_error = SSL_get_error(t->ssl, rc);
    t->reason = t->last_error == SSL_ERROR_SSL ? ERR_peek_error() : 0;
    ERR_clear_error();
    if (t->last_error == SSL_ERROR_WANT_READ || t->last_error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (t->last_error == SSL_ERROR_ZERO_RETURN)
        return 0;
    return t->last_error == SSL_ERROR_SYSCALL && error == ETIMEDOUT ? -ETIMEDOUT : -EPROTO;
}

int tls_handshake(struct tls *t)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1)
        return 0;
    if (note(t, rc) == -EAGAIN)
        return -EAGAIN;
    return SSL_get_verify_result(t->ssl) != X509_V_OK ? TLS_UNTRUSTED : TLS_FAILED;
}

ssize_t tls_read(struct tls *t, void *buf, size_t n)
{
    size_t got;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_read_ex(t->ssl, buf, n, &got);
    return rc == 1 ? (ssize_t)got : note(t, rc);
}

ssize_t tls_write(struct tls *t, const void *buf, size_t n)
{
    size_t sent;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_write_ex(t->ssl, buf, n, &sent);
    if (rc == 1)
        return (ssize_t)sent;
    rc = note(t, rc);
    return rc == 0 ? -EPROTO : rc;
}

bool tls_wants_write(const struct tls *t)
{
    return t->last_error == SSL_ERROR_WANT_WRITE;
}

bool tls_is_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl);
}

const char *tls_trouble(const struct tls *t, char buf[static TLS_TROUBLE_MAX])
{
    long verdict = SSL_get_verify_result(t->ssl);
    const char *text = NULL;
    if (verdict != X509_V_OK)
        text = X509_verify_cert_error_string(verdict);
    else if (t->reason)
        text = ERR_reason_error_string(t->reason);
    snprintf(buf, TLS_TROUBLE_MAX, "%s",
             text ? text : "the connection was closed in the handshake");
    return buf;
}

/* authority - request targets split into host and port (pure). */
#ifndef PROXY_HTTP_AUTHORITY_H
#define PROXY_HTTP_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

enum { AUTHORITY_NAME_MAX = 253 };

enum authority_kind { AUTHORITY_NAME, AUTHORITY_LITERAL };

/*
 * The host of a target. Names: lower case ASCII, LDH and underscore labels of 1-63 bytes, no final
 * dot, at most 253 bytes; a last label that is all digits, or 0x-hex, is refused (it would be a
 * loose IPv4 literal).
 */
struct authority {
    enum authority_kind kind;
    char name[AUTHORITY_NAME_MAX + 1]; /* name, or the literal's own text */
    uint8_t name_len;
    struct addr addr; /* AUTHORITY_LITERAL */
    uint16_t port;
};

enum authority_result {
    AUTHORITY_OK = 1,
    AUTHORITY_BAD,        /* 400 */
    AUTHORITY_BAD_SCHEME, /* 501: https, ftp and every other scheme in absolute-form */
    AUTHORITY_BAD_FORM,   /* 400: origin-form or asterisk-form where it cannot be served */
};

/**
 * authority_parse_connect - authority-form (RFC 9112 section 3.2.3) of CONNECT
 * Accepts `h:443`, `[v6]:443`, and unbracketed `2001:db8::1:443` (domain: Python, fluent-bit) when
 * what stands before the last colon is an IPv6 literal; a port is required, 1..65535, decimal
 * digits only, at most 5. One trailing dot of a name is taken off. No percent-decoding, no
 * userinfo, no zone. @ret_why: static text when refused.
 */
enum authority_result authority_parse_connect(const char *text, size_t len, struct authority *ret,
                                              const char **ret_why);

/**
 * authority_parse_absolute - `http://host[:port][/path][?query]` (RFC 9112 section 3.2.2)
 * @ret_path: offset in @text where the origin-form begins (path or `?`), == @len when there is none
 * Userinfo, fragments, empty hosts, raw controls and bytes >= 0x80 anywhere are refused.
 */
enum authority_result authority_parse_absolute(const char *text, size_t len, struct authority *ret,
                                               size_t *ret_path, const char **ret_why);

/* A host alone (no port), same rules: for ACL patterns, [expect], explain. IPv6 with or without
 * brackets. */
enum authority_result authority_parse_host(const char *text, size_t len, struct authority *ret,
                                           const char **ret_why);

/* "host:port", IPv6 in brackets. Returns bytes without NUL. */
size_t authority_text(const struct authority *a, char *buf, size_t size);

#endif

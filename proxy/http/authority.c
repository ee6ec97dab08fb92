/*
 * Request targets, read in one way only. A literal is what addr_parse() takes and nothing else; a
 * name is made of LDH and underscore labels, and one whose last label some libc would read as a
 * number (digits, 0x...) is refused, since it is a loose IPv4 literal and not a name. Nothing is
 * percent-decoded, no userinfo, no zone, no fragment: each of these has been a way to show one host
 * to a filter and another to a resolver. Pure.
 */
#include "proxy/http/authority.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, PORT_DIGITS_MAX = 5, HTTP_PORT = 80 };

static enum authority_result bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return AUTHORITY_BAD;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* All digits, or 0x and hex digits: what some libc would take as a number. */
static bool is_numeric_label(const char *label, size_t len)
{
    size_t at = 0;
    if (len >= 2 && label[0] == '0' && label[1] == 'x') {
        for (at = 2; at < len && is_hex(label[at]); at++)
            ;
        return at == len;
    }
    while (at < len && is_digit(label[at]))
        at++;
    return at == len;
}

static enum authority_result check_labels(const char *name, size_t len, const char **ret_why)
{
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && name[i] != '.') {
            if (!is_name_byte(name[i]))
                return bad(ret_why, "a host name has letters, digits, '-', '_' and dots only");
            continue;
        }
        if (i == start)
            return bad(ret_why, "a host name has no empty label");
        if (i - start > LABEL_MAX)
            return bad(ret_why, "a label of the host name is longer than 63 bytes");
        if (i == len && is_numeric_label(name + start, i - start))
            return bad(ret_why, "an IPv4 address is four decimal numbers without leading zeros");
        start = i + 1;
    }
    return AUTHORITY_OK;
}

static enum authority_result parse_name(const char *text, size_t len, struct authority *ret,
                                        const char **ret_why)
{
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0)
        return bad(ret_why, "the host is empty");
    if (len > AUTHORITY_NAME_MAX)
        return bad(ret_why, "the host name is longer than 253 bytes");
    char name[AUTHORITY_NAME_MAX + 1];
    for (size_t i = 0; i < len; i++)
        name[i] = lower(text[i]);
    name[len] = '\0';
    enum authority_result result = check_labels(name, len, ret_why);
    if (result != AUTHORITY_OK)
        return result;
    ret->kind = AUTHORITY_NAME;
    ret->name_len = (uint8_t)len;
    memcpy(ret->name, name, len + 1);
    return AUTHORITY_OK;
}

static enum authority_result take_literal(const char *text, size_t len, const struct addr *addr,
                                          struct authority *ret)
{
    ret->kind = AUTHORITY_LITERAL;
    ret->addr = *addr;
    ret->name_len = (uint8_t)len;
    memcpy(ret->name, text, len);
    ret->name[len] = '\0';
    return AUTHORITY_OK;
}

/* IPv6 text has a colon; what has one and does not parse as IPv6 is nothing else either. */
static bool is_ipv6_text(const char *text, size_t len, struct addr *ret_addr)
{
    return len < ADDR_TEXT_MAX && memchr(text, ':', len) && addr_parse(text, len, ret_addr) == 0;
}

static enum authority_result parse_bracketed(const char *text, size_t len, struct authority *ret,
                                             const char **ret_why)
{
    struct addr addr;
    if (len < 2 || text[len - 1] != ']' || !is_ipv6_text(text + 1, len - 2, &addr))
        return bad(ret_why, "brackets hold an IPv6 address without zone");
    return take_literal(text + 1, len - 2, &addr, ret);
}

enum authority_result authority_parse_host(const char *text, size_t len, struct authority *ret,
                                           const char **ret_why)
{
    struct addr addr;
    if (len > 0 && text[0] == '[')
        return parse_bracketed(text, len, ret, ret_why);
    if (len > 0 && len < ADDR_TEXT_MAX && addr_parse(text, len, &addr) == 0)
        return take_literal(text, len, &addr, ret);
    if (memchr(text, ':', len))
        return bad(ret_why, "this is neither a host name nor an IPv6 address");
    return parse_name(text, len, ret, ret_why);
}

static bool parse_port(const char *text, size_t len, uint16_t *ret_port)
{
    unsigned value = 0;
    if (len == 0 || len > PORT_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value < 1 || value > 65535)
        return false;
    *ret_port = (uint16_t)value;
    return true;
}

/* Where the last colon stands, @len when there is none. */
static size_t last_colon(const char *text, size_t len)
{
    size_t i = len;
    while (i > 0 && text[i - 1] != ':')
        i--;
    return i > 0 ? i - 1 : len;
}

enum authority_result authority_parse_connect(const char *text, size_t len, struct authority *ret,
                                              const char **ret_why)
{
    struct authority parsed = {0};
    size_t colon = last_colon(text, len);
    if (colon == len || !parse_port(text + colon + 1, len - colon - 1, &parsed.port))
        return bad(ret_why, "CONNECT takes host:port with a port from 1 to 65535");
    enum authority_result result = authority_parse_host(text, colon, &parsed, ret_why);
    if (result == AUTHORITY_OK)
        *ret = parsed;
    return result;
}

/* ---- absolute-form ---- */

static bool is_scheme_byte(char c, bool is_first)
{
    bool is_letter = lower(c) >= 'a' && lower(c) <= 'z';
    return is_letter || (!is_first && (is_digit(c) || c == '+' || c == '-' || c == '.'));
}

/* Length of `scheme` when @text begins with `scheme:`, else 0. */
static size_t scheme_length(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && is_scheme_byte(text[i], i == 0))
        i++;
    return i < len && text[i] == ':' ? i : 0;
}

/* Raw controls, blanks, bytes beyond ASCII, backslashes and fragments have no place in a target. */
static const char *bad_byte(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= 0x20 || c >= 0x7f)
            return "the target has a byte that must be percent-encoded";
        if (c == '#')
            return "a target has no fragment";
    }
    return NULL;
}

static enum authority_result parse_authority(const char *text, size_t len, struct authority *ret,
                                             const char **ret_why)
{
    if (len == 0)
        return bad(ret_why, "the host is empty");
    if (memchr(text, '@', len))
        return bad(ret_why, "userinfo in a target is not accepted");
    size_t host_len = len;
    ret->port = HTTP_PORT;
    const char *end = text[0] == '[' ? memchr(text, ']', len) : NULL;
    const char *from = end ? end : text;
    const char *colon = memchr(from, ':', len - (size_t)(from - text));
    if (colon) {
        host_len = (size_t)(colon - text);
        size_t n_port = len - host_len - 1; /* `host:` is the scheme's port (RFC 3986 3.2.3) */
        if (n_port > 0 && !parse_port(colon + 1, n_port, &ret->port))
            return bad(ret_why, "the port is a number from 1 to 65535");
    }
    return authority_parse_host(text, host_len, ret, ret_why);
}

enum authority_result authority_parse_absolute(const char *text, size_t len, struct authority *ret,
                                               size_t *ret_path, const char **ret_why)
{
    size_t scheme = scheme_length(text, len);
    const char *why = bad_byte(text, len);
    if (why)
        return bad(ret_why, why);
    if (scheme == 0 || len == 0) {
        *ret_why = "a request to a proxy names http://host/path";
        return AUTHORITY_BAD_FORM;
    }
    if (scheme != 4 || lower(text[0]) != 'h' || lower(text[1]) != 't' || lower(text[2]) != 't' ||
        lower(text[3]) != 'p') {
        *ret_why = "only http: is forwarded; for https use CONNECT";
        return AUTHORITY_BAD_SCHEME;
    }
    if (len < 7 || text[5] != '/' || text[6] != '/')
        return bad(ret_why, "http: is followed by //host");
    size_t start = 7, end = start;
    while (end < len && text[end] != '/' && text[end] != '?')
        end++;
    struct authority parsed = {0};
    enum authority_result result = parse_authority(text + start, end - start, &parsed, ret_why);
    if (result != AUTHORITY_OK)
        return result;
    *ret = parsed;
    *ret_path = end;
    return AUTHORITY_OK;
}

size_t authority_text(const struct authority *a, char *buf, size_t size)
{
    bool has_brackets = a->kind == AUTHORITY_LITERAL && memchr(a->name, ':', a->name_len);
    int n = snprintf(buf, size, "%s%s%s:%u", has_brackets ? "[" : "", a->name,
                     has_brackets ? "]" : "", a->port);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

/*
 * The command is meant to be copied without a look, so it is built from the plainest characters
 * only: a target with any other has no command. Names of listeners and files are the admin's own;
 * they are quoted, and with a control character in them there is no command either.
 */
#include "proxy/daemon/refusaltext.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_FILE "/etc/ukai/ukai.conf"

const char *refusaltext_reason(enum reason reason)
{
    static const char *const words[REASON_MAX] = {
        [REASON_ACL_REVOKED] = "cut by new rules",
        [REASON_SOURCE_DENIED] = "source not admitted by [in]",
        [REASON_HEAD_LATE] = "request not finished in time",
        [REASON_BAD_REQUEST] = "malformed request",
        [REASON_LINE_TOO_LONG] = "request line too long",
        [REASON_HEAD_TOO_LONG] = "request head too long",
        [REASON_METHOD] = "method or scheme not served",
        [REASON_VERSION] = "HTTP version not served",
        [REASON_OUT_DENIED] = "destination refused by [out]",
        [REASON_PORT_DENIED] = "port not in the port list",
        [REASON_SPECIAL_USE] = "special-use address",
        [REASON_OWN_LISTENER] = "our own listener",
        [REASON_DNS_ERROR] = "name not resolved",
        [REASON_DNS_TIMEOUT] = "name servers silent",
        [REASON_DIAL_REFUSED] = "refused by the destination",
        [REASON_DIAL_UNREACHABLE] = "destination unreachable",
        [REASON_DIAL_TIMEOUT] = "destination did not answer",
        [REASON_ANSWER_TIMEOUT] = "no answer from the destination",
        [REASON_BAD_ANSWER] = "answer that cannot be passed on",
        [REASON_LOOP] = "forwarding loop",
        [REASON_LIMIT] = "limit reached",
        [REASON_SOURCE_LIMIT] = "limit of this source reached",
    };
    const char *text = (unsigned)reason < REASON_MAX ? words[reason] : NULL;
    return text ? text : reason_info(reason)->name;
}

/* What names and literals are made of. */
static bool is_plain(const char *host)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    return host[0] && host[0] != '-' && host[strspn(host, plain)] == '\0';
}

bool refusaltext_target(const struct refusal *r, char *buf, size_t size)
{
    bool is_known = !r->is_host_cut && is_plain(r->host);
    bool is_bare_v6 = r->host[0] != '[' && strchr(r->host, ':');
    const char *open = is_bare_v6 ? "[" : "", *close = is_bare_v6 ? "]" : "";
    if (strncmp(r->method, "DNS", 3) == 0) {
        snprintf(buf, size, "%s%s%s", r->method, r->host[0] ? " " : "", r->host);
        return is_known || !r->host[0];
    }
    if (!r->host[0] && r->reason == REASON_SOURCE_DENIED) { /* nothing was read: any will do */
        snprintf(buf, size, "CONNECT example.com:443");
        return true;
    }
    if (strcmp(r->method, "CONNECT") == 0) {
        if (r->port)
            snprintf(buf, size, "CONNECT %s%s%s:%u", open, r->host, close, r->port);
        else
            snprintf(buf, size, "CONNECT %s", r->host);
        return is_known && r->port;
    }
    if (r->host[0] && r->port)
        snprintf(buf, size, "GET http://%s%s%s:%u/", open, r->host, close, r->port);
    else
        snprintf(buf, size, "%s", r->host);
    return is_known && r->port;
}

void refusaltext_rule(const struct refusal *r, char *buf, size_t size)
{
    if (r->rule_line)
        snprintf(buf, size, "%s:%u", r->rule_file[0] ? r->rule_file : "acl", r->rule_line);
    else
        snprintf(buf, size, "%s", r->rule_words ? r->rule_words : "");
}

struct command {
    char *buf;
    size_t size, len;
    bool is_whole;
};

static void add(struct command *c, const char *text, size_t len)
{
    c->is_whole = c->is_whole && len < c->size - c->len;
    if (!c->is_whole)
        return;
    memcpy(c->buf + c->len, text, len);
    c->len += len;
    c->buf[c->len] = '\0';
}

static void add_plain(struct command *c, const char *text)
{
    add(c, text, strlen(text));
}

/* In single quotes a shell changes nothing. */
static void add_word(struct command *c, const char *text)
{
    static const char bare[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:/";
    add_plain(c, " ");
    if (text[0] && text[strspn(text, bare)] == '\0') {
        add_plain(c, text);
        return;
    }
    add_plain(c, "'");
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            c->is_whole = false;
        if (*at == '\'')
            add_plain(c, "'\\''");
        else
            add(c, at, 1);
    }
    add_plain(c, "'");
}

bool refusaltext_command(const struct refusal *r, const char *file, char *buf, size_t size)
{
    struct command c = {.buf = buf, .size = size, .is_whole = true};
    char target[REFUSALS_HOST_MAX + 64], source[ADDR_TEXT_MAX];
    c.is_whole = refusaltext_target(r, target, sizeof(target)) && r->listener[0] != '\0';
    buf[0] = '\0';
    add_plain(&c, "ukai explain");
    if (!file) {
        add_plain(&c, " --live"); /* there is no file to read */
    } else if (strcmp(file, DEFAULT_FILE) != 0) {
        add_plain(&c, " -c");
        add_word(&c, file);
    }
    add_plain(&c, " --from");
    add_word(&c, addr_text(&r->source, source));
    add_plain(&c, " --listener");
    add_word(&c, r->listener);
    add_word(&c, target);
    if (!c.is_whole)
        buf[0] = '\0';
    return c.is_whole;
}

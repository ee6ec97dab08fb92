/*
 * Only `nameserver` lines matter to us: search lists and options belong to hosts that look up short
 * names, and a proxy never completes a name. As in libc the keyword stands in the first column and
 * the text behind the address is ignored. Unlike libc, no server does not mean 127.0.0.1: whoever
 * wants that writes it.
 */
#include "conf/resolv.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"
#include "conf/wholefile.h"

enum { RESOLV_BYTES_MAX = 64 * 1024 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The scope behind `%`: an interface's name or number. 0: there is none. */
static uint32_t parse_scope(const char *text, size_t len)
{
    char name[IF_NAMESIZE];
    uint64_t number;

    if (len == 0 || len >= sizeof(name))
        return 0;
    memcpy(name, text, len);
    name[len] = '\0';
    if (value_parse_number(name, &number) == 0)
        return number <= UINT32_MAX ? (uint32_t)number : 0;
    return if_nametoindex(name);
}

static int parse_address(const char *text, size_t len, struct endpoint *ret_ep)
{
    const char *percent = memchr(text, '%', len);
    struct endpoint ep = {.port = 53};

    int r = addr_parse(text, percent ? (size_t)(percent - text) : len, &ep.addr);
    if (r < 0)
        return r;
    bool is_link_local = ep.addr.bytes[0] == 0xfe && (ep.addr.bytes[1] & 0xc0) == 0x80;
    if (percent && is_link_local)
        ep.scope_id = parse_scope(percent + 1, (size_t)(text + len - percent - 1));
    if (is_link_local && ep.scope_id == 0)
        return -ENODEV;
    *ret_ep = ep;
    return 0;
}

static bool has_server(const struct conf_name_servers *servers, const struct endpoint *ep)
{
    for (size_t i = 0; i < servers->n_items; i++) {
        if (endpoint_equal(&servers->items[i].endpoint, ep))
            return true;
    }
    return false;
}

static void take_line(const char *file, unsigned line, const char *p, const char *end,
                      struct findings *findings, struct conf_name_servers *servers)
{
    static const char keyword[] = "nameserver";
    size_t key_len = sizeof(keyword) - 1;
    char quoted[VALUE_QUOTE_MAX];
    struct endpoint ep;

    if ((size_t)(end - p) <= key_len || memcmp(p, keyword, key_len) != 0 || !is_blank(p[key_len]))
        return;
    p += key_len;
    while (p < end && is_blank(*p))
        p++;
    const char *stop = p;
    while (stop < end && !is_blank(*stop) && *stop != '\r')
        stop++;
    int r = parse_address(p, (size_t)(stop - p), &ep);
    if (r < 0) {
        findings_add(findings, FINDING_WARNING, file, line, "%s %s; the line is ignored",
                     value_quote(p, (size_t)(stop - p), quoted),
                     r == -ENODEV ? "is link-local on no interface that is here" : "is no address");
    } else if (servers->n_items < RESOLV_MAX && !has_server(servers, &ep)) {
        servers->items[servers->n_items++] = (struct conf_name_server){.endpoint = ep};
    }
}

int resolv_parse_bytes(const char *file, const char *bytes, size_t len, struct findings *findings,
                       struct conf_name_servers *ret_servers)
{
    struct conf_name_servers servers = {.items = calloc(RESOLV_MAX, sizeof(*servers.items))};
    const char *end = bytes + len;
    unsigned line = 0;

    if (!servers.items)
        return -ENOMEM;
    while (bytes < end) {
        const char *lf = memchr(bytes, '\n', (size_t)(end - bytes));
        const char *stop = lf ? lf : end;
        take_line(file, ++line, bytes, stop, findings, &servers);
        bytes = lf ? lf + 1 : end;
    }
    if (servers.n_items == 0)
        findings_add(
            findings, FINDING_WARNING, file, 0,
            "no usable `nameserver` line; names cannot be looked up: set name-server in ukai.conf");
    *ret_servers = servers;
    return 0;
}

int resolv_load(const char *path, struct findings *findings, struct conf_name_servers *ret_servers)
{
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;

    int r = wholefile_read(path, RESOLV_BYTES_MAX, &st, &bytes, &len, &why);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        findings_add(findings, FINDING_WARNING, path, 0,
                     "%s; names cannot be looked up: set name-server in ukai.conf", why);
        *ret_servers = (struct conf_name_servers){0};
        return 0;
    }
    r = resolv_parse_bytes(path, bytes, len, findings, ret_servers);
    free(bytes);
    return r;
}

/*
 * A destination pattern is read in two steps: where do the ports begin, and what is in front of
 * them. The colons of IPv6 make the first step the hard one: with brackets it is plain, without
 * them a text that reads as IPv6 as a whole has no ports. `2001:db8::1:443` is such a text and may
 * not be what was meant, so it is accepted with a warning. Names are checked label by label:
 * letters, digits, hyphen and underscore, in A-label form; one final dot comes off and letters are
 * lowered, so a rule and a request meet byte for byte. Pure.
 */
#include "acl/pattern.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/names.h"
#include "acl/ports.h"
#include "acl/rangetext.h"

enum { QUOTE_MAX = 80, LABEL_MAX = 63, N_PORTS_MAX = 64 };

struct text {
    const char *start;
    size_t len;
};

/* @head: what to reach; @ports: behind the colon, start NULL when there is none. */
struct parts {
    struct text head;
    struct text ports;
    bool has_brackets;
};

#define QUOTE(t) (int)((t).len > QUOTE_MAX ? QUOTE_MAX : (t).len), (t).start

static int refuse(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, PATTERN_WHY_MAX, fmt, args);
    va_end(args);
    return -EINVAL;
}

static bool has(struct text t, char c)
{
    return memchr(t.start, c, t.len) != NULL;
}

static size_t count(struct text t, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < t.len; i++)
        n += t.start[i] == c;
    return n;
}

static bool is_range(struct text t)
{
    struct addr_range ignored;
    int r = addr_parse_range(t.start, t.len, &ignored);

    return r == 0 || r == -ERANGE || r == -EDOM;
}

static struct parts split_at(struct text t, size_t colon)
{
    return (struct parts){.head = {t.start, colon},
                          .ports = {t.start + colon + 1, t.len - colon - 1}};
}

static int split_bracketed(struct text t, struct parts *ret, char *why)
{
    const char *end = memchr(t.start, ']', t.len);

    if (!end)
        return refuse(why, "`%.*s`: the bracket is not closed; write [2001:db8::/32]:443",
                      QUOTE(t));
    struct text inside = {t.start + 1, (size_t)(end - t.start) - 1};
    struct text rest = {end + 1, t.len - inside.len - 2};
    if (!has(inside, ':'))
        return refuse(why, "`%.*s`: brackets are for IPv6; write %.*s%.*s without them", QUOTE(t),
                      QUOTE(inside), QUOTE(rest));
    if (rest.len > 0 && rest.start[0] != ':')
        return refuse(
            why, "`%.*s`: behind the bracket comes a colon and the port, as in [2001:db8::/32]:443",
            QUOTE(t));
    *ret = (struct parts){.head = inside, .has_brackets = true};
    if (rest.len > 0)
        ret->ports = (struct text){rest.start + 1, rest.len - 1};
    return 0;
}

/* More than one colon, no brackets: IPv6 without ports, or IPv6 with ports that lacks its brackets.
 */
static int split_colons(struct text t, struct parts *ret, char *why)
{
    const char *brace = memchr(t.start, '{', t.len);
    const char *last = brace > t.start ? brace - 1 : memrchr(t.start, ':', t.len);

    if (!brace && is_range(t)) {
        *ret = (struct parts){.head = t};
        return 0;
    }
    struct text front = {t.start, last > t.start ? (size_t)(last - t.start) : 0};
    if (front.len > 0 && *last == ':' && is_range(front))
        return refuse(why,
                      "`%.*s`: an IPv6 address with a port stands in brackets; write [%.*s]:%.*s",
                      QUOTE(t), QUOTE(front), (int)(t.len - front.len - 1), last + 1);
    if (has(t, '%'))
        return refuse(why,
                      "`%.*s`: an address in a rule has no zone; leave the %% and what follows off",
                      QUOTE(t));
    return refuse(
        why,
        "`%.*s`: more than one colon and no IPv6 address; write name:443, name:{80,443} or "
        "[2001:db8::/32]:443",
        QUOTE(t));
}

static int split(struct text t, struct parts *ret, char *why)
{
    const char *scheme = memmem(t.start, t.len, "://", 3);

    if (scheme)
        return refuse(why,
                      "`%.*s`: a destination is no URL; write the host and its port, as in "
                      "www.example.com:443",
                      QUOTE(t));
    if (t.start[0] == '[')
        return split_bracketed(t, ret, why);
    const char *colon = memchr(t.start, ':', t.len);
    if (!colon) {
        *ret = (struct parts){.head = t};
        return 0;
    }
    struct text behind = {colon + 1, t.len - (size_t)(colon + 1 - t.start)};
    if (count(t, ':') > 1)
        return split_colons(t, ret, why);
    if (behind.len == 0)
        return refuse(
            why,
            "`%.*s`: the port is missing; write name:443, or leave the colon off for every port",
            QUOTE(t));
    *ret = split_at(t, (size_t)(colon - t.start));
    return 0;
}

static int add_ports(struct out_rule *rule, struct text item, char *why)
{
    uint16_t first, last;
    const char *what;

    if (ports_parse_range(item.start, item.len, &first, &last, &what))
        return refuse(why, "port `%.*s`: %s", QUOTE(item), what);
    if (rule->n_ports == N_PORTS_MAX)
        return refuse(why, "more than %d ports in one line; write a range, or several lines",
                      N_PORTS_MAX);
    if (!rule->ports)
        rule->ports = calloc(N_PORTS_MAX, sizeof(*rule->ports));
    if (!rule->ports)
        return -ENOMEM;
    rule->ports[rule->n_ports].first = first;
    rule->ports[rule->n_ports++].last = last;
    return 0;
}

static int take_port_list(struct out_rule *rule, struct text t, char *why)
{
    if (t.start[t.len - 1] != '}' || t.len == 2)
        return refuse(why, "`%.*s`: a list of ports is written :{80,443}", QUOTE(t));
    const char *at = t.start + 1;
    const char *end = t.start + t.len - 1;
    for (;;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct text item = {at, (size_t)((comma ? comma : end) - at)};
        int r = add_ports(rule, item, why);
        if (r < 0 || !comma)
            return r;
        at = comma + 1;
    }
}

static int take_ports(struct out_rule *rule, struct text t, char *why)
{
    int r;

    if (!t.start)
        return 0;
    rule->has_ports = true;
    if (t.len == 0)
        return refuse(why,
                      "the port is missing; write :443, or leave the colon off for every port");
    if (t.start[0] == '{')
        r = take_port_list(rule, t, why);
    else if (has(t, ','))
        r = refuse(why, "`%.*s`: several ports stand in braces; write :{%.*s}", QUOTE(t), QUOTE(t));
    else if (t.len == 1 && t.start[0] == '*')
        r = refuse(why, "every port is meant when none is written; leave :* off");
    else if (has(t, '/'))
        r = refuse(why, "`%.*s`: a destination has no path; write the host and its port", QUOTE(t));
    else
        r = add_ports(rule, t, why);
    if (r < 0)
        return r;
    void *fitted = reallocarray(rule->ports, rule->n_ports, sizeof(*rule->ports));
    if (fitted)
        rule->ports = fitted;
    return 0;
}

static bool is_ldh(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static int check_label(struct text label, char *why)
{
    if (label.len == 0)
        return refuse(why, "the name has an empty label; write one dot between labels");
    if (label.len > LABEL_MAX)
        return refuse(why, "label `%.*s...` is longer than %d bytes", 20, label.start, LABEL_MAX);
    for (size_t i = 0; i < label.len; i++) {
        if (label.start[i] & 0x80)
            return refuse(why, "`%.*s` is not ASCII; write the name in its xn-- form",
                          QUOTE(label));
        if (label.start[i] == '*')
            return refuse(
                why, "`%.*s`: a * is written alone or as the first label only, as in *.example.com",
                QUOTE(label));
        if (!is_ldh(label.start[i]))
            return refuse(why, "`%.*s`: a name is made of letters, digits, hyphens and underscores",
                          QUOTE(label));
    }
    if (label.start[0] == '-' || label.start[label.len - 1] == '-')
        return refuse(why, "label `%.*s` starts or ends with a hyphen", QUOTE(label));
    return 0;
}

static int check_name(struct text name, char *why)
{
    const char *at = name.start;
    const char *end = name.start + name.len;

    if (name.len > NAMES_TEXT_MAX)
        return refuse(why, "the name is longer than %d bytes", NAMES_TEXT_MAX);
    if (rangetext_ends_in_number(name.start, name.len))
        return refuse(why,
                      "`%.*s` is no IPv4 address and no name; an address is four decimal numbers "
                      "from 0 to 255 "
                      "without leading zeros, and no * or dot in front",
                      QUOTE(name));
    for (;;) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        int r = check_label((struct text){at, (size_t)((dot ? dot : end) - at)}, why);
        if (r < 0 || !dot)
            return r;
        at = dot + 1;
    }
}

static int take_name(struct out_rule *rule, enum out_kind kind, struct text name, char *why)
{
    if (name.len > 0 && name.start[name.len - 1] == '.')
        name.len--;
    if (name.len == 0)
        return refuse(why, "the name is missing; write * for everything");
    int r = check_name(name, why);
    if (r < 0)
        return r;
    rule->kind = kind;
    rule->name = strndup(name.start, name.len);
    if (!rule->name)
        return -ENOMEM;
    for (char *c = rule->name; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return 0;
}

/* `2001:db8::1:443` is an address; was it meant as one? */
static void doubt_ports(struct text t, char *why)
{
    static const char *const usual[] = {"80", "443", "8080", "8443", "53", "853"};
    const char *last = memrchr(t.start, ':', t.len);

    if (!last || !is_range((struct text){t.start, (size_t)(last - t.start)}))
        return;
    struct text group = {last + 1, t.len - (size_t)(last + 1 - t.start)};
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if (strlen(usual[i]) == group.len && memcmp(usual[i], group.start, group.len) == 0)
            refuse(why,
                   "`%.*s` has no port as it is written; for port %s write [%.*s]:%s, for every "
                   "port [%.*s]",
                   QUOTE(t), usual[i], (int)(last - t.start), t.start, usual[i], QUOTE(t));
}

static int take_range(struct out_rule *rule, const struct parts *parts, char *why)
{
    char range_why[RANGETEXT_WHY_MAX] = "";

    rule->kind = OUT_KIND_RANGE;
    if (rangetext_parse(parts->head.start, parts->head.len, &rule->range, range_why))
        return refuse(why, "%s", range_why);
    if (!parts->has_brackets && !parts->ports.start)
        doubt_ports(parts->head, why);
    return 0;
}

static int take_head(struct out_rule *rule, const struct parts *parts, char *why)
{
    struct text t = parts->head;

    if (t.len == 0)
        return refuse(why,
                      "the destination is missing in front of the port; write * for everything");
    if (parts->has_brackets || is_range(t) || has(t, ':'))
        return take_range(rule, parts, why);
    if (has(t, '/')) {
        /* Digits and dots in front: meant as a network; anything else as a URL. */
        if (rangetext_ends_in_number(t.start,
                                     (size_t)((const char *)memchr(t.start, '/', t.len) - t.start)))
            return take_range(rule, parts, why);
        return refuse(why, "`%.*s`: a destination has no path; write the host and its port",
                      QUOTE(t));
    }
    if (t.start[0] == '@')
        return refuse(why, "`%.*s`: a group lists sources, it is no destination", QUOTE(t));
    if (t.len == 1 && t.start[0] == '*') {
        rule->kind = OUT_KIND_ANY;
        return 0;
    }
    if (t.start[0] == '*' && t.len > 1 && t.start[1] == '.')
        return take_name(rule, OUT_KIND_BELOW, (struct text){t.start + 2, t.len - 2}, why);
    if (t.start[0] == '.')
        return take_name(rule, OUT_KIND_SUFFIX, (struct text){t.start + 1, t.len - 1}, why);
    return take_name(rule, OUT_KIND_NAME, t, why);
}

int pattern_parse(const char *text, size_t len, struct out_rule *rule,
                  char why[static PATTERN_WHY_MAX])
{
    struct text t = {text, len};
    struct parts parts = {0};
    const char *brace = memchr(text, '{', len);
    struct text outside = {text, brace ? (size_t)(brace - text) : len};

    why[0] = '\0';
    if (len == 0)
        return refuse(why, "the destination is missing; write * for everything");
    if (has(outside, ','))
        return refuse(why, "one destination a line; write another line for what follows the comma");
    if (has(outside, ' ') || has(outside, '\t'))
        return refuse(why, "`%.*s`: there is a blank inside; write one destination a line",
                      QUOTE(t));
    int r = split(t, &parts, why);
    if (r == 0)
        r = take_head(rule, &parts, why);
    if (r == 0)
        r = take_ports(rule, parts.ports, why);
    return r;
}

/*
 * The strict parser says that a text is wrong; an admin wants to know what to write. So here the
 * wrong text is looked at a second time, only to choose the sentence: nothing in this file makes a
 * text valid. Loose IPv4 forms (127.1, 0x7f000001, 010.0.0.1) are refused, since two libraries read
 * them as two addresses. Pure.
 */
#include "acl/rangetext.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { QUOTE_MAX = 80 };

struct text {
    const char *start;
    size_t len;
};

#define WHY(why, ...) snprintf(why, RANGETEXT_WHY_MAX, __VA_ARGS__)
/* For %.*s: a file may hold anything, a sentence stays short. */
#define QUOTE(t) (int)((t).len > QUOTE_MAX ? QUOTE_MAX : (t).len), (t).start

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool rangetext_ends_in_number(const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '.')
        len--;
    size_t start = len;
    while (start > 0 && text[start - 1] != '.')
        start--;
    size_t label_len = len - start;
    bool is_hex_form =
        label_len >= 2 && text[start] == '0' && (text[start + 1] == 'x' || text[start + 1] == 'X');
    for (size_t i = start + (is_hex_form ? 2 : 0); i < len; i++)
        if (is_hex_form ? !is_hex(text[i]) : !is_digit(text[i]))
            return false;
    return label_len > 0;
}

static bool has(struct text t, char c)
{
    return memchr(t.start, c, t.len) != NULL;
}

static bool is_made_of(struct text t, const char *set)
{
    for (size_t i = 0; i < t.len; i++)
        if (!strchr(set, t.start[i]) || t.start[i] == '\0')
            return false;
    return true;
}

/* The address in front of @c. */
static struct text before(struct text t, char c)
{
    const char *at = memchr(t.start, c, t.len);

    return at ? (struct text){t.start, (size_t)(at - t.start)} : t;
}

static void say_host_bits(struct text t, const struct addr_range *masked, char *why)
{
    char network[2 * ADDR_TEXT_MAX], host[ADDR_TEXT_MAX];
    struct text front = before(t, '/');
    struct addr a;

    if (addr_parse(front.start, front.len, &a))
        return;
    addr_text(&a, host);
    /* Behind a mapped address, a short prefix length is meant for the IPv4 part. */
    if (addr_is_ipv4(&a) && !addr_is_ipv4(&masked->first)) {
        WHY(why,
            "`%.*s`: the prefix length of a mapped address counts from the start of IPv6; write "
            "%s%.*s",
            QUOTE(t), host, (int)(t.len - front.len), t.start + front.len);
        return;
    }
    addr_range_text(masked, network, sizeof(network));
    WHY(why, "`%.*s` has host bits set; write %s for the network, or %s for the one address",
        QUOTE(t), network, host);
}

static void say_order(struct text t, char *why)
{
    char first_text[ADDR_TEXT_MAX], last_text[ADDR_TEXT_MAX];
    struct text front = before(t, '-');
    struct text back = {front.start + front.len + 1, t.len - front.len - 1};
    struct addr first, last;

    if (addr_parse(front.start, front.len, &first) || addr_parse(back.start, back.len, &last))
        return;
    if (addr_is_ipv4(&first) != addr_is_ipv4(&last))
        WHY(why, "`%.*s` mixes IPv4 and IPv6; write one range for each", QUOTE(t));
    else
        WHY(why, "`%.*s` ends before it starts; write %s-%s", QUOTE(t), addr_text(&last, last_text),
            addr_text(&first, first_text));
}

static void say_prefix(struct text t, struct text front, char *why)
{
    struct text back = {t.start + front.len + 1, t.len - front.len - 1};
    struct addr a;

    if (has(back, '.'))
        WHY(why, "`%.*s`: write the prefix length in place of the mask, as in 10.0.0.0/8",
            QUOTE(t));
    else if (addr_parse(front.start, front.len, &a))
        WHY(why,
            "`%.*s`: `%.*s` is no address; write it in full, as in 10.0.0.0/8 or 2001:db8::/32",
            QUOTE(t), QUOTE(front));
    else
        WHY(why, "`%.*s`: the prefix length is a decimal number from 0 to %s", QUOTE(t),
            has(front, ':') ? "128" : "32");
}

static void say_malformed(struct text t, char *why)
{
    struct text front = before(t, '/');

    if (t.len == 0)
        WHY(why, "an address is missing");
    else if (has(t, '%'))
        WHY(why, "`%.*s`: an address in a rule has no zone; leave the %% and what follows off",
            QUOTE(t));
    else if (has(t, '[') || has(t, ']'))
        WHY(why, "`%.*s`: write the IPv6 address without brackets here", QUOTE(t));
    else if (has(t, ' ') || has(t, '\t'))
        WHY(why,
            "`%.*s`: there is a blank inside; write A-B without blanks, and commas between several",
            QUOTE(t));
    else if (front.len < t.len)
        say_prefix(t, front, why);
    else if (is_made_of(t, "0123456789.xXabcdefABCDEF-") &&
             rangetext_ends_in_number(t.start, t.len))
        WHY(why,
            "`%.*s` is no IPv4 address; write four decimal numbers from 0 to 255 without leading "
            "zeros",
            QUOTE(t));
    else
        WHY(why,
            "`%.*s` is no address; write 192.168.1.10, 192.168.1.0/24, 192.168.1.5-192.168.1.9 or "
            "2001:db8::/64",
            QUOTE(t));
}

int rangetext_parse(const char *text, size_t len, struct addr_range *ret_range,
                    char why[static RANGETEXT_WHY_MAX])
{
    struct text t = {text, len};
    struct addr_range range;
    int r = addr_parse_range(text, len, &range);

    switch (r) {
    case 0:
        *ret_range = range;
        return 0;
    case -ERANGE:
        say_host_bits(t, &range, why);
        return -EINVAL;
    case -EDOM:
        say_order(t, why);
        return -EINVAL;
    default:
        say_malformed(t, why);
        return -EINVAL;
    }
}

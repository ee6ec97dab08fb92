/*
 * Ports as numbers, never as text: `4430` has nothing to do with `443`. A set is one bit a port, so
 * that asking is one shift; a list of ranges as an admin writes it is read item by item, and what
 * is wrong comes back as a fixed text that also says what to write. Not a policy: which ports a
 * listener may reach is the configuration's. Pure; any thread.
 */
#include "acl/ports.h"

#include <errno.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && is_blank(**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && is_blank((*text)[*len - 1]))
        (*len)--;
}

static int parse_port(const char *text, size_t len, uint16_t *ret_port, const char **ret_why)
{
    uint32_t port = 0;

    *ret_why = "a port is a decimal number from 1 to 65535";
    if (len == 0 || len > 5)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (text[0] == '0' && len > 1) {
        *ret_why = "a port has no leading zero";
        return -EINVAL;
    }
    if (port == 0 || port > UINT16_MAX) {
        *ret_why = "ports go from 1 to 65535";
        return -EINVAL;
    }
    *ret_port = (uint16_t)port;
    return 0;
}

int ports_parse_range(const char *text, size_t len, uint16_t *ret_first, uint16_t *ret_last,
                      const char **ret_why)
{
    uint16_t first, last;

    trim(&text, &len);
    if (len == 0) {
        *ret_why = "a port is missing";
        return -EINVAL;
    }
    const char *dash = memchr(text, '-', len);
    size_t first_len = dash ? (size_t)(dash - text) : len;
    if (dash && (first_len == 0 || first_len + 1 == len)) {
        *ret_why = "a range needs both ends, as in 8080-8090";
        return -EINVAL;
    }
    if (parse_port(text, first_len, &first, ret_why))
        return -EINVAL;
    last = first;
    if (dash && parse_port(dash + 1, len - first_len - 1, &last, ret_why))
        return -EINVAL;
    if (last < first) {
        *ret_why = "the range ends before it starts; write the lower port first";
        return -EINVAL;
    }
    *ret_first = first;
    *ret_last = last;
    return 0;
}

int ports_parse(const char *text, size_t len, struct ports *ret_ports, const char **ret_why)
{
    struct ports ports = {0};
    const char *end = text + len;

    for (;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        uint16_t first, last;

        if (ports_parse_range(text, (size_t)((comma ? comma : end) - text), &first, &last, ret_why))
            return -EINVAL;
        ports_add(&ports, first, last);
        if (!comma)
            break;
        text = comma + 1;
    }
    *ret_ports = ports;
    return 0;
}

bool ports_has(const struct ports *p, uint16_t port)
{
    return p->bits[port / 64] >> port % 64 & 1;
}

void ports_add(struct ports *p, uint16_t first, uint16_t last)
{
    for (unsigned word = first / 64U; word <= last / 64U; word++) {
        uint64_t mask = UINT64_MAX;
        if (word == first / 64U)
            mask &= UINT64_MAX << first % 64;
        if (word == last / 64U)
            mask &= UINT64_MAX >> (63 - last % 64);
        p->bits[word] |= mask;
    }
    p->bits[0] &= ~(uint64_t)1;
}

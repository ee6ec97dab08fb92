/*
 * DNS rebinding: a page from outside makes its own name point to a machine inside, and the browser
 * lets it talk there. The tunnels of this proxy do not need this (the dialled address is judged);
 * it is for clients of the DNS that dial by themselves. SVCB data is priority, target name, then
 * parameters of key, length and value; what is malformed there holds no address.
 */
#include "proxy/dns/rebind.h"

#include <string.h>

#include "acl/guard.h"
#include "proxy/base/addr.h"
#include "proxy/dns/wire.h"

enum { TYPE_SVCB = 64, TYPE_HTTPS = 65, KEY_IPV4_HINT = 4, KEY_IPV6_HINT = 6 };

static bool has_special(const uint8_t *at, size_t n, size_t size)
{
    for (; n >= size; at += size, n -= size) {
        struct in6_addr in6;
        struct addr a;
        if (size == 4) {
            a = addr_from_ipv4(wire_get32(at));
        } else {
            memcpy(&in6, at, sizeof(in6));
            a = addr_from_in6(&in6);
        }
        if (guard_special_use(&a))
            return true;
    }
    return false;
}

static bool has_special_hint(const uint8_t *msg, size_t end, size_t at)
{
    if (wire_name_read(msg, end, &at, NULL) < 0)
        return false;
    while (end - at >= 4) {
        unsigned key = wire_get16(msg + at);
        size_t n = wire_get16(msg + at + 2);
        at += 4;
        if (end - at < n)
            return false;
        if ((key == KEY_IPV4_HINT && has_special(msg + at, n, 4)) ||
            (key == KEY_IPV6_HINT && has_special(msg + at, n, 16)))
            return true;
        at += n;
    }
    return false;
}

bool rebind_is_inward(const uint8_t *msg, size_t len, size_t at, unsigned n_answer)
{
    for (unsigned i = 0; i < n_answer; i++) {
        struct wire_record r;
        if (wire_record_read(msg, len, &at, &r) < 0)
            return false;
        if (r.class != WIRE_CLASS_IN)
            continue;
        const uint8_t *data = msg + r.data_at;
        bool is_service = r.type == TYPE_SVCB || r.type == TYPE_HTTPS;
        if ((r.type == WIRE_TYPE_A && has_special(data, r.n_data, 4)) ||
            (r.type == WIRE_TYPE_AAAA && has_special(data, r.n_data, 16)) ||
            (is_service && r.n_data > 2 &&
             has_special_hint(msg, r.data_at + r.n_data, r.data_at + 2)))
            return true;
    }
    return false;
}

/* target - what `explain` and [expect] ask about: CONNECT host:port, GET http://..., DNS name
 * [type].
 */
#ifndef PROXY_DAEMON_TARGET_H
#define PROXY_DAEMON_TARGET_H

#include "proxy/http/authority.h"

enum target_kind { TARGET_CONNECT, TARGET_GET, TARGET_DNS, TARGET_DNS_TCP };

struct target {
    enum target_kind kind;
    struct authority authority; /* DNS: the name; name_len 0: only the source is asked about */
    uint16_t type;              /* DNS: A unless told */
};

/* @ret_why: static text when refused. 0 · -EINVAL. The words' case does not matter. */
int target_parse(const char *text, struct target *ret, const char **ret_why)
    __attribute__((warn_unused_result));
static inline bool target_is_dns(const struct target *t)
{
    return t->kind == TARGET_DNS || t->kind == TARGET_DNS_TCP;
}

#endif

/* The hosts and ports are read by the parser of the data path, so that nothing is allowed here that
 * is refused there. */
#include "proxy/daemon/target.h"

#include <errno.h>
#include <string.h>

#include "proxy/dns/wire.h"
#include "proxy/dns/words.h"

enum { NAME_MAX_BYTES = 299 };

static int parse_http(const char *rest, struct target *ret, const char **ret_why)
{
    size_t path;
    enum authority_result r =
        ret->kind == TARGET_CONNECT
            ? authority_parse_connect(rest, strlen(rest), &ret->authority, ret_why)
            : authority_parse_absolute(rest, strlen(rest), &ret->authority, &path, ret_why);
    if (r == AUTHORITY_OK)
        return 0;
    if (!*ret_why)
        *ret_why = "host:port or http://host/path is needed";
    return -EINVAL;
}

static int parse_dns(const char *rest, struct target *ret, const char **ret_why)
{
    size_t len = strcspn(rest, " ");
    const char *type = rest + len + strspn(rest + len, " ");
    ret->authority = (struct authority){.kind = AUTHORITY_NAME};
    ret->type = WIRE_TYPE_A;
    if (len == 0)
        return 0;
    if (len > NAME_MAX_BYTES ||
        authority_parse_host(rest, len, &ret->authority, ret_why) != AUTHORITY_OK ||
        ret->authority.kind != AUTHORITY_NAME) {
        if (!*ret_why)
            *ret_why = "a host name is needed";
        return -EINVAL;
    }
    if (*type && !words_type_from_text(type, &ret->type)) {
        *ret_why = "behind the name there is nothing but a type: A, AAAA, TYPE65, ...";
        return -EINVAL;
    }
    return 0;
}

int target_parse(const char *text, struct target *ret, const char **ret_why)
{
    static const struct {
        const char *word;
        enum target_kind kind;
    } words[] = {{"CONNECT", TARGET_CONNECT},
                 {"GET", TARGET_GET},
                 {"DNS/tcp", TARGET_DNS_TCP},
                 {"DNS", TARGET_DNS}};
    size_t n = strcspn(text, " ");
    const char *rest = text + n + strspn(text + n, " ");
    *ret_why = NULL;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (n != strlen(words[i].word) || strncasecmp(text, words[i].word, n) != 0)
            continue;
        ret->kind = words[i].kind;
        return target_is_dns(ret) ? parse_dns(rest, ret, ret_why) : parse_http(rest, ret, ret_why);
    }
    *ret_why = "the target begins with CONNECT, GET, DNS or DNS/tcp";
    return -EINVAL;
}

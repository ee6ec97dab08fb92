/* Queries of clients: any bytes; whatever is answered is itself well-formed, small, and an answer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_error(const struct wire_query *q, size_t len)
{
    static const unsigned codes[] = {WIRE_RCODE_FORMERR, WIRE_RCODE_BADVERS, WIRE_RCODE_REFUSED};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        uint8_t buf[WIRE_QUERY_MAX + WIRE_EDE_BYTES];
        struct wire_query again;
        size_t n = wire_error_write(q, codes[i], i == 2 ? WIRE_EDE_PROHIBITED : WIRE_EDE_NONE, buf);
        if (n < WIRE_HEADER_BYTES || n > sizeof(buf) || n > len + WIRE_OPT_BYTES + WIRE_EDE_BYTES)
            abort();
        if (wire_query_parse(buf, n, &again) !=
            WIRE_QUERY_DROP) /* what we send is never a query (no loops) */
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct wire_query q, again;
    int rc = wire_query_parse(data, len, &q);
    if (rc == WIRE_QUERY_DROP)
        return 0;
    check_error(&q, len);
    if (rc != 0)
        return 0;
    struct wire_ask ask = {.question = &q.question, .id = q.id, .wants_dnssec = q.wants_dnssec};
    uint8_t buf[WIRE_QUERY_MAX];
    size_t n = wire_ask_write(&ask, buf);
    if (wire_query_parse(buf, n, &again) != 0 || again.question.type != q.question.type ||
        !wire_name_equal_exact(&again.question.name, &q.question.name) ||
        again.wants_dnssec != q.wants_dnssec)
        abort();
    return 0;
}

/* Names: wire to text and back give the same name; text to wire never gives an invalid one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct wire_name *n)
{
    char text[WIRE_NAME_TEXT_MAX];
    struct wire_name again;
    uint8_t msg[WIRE_HEADER_BYTES + WIRE_NAME_MAX] = {0};
    size_t at = WIRE_HEADER_BYTES;
    memcpy(msg + at, n->bytes, n->len);
    if (wire_name_read(msg, WIRE_HEADER_BYTES + (size_t)n->len, &at, &again) != 0 ||
        at != WIRE_HEADER_BYTES + (size_t)n->len || !wire_name_equal_exact(n, &again))
        abort();
    wire_name_text(n, text);
    if (wire_name_from_text(text, strlen(text), &again) != 0 || !wire_name_equal_exact(n, &again))
        abort();
    size_t suffix_at;
    if (!wire_name_has_suffix(n, n, &suffix_at) || suffix_at != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct wire_name n;
    if (len > 1 && len < WIRE_MESSAGE_MAX) {
        size_t at = data[0];
        if (wire_name_read(data + 1, len - 1, &at, &n) == 0) {
            check(&n);
            wire_name_lower(&n);
            check(&n);
        }
    }
    if (wire_name_from_text((const char *)data, len, &n) == 0)
        check(&n);
    return 0;
}

#include "proxy/dns/framing.h"

#include <criterion/criterion.h>
#include <string.h>

static void put(struct framing *f, const uint8_t *bytes, size_t n)
{
    size_t n_room;
    uint8_t *at = framing_room(f, n, &n_room);
    cr_assert(at && n_room >= n);
    memcpy(at, bytes, n);
    framing_grow(f, n);
}

/* Messages of 12, 300 and 65535 bytes, each of one letter. */
static size_t write_three(uint8_t *bytes)
{
    static const unsigned lens[] = {12, 300, 65535};
    size_t n = 0;
    for (unsigned i = 0; i < 3; i++) {
        bytes[n] = (uint8_t)(lens[i] >> 8);
        bytes[n + 1] = (uint8_t)lens[i];
        memset(bytes + n + 2, 'a' + (int)i, lens[i]);
        n += 2 + lens[i];
    }
    return n;
}

Test(dns_framing, next__gives_the_same_messages__in_any_split)
{
    static uint8_t bytes[70000];
    size_t n = write_three(bytes);
    for (size_t step = 1; step <= n; step = step < 20 ? step + 1 : step * 3) {
        struct framing f = {.bytes = NULL};
        unsigned n_seen = 0;
        for (size_t at = 0; at < n; at += step) {
            put(&f, bytes + at, n - at < step ? n - at : step);
            const uint8_t *msg;
            size_t len;
            while (framing_next(&f, &msg, &len) == 0) {
                static const size_t lens[] = {12, 300, 65535};
                cr_assert_lt(n_seen, 3u);
                cr_assert_eq(len, lens[n_seen], "step %zu: message %u of %zu", step, n_seen, len);
                cr_assert(msg[0] == 'a' + n_seen && msg[len - 1] == 'a' + n_seen);
                n_seen++;
            }
        }
        cr_assert_eq(n_seen, 3u, "step %zu: %u messages", step, n_seen);
        cr_assert_eq(framing_waiting(&f), 0u);
        framing_fini(&f);
    }
}

Test(dns_framing, next__refuses__lengths_of_no_message)
{
    for (unsigned len = 0; len < 14; len++) {
        struct framing f = {.bytes = NULL};
        put(&f, (uint8_t[]){0, (uint8_t)len}, 2);
        const uint8_t *msg;
        size_t n;
        cr_expect_eq(framing_next(&f, &msg, &n), len < 12 ? FRAMING_BAD : FRAMING_MORE, "%u", len);
        framing_fini(&f);
    }
}

/* A length is a promise that costs its maker the bytes, not us the memory. */
Test(dns_framing, room__follows_what_came__not_what_is_claimed)
{
    struct framing f = {.bytes = NULL};
    const uint8_t *msg;
    size_t n;
    put(&f, (uint8_t[]){0xff, 0xff, 1}, 3);
    cr_assert_eq(framing_next(&f, &msg, &n), FRAMING_MORE);
    cr_assert_leq(f.size, 4096u);
    framing_fini(&f);
    cr_assert(f.bytes == NULL && framing_waiting(&f) == 0);
}

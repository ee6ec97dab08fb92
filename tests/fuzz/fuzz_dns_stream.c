/*
 * What a name server sends on a stream: cut into pieces by the first bytes, taken message by
 * message, each held against a question. The pieces must not matter, and memory must stay within
 * one message and what came with it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/framing.h"
#include "proxy/dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEPS = 4, ROOM_MAX = 4 * WIRE_MESSAGE_MAX };

struct tally {
    unsigned n_messages, n_good, n_bad;
    uint64_t sum;
};

static void take(struct tally *t, const uint8_t *msg, size_t len)
{
    static struct wire_reply reply;
    struct wire_question question = {.name = {.len = 13, .bytes = "\3www\7example"},
                                     .type = WIRE_TYPE_A,
                                     .class = WIRE_CLASS_IN};
    struct wire_ask ask = {.question = &question, .id = wire_get16(msg)};
    int rc = wire_reply_check(msg, len, &ask, false, &reply);
    t->n_messages++;
    t->n_good += rc == 0;
    for (size_t i = 0; i < len; i++)
        t->sum = t->sum * 31 + msg[i];
    ask.raw = msg; /* matched, and cut behind its last record */
    ask.n_raw = len;
    if (rc == 0 && (wire_reply_check(msg, len, &ask, false, &reply) != 0 || reply.len > len))
        abort();
}

static struct tally run(const uint8_t *data, size_t len, const uint8_t *steps)
{
    struct framing f = {.bytes = NULL};
    struct tally t = {.n_messages = 0};
    for (size_t at = 0, i = 0; at < len && !t.n_bad; i++) {
        size_t step = steps ? steps[i % STEPS] + 1u : len, n_room;
        step = step < len - at ? step : len - at;
        uint8_t *into = framing_room(&f, step, &n_room);
        if (!into || n_room < step || f.size > ROOM_MAX + 2 * len)
            abort();
        memcpy(into, data + at, step);
        framing_grow(&f, step);
        at += step;
        const uint8_t *msg;
        size_t n;
        int rc;
        while ((rc = framing_next(&f, &msg, &n)) == 0)
            take(&t, msg, n);
        t.n_bad += rc == FRAMING_BAD;
    }
    framing_fini(&f);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < STEPS)
        return 0;
    struct tally a = run(data + STEPS, len - STEPS, data), b = run(data + STEPS, len - STEPS, NULL);
    if (a.n_messages != b.n_messages || a.n_good != b.n_good || a.n_bad != b.n_bad ||
        a.sum != b.sum)
        abort();
    return 0;
}

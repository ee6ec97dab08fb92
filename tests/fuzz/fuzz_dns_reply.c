/*
 * Replies given a query: the first bytes say which question was asked, the rest is what came back
 * (its id and question made to match when the first byte is odd, so that the records are reached).
 * What is accepted is kept, written for several askers, and must be a well-formed reply to the same
 * question each time.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/answer.h"
#include "proxy/dns/rebind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { QUESTION_BYTES = 13 + 4 };

static void write_for(const struct answer *a, const struct wire_question *question, bool has_opt,
                      size_t max, uint64_t now_ms)
{
    static uint8_t buf[WIRE_MESSAGE_MAX];
    static struct wire_reply again;
    struct wire_query q = {
        .id = 77, .flags = WIRE_FLAG_RD, .question = *question, .has_opt = has_opt};
    struct answer_manner manner = {.ede = has_opt ? WIRE_EDE_NO_REACHABLE : WIRE_EDE_NONE,
                                   .is_authentic = has_opt,
                                   .is_stale = now_ms % 2};
    size_t n = answer_write(a, &q, now_ms, &manner, buf, max);
    struct wire_ask ask = {.question = question, .id = 77};
    if (n > max || wire_reply_check(buf, n, &ask, true, &again) != 0)
        abort();
    (void)rebind_is_inward(a->bytes, a->len, a->question_end, a->n_answer);
    if (!again.is_truncated && again.n_answer != a->n_answer)
        abort();
}

static void keep_and_write(const struct wire_question *question, const uint8_t *msg,
                           const struct wire_reply *reply)
{
    static const struct answer_ttls ttls = {.min_s = 1, .max_s = 86400, .negative_max_s = 3600};
    struct answer_key key = {.question = *question};
    wire_name_lower(&key.question.name);
    struct answer *a = answer_from_reply(&key, msg, reply, &ttls, 1000);
    if (!a)
        return;
    if (a->life_s > 86400 || a->expires_ms < a->stored_ms)
        abort();
    for (unsigned has_opt = 0; has_opt < 2; has_opt++) {
        write_for(a, question, has_opt, WIRE_UDP_MIN, 1000);
        write_for(a, question, has_opt, WIRE_UDP_BYTES, 1000 + 3600 * 1000);
        write_for(a, question, has_opt, WIRE_MESSAGE_MAX, 1000 + 400000ull * 1000);
    }
    answer_unref(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct wire_reply reply;
    if (len < 2 || len > WIRE_MESSAGE_MAX)
        return 0;
    struct wire_question question = {.name = {.len = 13, .bytes = "\3wWw\7Example"},
                                     .class = WIRE_CLASS_IN};
    question.type = data[1];
    struct wire_ask ask = {.question = &question, .id = 0x1234};
    size_t n = len - 2;
    uint8_t *msg = malloc(n + 1);
    memcpy(msg, data + 2, n);
    if (data[0] & 1 && n >= WIRE_HEADER_BYTES + QUESTION_BYTES) {
        wire_put16(msg, ask.id);
        msg[2] = (uint8_t)((msg[2] & 0x07) | 0x80);
        wire_put16(msg + 4, 1);
        memcpy(msg + 12, question.name.bytes, 13);
        wire_put16(msg + 25, question.type);
        wire_put16(msg + 27, question.class);
    }
    if (wire_reply_check(msg, n, &ask, data[0] & 2, &reply) == 0 && !reply.is_truncated) {
        struct addr addrs[4];
        if (wire_addresses(msg, reply.len, reply.n_answer, WIRE_TYPE_A, addrs, 4) > 4 ||
            wire_addresses(msg, reply.len, reply.n_answer, WIRE_TYPE_AAAA, addrs, 4) > 4 ||
            reply.len > n)
            abort();
        keep_and_write(&question, msg, &reply);
    }
    free(msg);
    return 0;
}

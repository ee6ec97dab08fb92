/* special - names that are answered here and never sent out (pure). */
#ifndef PROXY_DNS_SPECIAL_H
#define PROXY_DNS_SPECIAL_H

#include "proxy/dns/answer.h"

enum special_outcome { SPECIAL_NOT = 1 };

/**
 * special_answer - our own answer for localhost, invalid, test, onion, home.arpa and private
 * reverse zones Returns: 0 *ret_answer is the caller's · SPECIAL_NOT ask upstream · -ENOMEM.
 * Source:  RFC 6761 sections 6.2 to 6.4, RFC 7686 section 2, RFC 8375 section 4, RFC 6303 section
 * 4, RFC 7793.
 */
int special_answer(const struct answer_key *key, uint64_t now_ms, struct answer **ret_answer)
    __attribute__((warn_unused_result));

#endif

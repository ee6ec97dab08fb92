/* local - answers from local records: [dns-hosts] and hosts files (pure). */
#ifndef PROXY_DNS_LOCAL_H
#define PROXY_DNS_LOCAL_H

#include "conf/hosts.h"
#include "proxy/dns/answer.h"

enum {
    LOCAL_TABLES = 2, /* [dns-hosts], then the hosts file */
    LOCAL_TTL_S = 60, /* of local records, and of what a local name does not have */
};

enum local_outcome { LOCAL_NOT = 1 };

/**
 * local_answer - what the tables say about a name, or about an address by its reverse name
 * @tables: each may be NULL; the first one that has the name answers for all its types, so nothing
 *          about it comes from outside (HTTPS and SVCB included)
 * Returns: 0 *ret_answer is the caller's · LOCAL_NOT no table has it · -ENOMEM.
 */
int local_answer(struct hosts *const tables[static LOCAL_TABLES], const struct answer_key *key,
                 uint64_t now_ms, struct answer **ret_answer) __attribute__((warn_unused_result));

#endif

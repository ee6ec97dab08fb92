/* refusals - the last refusals of one thread, the same one told once with a count. */
#ifndef PROXY_REPORT_REFUSALS_H
#define PROXY_REPORT_REFUSALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/siphash.h"
#include "proxy/report/access.h"
#include "proxy/report/reason.h"

enum { REFUSALS_MAX = 64, REFUSALS_HOST_MAX = 256 };

/* A copy of all it tells: it points at nothing that may go away. Strings are the peer's bytes. */
struct refusal {
    uint64_t key;                  /* equal ones are the same refusal, again */
    uint64_t n, first_ms, last_ms; /* since 1970 */
    struct addr source;
    uint16_t port;
    bool is_observed; /* it would have been refused */
    bool is_host_cut; /* longer than there is room */
    enum reason reason;
    unsigned rule_line;     /* 0: no line decided */
    const char *rule_words; /* static: what decided instead, or NULL */
    char listener[64], method[16], rule_file[64], memo[256];
    char host[REFUSALS_HOST_MAX]; /* empty: the target is not known */
};

struct refusals;

/* @key: the same for all whose refusals are to be joined. NULL: out of memory. */
struct refusals *refusals_new(const struct siphash_key *key);
struct refusals *refusals_free(struct refusals *s); /* NULL is fine */
/* Takes what the record tells, if it is one of a refusal; no allocation, no look at old ones. */
void refusals_note(struct refusals *s, const struct access_record *r, uint64_t wall_ms);
/* The last first. Returns how many. */
size_t refusals_copy(struct refusals *s, struct refusal ret[REFUSALS_MAX]);
/* Of several threads, one after another in @items: joins what is the same, puts the last first.
 * Returns how many are left. */
size_t refusals_join(struct refusal *items, size_t n);

#endif

/* verdict - asks the compiled rules: who may come in, what may be reached (pure). */
#ifndef ACL_VERDICT_H
#define ACL_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/guard.h"
#include "acl/ports.h"
#include "acl/rule.h"

/* Source side: one table per (protocol, port) of a listener, compiled from [in]; O(log n) an ask.
 */
struct in_table;

/* @proto: IN_PROTO_TCP or IN_PROTO_UDP. @acl borrowed for the table's life. NULL: out of memory. */
struct in_table *in_table_new(const struct acl *acl, enum in_proto proto, uint16_t port);
struct in_table *in_table_free(struct in_table *t);
/* The first line (by file order) that admits @source, or NULL: denied. IPv6 rules never match IPv4
 * sources. */
const struct in_rule *in_table_ask(const struct in_table *t, const struct addr *source);
/* Whether a line is for this protocol and port at all, whatever the source. */
bool in_rule_serves(const struct in_rule *rule, enum in_proto proto, uint16_t port);
/* The same by walking all rules: the oracle of the property test, and for ports without a table. */
const struct in_rule *in_ask_naive(const struct acl *acl, enum in_proto proto, uint16_t port,
                                   const struct addr *source);

enum verdict {
    VERDICT_ALLOW = 1,
    VERDICT_DENY,      /* by a rule (ret->rule) or since no allow line matches (rule NULL) */
    VERDICT_UNDECIDED, /* names only: the address decides; resolve first */
    VERDICT_PORT,      /* the listener's port list */
    VERDICT_SPECIAL,   /* special-use range (ret->special) */
    VERDICT_OWN,       /* own listener */
};

struct verdict_detail {
    const struct out_rule *rule; /* the line that decided, or NULL */
    const char *special;         /* range text for VERDICT_SPECIAL, static */
    const char *group;           /* no line decided, and the allow lines are those of this group's
                                    section; NULL: [out]'s */
    unsigned n_more_groups;      /* and of so many others' */
};

enum { VERDICT_SECTIONS_MAX = 96 };
/* Whose allow lines were asked where no line decided: "[out]", "[out @a] and 2 more". Returns @buf.
 */
const char *verdict_sections(const struct verdict_detail *detail,
                             char buf[static VERDICT_SECTIONS_MAX]);

/**
 * verdict_name - a target by name, before it is resolved
 * @source: whose groups say which [out] sections hold; NULL: nobody's
 * @name: lower case, no final dot. @port: as asked.
 * ALLOW: an allow line names it, or there are no allow lines; addresses are still judged by
 * verdict_addr(). DENY: a deny line matches, or allow lines exist, none matches and none of them is
 * an address line for this port. UNDECIDED: allow lines exist, none matches by name, but an address
 * line may.
 */
enum verdict verdict_name(const struct acl *acl, const struct addr *source, const char *name,
                          uint16_t port, struct verdict_detail *ret);

/**
 * verdict_query - a name that is only looked up (`apply-out` of [dns]); @name as for
 * verdict_name(), empty for the root DENY: a deny line for every port matches the name, or some
 * allow line is a name and none (nor `*`) matches it, whatever the ports. Else ALLOW: a deny line
 * for some ports leaves the others, so the name must resolve.
 */
enum verdict verdict_query(const struct acl *acl, const struct addr *source, const char *name,
                           struct verdict_detail *ret);

/**
 * verdict_addr - one address that would be dialled
 * @by_name: outcome of verdict_name() for this target, VERDICT_UNDECIDED for a literal target
 * (names do not match it; `*` does) Order: own listener, deny lines (address and `*`; the embedded
 * IPv4 forms too), special use (opened only by an allow line with opens_special that holds the
 * address, or the embedded one, and the port), allow lines (the embedded IPv4 counts for
 * 64:ff9b::/96 and 6to4 only). @own NULL: no listeners. Returns ALLOW, DENY, SPECIAL or OWN.
 */
enum verdict verdict_addr(const struct acl *acl, const struct addr *source,
                          const struct guard_own *own, enum verdict by_name, const struct addr *a,
                          uint16_t port, struct verdict_detail *ret);

/* Only what no line and no mode sets aside: own listener, special use. Returns ALLOW, SPECIAL or
 * OWN; what lines deny is not asked. */
enum verdict verdict_guard(const struct acl *acl, const struct addr *source,
                           const struct guard_own *own, const struct addr *a, uint16_t port,
                           struct verdict_detail *ret);

/* "allow", "deny", ...: static, for people and logs. */
const char *verdict_word(enum verdict verdict);

#endif

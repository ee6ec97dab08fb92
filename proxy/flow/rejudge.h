/* rejudge - whether what runs may go on by rules that are newer than it, and what forbids it. */
#ifndef PROXY_FLOW_REJUDGE_H
#define PROXY_FLOW_REJUDGE_H

#include <stdbool.h>

#include "acl/verdict.h"
#include "conf/snapshot.h"

struct conn;

/* All pointers are into the snapshot that was asked. */
struct rejudge {
    const struct conf_web_proxy *proxy; /* the listener it came by; NULL: it is gone */
    const struct in_rule *source_rule;  /* admits the source; NULL: no line does */
    enum verdict verdict;               /* of the destination; ALLOW while it has none */
    struct verdict_detail detail;
    uint32_t out_slot; /* number of the line that permits the origin */
};

/**
 * rejudge_conn - a connection by the rules of @s
 * Source, and once there is an origin: port list, name as asked, dialled address. @own: our own
 * listeners. Returns: whether it may go on; @ret is filled in either way.
 */
bool rejudge_conn(const struct conn *c, const struct snapshot *s, const struct guard_own *own,
                  struct rejudge *ret);
/* The line that forbids, or NULL; then rejudge_words() says what does: "no rule", "port list", a
 * special-use range, ... (static). */
const struct rule_place *rejudge_place(const struct rejudge *r);
const char *rejudge_words(const struct rejudge *r);

#endif

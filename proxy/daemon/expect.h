/* expect - the lines of [expect]: what the admin says must be so, held against what is. */
#ifndef PROXY_DAEMON_EXPECT_H
#define PROXY_DAEMON_EXPECT_H

#include "conf/snapshot.h"
#include "proxy/base/findings.h"

struct own_set;

/**
 * expect_check - a finding for each line that does not hold, with the rule that decided otherwise
 * Source, port list, name rules, literal addresses and our own listeners are judged by the
 * functions of the data path; no name is looked up: one that only address lines could decide is not
 * refused. `allow` holds when one listener would serve it, `deny` when none would.
 *
 * @own: our own listeners by that configuration, taken; NULL: there was no memory for them.
 * Returns: 0 all hold · -EINVAL some do not · -EBADMSG some are malformed · -ENOMEM.
 */
int expect_check(const struct snapshot *s, struct own_set *own, struct findings *findings)
    __attribute__((warn_unused_result));

#endif

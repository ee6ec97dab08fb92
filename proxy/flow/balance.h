/* balance - an accepted client goes to a worker that has fewer of them. */
#ifndef PROXY_FLOW_BALANCE_H
#define PROXY_FLOW_BALANCE_H

#include <stdbool.h>

#include "conf/snapshot.h"
#include "proxy/base/addr.h"

struct worker;

/* How many more clients one worker may have than another: so many, or an eighth of the other's. */
enum { BALANCE_SLACK = 16, BALANCE_SLACK_SHARE = 8 };

/* Serves a client that another worker accepted, on @w's thread; @fd is taken. */
typedef void (*balance_take_fn)(struct worker *w, const char *listener, int fd,
                                const struct endpoint *peer);

/**
 * balance_pass - give a client that nobody has judged yet to another worker, if that has clearly
 * fewer
 * @take: called once, later, on the other's thread, also when that drains or ends.
 * Returns: whether it was given away, with @fd · false: it stays here.
 */
bool balance_pass(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                  const struct endpoint *peer, balance_take_fn take)
    __attribute__((warn_unused_result));

#endif

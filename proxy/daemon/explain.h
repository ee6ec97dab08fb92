/* explain - `ukai explain`: the story of one decision, told by the code that makes it. */
#ifndef PROXY_DAEMON_EXPLAIN_H
#define PROXY_DAEMON_EXPLAIN_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/snapshot.h"
#include "proxy/daemon/daemon.h"
#include "proxy/daemon/target.h"

struct own_set;

struct explain_options {
    const char *file;
    const char *from;     /* address text */
    const char *listener; /* NULL: all that would be asked */
    const char *target;   /* "CONNECT host:port", ... */
    const char *socket;   /* of the running daemon; NULL: the one that the file names */
    bool no_resolve, as_json;
    bool is_live; /* the running daemon is asked */
};

/* What it judges by, and where its words go; all borrowed until it is over, @snapshot and @own are
 * referenced. */
struct explain_place {
    struct loop *loop;
    struct snapshot *snapshot;
    struct own_set *own;
    FILE *out, *err;
};

/* Who asks what. */
struct explain_question {
    struct addr from;
    struct target target;
};

struct explain;
/* Over; called once, from the loop. The caller forgets the explain. */
typedef void (*explain_done_fn)(void *owner, enum exit_code code);

/* Reads @options' from and target. False: what is wrong was written to @err. */
bool explain_ask(const struct explain_options *options, FILE *err,
                 struct explain_question *ret_question) __attribute__((warn_unused_result));
/**
 * explain_start - tell the story of @question; @options' file and socket do not matter
 * Names are asked of the listener's name servers, on @place's loop.
 * Returns: the explain, @done will be called once, later, never before returning · NULL: out of
 * memory.
 */
struct explain *explain_start(const struct explain_place *place,
                              const struct explain_options *options,
                              const struct explain_question *question, explain_done_fn done,
                              void *owner) __attribute__((warn_unused_result));
/* Ends it; done stays silent. NULL is fine. */
struct explain *explain_cancel(struct explain *e);

/* Why an address that the rules allow is not dialled from that way out; NULL: it is. */
const char *explain_unreachable(const struct conf_egress *conf, const struct addr *a);

/* The command. EXIT_DONE allowed · EXIT_NO refused · EXIT_FAILED the name could not be resolved,
 * its address is of a family that the way out does not have, or no daemon answers · EXIT_USAGE ·
 * EXIT_CONFIG. */
enum exit_code explain_run(const struct explain_options *options);

#endif

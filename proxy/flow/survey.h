/* survey - what rules that are not in force would do to what runs: all workers look, nothing
 * changes. */
#ifndef PROXY_FLOW_SURVEY_H
#define PROXY_FLOW_SURVEY_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/snapshot.h"
#include "proxy/base/addr.h"
#include "proxy/flow/walk.h"
#include "proxy/loop/mailbox.h"

struct own_set;
struct survey;
struct worker;

/* A tunnel or a request that would be forbidden. */
struct survey_find {
    struct addr source;
    const struct rule_place *place; /* the line that forbids, in the candidate; or NULL */
    const char *words;              /* static: what forbids where no line does */
    bool is_tunnel;
};

/* One worker's share; the worker's until it comes back. */
struct survey_part {
    struct mail mail;
    struct survey *survey;
    struct worker *worker;
    struct walk walk;
    struct survey_find *finds; /* owned */
    size_t n_finds, capacity;
    unsigned n_looked_at;
    bool is_cut_short; /* out of memory, or the worker is ending */
};

/* All parts are back; on the main thread. Takes @s. */
typedef void (*survey_done_fn)(struct survey *s, void *owner);

struct survey {
    struct snapshot *candidate; /* one reference */
    struct own_set *own;        /* one reference */
    survey_done_fn done;        /* NULL: nobody waits any more, it frees itself */
    void *owner;
    unsigned n_parts, n_away;
    struct survey_part parts[];
};

/**
 * survey_start - let all workers judge what they have by @candidate, a few connections a round
 * @own: our own listeners as they would be. References are taken of both.
 * Returns: the survey, @done will be called once, later · NULL: out of memory.
 */
struct survey *survey_start(struct worker *workers, unsigned n_workers, struct snapshot *candidate,
                            struct own_set *own, survey_done_fn done, void *owner);
/* Nobody waits for it any more. */
void survey_cancel(struct survey *s);
struct survey *survey_free(struct survey *s); /* after done; NULL is fine */

/* The worker ends: what it has found so far goes back. */
void survey_part_end(struct survey_part *p);
/* A connection leaves the worker @p (NULL: none) is with. */
struct conn;
void survey_forget(struct survey_part *p, const struct conn *c);

#endif

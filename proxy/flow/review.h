/* review - after a reload: every live connection is judged again, and what follows from it. */
#ifndef PROXY_FLOW_REVIEW_H
#define PROXY_FLOW_REVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/flow/walk.h"

struct conn;
struct worker;

/* Of one worker. */
struct review {
    struct walk walk;
    uint64_t since_ms; /* when the rules in force were taken over: grace counts from there */
    unsigned n_judged, n_cut, n_grace, n_kept; /* of the pass under way */
};

void review_init(struct review *r, struct worker *w);
void review_fini(struct review *r);
/* The worker's view is new: a pass over all its connections begins, a few of them a round. */
void review_start(struct worker *w);
/**
 * review_setup_over - a set-up that began under older rules has come to its end
 * Returns: whether it may go on by the rules in force (or is let live by on-reload); false: refused
 * and answered, the caller returns at once.
 */
bool review_setup_over(struct conn *c);
/* @c runs (RELAY or EXCHANGE): judged if its rules are older than those in force. It may be
 * finished by it. */
void review_running(struct conn *c);
/* Between two requests: the next one is judged by what is in force now. Returns whether its source
 * is still admitted. */
bool review_between(struct conn *c);

#endif

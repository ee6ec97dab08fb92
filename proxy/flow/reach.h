/* reach - from a target to a connected origin: judge, resolve, judge each address, dial. */
#ifndef PROXY_FLOW_REACH_H
#define PROXY_FLOW_REACH_H

#include "acl/ports.h"
#include "proxy/flow/conn.h"

/**
 * reach_start - judge c->setup->target, resolve it, judge its addresses
 * @ports: the port list of this kind of request. @on_permitted: c->setup->to holds the addresses
 * that may be dialled, at least one; called once, at once or later. A refusal is answered here and
 * @on_permitted stays silent. The caller returns at once.
 */
void reach_start(struct conn *c, const struct ports *ports, reach_permitted_fn on_permitted);
/* Dials c->setup->to into @io (closed storage). A failure is answered here; else c->origin is set
 * and @on_connected called. */
void reach_dial(struct conn *c, struct io *io, reach_connected_fn on_connected);
/* A kept connection to @to, one of c->setup->to, is used instead of a dial. */
void reach_took(struct conn *c, const struct endpoint *to);
/* Answers 403 with what @verdict and @detail say, the rule named in the phrase. The caller returns
 * at once. */
void reach_refuse(struct conn *c, enum verdict verdict, const struct verdict_detail *detail);
/* Stops what is under way; safe in any state of a set-up. */
void reach_cancel(struct conn *c);

#endif

/* tunnel - CONNECT: split, judge, resolve, judge each address, dial. */
#ifndef PROXY_FLOW_TUNNEL_H
#define PROXY_FLOW_TUNNEL_H

#include "proxy/flow/conn.h"

/* The head of a CONNECT is complete in c->setup. The caller returns at once: the connection may be
 * finished. */
void tunnel_start(struct conn *c);
#endif

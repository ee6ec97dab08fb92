/* accept - what becomes of one that connects: a client, a refusal, or another worker's. */
#ifndef PROXY_FLOW_ACCEPT_H
#define PROXY_FLOW_ACCEPT_H

#include "proxy/flow/worker.h"

/* @conf_index: of the [web-proxy] it came by, in the worker's view. @fd: taken. */
void accept_client(struct worker *w, unsigned conf_index, int fd, const struct endpoint *peer);

#endif

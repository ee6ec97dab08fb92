/* forward - plain HTTP: one request after another of a client, each to its origin and back. */
#ifndef PROXY_FLOW_FORWARD_H
#define PROXY_FLOW_FORWARD_H

#include "proxy/flow/conn.h"

struct forward;

/* A head that is no CONNECT is complete in c->setup. The caller returns at once: the connection may
 * be finished. */
void forward_start(struct conn *c);
/* The client's socket is ready while an exchange runs. */
void forward_client_ready(struct conn *c);
/* Closes the origin's connection; nothing of the exchange happens any more. */
void forward_stop(struct forward *f);
/* Closes the origin's connection and gives all back; NULL is fine. Always NULL. */
struct forward *forward_free(struct forward *f);
/* What the access record says of the request under way. */
struct access_record;
void forward_describe(const struct forward *f, struct access_record *ret);
uint64_t forward_bytes(const struct forward *f); /* both ways, as the record has them */
/* The request under way is a HEAD: no answer to it has a body. */
bool forward_is_head(const struct forward *f);

#endif

/* nameservers - the health of the name servers, as the workers see it together. */
#ifndef PROXY_DAEMON_NAMESERVERS_H
#define PROXY_DAEMON_NAMESERVERS_H

#include <jansson.h>

#include "proxy/flow/roster.h"

/**
 * nameservers_json - a list of objects, one a server, in the order of the configuration
 * @r: all parts back. Keys: server, tls_name, state (up; down; partly: some workers take it for
 * down; loop: it leads back to us), workers_down, queries, answered, failures, rtt_ms.
 * NULL: out of memory.
 */
json_t *nameservers_json(const struct roster *r);

#endif

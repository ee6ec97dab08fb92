/* truststore - a finding where name servers over TLS could not be believed, whoever they are. */
#ifndef PROXY_DAEMON_TRUSTSTORE_H
#define PROXY_DAEMON_TRUSTSTORE_H

#include "conf/snapshot.h"

/* A warning when @conf has a tls:// server and there is no CA certificate. 0 · -ENOMEM. */
int truststore_check(const struct conf *conf, struct findings *findings);

#endif

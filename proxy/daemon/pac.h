/* pac - /proxy.pac and /wpad.dat: by which proxy a browser shall go, as a script for it. */
#ifndef PROXY_DAEMON_PAC_H
#define PROXY_DAEMON_PAC_H

#include <stdio.h>

#include "conf/snapshot.h"

#define PAC_TYPE "application/x-ns-proxy-autoconfig"

/* @local: the address of ours that the asker reaches. */
void pac_write(const struct conf *conf, const struct addr *local, FILE *out);

#endif

/* verbs - what the running daemon can be asked and told through its control socket. */
#ifndef PROXY_DAEMON_VERBS_H
#define PROXY_DAEMON_VERBS_H

#include "proxy/daemon/control.h"

/* For control_open(); its owner must be the struct daemon. */
const struct control_verb *verbs_all(void);

#endif

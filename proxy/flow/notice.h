/* notice - mail that is part of its sender, so that it cannot fail for want of memory. */
#ifndef PROXY_FLOW_NOTICE_H
#define PROXY_FLOW_NOTICE_H

#include <stdatomic.h>

#include "proxy/loop/mailbox.h"

struct notice {
    struct mail mail;
    atomic_uint n; /* how often it was posted since it was taken */
};

void notice_post(struct notice *n, struct mailbox *to, mail_fn deliver);
/* In @deliver: how often it was posted; from here on it may be posted again. */
unsigned notice_take(struct mail *m);

#endif

/* mailbox - the only way to another thread's loop: messages with a function to run there. */
#ifndef PROXY_LOOP_MAILBOX_H
#define PROXY_LOOP_MAILBOX_H

#include <pthread.h>

#include "proxy/base/list.h"
#include "proxy/loop/loop.h"

struct mail;
/* Runs on the receiver's thread; takes the mail (frees it, or sends it back). */
typedef void (*mail_fn)(struct mail *m);

struct mail {
    struct list node;
    mail_fn deliver;
};

struct mailbox {
    pthread_mutex_t lock;
    struct list waiting;
    struct watch watch; /* of an eventfd */
};

/* Belongs to the thread of @loop from now on. Returns 0 · -errno. */
int mailbox_init(struct mailbox *b, struct loop *loop) __attribute__((warn_unused_result));
/* Mail that was never delivered is delivered by this call, so that what it owns is not lost. */
void mailbox_fini(struct mailbox *b);
/* Any thread; never blocks for long, never fails. In order of posting. */
void mailbox_post(struct mailbox *b, struct mail *m, mail_fn deliver);

#endif

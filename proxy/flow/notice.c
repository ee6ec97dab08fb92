/*
 * However often it is posted while it is under way, it is delivered once, with the number.
 */
#include "proxy/flow/notice.h"

/* From here on the notice may be posted again. */
unsigned notice_take(struct mail *m)
{
    return atomic_exchange(&list_entry(m, struct notice, mail)->n, 0);
}

void notice_post(struct notice *n, struct mailbox *to, mail_fn deliver)
{
    if (atomic_fetch_add(&n->n, 1) == 0)
        mailbox_post(to, &n->mail, deliver);
}

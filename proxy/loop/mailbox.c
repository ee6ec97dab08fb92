/*
 * An eventfd and a list under a mutex: rare messages (a new snapshot, a listener, drain), so a lock
 * is the simple and right thing; nothing per connection comes this way. The sender allocates, the
 * receiver's function owns the mail.
 */
#include "proxy/loop/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void deliver_all(struct mailbox *b)
{
    struct list round;
    list_init(&round);
    pthread_mutex_lock(&b->lock);
    list_splice(&round, &b->waiting);
    pthread_mutex_unlock(&b->lock);
    for (struct list *pos; (pos = list_first(&round));) {
        struct mail *m = list_entry(pos, struct mail, node);
        list_remove(pos);
        m->deliver(m);
    }
}

static void on_mail(struct watch *w, uint32_t events)
{
    (void)events;
    uint64_t n;
    if (read(w->fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
        return;
    deliver_all(list_entry(w, struct mailbox, watch));
}

int mailbox_init(struct mailbox *b, struct loop *loop)
{
    *b = (struct mailbox){.watch.fd = -1};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = watch_open(&loop->watches, &b->watch, fd, EPOLLIN, on_mail);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    pthread_mutex_init(&b->lock, NULL);
    list_init(&b->waiting);
    return 0;
}

void mailbox_fini(struct mailbox *b)
{
    if (b->watch.fd < 0)
        return;
    deliver_all(b);
    watch_close(&b->watch);
    pthread_mutex_destroy(&b->lock);
}

void mailbox_post(struct mailbox *b, struct mail *m, mail_fn deliver)
{
    m->deliver = deliver;
    pthread_mutex_lock(&b->lock);
    list_append(&b->waiting, &m->node);
    pthread_mutex_unlock(&b->lock);
    uint64_t one = 1;
    ssize_t n = write(b->watch.fd, &one, sizeof(one));
    (void)n; /* the counter is full only when a wake-up is already due */
}

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

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t n;
    if (read(fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
        return;
    deliver_all(arg);
}

int mailbox_init(struct mailbox *b, struct loop *loop)
{
    *b = (struct mailbox){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (b->fd < 0)
        return -errno;
    pthread_mutex_init(&b->lock, NULL);
    list_init(&b->waiting);
    event_assign(&b->event, loop->base, b->fd, EV_READ | EV_PERSIST, on_mail, b);
    event_add(&b->event, NULL);
    return 0;
}

void mailbox_fini(struct mailbox *b)
{
    if (b->fd < 0)
        return;
    event_del(&b->event);
    deliver_all(b);
    close(b->fd);
    b->fd = -1;
    pthread_mutex_destroy(&b->lock);
}

void mailbox_post(struct mailbox *b, struct mail *m, mail_fn deliver)
{
    m->deliver = deliver;
    pthread_mutex_lock(&b->lock);
    list_append(&b->waiting, &m->node);
    pthread_mutex_unlock(&b->lock);
    uint64_t one = 1;
    ssize_t n = write(b->fd, &one, sizeof(one));
    (void)n; /* the counter is full only when a wake-up is already due */
}

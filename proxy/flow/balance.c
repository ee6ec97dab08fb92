/*
 * The kernel spreads new connections over the workers' sockets by a hash, blind to what each one
 * has still open: tunnels that live for hours would leave one worker with most of them. Each accept
 * looks at one other worker, in turn, so it costs the same however many there are; what is on its
 * way already is counted, so that a burst does not tip the scales the other way. Who takes the
 * client judges it, by rules that may be newer.
 */
#include "proxy/flow/balance.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/flow/worker.h"

struct passed {
    struct mail mail;
    struct worker *to;
    balance_take_fn take;
    int fd;
    struct endpoint peer;
    char listener[];
};

static void deliver(struct mail *m)
{
    struct passed *p = list_entry(m, struct passed, mail);
    atomic_fetch_sub_explicit(&p->to->n_coming, 1, memory_order_relaxed);
    p->take(p->to, p->listener, p->fd, &p->peer);
    free(p);
}

static unsigned load_of(const struct worker *w)
{
    return atomic_load_explicit(&w->n_conns, memory_order_relaxed) +
           atomic_load_explicit(&w->n_coming, memory_order_relaxed);
}

/* Another worker, each in its turn; NULL: there is none. */
static struct worker *next_other(struct worker *w)
{
    const struct shared *shared = w->shared;
    if (shared->n_workers < 2)
        return NULL;
    w->balance_turn = (w->balance_turn + 1) % (shared->n_workers - 1);
    unsigned index = w->balance_turn;
    return &shared->workers[index < w->index ? index : index + 1];
}

bool balance_pass(struct worker *w, const struct conf_web_proxy *proxy, int fd,
                  const struct endpoint *peer, balance_take_fn take)
{
    unsigned ours = load_of(w);
    struct worker *other = ours > BALANCE_SLACK && !w->is_draining ? next_other(w) : NULL;
    if (!other)
        return false;
    unsigned theirs = load_of(other);
    unsigned share = theirs / BALANCE_SLACK_SHARE;
    if (ours <= theirs + (share > BALANCE_SLACK ? share : BALANCE_SLACK))
        return false;
    size_t n_name = strlen(proxy->base.name) + 1;
    struct passed *p = malloc(sizeof(*p) + n_name);
    if (!p)
        return false;
    *p = (struct passed){.to = other, .take = take, .fd = fd, .peer = *peer};
    memcpy(p->listener, proxy->base.name, n_name);
    atomic_fetch_add_explicit(&other->n_coming, 1, memory_order_relaxed);
    mailbox_post(&other->mailbox, &p->mail, deliver);
    return true;
}

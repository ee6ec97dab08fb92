/*
 * A snapshot as one worker works by it, with what it needs of it at hand: the resolver's group and
 * the counts of each [web-proxy]. Whoever runs by a view keeps it.
 */
#include "proxy/flow/view.h"

#include <stdlib.h>

#include "proxy/flow/worker.h"
#include "proxy/net/egress.h"

struct own_set *own_set_ref(struct own_set *o)
{
    atomic_fetch_add(&o->n_refs, 1);
    return o;
}

struct own_set *own_set_unref(struct own_set *o)
{
    if (o && atomic_fetch_sub(&o->n_refs, 1) == 1) {
        free(o->own.listeners);
        free(o);
    }
    return NULL;
}

/* ---- views ---- */

static void on_view_back(struct mail *m)
{
    struct view *v = list_entry(m, struct view, mail);
    snapshot_unref(v->snapshot);
    free(v);
}

/* The last user of a hundred thousand rules frees them, which takes tens of milliseconds: that is
 * the main thread's, which serves nobody. */
static struct view *view_free(struct view *v)
{
    for (size_t i = 0; v->groups && i < v->snapshot->conf.n_web_proxies; i++)
        resolver_group_unref(v->groups[i]);
    free(v->groups);
    free(v->tallies);
    mailbox_post(v->worker->shared->main_mailbox, &v->mail, on_view_back);
    return NULL;
}

/* Takes the reference on @s also on failure. */
struct view *view_new(struct worker *w, struct snapshot *s)
{
    struct view *v = calloc(1, sizeof(*v));
    if (!v) {
        snapshot_unref(s);
        return NULL;
    }
    v->worker = w;
    v->snapshot = s;
    v->n_users = 1;
    v->groups = calloc(s->conf.n_web_proxies + 1, sizeof(*v->groups));
    v->tallies = calloc(s->conf.n_web_proxies + 1, sizeof(struct tally_listener *));
    if (!v->groups || !v->tallies)
        return view_free(v);
    for (size_t i = 0; i < s->conf.n_web_proxies; i++) {
        const struct conf_listener *base = &s->conf.web_proxies[i].base;
        v->tallies[i] = tally_listener_get(&w->tally, base->name);
        struct egress egress = egress_from_conf(&base->egress);
        struct resolver_policy policy = resolver_policy_web(&s->conf, &s->conf.web_proxies[i]);
        v->groups[i] = resolver_group_new_with(&w->resolver, &base->name_servers, &egress, &policy);
        if (!v->groups[i])
            return view_free(v);
    }
    return v;
}

struct tally_listener *view_tally(const struct view *v, const struct conf_web_proxy *proxy)
{
    return v->tallies[proxy - v->snapshot->conf.web_proxies];
}

struct view *view_ref(struct view *v)
{
    v->n_users++;
    return v;
}

void view_unref(struct view *v)
{
    if (v && --v->n_users == 0)
        view_free(v);
}

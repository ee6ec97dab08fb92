/*
 * Everything that a snapshot needs is opened and made first, and only then handed over to the
 * workers; whatever fails before that leaves all as it was.
 */
#include "proxy/daemon/apply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/log.h"
#include "proxy/flow/update.h"

enum { REBIND_RETRY_MS = 1000 };

/* To all workers, or to none: -ENOMEM. */
static int post_all(struct daemon *d, struct snapshot *snapshot, struct own_set *own)
{
    struct update **updates = calloc(d->n_workers, sizeof(*updates));
    bool is_whole = updates;
    for (unsigned i = 0; i < d->n_workers && is_whole; i++) {
        unsigned n;
        struct socket_order *orders = sockets_orders(&d->sockets, i, &n);
        if (orders)
            updates[i] = update_new(&d->workers[i], snapshot, own, orders, n);
        is_whole = updates[i];
        free(orders);
    }
    for (unsigned i = 0; i < d->n_workers && updates; i++) {
        if (is_whole)
            update_post(updates[i]);
        else
            update_drop(updates[i]);
        d->n_unapplied += is_whole;
    }
    free(updates);
    return is_whole ? 0 : -ENOMEM;
}

unsigned apply_n_behind(const struct daemon *d)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_workers; i++)
        n += atomic_load(&d->workers[i].is_behind);
    return n;
}

static bool same_own(const struct own_set *a, const struct own_set *b)
{
    return a && b && a->own.n_listeners == b->own.n_listeners &&
           (a->own.n_listeners == 0 || memcmp(a->own.listeners, b->own.listeners,
                                              a->own.n_listeners * sizeof(struct endpoint)) == 0);
}

static void name_missing(struct daemon *d, const struct conf_listener *l, unsigned *n_missing)
{
    for (size_t i = 0; i < l->n_networks; i++) {
        const char *ifname = l->networks[i].ifname;
        if (!ifname[0] || sockets_has_interface(ifname))
            continue;
        if (++*n_missing > d->n_waiting)
            log_warning(
                "msg=\"interface is not there yet, waiting for it\" interface=%s listener=%s",
                ifname, l->name);
    }
}

static void name_all_missing(struct daemon *d, const struct conf *conf)
{
    unsigned n = 0;
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        name_missing(d, &conf->web_proxies[i].base, &n);
    for (size_t i = 0; i < conf->n_dns; i++)
        name_missing(d, &conf->dns[i].base, &n);
    d->n_waiting = n;
}

/* What could not be done is tried again every second. */
static void serve_admin(struct daemon *d, struct snapshot *snapshot)
{
    unsigned n;
    struct socket_order *orders = sockets_admin_orders(&d->sockets, &n);
    int rc = orders ? admin_use(&d->admin, snapshot, orders, n) : -ENOMEM;
    if (orders)
        sockets_take_back(&d->sockets, orders, n);
    free(orders);
    bool was_behind = d->is_admin_behind;
    d->is_admin_behind = rc < 0;
    if (rc < 0)
        links_retry(&d->links, REBIND_RETRY_MS);
    if (rc < 0 && !was_behind)
        log_error("msg=\"the admin's pages are not served as configured, trying again\" "
                  "error=\"%s\"",
                  strerror(-rc));
    if (rc == 0 && was_behind)
        log_notice("msg=\"the admin's pages are served as configured\"");
}

/* Makes @snapshot the one in force, or changes nothing. */
int apply_snapshot(struct daemon *d, struct snapshot *snapshot, char *ret_text, size_t text_size)
{
    int rc = sockets_prepare(&d->sockets, &snapshot->conf, ret_text, text_size);
    if (rc < 0)
        return rc;
    struct own_set *own = sockets_own(&snapshot->conf, &d->addresses);
    if (!own) {
        sockets_rollback(&d->sockets);
        snprintf(ret_text, text_size, "the local addresses could not be read");
        return -ENOMEM;
    }
    bool is_new =
        snapshot != d->snapshot || sockets_has_changes(&d->sockets) || !same_own(own, d->own);
    if (is_new && post_all(d, snapshot, own) < 0) {
        sockets_rollback(&d->sockets);
        own_set_unref(own);
        snprintf(ret_text, text_size, "out of memory");
        return -ENOMEM;
    }
    serve_admin(d, snapshot);
    sockets_commit(&d->sockets);
    own_set_unref(d->own);
    d->own = own;
    name_all_missing(d, &snapshot->conf);
    return 0;
}

void apply_on_links_changed(void *arg)
{
    struct daemon *d = arg;
    if (d->is_draining)
        return;
    char text[256] = "";
    int rc = apply_snapshot(d, d->snapshot, text, sizeof(text));
    if (rc < 0) {
        log_warning("msg=\"listeners could not follow the interfaces, trying again\" error=\"%s\"",
                    text);
        links_retry(&d->links, REBIND_RETRY_MS);
    }
}

/*
 * `check --against-live`: the files on disk are a candidate that nobody works by, and each worker
 * judges its own connections by it exactly as a reload would (proxy/flow/rejudge). One allocation
 * goes out to the workers as mail and comes back as mail, so nothing can be lost for want of memory
 * on the way. The pointers it brings are into the candidate, which the survey holds.
 */
#include "proxy/flow/survey.h"

#include <stdlib.h>

#include "proxy/flow/conn.h"
#include "proxy/flow/rejudge.h"
#include "proxy/flow/worker.h"

enum { SLICE_CONNS = 64 };

struct survey *survey_free(struct survey *s)
{
    if (!s)
        return NULL;
    for (unsigned i = 0; i < s->n_parts; i++)
        free(s->parts[i].finds);
    snapshot_unref(s->candidate);
    own_set_unref(s->own);
    free(s);
    return NULL;
}

/* ---- in the worker ---- */

static void add_find(struct survey_part *p, const struct conn *c, const struct rejudge *why)
{
    if (p->n_finds == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        struct survey_find *finds = reallocarray(p->finds, capacity, sizeof(*finds));
        if (!finds) {
            p->is_cut_short = true;
            return;
        }
        p->finds = finds;
        p->capacity = capacity;
    }
    p->finds[p->n_finds++] = (struct survey_find){.source = c->client.addr,
                                                  .place = rejudge_place(why),
                                                  .words = rejudge_words(why),
                                                  .is_tunnel = c->state == CONN_STATE_RELAY};
}

static void on_conn(struct conn *c)
{
    struct survey_part *p = c->worker->survey;
    struct rejudge why;
    if (c->state != CONN_STATE_RELAY && c->state != CONN_STATE_EXCHANGE)
        return;
    p->n_looked_at++;
    if (!rejudge_conn(c, p->survey->candidate, &p->survey->own->own, &why))
        add_find(p, c, &why);
}

static void on_part_back(struct mail *m)
{
    struct survey *s = list_entry(m, struct survey_part, mail)->survey;
    if (--s->n_away > 0)
        return;
    if (s->done)
        s->done(s, s->owner);
    else
        survey_free(s);
}

static void send_back(struct worker *w)
{
    struct survey_part *p = w->survey;
    w->survey = NULL;
    mailbox_post(w->shared->main_mailbox, &p->mail, on_part_back);
}

static void on_part(struct mail *m)
{
    struct survey_part *p = list_entry(m, struct survey_part, mail);
    struct worker *w = p->worker;
    if (w->survey || w->is_draining) { /* one at a time; and who drains is not reloaded */
        p->is_cut_short = true;
        mailbox_post(w->shared->main_mailbox, &p->mail, on_part_back);
        return;
    }
    w->survey = p;
    walk_init(&p->walk, w, SLICE_CONNS, on_conn, send_back);
    walk_start(&p->walk);
}

void survey_part_end(struct survey_part *p)
{
    if (!p)
        return;
    walk_fini(&p->walk);
    p->is_cut_short = true;
    send_back(p->worker);
}

void survey_forget(struct survey_part *p, const struct conn *c)
{
    if (p)
        walk_forget(&p->walk, c);
}

/* ---- on the main thread ---- */

struct survey *survey_start(struct worker *workers, unsigned n_workers, struct snapshot *candidate,
                            struct own_set *own, survey_done_fn done, void *owner)
{
    struct survey *s = calloc(1, sizeof(*s) + n_workers * sizeof(s->parts[0]));
    if (!s)
        return NULL;
    s->candidate = snapshot_ref(candidate);
    s->own = own_set_ref(own);
    s->done = done;
    s->owner = owner;
    s->n_parts = s->n_away = n_workers;
    for (unsigned i = 0; i < n_workers; i++) {
        s->parts[i].survey = s;
        s->parts[i].worker = &workers[i];
        mailbox_post(&workers[i].mailbox, &s->parts[i].mail, on_part);
    }
    return s;
}

void survey_cancel(struct survey *s)
{
    s->done = NULL;
}

/*
 * The main thread's loop does the look-ups; nothing waits for them but the client. What was begun
 * by a client that left meanwhile ends by the look-up's own limit.
 */
#include "proxy/daemon/inquiries.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/daemon/daemon.h"
#include "proxy/daemon/explain.h"

struct inquiry {
    struct list node;
    struct inquiries *all;
    struct control_call *call;
    struct explain *explain;
};

static void inquiry_free(struct inquiry *i, enum exit_code code)
{
    list_remove(&i->node);
    i->all->n--;
    control_end(i->call, code);
    free(i);
}

static void on_told(void *owner, enum exit_code code)
{
    inquiry_free(owner, code);
}

static bool read_options(char **args, struct explain_options *ret)
{
    *ret = (struct explain_options){.from = args[1], .target = args[1] ? args[2] : NULL};
    if (!ret->target)
        return false;
    for (char **a = args + 3; *a; a++) {
        if (strcmp(*a, "--no-resolve") == 0)
            ret->no_resolve = true;
        else if (strcmp(*a, "--json") == 0)
            ret->as_json = true;
        else if (strcmp(*a, "--listener") == 0 && a[1])
            ret->listener = *++a;
        else
            return false;
    }
    return true;
}

static bool start(struct daemon *d, struct control_call *call,
                  const struct explain_options *options, const struct explain_question *question)
{
    struct explain_place place = {.loop = &d->loop,
                                  .snapshot = d->snapshot,
                                  .own = d->own,
                                  .out = control_out(call),
                                  .err = control_err(call)};
    struct inquiry *i = d->inquiries.n < INQUIRIES_MAX ? calloc(1, sizeof(*i)) : NULL;
    if (!i)
        return false;
    i->call = call;
    i->all = &d->inquiries;
    i->explain = explain_start(&place, options, question, on_told, i);
    if (!i->explain) {
        free(i);
        return false;
    }
    list_append(&i->all->all, &i->node);
    i->all->n++;
    return true;
}

void inquiries_init(struct inquiries *all)
{
    *all = (struct inquiries){0};
    list_init(&all->all);
}

void inquiries_run(struct daemon *d, struct control_call *call, int n_args, char **args)
{
    struct explain_options options;
    struct explain_question question;
    (void)n_args;
    if (!read_options(args, &options)) {
        fprintf(control_err(call), "ukai: explain: a source and a target are needed\n");
        control_end(call, EXIT_USAGE);
    } else if (!explain_ask(&options, control_err(call), &question)) {
        control_end(call, EXIT_USAGE);
    } else if (!start(d, call, &options, &question)) {
        fprintf(control_err(call), "ukai: explain: too much is asked at once; try again\n");
        control_end(call, EXIT_FAILED);
    }
}

void inquiries_fini(struct inquiries *all)
{
    for (struct list *pos; all->all.next && (pos = list_first(&all->all));) {
        struct inquiry *i = list_entry(pos, struct inquiry, node);
        explain_cancel(i->explain);
        inquiry_free(i, EXIT_FAILED);
    }
}

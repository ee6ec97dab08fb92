/*
 * Ten thousand tunnels looked at in one go would stall the traffic of all; so a pass is cut into
 * slices, and between two of them connections come and go. A new one joins the end of the list and
 * is visited too; one that leaves moves the place where the pass goes on.
 */
#include "proxy/flow/walk.h"

#include "proxy/flow/conn.h"
#include "proxy/flow/worker.h"

static void on_slice(struct loop_task *t)
{
    struct walk *walk = list_entry(t, struct walk, task);
    struct worker *w = walk->worker;
    for (unsigned i = 0; i < walk->slice && walk->next != &w->conns; i++) {
        struct conn *c = list_entry(walk->next, struct conn, node);
        walk->next = walk->next->next;
        walk->visit(c);
    }
    if (walk->next != &w->conns) {
        loop_task_add(&w->loop, &walk->task);
        return;
    }
    walk->next = NULL;
    if (walk->over)
        walk->over(w);
}

void walk_init(struct walk *walk, struct worker *w, unsigned slice, void (*visit)(struct conn *c),
               void (*over)(struct worker *w))
{
    *walk = (struct walk){.worker = w, .slice = slice, .visit = visit, .over = over};
    loop_task_init(&walk->task, on_slice);
}

void walk_fini(struct walk *walk)
{
    if (walk->worker)
        loop_task_remove(&walk->task);
}

void walk_start(struct walk *walk)
{
    walk->next = walk->worker->conns.next;
    loop_task_add(&walk->worker->loop, &walk->task);
}

bool walk_is_running(const struct walk *walk)
{
    return walk->next;
}

void walk_forget(struct walk *walk, const struct conn *c)
{
    if (walk->next == &c->node)
        walk->next = c->node.next;
}

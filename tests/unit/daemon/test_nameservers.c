/* What several workers think of the same name servers, as one opinion. */
#include "proxy/daemon/nameservers.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2 };

struct view {
    unsigned n_asked, n_answered, n_failed;
    uint64_t rtt_8ms;
    bool is_down, is_looping;
};

static const struct {
    struct view views[WORKERS];
    const char *state;
    unsigned n_down;
    double rtt_ms;
} rows[] = {
    {{{0}, {0}}, "up", 0, 0},
    {{{10, 10, 0, 16, false, false}, {30, 30, 0, 80, false, false}}, "up", 0, 8},
    {{{3, 0, 3, 0, true, false}, {0}}, "down", 1, 0}, /* the other one never tried */
    {{{3, 0, 3, 0, true, false}, {5, 5, 0, 8, false, false}}, "partly", 1, 1},
    {{{3, 0, 3, 0, true, false}, {3, 0, 3, 0, true, false}}, "down", 2, 0},
    {{{3, 3, 0, 8, false, true}, {3, 3, 0, 8, false, false}}, "loop", 0, 1},
};

static void set(struct roster_part *p, unsigned at, const struct view *v, const char *address)
{
    struct roster_server *s = &p->servers[at];
    *s = (struct roster_server){.endpoint.port = 53,
                                .n_asked = v->n_asked,
                                .n_answered = v->n_answered,
                                .n_failed = v->n_failed,
                                .rtt_8ms = v->rtt_8ms,
                                .is_down = v->is_down,
                                .is_looping = v->is_looping};
    cr_assert_eq(addr_parse(address, strlen(address), &s->endpoint.addr), 0);
    p->n_servers = p->n_servers > at ? p->n_servers : at + 1;
}

Test(daemon_nameservers, opinions__are_one)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct roster *r = calloc(1, sizeof(*r) + WORKERS * sizeof(r->parts[0]));
        r->n_parts = WORKERS;
        /* in another order with each worker */
        for (unsigned k = 0; k < WORKERS; k++) {
            set(&r->parts[k], k, &rows[i].views[k], "192.0.2.1");
            set(&r->parts[k], !k, &(struct view){7, 7, 0, 8, false, false}, "192.0.2.2");
        }
        json_t *list = nameservers_json(r);
        cr_assert_eq(json_array_size(list), 2);
        const json_t *o = json_array_get(list, 0);
        cr_expect_str_eq(json_string_value(json_object_get(o, "server")), "192.0.2.1:53");
        cr_expect_str_eq(json_string_value(json_object_get(o, "state")), rows[i].state, "row %zu",
                         i);
        cr_expect_eq(json_integer_value(json_object_get(o, "workers_down")), rows[i].n_down);
        cr_expect_float_eq(json_real_value(json_object_get(o, "rtt_ms")), rows[i].rtt_ms, 0.01,
                           "row %zu", i);
        cr_expect_eq(json_integer_value(json_object_get(o, "queries")),
                     rows[i].views[0].n_asked + rows[i].views[1].n_asked);
        json_decref(list);
        free(r);
    }
}

/*
 * Each worker has one and is the only one to touch it: no atomics, no allocation where something is
 * counted. Whoever wants the figures has each worker add its own to a copy (flow/roster). What
 * clients and origins choose - methods, status codes - falls into a fixed number of places, so that
 * nobody can make the metrics grow.
 */
#include "proxy/report/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint32_t tally_bounds_ms[TALLY_BUCKETS] = {1,   2,   5,    10,   20,   50,    100,
                                                 200, 500, 1000, 2000, 5000, 10000, 30000};

static const char *const methods[TALLY_METHODS] = {"GET",     "HEAD",  "POST",   "CONNECT", "PUT",
                                                   "OPTIONS", "PATCH", "DELETE", "other"};

/* IANA's registry of status codes, between no answer at all and any other code. */
enum { STATUS_NONE = 0, STATUS_OTHER = TALLY_STATUSES - 1 };
static const uint16_t statuses[TALLY_STATUSES] = {
    0,   100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300,
    301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408,
    409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426,
    428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511};

void tally_fini(struct tally *t)
{
    for (unsigned i = 0; i < t->n_listeners; i++)
        free(t->listeners[i]);
    *t = (struct tally){0};
}

struct tally_listener *tally_listener_get(struct tally *t, const char *name)
{
    for (unsigned i = 0; i < t->n_listeners; i++) {
        if (strncmp(t->listeners[i]->name, name, TALLY_NAME_MAX - 1) == 0)
            return t->listeners[i];
    }
    struct tally_listener *l = t->n_listeners < TALLY_LISTENERS_MAX ? calloc(1, sizeof(*l)) : NULL;
    if (!l) {
        snprintf(t->others.name, sizeof(t->others.name), "other");
        return &t->others;
    }
    snprintf(l->name, sizeof(l->name), "%s", name);
    t->listeners[t->n_listeners++] = l;
    return l;
}

static unsigned method_index(const char *method)
{
    unsigned i = 0;
    while (i < TALLY_METHODS - 1 && (!method || strcmp(methods[i], method) != 0))
        i++;
    return i;
}

/* They stand in order. */
static unsigned status_index(unsigned status)
{
    unsigned low = 1, high = STATUS_OTHER;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (statuses[middle] < status)
            low = middle + 1;
        else
            high = middle;
    }
    if (status == 0)
        return STATUS_NONE;
    return low < STATUS_OTHER && statuses[low] == status ? low : STATUS_OTHER;
}

void tally_request(struct tally_listener *l, const char *method, unsigned status)
{
    l->n_requests[method_index(method)][status_index(status)]++;
}

static uint64_t *failures_of(struct tally *t, const struct endpoint *server, bool is_tls)
{
    for (unsigned i = 0; i < t->n_servers; i++) {
        struct tally_server *s = &t->servers[i];
        if (s->is_tls == is_tls && endpoint_equal(&s->endpoint, server))
            return &s->n_failures;
    }
    if (t->n_servers == TALLY_SERVERS_MAX)
        return &t->n_other_failures;
    struct tally_server *s = &t->servers[t->n_servers++];
    *s = (struct tally_server){.endpoint = *server, .is_tls = is_tls};
    return &s->n_failures;
}

void tally_server_failed(struct tally *t, const struct endpoint *server, bool is_tls)
{
    ++*failures_of(t, server, is_tls);
}

static void add_listener(struct tally_listener *sum, const struct tally_listener *more)
{
    for (unsigned i = 0; i < REASON_MAX; i++)
        sum->n_ended[i] += more->n_ended[i];
    for (unsigned m = 0; m < TALLY_METHODS; m++) {
        for (unsigned s = 0; s < TALLY_STATUSES; s++)
            sum->n_requests[m][s] += more->n_requests[m][s];
    }
    sum->bytes_up += more->bytes_up;
    sum->bytes_down += more->bytes_down;
}

static void add_times(struct tally_times *sum, const struct tally_times *more)
{
    for (unsigned i = 0; i <= TALLY_BUCKETS; i++)
        sum->n[i] += more->n[i];
    sum->sum_ms += more->sum_ms;
}

void tally_add_up(struct tally *sum, const struct tally *more)
{
    for (unsigned i = 0; i < more->n_listeners; i++)
        add_listener(tally_listener_get(sum, more->listeners[i]->name), more->listeners[i]);
    if (more->others.name[0])
        add_listener(tally_listener_get(sum, more->others.name), &more->others);
    for (unsigned i = 0; i < more->n_servers; i++) {
        const struct tally_server *s = &more->servers[i];
        *failures_of(sum, &s->endpoint, s->is_tls) += s->n_failures;
    }
    sum->n_other_failures += more->n_other_failures;
    add_times(&sum->connect, &more->connect);
    add_times(&sum->dns_upstream, &more->dns_upstream);
}

const char *tally_method_text(unsigned method)
{
    return methods[method < TALLY_METHODS ? method : TALLY_METHODS - 1];
}

const char *tally_status_text(unsigned index, char buf[static 8])
{
    if (index == STATUS_NONE || index >= STATUS_OTHER)
        return index == STATUS_NONE ? "none" : "other";
    snprintf(buf, 8, "%u", statuses[index]);
    return buf;
}

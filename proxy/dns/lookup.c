/*
 * The addresses of one name for a dial: A and AAAA are asked at the same time, as RFC 8305 section
 * 3 has it. As soon as one family has an address the other gets a short grace, so a name server
 * that is slow for AAAA (or drops it) costs nobody a second. NXDOMAIN for one type is NXDOMAIN for
 * the name. No search list, no hosts file, no getaddrinfo. The addresses are only found here;
 * whether they may be dialled is judged by the caller, each of them.
 */
#include "proxy/dns/lookup.h"

#include <errno.h>
#include <string.h>

enum { GRACE_MS = 50, PER_FAMILY_MAX = LOOKUP_ADDRS_MAX };

static void stop(struct lookup *l)
{
    resolver_ask_cancel(&l->ask_a);
    resolver_ask_cancel(&l->ask_aaaa);
    loop_timer_stop(l->resolver->loop, &l->grace);
    loop_task_remove(&l->report);
    l->n_pending = 0;
}

void lookup_cancel(struct lookup *l)
{
    if (!l->resolver)
        return;
    stop(l);
    l->done = NULL;
}

/* IPv6 first, then by turns; what one family lacks the other may fill (RFC 8305 section 4). */
static unsigned interleave(const struct lookup *l, struct addr *to)
{
    const struct addr *ipv4 = l->addrs, *ipv6 = l->addrs + PER_FAMILY_MAX;
    unsigned n = 0;
    for (unsigned i4 = 0, i6 = 0; n < LOOKUP_ADDRS_MAX && (i4 < l->n_ipv4 || i6 < l->n_ipv6);) {
        if (i6 < l->n_ipv6)
            to[n++] = ipv6[i6++];
        if (i4 < l->n_ipv4 && n < LOOKUP_ADDRS_MAX)
            to[n++] = ipv4[i4++];
    }
    return n;
}

static void finish(struct lookup *l)
{
    lookup_done_fn done = l->done;
    struct addr addrs[LOOKUP_ADDRS_MAX];
    unsigned n = interleave(l, addrs);
    lookup_cancel(l);
    if (n > 0)
        done(l, LOOKUP_ADDRS, addrs, n);
    else if (l->has_timed_out && !l->has_no_name)
        done(l, LOOKUP_TIMEOUT, NULL, 0);
    else if (l->has_failed && !l->has_no_name)
        done(l, LOOKUP_FAILED, NULL, 0);
    else
        done(l, LOOKUP_NO_NAME, NULL, 0);
}

static void on_grace_over(struct timer *t)
{
    finish(list_entry(t, struct lookup, grace));
}

static void on_report(struct loop_task *t)
{
    finish(list_entry(t, struct lookup, report));
}

static void take_result(struct lookup *l, bool is_ipv4, const struct resolver_result *result)
{
    struct addr *into = l->addrs + (is_ipv4 ? 0 : PER_FAMILY_MAX);
    int n;
    switch (result->outcome) {
    case RESOLVER_ANSWER:
        if (result->rcode == WIRE_RCODE_NXDOMAIN) {
            l->has_no_name = true;
            return;
        }
        n = answer_addresses(result->answer, into, PER_FAMILY_MAX);
        if (n < 0)
            l->has_failed = true;
        else if (is_ipv4)
            l->n_ipv4 = (unsigned)n;
        else
            l->n_ipv6 = (unsigned)n;
        return;
    case RESOLVER_TIMEOUT:
        l->has_timed_out = true;
        return;
    case RESOLVER_FAILED:
    case RESOLVER_BUSY:
    case RESOLVER_UNKNOWN:
    case RESOLVER_UNREACHABLE:
        l->has_failed = true;
        return;
    }
}

static bool is_settled(const struct lookup *l)
{
    return l->n_pending == 0 || (l->has_no_name && l->n_ipv4 + l->n_ipv6 == 0);
}

static void on_answer(struct lookup *l, bool is_ipv4, const struct resolver_result *result)
{
    l->n_pending--;
    take_result(l, is_ipv4, result);
    if (is_settled(l))
        finish(l);
    else if (l->n_ipv4 + l->n_ipv6 > 0)
        loop_timer_start(l->resolver->loop, &l->grace, GRACE_MS, on_grace_over);
}

static void on_a_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    on_answer(list_entry(ask, struct lookup, ask_a), true, result);
}

static void on_aaaa_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    on_answer(list_entry(ask, struct lookup, ask_aaaa), false, result);
}

static void ask(struct lookup *l, struct resolver_group *group, struct resolver_request *request,
                bool is_ipv4)
{
    struct resolver_result result;
    request->question.type = is_ipv4 ? WIRE_TYPE_A : WIRE_TYPE_AAAA;
    int rc = resolver_ask_start(is_ipv4 ? &l->ask_a : &l->ask_aaaa, l->resolver, group, request,
                                is_ipv4 ? on_a_done : on_aaaa_done, &result);
    if (rc == RESOLVER_DONE)
        take_result(l, is_ipv4, &result);
    else
        l->n_pending++;
}

int lookup_start(struct lookup *l, struct resolver *r, struct resolver_group *group,
                 const char *name, bool wants_ipv4, bool wants_ipv6, uint64_t limit_ms,
                 lookup_done_fn done)
{
    struct resolver_request request = {
        .question.class = WIRE_CLASS_IN, .budget = RESOLVER_FOR_DIAL, .limit_ms = limit_ms};
    memset(l, 0, offsetof(struct lookup, addrs));
    l->n_ipv4 = l->n_ipv6 = l->n_pending = 0;
    l->has_failed = l->has_timed_out = l->has_no_name = false;
    l->resolver = r;
    l->done = done;
    loop_task_init(&l->report, on_report);
    if (wire_name_from_text(name, strlen(name), &request.question.name) < 0) {
        l->has_no_name = true; /* a name that cannot be asked for does not exist */
    } else {
        if (wants_ipv4)
            ask(l, group, &request, true);
        if (wants_ipv6)
            ask(l, group, &request, false);
    }
    if (is_settled(l))
        loop_task_add(r->loop, &l->report);
    else if (l->n_ipv4 + l->n_ipv6 > 0)
        loop_timer_start(r->loop, &l->grace, GRACE_MS, on_grace_over);
    return 0;
}

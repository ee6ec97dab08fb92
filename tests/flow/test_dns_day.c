/*
 * A day in the life of an answer, on a clock that the test turns: fresh, asked for again before its
 * time is over, given out stale for as long as that is allowed, and gone. The resolver is the whole
 * one, on a real loop against a scripted name server; only the time is not real.
 */
#include "proxy/dns/resolver.h"

#include <criterion/criterion.h>
#include <sys/syscall.h>
#include <time.h>

#include "proxy/dns/cache.h"
#include "proxy/dns/resolver_group.h"
#include "tests/flow/dns_fake.h"

enum { TTL_S = 300, DAY_S = 86400, CACHE_BYTES = 1 << 20 };

/* Of this process, in place of libc's. */
static uint64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += (time_t)ahead_s;
    return rc;
}

struct day {
    struct loop loop;
    struct resolver resolver;
    struct resolver_group *group;
    struct fake fake;
    struct resolver_ask ask;
    bool is_done, is_stale;
    enum resolver_outcome outcome;
    uint32_t ttl_s; /* as an asker is told */
};

/* @server: NULL: the scripted one's. */
static struct day *day_new_at(const struct resolver_policy *policy, const struct endpoint *server)
{
    struct day *d = calloc(1, sizeof(*d));
    struct conf_name_server item = {0};
    struct conf_name_servers servers = {.items = &item, .n_items = 1};
    struct egress egress = {0};
    cr_assert_eq(loop_init(&d->loop), 0);
    cr_assert_eq(resolver_init(&d->resolver, &d->loop, CACHE_BYTES), 0);
    fake_open(&d->fake, &d->loop, script_answers);
    item.endpoint = server ? *server : d->fake.at;
    d->group = resolver_group_new_with(&d->resolver, &servers, &egress, policy);
    cr_assert_not_null(d->group);
    return d;
}

static struct day *day_new(const struct resolver_policy *policy)
{
    return day_new_at(policy, NULL);
}

static void day_free(struct day *d)
{
    resolver_group_unref(d->group);
    resolver_fini(&d->resolver);
    fake_close(&d->fake);
    loop_fini(&d->loop);
    free(d);
}

static void settle(struct day *d)
{
    for (unsigned i = 0; i < 6; i++)
        loop_round(&d->loop, false);
}

/* What is under way arrives; then the clock is turned, and the timers of that time fire. */
static void pass(struct day *d, unsigned seconds)
{
    settle(d);
    ahead_s += seconds;
    settle(d);
}

static void note(struct day *d, const struct resolver_result *result)
{
    d->is_done = true;
    d->is_stale = result->is_stale;
    d->outcome = result->outcome;
    d->ttl_s = 0;
    if (!result->answer)
        return;
    uint8_t reply[512];
    struct answer_manner manner = {.ede = WIRE_EDE_NONE, .is_stale = result->is_stale};
    struct wire_query q = {.udp_size = sizeof(reply)};
    cr_assert_eq(wire_name_from_text("day.example", 11, &q.question.name), 0);
    size_t len =
        answer_write(result->answer, &q, loop_now_ms(&d->loop), &manner, reply, sizeof(reply));
    size_t ttl_at = result->answer->question_end + 2 + 4u; /* behind a pointer, type, class */
    cr_assert_leq(ttl_at + 4, len);
    d->ttl_s = wire_get32(reply + ttl_at);
}

static void on_done(struct resolver_ask *ask, const struct resolver_result *result)
{
    note(list_entry(ask, struct day, ask), result);
}

/* Returns whether the answer was there at once. */
static bool ask(struct day *d)
{
    struct resolver_request request = {.budget = RESOLVER_FOR_LAN, .limit_ms = 3000};
    cr_assert_eq(wire_name_from_text("day.example", 11, &request.question.name), 0);
    request.question.type = WIRE_TYPE_A;
    request.question.class = WIRE_CLASS_IN;
    struct resolver_result result;
    d->is_done = false;
    if (resolver_ask_start(&d->ask, &d->resolver, d->group, &request, on_done, &result) != 0) {
        note(d, &result);
        return true;
    }
    for (unsigned i = 0; i < 2000 && !d->is_done; i++)
        loop_round(&d->loop, true);
    cr_assert(d->is_done, "no result");
    return false;
}

/* U23, B6-58: whoever asks often never waits, and the server is asked once in a life. */
Test(dns_day, prefetch__keeps_a_popular_answer__for_24_hours)
{
    struct resolver_policy policy = {.ttls = {.max_s = DAY_S, .negative_max_s = 60},
                                     .prefetches = true};
    struct day *d = day_new(&policy);
    cr_assert(!ask(d));
    unsigned n_waits = 0;
    for (unsigned s = 0; s < DAY_S; s += 10) {
        pass(d, 10);
        n_waits += !ask(d);
        cr_assert_eq(d->outcome, RESOLVER_ANSWER, "second %u", s);
        cr_assert(d->ttl_s > 0 && d->ttl_s <= TTL_S, "second %u: TTL %u", s, d->ttl_s);
        cr_assert(!d->is_stale);
    }
    cr_assert_eq(n_waits, 0, "%u askers waited", n_waits);
    unsigned least = DAY_S / TTL_S, most = DAY_S / (TTL_S * 9 / 10 - 10) + 1;
    cr_assert(d->fake.n_udp >= least && d->fake.n_udp <= most, "asked %u times, not %u to %u",
              d->fake.n_udp, least, most);
    day_free(d);
}

/* B6-58: and what nobody asks for is let go. */
Test(dns_day, prefetch__lets_go__what_is_not_asked_for)
{
    struct resolver_policy policy = {.ttls = {.max_s = DAY_S, .negative_max_s = 60},
                                     .prefetches = true};
    struct day *d = day_new(&policy);
    for (unsigned i = 0; i < 10; i++)
        (void)ask(d);
    for (unsigned s = 0; s < DAY_S; s += 10)
        pass(d, 10);
    cr_assert_eq(d->fake.n_udp, 1);
    cr_assert(!ask(d), "an answer of yesterday");
    cr_assert_eq(d->ttl_s, TTL_S);
    day_free(d);
}

Test(dns_day, no_prefetch__asks_again__only_when_a_life_is_over)
{
    struct resolver_policy policy = {.ttls = {.max_s = DAY_S, .negative_max_s = 60}};
    struct day *d = day_new(&policy);
    cr_assert(!ask(d));
    unsigned n_waits = 1;
    for (unsigned s = 10; s <= DAY_S; s += 10) {
        pass(d, 10);
        n_waits += !ask(d);
        cr_assert_eq(d->outcome, RESOLVER_ANSWER);
        cr_assert(d->ttl_s > 0 && d->ttl_s <= TTL_S, "second %u: TTL %u", s, d->ttl_s);
    }
    cr_assert_eq(n_waits, d->fake.n_udp);
    cr_assert_eq(n_waits, DAY_S / TTL_S + 1, "asked %u times", n_waits);
    day_free(d);
}

/* U23, RFC 8767: the server dies; its last answer holds for the window and not a minute longer. */
Test(dns_day, stale__is_given__through_its_window_and_no_longer)
{
    enum { WINDOW_S = 3600, STEP_S = 60 };
    struct resolver_policy policy = {.ttls = {.max_s = DAY_S, .negative_max_s = 60},
                                     .stale_s = WINDOW_S};
    struct day *d = day_new(&policy);
    cr_assert(!ask(d));
    d->fake.script = script_servfail;
    for (unsigned s = STEP_S; s < DAY_S; s += STEP_S) {
        pass(d, STEP_S);
        (void)ask(d);
        if (s < TTL_S)
            cr_assert(d->outcome == RESOLVER_ANSWER && !d->is_stale, "second %u", s);
        else if (s < TTL_S + WINDOW_S)
            cr_assert(d->outcome == RESOLVER_ANSWER && d->is_stale &&
                          d->ttl_s == ANSWER_STALE_TTL_S,
                      "second %u: outcome %d, TTL %u", s, (int)d->outcome, d->ttl_s);
        else
            cr_assert_neq(d->outcome, RESOLVER_ANSWER, "second %u: %u s too long", s,
                          s - TTL_S - WINDOW_S);
    }
    /* Back again: at the latest when the back-off is over. */
    d->fake.script = script_answers;
    pass(d, 600);
    (void)ask(d);
    cr_assert_eq(d->outcome, RESOLVER_ANSWER);
    cr_assert(!d->is_stale);
    cr_assert_eq(d->ttl_s, TTL_S);
    day_free(d);
}

/* Without a way out nothing is sent, and nobody is spared by waiting longer: one second, however
 * often it fails, so that names are there when the way is. */
Test(dns_day, no_way_out__is_remembered__for_a_second_each_time)
{
    struct endpoint broadcast = {.addr = addr_from_ipv4(0xffffffff), .port = 53}; /* EACCES */
    struct resolver_policy policy = {.ttls = {.max_s = DAY_S, .negative_max_s = 60}};
    struct day *d = day_new_at(&policy, &broadcast);
    for (unsigned s = 0; s < 60; s++) {
        cr_assert(!ask(d), "second %u: not tried again", s);
        cr_assert_eq(d->outcome, RESOLVER_UNREACHABLE);
        cr_assert(ask(d), "second %u: tried again at once", s);
        pass(d, 1);
    }
    day_free(d);
}

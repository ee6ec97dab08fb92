#include <criterion/criterion.h>
#include <string.h>

#include "proxy/dns/loops.h"

struct rig {
    struct loops *loops;
    struct egress egress;
    struct endpoint server;
    struct loop_probe *probe;
    struct wire_name name;
};

static struct rig rig_new(void)
{
    struct rig r = {.loops = loops_new(), .server = {.addr = addr_from_ipv4(1), .port = 53}};
    struct conf_egress none = {.has_mark = false};
    r.egress = egress_from_conf(&none);
    r.probe = loops_get(r.loops, &r.server, &r.egress);
    return r;
}

static void rig_fini(struct rig *r)
{
    loops_put(r->loops, r->probe);
    loops_free(r->loops);
}

Test(dns_loops, due__once__then_when_wanted)
{
    struct rig r = rig_new();
    char text[WIRE_NAME_TEXT_MAX];
    cr_assert(loops_due(r.loops, r.probe, 1000, &r.name));
    wire_name_text(&r.name, text);
    cr_assert_eq(strlen(text), 32 + 1 + 9, "%s", text);
    cr_assert(!loops_due(r.loops, r.probe, 999999, &r.name));
    loops_want(r.loops, r.probe, 2000);
    cr_assert(!loops_due(r.loops, r.probe, 2000, &r.name), "too soon after the last");
    struct wire_name before = r.name;
    cr_assert(loops_due(r.loops, r.probe, 6000, &r.name));
    cr_assert(!wire_name_equal(&before, &r.name));
    rig_fini(&r);
}

Test(dns_loops, take__makes_it_looping__in_any_case)
{
    struct rig r = rig_new();
    struct wire_name other;
    cr_assert_eq(wire_name_from_text("www.example", 11, &other), 0);
    cr_assert(!loops_take(r.loops, &other));
    cr_assert(loops_due(r.loops, r.probe, 1000, &r.name));
    struct wire_name wrong = r.name, mixed = r.name;
    wrong.bytes[1] ^= 1;
    cr_assert(!loops_take(r.loops, &wrong));
    cr_assert(!loop_probe_is_looping(r.probe));
    for (unsigned i = 1; i < 43; i++)
        mixed.bytes[i] &= mixed.bytes[i] >= 'a' ? (uint8_t)~0x20 : 0xff;
    cr_assert(loops_take(r.loops, &mixed));
    cr_assert(loop_probe_is_looping(r.probe));
    cr_assert(loops_has_news(r.probe));
    cr_assert(!loops_has_news(r.probe));
    rig_fini(&r);
}

Test(dns_loops, due__finds_the_loop_gone__half_a_minute_later)
{
    struct rig r = rig_new();
    cr_assert(loops_due(r.loops, r.probe, 1000, &r.name));
    cr_assert(loops_take(r.loops, &r.name));
    cr_assert(!loops_due(r.loops, r.probe, 30000, &r.name));
    cr_assert(loops_due(r.loops, r.probe, 31000, &r.name));
    cr_assert(loops_take(r.loops, &r.name), "still there");
    cr_assert(loops_due(r.loops, r.probe, 61000, &r.name));
    cr_assert(loop_probe_is_looping(r.probe), "not before it is known");
    cr_assert(!loops_due(r.loops, r.probe, 66000, &r.name));
    cr_assert(!loop_probe_is_looping(r.probe));
    cr_assert(!loops_due(r.loops, r.probe, 999999, &r.name));
    rig_fini(&r);
}

/* All workers share what is known; another way out is another matter. */
Test(dns_loops, get__gives_the_same__for_the_same_server_and_way)
{
    struct rig r = rig_new();
    struct conf_egress marked = {.has_mark = true, .mark = 7};
    struct egress other_way = egress_from_conf(&marked);
    struct loop_probe *same = loops_get(r.loops, &r.server, &r.egress);
    struct loop_probe *other = loops_get(r.loops, &r.server, &other_way);
    cr_assert_eq(same, r.probe);
    cr_assert_neq(other, r.probe);
    loops_put(r.loops, same);
    loops_put(r.loops, other);
    cr_assert(loops_due(r.loops, r.probe, 1000, &r.name));
    rig_fini(&r);
}

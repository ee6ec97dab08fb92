/* Numbers that stay with their lines over reloads. */
#include "acl/slots.h"
#include "lines.h"

struct fresh {
    unsigned n;
    uint32_t last;
};

static void on_fresh(void *owner, uint32_t slot)
{
    struct fresh *f = owner;
    f->n++;
    f->last = slot;
}

static struct acl *numbered(struct slots *s, const struct acl *old, const char *text,
                            unsigned *ret_fresh)
{
    struct fresh fresh = {0};
    struct acl *acl = acl_good(text);
    cr_assert_eq(slots_assign(s, old, acl, on_fresh, &fresh), 0);
    *ret_fresh = fresh.n;
    return acl;
}

Test(acl_slots, line__keeps_its_number__wherever_it_moves)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(
        s, NULL,
        "[in]\ntcp 8080 = 192.0.2.1 ; one\ntcp 8080 = 192.0.2.2\n[out]\ndeny = x.example\n", &n);
    cr_expect_eq(n, 3);
    struct acl *b =
        numbered(s, a,
                 "[in]\n\n\nudp 53 = 192.0.2.9\ntcp 8080 = 192.0.2.2\ntcp 8080 = 192.0.2.1 ; one\n"
                 "[out]\ndeny = x.example\nallow = *\n",
                 &n);
    cr_expect_eq(n, 2, "%u new lines", n);
    cr_expect_eq(b->in[2].place.slot, a->in[0].place.slot);
    cr_expect_eq(b->in[1].place.slot, a->in[1].place.slot);
    cr_expect_eq(b->out[0].place.slot, a->out[0].place.slot);
    for (size_t i = 0; i < b->n_in; i++)
        cr_expect_neq(b->in[i].place.slot, SLOTS_NONE);
    acl_free(a);
    acl_free(b);
    slots_free(s);
}

Test(acl_slots, changed_memo_or_text__is_another_line)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(s, NULL, "[in]\ntcp 8080 = 192.0.2.1 ; one\n", &n);
    struct acl *b = numbered(s, a, "[in]\ntcp 8080 = 192.0.2.1 ; two\n", &n);
    cr_expect_eq(n, 1);
    cr_expect_neq(a->in[0].place.slot, b->in[0].place.slot, "both live, so they share nothing");
    acl_free(a);
    acl_free(b);
    slots_free(s);
}

Test(acl_slots, equal_lines__have_a_number_each__and_keep_their_order)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(s, NULL, "[in]\nany = 192.0.2.1\nany = 192.0.2.1\n", &n);
    cr_expect_eq(n, 2);
    cr_expect_neq(a->in[0].place.slot, a->in[1].place.slot);
    struct acl *b = numbered(s, a, "[in]\nany = 192.0.2.1\nany = 192.0.2.1\nany = 192.0.2.1\n", &n);
    cr_expect_eq(n, 1);
    cr_expect_eq(b->in[0].place.slot, a->in[0].place.slot);
    cr_expect_eq(b->in[1].place.slot, a->in[1].place.slot);
    acl_free(a);
    acl_free(b);
    slots_free(s);
}

Test(acl_slots, number__is_used_again__only_when_its_last_acl_is_gone)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(s, NULL, "[in]\nany = 192.0.2.1\n", &n);
    uint32_t first = a->in[0].place.slot;
    struct acl *b = numbered(s, a, "[in]\nany = 192.0.2.2\n", &n);
    cr_expect_neq(b->in[0].place.slot, first);
    acl_free(a);
    struct acl *c = numbered(s, b, "[in]\nany = 192.0.2.3\n", &n);
    cr_expect_eq(c->in[0].place.slot, first, "a free number was not used");
    acl_free(b);
    acl_free(c);
    slots_free(s);
}

Test(acl_slots, refused_acl__takes_nothing_from_the_one_in_force)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(s, NULL, "[in]\nany = 192.0.2.1\n", &n);
    for (int i = 0; i < 100; i++) {
        struct acl *refused = numbered(s, a, "[in]\nany = 192.0.2.1\nany = 192.0.2.2\n", &n);
        acl_free(refused);
    }
    struct acl *b = numbered(s, a, "[in]\nany = 192.0.2.1\nany = 192.0.2.3\n", &n);
    cr_expect_eq(b->in[0].place.slot, a->in[0].place.slot);
    cr_expect_leq(b->in[1].place.slot, 3, "numbers leak: %u", b->in[1].place.slot);
    acl_free(a);
    acl_free(b);
    slots_free(s);
}

Test(acl_slots, acl__may_outlive_the_numbers)
{
    struct slots *s = slots_new();
    unsigned n;
    struct acl *a = numbered(s, NULL, "[in]\nany = 192.0.2.1\n", &n);
    slots_free(s);
    acl_free(a);
}

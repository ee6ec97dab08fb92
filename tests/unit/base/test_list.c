/* The intrusive list: order, removal inside a walk, splicing. */
#include <criterion/criterion.h>

#include "proxy/base/list.h"

struct item {
    int number;
    struct list node;
};

static void expect_order(struct list *head, const int *numbers, size_t n)
{
    size_t i = 0;
    list_for_each (at, head) {
        cr_assert_lt(i, n);
        cr_expect_eq(list_entry(at, struct item, node)->number, numbers[i]);
        cr_expect_eq(at->next->prev, at);
        i++;
    }
    cr_expect_eq(i, n);
}

Test(base_list, append_and_remove__keep_the_order)
{
    struct list head;
    struct item items[4] = {{1}, {2}, {3}, {4}};
    list_init(&head);
    cr_expect(list_is_empty(&head));
    cr_expect_null(list_first(&head));
    for (size_t i = 0; i < 4; i++)
        list_append(&head, &items[i].node);
    expect_order(&head, (int[]){1, 2, 3, 4}, 4);
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    cr_expect_not(list_is_linked(&items[1].node));
    expect_order(&head, (int[]){1, 3, 4}, 3);
    list_insert_after(&items[0].node, &items[1].node);
    expect_order(&head, (int[]){1, 2, 3, 4}, 4);
    cr_expect_eq(list_first(&head), &items[0].node);
}

Test(base_list, remove__is_safe__on_a_zeroed_node)
{
    struct list node = {0};
    list_remove(&node);
    cr_expect_not(list_is_linked(&node));
}

Test(base_list, for_each_safe__lets_the_walked_node_go)
{
    struct list head;
    struct item items[3] = {{1}, {2}, {3}};
    list_init(&head);
    for (size_t i = 0; i < 3; i++)
        list_append(&head, &items[i].node);
    list_for_each_safe (at, next, &head)
        list_remove(at);
    cr_expect(list_is_empty(&head));
}

Test(base_list, splice__moves_all_to_the_end)
{
    struct list to, from;
    struct item items[4] = {{1}, {2}, {3}, {4}};
    list_init(&to);
    list_init(&from);
    list_splice(&to, &from);
    cr_expect(list_is_empty(&to));
    for (size_t i = 0; i < 4; i++)
        list_append(i < 2 ? &to : &from, &items[i].node);
    list_splice(&to, &from);
    expect_order(&to, (int[]){1, 2, 3, 4}, 4);
    cr_expect(list_is_empty(&from));
}

/* The table of names: whole labels, every suffix, growth. */
#include "acl/names.h"

#include <errno.h>

#include "lines.h"

static uint32_t add(struct names *names, const char *word)
{
    uint32_t id = UINT32_MAX;
    int r = names_add(names, word, strlen(word), &id);

    cr_assert(r == 0 || r == -EEXIST);
    return id;
}

Test(acl_names, match__meets_whole_labels_only__in_each_row)
{
    static const char *const words[] = {"example.com", "com", "b.example.com", "a_b.example", ""};
    static const struct {
        const char *name;
        const char *hits; /* ids, the root first; + marks the name itself */
    } rows[] = {
        {"example.com", "4 1 0+"},
        {"www.example.com", "4 1 0"},
        {"a.b.example.com", "4 1 0 2"},
        {"evilexample.com", "4 1"},
        {"example.com.evil", "4"},
        {"xexample.com", "4 1"},
        {".example.com", "4 1 0"},
        {"com", "4 1+"},
        {"a_b.example", "4 3+"},
        {"xcom", "4"},
        {"", "4+"},
    };
    struct names *names = names_new();

    cr_assert_not_null(names);
    for (size_t i = 0; i < N_ROWS(words); i++)
        cr_assert_eq(add(names, words[i]), i);
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct names_hit hits[NAMES_HITS_MAX];
        char text[256] = "";
        size_t n = names_match(names, rows[i].name, strlen(rows[i].name), hits), len = 0;
        for (size_t k = 0; k < n; k++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u%s", k ? " " : "", hits[k].id,
                                    hits[k].is_self ? "+" : "");
        cr_expect_str_eq(text, rows[i].hits, "%s gives %s", rows[i].name, text);
    }
    names_free(names);
}

Test(acl_names, add__gives_the_same_id__after_the_table_grew)
{
    enum { N = 20000 };
    struct names *names = names_new();
    char(*words)[24] = calloc(N, sizeof(*words));
    uint32_t id = 0;

    cr_assert(names && words);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(words[i], sizeof(words[i]), "h%u.example", i);
        cr_assert_eq(names_add(names, words[i], strlen(words[i]), &id), 0);
        cr_assert_eq(id, i);
    }
    for (uint32_t i = 0; i < N; i++) {
        cr_assert(names_find(names, words[i], strlen(words[i]), &id) && id == i, "%s", words[i]);
        cr_assert_eq(names_add(names, words[i], strlen(words[i]), &id), -EEXIST);
    }
    cr_expect_eq(names_count(names), N);
    cr_expect(!names_find(names, "h20000.example", 14, &id));
    free(words);
    names_free(names);
}

Test(acl_names, match__is_bounded__for_names_of_dots)
{
    struct names *names = names_new();
    struct names_hit hits[NAMES_HITS_MAX];
    char name[100000];

    cr_assert_not_null(names);
    add(names, "");
    add(names, ".");
    add(names, "..");
    memset(name, '.', sizeof(name));
    cr_expect_leq(names_match(names, name, sizeof(name), hits), NAMES_HITS_MAX);
    names_free(names);
}

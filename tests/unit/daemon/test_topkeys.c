/* Keys, however their bytes are split. */
#include "proxy/daemon/topkeys.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
    const char *bytes;
    int keys[4];
} rows[] = {
    {"q", {'q'}},
    {"jk", {'j', 'k'}},
    {"\033[A", {TOPKEY_UP}},
    {"\033OB", {TOPKEY_DOWN}},
    {"\033[5~\033[6~", {TOPKEY_PAGE_UP, TOPKEY_PAGE_DOWN}},
    {"\033[1~\033[F", {TOPKEY_HOME, TOPKEY_END}},
    {"\033[1;5Aq", {TOPKEY_UP, 'q'}},
    {"\033[200~", {TOPKEY_OTHER}},
    {"\033q", {'q'}},
    {"\033\033[B", {TOPKEY_DOWN}},
    {"\033", {TOPKEY_NONE}},
    {"\033[", {TOPKEY_NONE}},
};

Test(daemon_topkeys, keys__are_the_same__for_any_split)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i].bytes);
        for (size_t cut = 0; cut <= len; cut++) {
            struct topkeys k = {0};
            int keys[8] = {0};
            unsigned n = 0;
            topkeys_feed(&k, rows[i].bytes, cut);
            while ((keys[n] = topkeys_next(&k)) != TOPKEY_NONE)
                n++;
            topkeys_feed(&k, rows[i].bytes + cut, len - cut);
            while ((keys[n] = topkeys_next(&k)) != TOPKEY_NONE)
                n++;
            for (unsigned j = 0; j < 4; j++)
                cr_expect_eq(keys[j], rows[i].keys[j], "row %zu cut %zu key %u: %d", i, cut, j,
                             keys[j]);
        }
    }
}

Test(daemon_topkeys, endless_sequence__is_dropped)
{
    struct topkeys k = {0};
    char bytes[TOPKEYS_MAX + 20];
    memset(bytes, ';', sizeof(bytes));
    bytes[0] = '\033';
    bytes[1] = '[';
    topkeys_feed(&k, bytes, sizeof(bytes));
    cr_expect_eq(topkeys_next(&k), TOPKEY_OTHER);
    cr_expect_eq(topkeys_next(&k), TOPKEY_NONE);
}

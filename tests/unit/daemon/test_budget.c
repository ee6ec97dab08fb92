/* Of a limit of open files: how many clients, tunnels and kept connections; and that they fit. */
#include "proxy/daemon/budget.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdatomic.h>

#include "proxy/daemon/admin.h"

struct row {
    unsigned long n_files;
    unsigned n_workers;
    uint32_t max_clients, max_tunnels;                /* configured; 0: auto */
    unsigned want_clients, want_tunnels, want_pooled; /* figured by hand */
};

static struct row rows[] = {
    /* 96 reserved, 64 and the kept ones a worker: 1024 - 96 - (64 + 64) = 800 */
    {1024, 1, 0, 0, 400, 400, 64},
    {1024, 2, 0, 0, 368, 368, 32},
    /* 4096 - 96 - 2 (64 + 128) = 3616 */
    {4096, 2, 0, 0, 1808, 1808, 128},
    /* more than 256 are kept by no worker: 20000 - 96 - 2 (64 + 256) = 19264 */
    {20000, 2, 0, 0, 9632, 9632, 256},
    {1048576, 4, 0, 0, 523600, 523600, 256},
    /* nor fewer than 8: 512 - 96 - 4 (64 + 8) = 128 */
    {512, 4, 0, 0, 64, 64, 8},
    /* too few for anything: a handful, and accept waits for free ones */
    {64, 1, 0, 0, 32, 32, 8},
    {256, 2, 0, 0, 32, 32, 8},
    {1024, 64, 0, 0, 32, 32, 8},
    /* what is configured holds, also beyond what fits (it is warned of) */
    {1024, 1, 10, 0, 10, 400, 64},
    {1024, 1, 0, 7, 400, 7, 64},
    {1024, 1, 5000, 6000, 5000, 6000, 64},
};

ParameterizedTestParameters(daemon_budget, share)
{
    return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(const struct row *row, daemon_budget, share)
{
    struct conf conf = {
        .limits = {.max_clients = row->max_clients, .max_tunnels = row->max_tunnels}};
    struct shared shared = {0};
    struct budget b;

    budget_init(&b, &conf, row->n_workers);
    budget_share(&b, &conf, row->n_files, &shared);
    cr_expect_eq(atomic_load(&shared.max_clients), row->want_clients, "%u",
                 atomic_load(&shared.max_clients));
    cr_expect_eq(atomic_load(&shared.max_tunnels), row->want_tunnels);
    cr_expect_eq(atomic_load(&shared.max_pooled), row->want_pooled);
}

/* Two descriptors each, what is kept for origins, the admin's pages: never more than there are. */
Test(daemon_budget, clients__fit_into_the_limit__whatever_it_is)
{
    struct conf conf = {0};

    for (unsigned n_workers = 1; n_workers <= 64; n_workers *= 2) {
        unsigned before = 0;
        for (unsigned long n_files = 64 + 96 + 140 * n_workers; n_files < 3000000;
             n_files += n_files / 7) {
            struct shared shared = {0};
            struct budget b;
            budget_init(&b, &conf, n_workers);
            budget_share(&b, &conf, n_files, &shared);
            unsigned clients = atomic_load(&shared.max_clients);
            unsigned long most = 2UL * clients + ADMIN_CLIENTS_MAX +
                                 (unsigned long)n_workers * atomic_load(&shared.max_pooled);
            cr_assert_leq(most, n_files, "%lu files, %u workers", n_files, n_workers);
            cr_assert_geq(clients, before, "more files, fewer clients: %lu", n_files);
            before = clients;
        }
        cr_assert_gt(before, 1000000);
    }
}

Test(daemon_budget, cache__is_shared_by_the_workers)
{
    struct conf_dns dns = {.cache_size_bytes = 16 << 20};
    struct conf conf = {.dns = &dns, .n_dns = 1};
    struct budget b;

    budget_init(&b, &conf, 4);
    cr_expect_eq(b.cache_bytes, 4 << 20);
    conf.n_dns = 0;
    budget_init(&b, &conf, 4);
    cr_expect_eq(b.cache_bytes, 1 << 20);
}

/*
 * A client may need two descriptors, and a tunnel in full flow a chunk for each direction; what is
 * promised must be there, so what exceeds the limit of open files is refused before it comes to
 * that. The kernel's socket buffers are not counted: they are its own to limit.
 */
#include "proxy/daemon/budget.h"

#include <stdatomic.h>

#include "proxy/base/log.h"
#include "proxy/daemon/admin.h"
#include "proxy/daemon/privs.h"
#include "proxy/net/relay.h"

enum {
    RESERVED_FDS = 64 + ADMIN_CLIENTS_MAX,
    FDS_PER_WORKER = 64,
    POOLED_MAX = 256, /* connections to origins that a worker keeps */
    POOLED_MIN = 8,
    CLIENT_BYTES = 1024, /* measured: an idle tunnel is about 650 (doc/benchmarks.md) */
    WORKER_BYTES = 1024 * 1024,
    WITHOUT_DNS_BYTES = 4 * 1024 * 1024, /* names that tunnels and requests ask for are cached */
};

void budget_init(struct budget *b, const struct conf *conf, unsigned n_workers)
{
    uint64_t cache_bytes = conf->n_dns ? conf->dns[0].cache_size_bytes : WITHOUT_DNS_BYTES;
    *b = (struct budget){.n_workers = n_workers, .cache_bytes = cache_bytes / n_workers};
}

void budget_share(const struct budget *b, const struct conf *conf, unsigned long n_files,
                  struct shared *shared)
{
    unsigned long pooled = n_files / (16 * b->n_workers);
    pooled = pooled < POOLED_MIN ? POOLED_MIN : pooled > POOLED_MAX ? POOLED_MAX : pooled;
    unsigned long reserve = RESERVED_FDS + (FDS_PER_WORKER + pooled) * b->n_workers;
    unsigned long fits = n_files > reserve + 64 ? (n_files - reserve) / 2 : 32;
    unsigned clients = conf->limits.max_clients ? conf->limits.max_clients : (unsigned)fits;
    unsigned tunnels = conf->limits.max_tunnels ? conf->limits.max_tunnels : (unsigned)fits;
    atomic_store(&shared->max_clients, clients);
    atomic_store(&shared->max_tunnels, tunnels);
    atomic_store(&shared->max_pooled, (unsigned)pooled);
    if (clients > fits)
        log_warning(
            "msg=\"max-clients needs more open files than there may be\" max_clients=%u fits=%lu "
            "nofile=%lu",
            clients, fits, n_files);
}

/* Idle tunnels, and all clients with whatever they may make us hold: a chunk a direction, or a
 * whole head. */
void budget_say(struct budget *b, const struct conf *conf, const struct shared *shared)
{
    uint64_t clients = atomic_load(&shared->max_clients);
    uint64_t head = conf->limits.request_line_bytes + conf->limits.head_bytes;
    uint64_t each = CLIENT_BYTES + 2 * (uint64_t)RELAY_CHUNK_BYTES + head;
    uint64_t cache = b->n_workers * b->cache_bytes;
    uint64_t fixed = cache + b->n_workers * (uint64_t)WORKER_BYTES;
    uint64_t idle_mib = (clients * CLIENT_BYTES + fixed) >> 20;
    uint64_t most_mib = (clients * each + fixed) >> 20;
    if (idle_mib == b->said_idle_mib && most_mib == b->said_most_mib)
        return;
    b->said_idle_mib = idle_mib;
    b->said_most_mib = most_mib;
    log_notice("msg=\"memory budget\" idle_mib=%llu most_mib=%llu cache_mib=%llu pipes_mib=%llu",
               (unsigned long long)idle_mib, (unsigned long long)most_mib,
               (unsigned long long)(cache >> 20),
               (unsigned long long)(((uint64_t)b->n_workers * PIPES_MAX * PIPE_BYTES) >> 20));
}

unsigned long budget_raise_nofile(const struct conf *conf)
{
    unsigned long n = privs_raise_nofile(conf->process.nofile);
    if (conf->process.nofile > n)
        log_warning("msg=\"fewer open files than nofile asks for\" nofile=%lu wanted=%llu "
                    "do=\"raise the hard limit of the process (LimitNOFILE= of its unit) and "
                    "restart\"",
                    n, (unsigned long long)conf->process.nofile);
    return n;
}

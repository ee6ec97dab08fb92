/* account - CPU time and memory of a process, its threads and all its descendants. */
#ifndef TESTS_BENCH_ACCOUNT_H
#define TESTS_BENCH_ACCOUNT_H

#include <stdint.h>
#include <sys/types.h>

enum { ACCOUNT_PROCESSES_MAX = 256 };

struct account {
    uint64_t cpu_ns;    /* user and system */
    uint64_t pss_bytes; /* shared pages counted by their share */
    unsigned n_threads;
};

/* Reads both for @root and what it started. 0 · -ESRCH it is gone · -errno. */
int account_read(pid_t root, struct account *ret_account) __attribute__((warn_unused_result));
/* CPU time only: cheap enough for the edges of a run. */
int account_read_cpu(pid_t root, struct account *ret_account) __attribute__((warn_unused_result));

#endif

/*
 * Walks /proc from one process down. The CPU time is that of each process's own clock: nanoseconds,
 * user and system, threads that ended included. A process that ended takes its time with it, so a
 * program under test must not start and end processes during a run (the runner configures them so).
 */
#include "account.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct walk {
    pid_t pids[ACCOUNT_PROCESSES_MAX];
    unsigned n_pids;
};

static void add_children(struct walk *w, pid_t pid, const char *task)
{
    char path[320];
    snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, task);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    int child;
    while (w->n_pids < ACCOUNT_PROCESSES_MAX && fscanf(f, "%d", &child) == 1)
        w->pids[w->n_pids++] = child;
    fclose(f);
}

/* Of all threads of @pid, those that ended too. */
static uint64_t process_cpu_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int add_process(struct walk *w, pid_t pid, struct account *a)
{
    char path[320];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        a->n_threads++;
        add_children(w, pid, e->d_name);
    }
    closedir(dir);
    a->cpu_ns += process_cpu_ns(pid);
    return 0;
}

static uint64_t process_pss_bytes(pid_t pid)
{
    char path[320], line[256];
    uint64_t kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "Pss: %" SCNu64, &kib) == 1)
            break;
    fclose(f);
    return kib * 1024;
}

static int read_tree(pid_t root, bool wants_pss, struct account *ret_account)
{
    struct account a = {0};
    struct walk w = {.pids = {root}, .n_pids = 1};
    for (unsigned i = 0; i < w.n_pids; i++) {
        int r = add_process(&w, w.pids[i], &a);
        if (r < 0 && i == 0)
            return r == -ENOENT ? -ESRCH : r;
        if (wants_pss)
            a.pss_bytes += process_pss_bytes(w.pids[i]);
    }
    *ret_account = a;
    return 0;
}

int account_read(pid_t root, struct account *ret_account)
{
    return read_tree(root, true, ret_account);
}

int account_read_cpu(pid_t root, struct account *ret_account)
{
    return read_tree(root, false, ret_account);
}

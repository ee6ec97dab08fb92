/*
 * Walks /proc from one process down. schedstat counts nanoseconds on the CPU; a thread or process
 * that ended takes its time with it, so a proxy under test must not start and end workers during a
 * run (the runner configures them so). The kernel brings the figure of a thread that runs just now
 * up to date at its tick: a run should last a hundred ticks or more.
 */
#include "account.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static uint64_t task_cpu_ns(pid_t pid, const char *task)
{
    char path[320];
    uint64_t ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, task);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%" SCNu64, &ns) != 1)
        ns = 0;
    fclose(f);
    return ns;
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
        a->cpu_ns += task_cpu_ns(pid, e->d_name);
        a->n_threads++;
        add_children(w, pid, e->d_name);
    }
    closedir(dir);
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

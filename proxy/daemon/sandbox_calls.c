/*
 * The list was made from strace of the whole scenario suite and read against the C library's
 * sources of the same calls on other kernels; a name that an architecture does not have is skipped.
 * Arguments are looked at where a call is both needed and dangerous: threads are made, processes
 * are not; memory is mapped, but never executable. clone3() hides its flags behind a pointer, so it
 * does not exist here and the C library takes clone().
 */
#include "proxy/daemon/sandbox_calls.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static const char *const allowed[] = {
    /* data */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "recvfrom", "recvmsg", "recvmmsg",
    "sendto", "sendmsg", "sendmmsg", "splice", "pipe2", "close", "close_range", "shutdown", "dup",
    "dup3", "fcntl", "fcntl64", "ioctl", "lseek", "_llseek", "recv", "send",
    /* sockets; socket() itself is below */
    "bind", "connect", "listen", "accept4", "getsockname", "getpeername", "getsockopt",
    "setsockopt",
    /* waiting and time */
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2",
    "signalfd4", "timerfd_create", "timerfd_settime", "poll", "ppoll", "ppoll_time64",
    "clock_gettime", "clock_gettime64", "clock_getres", "clock_nanosleep", "clock_nanosleep_time64",
    "nanosleep", "gettimeofday", "time", "restart_syscall", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch",
    /* files: which ones is the other fence's matter */
    "openat", "open", "newfstatat", "fstatat64", "fstat", "fstat64", "stat", "stat64", "lstat",
    "lstat64", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64",
    "getcwd", "fsync", "fdatasync", "ftruncate", "ftruncate64", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat", "chown", "fchown",
    "fchownat", "lchown", "flock", "umask",
    /* memory; mmap() and mprotect() are below */
    "brk", "munmap", "mremap", "madvise",
    /* threads and signals; clone() is below */
    "futex", "futex_time64", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity",
    "gettid", "getpid", "getppid", "exit", "exit_group", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sigreturn", "rt_sigtimedwait", "sigaltstack", "tgkill",
    /* about ourselves */
    "getuid", "geteuid", "getgid", "getegid", "getuid32", "geteuid32", "getgid32", "getegid32",
    "getresuid", "getresgid", "getgroups", "uname", "sysinfo", "getrusage", "times", "getrlimit",
    "ugetrlimit", "setrlimit", "prlimit64", "getrandom", "capget", "getcpu", "membarrier"};

static const char *const deadly[] = {"execve",
                                     "execveat",
                                     "fork",
                                     "vfork",
                                     "ptrace",
                                     "process_vm_readv",
                                     "process_vm_writev",
                                     "pidfd_getfd",
                                     "setuid",
                                     "setgid",
                                     "setreuid",
                                     "setregid",
                                     "setresuid",
                                     "setresgid",
                                     "setgroups",
                                     "capset",
                                     "unshare",
                                     "setns",
                                     "mount",
                                     "umount2",
                                     "pivot_root",
                                     "chroot",
                                     "move_mount",
                                     "fsopen",
                                     "open_tree",
                                     "bpf",
                                     "perf_event_open",
                                     "userfaultfd",
                                     "io_uring_setup",
                                     "io_uring_enter",
                                     "keyctl",
                                     "add_key",
                                     "request_key",
                                     "kexec_load",
                                     "kexec_file_load",
                                     "init_module",
                                     "finit_module",
                                     "delete_module",
                                     "reboot",
                                     "personality",
                                     "memfd_create",
                                     "memfd_secret",
                                     "open_by_handle_at",
                                     "name_to_handle_at",
                                     "acct",
                                     "swapon",
                                     "swapoff",
                                     "quotactl",
                                     "iopl",
                                     "ioperm",
                                     "modify_ldt"};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static int add_all(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR)
            continue;
        int rc = seccomp_rule_add(ctx, action, number, 0);
        if (rc < 0 && rc != -EDOM && rc != -EEXIST)
            return rc;
    }
    return 0;
}

static int add_sockets(scmp_filter_ctx ctx)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < LENGTH(families); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    /* Ranges around them, since rules of one call must not contradict each other. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_GT, AF_INET6));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                              SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    return rc;
}

/* Threads yes, processes no; memory yes, code no. */
static int add_by_flags(scmp_filter_ctx ctx)
{
    static const int mappers[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect),
                                  SCMP_SYS(pkey_mprotect)};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < LENGTH(mappers); i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, mappers[i], 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        if (rc == 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, mappers[i], 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
        if (rc == -EDOM)
            rc = 0;
    }
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                              SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
    return rc;
}

int sandbox_calls_fence(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!ctx)
        return -ENOMEM;
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree, not a chain */
    if (rc == 0)
        rc = add_all(ctx, SCMP_ACT_ALLOW, allowed, LENGTH(allowed));
    if (rc == 0)
        rc = add_all(ctx, SCMP_ACT_KILL_PROCESS, deadly, LENGTH(deadly));
    if (rc == 0)
        rc = add_sockets(ctx);
    if (rc == 0)
        rc = add_by_flags(ctx);
    if (rc == 0)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc;
}

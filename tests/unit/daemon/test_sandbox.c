/* Each forbidden thing is tried by a child of its own, behind the same fences as the daemon. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/daemon/sandbox.h"

/* What a child ends with when it lives on: the errno of what it tried, or 0. */
enum { NOT_FENCED = 200, NO_LANDLOCK = 201 };

struct place {
    char dir[64], log[96], file[96], acl[96], elsewhere[64];
};

static const char *outside; /* of the child: a directory that is nobody's */

static int try_execve(void)
{
    char *const none[] = {NULL};
    return execve("/bin/true", none, none) < 0 ? errno : 0;
}
static int try_fork(void)
{
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) < 0 ? errno : 0;
}
static int try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? errno : 0;
}
static int try_setuid(void)
{
    return syscall(SYS_setuid, 0) < 0 ? errno : 0;
}
static int try_unshare(void)
{
    return unshare(CLONE_NEWNET) < 0 ? errno : 0;
}
static int try_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? errno : 0;
}
static int try_mprotect(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}
static int try_io_uring(void)
{
    struct io_uring_params params = {0};
    return syscall(SYS_io_uring_setup, 1, &params) < 0 ? errno : 0;
}
static int try_bpf(void)
{
    return syscall(SYS_bpf, 0, NULL, 0) < 0 ? errno : 0;
}
static int try_socket(int family)
{
    int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, 0);
    return fd < 0 ? errno : 0;
}
static int try_netlink(void)
{
    return try_socket(AF_NETLINK);
}
static int try_packet(void)
{
    return try_socket(AF_PACKET);
}
static int try_vsock(void)
{
    return try_socket(AF_VSOCK);
}
static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    return fd < 0 ? errno : 0;
}
static int try_write_outside(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/planted", outside);
    return try_open(path, O_WRONLY | O_CREAT);
}
static int try_read_outside(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/secret", outside);
    return try_open(path, O_RDONLY);
}
static int try_write_etc(void)
{
    return try_open("/etc/ukai-was-here", O_WRONLY | O_CREAT);
}
static int try_by_handle(void)
{
    return syscall(SYS_open_by_handle_at, -1, NULL, 0) < 0 ? errno : 0;
}
static int try_unknown(void)
{
    return syscall(SYS_sysfs, 3) < 0 ? errno : 0;
}

static const struct {
    const char *name;
    int (*attempt)(void);
    int error; /* 0: must die of SIGSYS */
    bool is_path;
} attempts[] = {
    {"execve", try_execve, 0, false},
    {"a new process", try_fork, 0, false},
    {"ptrace", try_ptrace, 0, false},
    {"setuid", try_setuid, 0, false},
    {"unshare", try_unshare, 0, false},
    {"executable memory", try_code, 0, false},
    {"memory made executable", try_mprotect, 0, false},
    {"io_uring", try_io_uring, 0, false},
    {"bpf", try_bpf, 0, false},
    {"open_by_handle_at", try_by_handle, 0, false},
    {"a netlink socket", try_netlink, EACCES, false},
    {"a packet socket", try_packet, EACCES, false},
    {"a vsock socket", try_vsock, EACCES, false},
    {"a call that nobody thought of", try_unknown, ENOSYS, false},
    {"a file elsewhere", try_write_outside, EACCES, true},
    {"reading elsewhere", try_read_outside, EACCES, true},
    {"a file in /etc", try_write_etc, EACCES, true},
};

static void make_place(struct place *p, struct conf *ret_conf)
{
    memcpy(p->dir, "/tmp/ukai-sandbox-XXXXXX", 25);
    memcpy(p->elsewhere, "/tmp/ukai-outside-XXXXXX", 25);
    cr_assert_not_null(mkdtemp(p->dir));
    cr_assert_not_null(mkdtemp(p->elsewhere));
    snprintf(p->log, sizeof(p->log), "%s/access.log", p->dir);
    snprintf(p->file, sizeof(p->file), "%s/ukai.conf", p->dir);
    snprintf(p->acl, sizeof(p->acl), "%s/acl.conf", p->dir);
    char secret[128];
    snprintf(secret, sizeof(secret), "%s/secret", p->elsewhere);
    close(open(secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(open(p->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    *ret_conf = (struct conf){.file = p->file,
                              .acl_file = p->acl,
                              .log = {.access = CONF_ACCESS_FILE, .access_path = p->log}};
}

static void remove_place(const struct place *p)
{
    char secret[128];
    snprintf(secret, sizeof(secret), "%s/secret", p->elsewhere);
    unlink(secret);
    unlink(p->file);
    unlink(p->log);
    rmdir(p->dir);
    rmdir(p->elsewhere);
}

static int in_fence(const struct conf *conf, int (*attempt)(void), bool is_path)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct sandbox_state state;
        char text[256];
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            sandbox_enter(conf, &state, text, sizeof(text)) < 0)
            _exit(255);
        if (!state.has_calls)
            _exit(NOT_FENCED);
        if (is_path && state.paths_abi == 0)
            _exit(NO_LANDLOCK);
        _exit(attempt());
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* O10: each ends it, or is refused. */
Test(daemon_sandbox, enter__leaves_an_intruder_nothing)
{
    struct conf conf;
    struct place p;
    make_place(&p, &conf);
    outside = p.elsewhere;
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int status = in_fence(&conf, attempts[i].attempt, attempts[i].is_path);
        if (WIFEXITED(status) &&
            (WEXITSTATUS(status) == NOT_FENCED || WEXITSTATUS(status) == NO_LANDLOCK))
            continue; /* a build with sanitizers; a kernel without */
        if (attempts[i].error == 0)
            cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
                      "%s: status %#x instead of death", attempts[i].name, status);
        else
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == attempts[i].error,
                      "%s: status %#x instead of %s", attempts[i].name, status,
                      strerror(attempts[i].error));
    }
    remove_place(&p);
}

static struct conf *work_conf;

static void *nothing(void *arg)
{
    return arg;
}

/* What the daemon does after the fence: each step that fails has a number of its own. */
static int do_the_work(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
        return 2;
    if (try_open(work_conf->log.access_path, O_WRONLY | O_APPEND | O_CREAT) != 0)
        return 3;
    if (try_open(work_conf->file, O_RDONLY) != 0)
        return 4;
    if (try_open("/etc/hosts", O_RDONLY) != 0)
        return 5;
    void *big = malloc(64 << 20);
    if (!big)
        return 6;
    free(big);
    return 0;
}

Test(daemon_sandbox, enter__leaves_the_daemon_its_work)
{
    struct conf conf;
    struct place p;
    make_place(&p, &conf);
    work_conf = &conf;
    int status = in_fence(&conf, do_the_work, false);
    cr_expect(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == NOT_FENCED),
              "status %#x", status);
    remove_place(&p);
}

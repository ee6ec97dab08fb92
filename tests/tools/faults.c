/*
 * Preloaded into a daemon under test: makes an allocation or a system call of it fail on demand, counts what it holds, and
 * shifts its wall clock. Steered through a page that it shares with the test (file FAULTS_PAGE), so that steering needs
 * no call that a sandbox could forbid. The calls go on by syscall(2) and glibc's own names for its allocator: nothing
 * is looked up, so nothing allocates before there is an allocator. The page's layout is written down a second time in
 * tests/lib/faults.py.
 *
 * What libseccomp allocates for itself is left alone: it is asked at the start only, and with 2.5.4 an allocation that
 * fails may end in a crash or in a filter that refuses too much. So is the C library while it looks up a user or a group:
 * in 2.36 it crashes or fails an assertion of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <malloc.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { SOCKET, BIND, CONNECT, ACCEPT, SEND, EPOLL_CTL, SETSOCKOPT, GETRANDOM, N_CALLS };

struct page {
    uint64_t n_allocs;       /* asked for since the start */
    uint64_t fail_alloc_at;  /* the one with this number fails; 0: none */
    uint64_t n_failed_allocs;
    int64_t n_live;          /* blocks that are held */
    int64_t wall_offset_s;
    int64_t steady_offset_s; /* of the monotonic clocks */
    struct {
        uint64_t n;          /* made since the start */
        uint64_t fail_at;    /* the one with this number fails; 0: none */
        uint64_t per_mille;  /* of the others that fail too */
        uint64_t n_failed;
        int64_t errors[4];   /* by turns; 0: end of the list */
    } calls[N_CALLS];
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static struct page nobodys;
static struct page *page = &nobodys;

static uintptr_t spared_from, spared_to;
static __thread int is_looking_up;
static struct passwd *(*next_getpwnam)(const char *);
static struct group *(*next_getgrnam)(const char *);

/* Where libseccomp lies. */
static int look(struct dl_phdr_info *info, size_t size, void *nothing)
{
    (void)size, (void)nothing;
    for (int i = 0; strstr(info->dlpi_name, "libseccomp") && i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X))
            continue;
        spared_from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        spared_to = spared_from + info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    dl_iterate_phdr(look, NULL);
    next_getpwnam = (struct passwd * (*)(const char *))dlsym(RTLD_NEXT, "getpwnam");
    next_getgrnam = (struct group * (*)(const char *))dlsym(RTLD_NEXT, "getgrnam");
    const char *path = getenv("FAULTS_PAGE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (at == MAP_FAILED)
        abort();
    ((struct page *)at)->n_live = nobodys.n_live;
    page = at;
}

static uint64_t next(uint64_t *n)
{
    return __atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static int alloc_fails(void *caller)
{
    if (is_looking_up || ((uintptr_t)caller >= spared_from && (uintptr_t)caller < spared_to))
        return 0;
    uint64_t fail_at = __atomic_load_n(&page->fail_alloc_at, __ATOMIC_RELAXED);
    if (next(&page->n_allocs) != fail_at || fail_at == 0)
        return 0;
    next(&page->n_failed_allocs);
    errno = ENOMEM;
    return 1;
}

struct passwd *getpwnam(const char *name)
{
    is_looking_up = 1;
    struct passwd *found = next_getpwnam(name);
    is_looking_up = 0;
    return found;
}

struct group *getgrnam(const char *name)
{
    is_looking_up = 1;
    struct group *found = next_getgrnam(name);
    is_looking_up = 0;
    return found;
}

static void *held(void *block)
{
    if (block)
        __atomic_add_fetch(&page->n_live, 1, __ATOMIC_RELAXED);
    return block;
}

void *malloc(size_t size)
{
    return alloc_fails(__builtin_return_address(0)) ? NULL : held(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return alloc_fails(__builtin_return_address(0)) ? NULL : held(__libc_calloc(n, size));
}

static void *resized(void *old, size_t size)
{
    void *block = __libc_realloc(old, size);
    if (old && !size)
        __atomic_add_fetch(&page->n_live, -1, __ATOMIC_RELAXED);
    return old ? block : held(block);
}

void *realloc(void *old, size_t size)
{
    return alloc_fails(__builtin_return_address(0)) ? NULL : resized(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (alloc_fails(__builtin_return_address(0)))
        return NULL;
    return resized(old, bytes);
}

void *memalign(size_t alignment, size_t size)
{
    return alloc_fails(__builtin_return_address(0)) ? NULL : held(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return alloc_fails(__builtin_return_address(0)) ? NULL : held(__libc_memalign(alignment, size));
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    void *block = aligned_alloc(alignment, size);
    if (!block)
        return ENOMEM;
    *ret_block = block;
    return 0;
}

void free(void *block)
{
    if (block)
        __atomic_add_fetch(&page->n_live, -1, __ATOMIC_RELAXED);
    __libc_free(block);
}

static int call_fails(enum call call)
{
    static __thread uint64_t seed;
    uint64_t n = next(&page->calls[call].n);
    uint64_t fail_at = __atomic_load_n(&page->calls[call].fail_at, __ATOMIC_RELAXED);
    uint64_t per_mille = __atomic_load_n(&page->calls[call].per_mille, __ATOMIC_RELAXED);
    if (seed == 0)
        seed = (uint64_t)(uintptr_t)&seed | 1;
    seed = seed * UINT64_C(6364136223846793005) + 1;
    if (n != fail_at && (seed >> 33) % 1000 >= per_mille)
        return 0;
    uint64_t turn = next(&page->calls[call].n_failed) - 1;
    unsigned n_errors = 0;
    while (n_errors < 4 && page->calls[call].errors[n_errors])
        n_errors++;
    errno = n_errors ? (int)page->calls[call].errors[turn % n_errors] : EIO;
    return 1;
}

int socket(int domain, int type, int protocol)
{
    return call_fails(SOCKET) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return call_fails(BIND) ? -1 : (int)syscall(SYS_bind, fd, addr, len);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return call_fails(CONNECT) ? -1 : (int)syscall(SYS_connect, fd, addr, len);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return call_fails(ACCEPT) ? -1 : (int)syscall(SYS_accept4, fd, addr, len, flags);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    return call_fails(SEND) ? -1 : syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return call_fails(SEND) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    return call_fails(SEND) ? -1 : (int)syscall(SYS_sendmmsg, fd, messages, n, flags);
}

/* Taking a descriptor out needs nothing, so the kernel never fails it. */
int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if (op != EPOLL_CTL_DEL && call_fails(EPOLL_CTL))
        return -1;
    return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return call_fails(SETSOCKOPT) ? -1 : (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

ssize_t getrandom(void *data, size_t len, unsigned flags)
{
    return call_fails(GETRANDOM) ? -1 : syscall(SYS_getrandom, data, len, flags);
}

static int64_t wall_offset_s(void)
{
    return __atomic_load_n(&page->wall_offset_s, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, ret_now);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret_now->tv_sec += wall_offset_s();
    else if (rc == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE))
        ret_now->tv_sec += __atomic_load_n(&page->steady_offset_s, __ATOMIC_RELAXED);
    return rc;
}

int gettimeofday(struct timeval *ret_now, void *zone)
{
    int rc = (int)syscall(SYS_gettimeofday, ret_now, zone);
    if (rc == 0)
        ret_now->tv_sec += wall_offset_s();
    return rc;
}

time_t time(time_t *ret_now)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now)
        *ret_now = now.tv_sec;
    return now.tv_sec;
}

/*
 * Clients behind a proxy, one thread, level-triggered epoll. A run opens its connections, warms up,
 * then counts work and latencies between two readings of the proxy's CPU time. Work that is under
 * way at either edge is cut there, so a run should hold some thousand units. Mixed runs keep the
 * bulk clients in a process of their own, or their turns would show as latency of the proxy.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "account.h"
#include "histogram.h"

enum { OPENING_MAX = 128, SETUP_MS = 60000, POLL_MS = 50, BULK_BEGUN_BYTES = 64 << 20 };

enum step { STEP_CONNECTING, STEP_ESTABLISHING, STEP_RUN };

struct client {
    int fd;
    enum step step;
    bool is_idle; /* opened only to be there */
    bool is_open; /* counted in n_open */
    unsigned n_head;
    bool has_head;      /* HTTP: the body has begun */
    uint64_t body_left; /* HTTP */
    uint64_t started_ns;
    char head[LOAD_HEAD_BYTES];
};

struct load {
    const struct load_options *o;
    const struct sockaddr_in *proxy;
    int poll;
    struct client *clients;
    unsigned n_clients, n_started, n_open;
    char *bytes; /* LOAD_WRITE_BYTES of anything */
    char request[512], tunnel_request[256];
    bool is_counting, has_failed;
    uint64_t units, n_bytes, n_reconnects;
    uint64_t *ret_bytes; /* mixed: where the bulk process counts */
    struct histogram latencies;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool is_http(enum load_mode mode)
{
    return mode == LOAD_MODE_KEEPALIVE || mode == LOAD_MODE_REQUEST || mode == LOAD_MODE_BODY;
}

static void fail(struct load *l, const char *what)
{
    if (!l->has_failed)
        fprintf(stderr, "loadgen: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    l->has_failed = true;
}

static void watch(struct load *l, struct client *c, int op, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->poll, op, c->fd, &e) < 0)
        fail(l, "epoll_ctl");
}

static void say(struct load *l, struct client *c, const char *bytes, size_t len)
{
    if (send(c->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail(l, "send");
}

static void client_open(struct load *l, struct client *c)
{
    c->step = STEP_CONNECTING;
    c->n_head = 0;
    c->has_head = false;
    c->started_ns = now_ns();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    errno = 0;
    if (c->fd < 0 || (connect(c->fd, (const struct sockaddr *)l->proxy, sizeof(*l->proxy)) < 0 &&
                      errno != EINPROGRESS)) {
        fail(l, "connect");
        return;
    }
    watch(l, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void client_reopen(struct load *l, struct client *c)
{
    close(c->fd);
    client_open(l, c);
}

static void count(struct load *l, struct client *c)
{
    if (!l->is_counting)
        return;
    l->units++;
    histogram_add(&l->latencies, now_ns() - c->started_ns);
}

static void count_bytes(struct load *l, ssize_t n)
{
    if (l->is_counting)
        l->n_bytes += (uint64_t)n;
    if (l->ret_bytes)
        *(volatile uint64_t *)l->ret_bytes += (uint64_t)n;
}

static void mark_open(struct load *l, struct client *c)
{
    l->n_open += !c->is_open;
    c->is_open = true;
}

/* The way to the origin stands. */
static void start_work(struct load *l, struct client *c)
{
    c->step = STEP_RUN;
    c->n_head = 0;
    bool is_echo = l->o->mode == LOAD_MODE_IDLE || l->o->mode == LOAD_MODE_PINGPONG ||
                   l->o->mode == LOAD_MODE_MIXED || l->o->mode == LOAD_MODE_CONNECT;
    if (is_http(l->o->mode)) {
        c->has_head = false;
        if (l->o->mode != LOAD_MODE_REQUEST)
            c->started_ns = now_ns();
        say(l, c, l->request, strlen(l->request));
    } else if (is_echo) {
        if (l->o->mode != LOAD_MODE_CONNECT)
            c->started_ns = now_ns();
        say(l, c, l->bytes, LOAD_MESSAGE_BYTES);
    } else if (l->o->mode == LOAD_MODE_UP) {
        watch(l, c, EPOLL_CTL_MOD, EPOLLOUT);
    }
    if (!is_echo && !is_http(l->o->mode))
        mark_open(l, c);
}

static void on_connected(struct load *l, struct client *c)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    errno = error;
    if (error) {
        fail(l, "connect");
        return;
    }
    watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
    if (l->o->is_plain || is_http(l->o->mode)) {
        start_work(l, c);
        return;
    }
    c->step = STEP_ESTABLISHING;
    say(l, c, l->tunnel_request, strlen(l->tunnel_request));
}

/* Reads into the head. Returns the bytes behind its empty line, or -1: it is not whole yet. */
static int read_head(struct load *l, struct client *c)
{
    errno = 0;
    ssize_t n = recv(c->fd, c->head + c->n_head, sizeof(c->head) - 1 - c->n_head, 0);
    if (n <= 0) {
        if (is_http(l->o->mode) && c->n_head == 0 && (n == 0 || errno == ECONNRESET)) {
            l->n_reconnects += l->is_counting; /* closed behind the last answer, unannounced */
            client_reopen(l, c);
        } else if (n == 0 || errno != EAGAIN) {
            fail(l, "end of file in a head");
        }
        return -1;
    }
    c->n_head += (unsigned)n;
    c->head[c->n_head] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->n_head == sizeof(c->head) - 1)
            fail(l, "endless head");
        return -1;
    }
    if (strncmp(c->head, "HTTP/1.", 7) != 0 || strncmp(c->head + 8, " 200", 4) != 0) {
        fprintf(stderr, "loadgen: answer: %.40s\n", c->head);
        fail(l, "answer is not 200");
        return -1;
    }
    return (int)(c->head + c->n_head - (end + 4));
}

static void on_established(struct load *l, struct client *c)
{
    int n_early = read_head(l, c);
    if (n_early < 0)
        return;
    count_bytes(l, n_early);
    start_work(l, c);
}

static void on_echo(struct load *l, struct client *c)
{
    char bytes[LOAD_MESSAGE_BYTES];
    errno = 0;
    ssize_t n = recv(c->fd, bytes, sizeof(bytes) - c->n_head, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            fail(l, "end of file in an echo");
        return;
    }
    c->n_head += (unsigned)n;
    if (c->n_head < LOAD_MESSAGE_BYTES)
        return;
    mark_open(l, c);
    if (c->is_idle || l->o->mode == LOAD_MODE_IDLE)
        return;
    count(l, c);
    if (l->o->mode == LOAD_MODE_CONNECT)
        client_reopen(l, c);
    else
        start_work(l, c);
}

static void on_bulk(struct load *l, struct client *c)
{
    errno = 0;
    ssize_t n = l->o->mode == LOAD_MODE_UP ? send(c->fd, l->bytes, LOAD_WRITE_BYTES, MSG_NOSIGNAL)
                                           : recv(c->fd, NULL, LOAD_READ_BYTES, MSG_TRUNC);
    if (n > 0)
        count_bytes(l, n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        fail(l, "bulk");
}

static void on_answered(struct load *l, struct client *c)
{
    mark_open(l, c);
    count(l, c);
    bool says_close = strcasestr(c->head, "\nconnection: close") || c->head[7] == '0';
    if (l->o->mode != LOAD_MODE_REQUEST && !says_close) {
        start_work(l, c);
        return;
    }
    l->n_reconnects += l->is_counting && l->o->mode != LOAD_MODE_REQUEST;
    client_reopen(l, c);
}

static void on_answer(struct load *l, struct client *c)
{
    if (!c->has_head) {
        int n_early = read_head(l, c);
        if (n_early < 0)
            return;
        const char *length = strcasestr(c->head, "\r\ncontent-length:");
        if (!length) {
            errno = 0;
            fail(l, "answer without Content-Length");
            return;
        }
        c->has_head = true;
        c->body_left = strtoull(length + strlen("\r\ncontent-length:"), NULL, 10);
        c->body_left -= (uint64_t)n_early;
        count_bytes(l, n_early);
    } else {
        errno = 0;
        size_t want = c->body_left < LOAD_READ_BYTES ? (size_t)c->body_left : LOAD_READ_BYTES;
        ssize_t n = recv(c->fd, NULL, want, MSG_TRUNC);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN)
                fail(l, "end of file in a body");
            return;
        }
        count_bytes(l, n);
        c->body_left -= (uint64_t)n;
    }
    if (c->body_left == 0)
        on_answered(l, c);
}

static void on_client(struct load *l, struct client *c)
{
    switch (c->step) {
    case STEP_CONNECTING:
        on_connected(l, c);
        return;
    case STEP_ESTABLISHING:
        on_established(l, c);
        return;
    case STEP_RUN:
        break;
    }
    if (is_http(l->o->mode))
        on_answer(l, c);
    else if (l->o->mode == LOAD_MODE_DOWN || l->o->mode == LOAD_MODE_UP)
        on_bulk(l, c);
    else
        on_echo(l, c);
}

/* One poll; @until_ns bounds its wait. */
static void turn(struct load *l, uint64_t until_ns)
{
    struct epoll_event events[256];
    uint64_t now = now_ns();
    int wait_ms = until_ns > now ? (int)((until_ns - now) / 1000000) + 1 : 0;
    int n = epoll_wait(l->poll, events, 256, wait_ms < POLL_MS ? wait_ms : POLL_MS);
    for (int i = 0; i < n && !l->has_failed; i++)
        on_client(l, events[i].data.ptr);
}

static void turn_until(struct load *l, uint64_t until_ns)
{
    while (!l->has_failed && now_ns() < until_ns)
        turn(l, until_ns);
}

/* A few at a time, so that no accept queue runs over. */
static void open_all(struct load *l, unsigned n_wanted)
{
    uint64_t until = now_ns() + (uint64_t)SETUP_MS * 1000000;
    bool waits = l->o->mode != LOAD_MODE_CONNECT && l->o->mode != LOAD_MODE_BODY;
    while (!l->has_failed && (waits ? l->n_open : l->n_started) < n_wanted) {
        if (now_ns() > until) {
            errno = ETIMEDOUT;
            fail(l, "set-up");
            return;
        }
        while (l->n_started < n_wanted && l->n_started - l->n_open < OPENING_MAX && !l->has_failed)
            client_open(l, &l->clients[l->n_started++]);
        turn(l, until);
    }
}

static bool load_init(struct load *l, const struct load_options *o)
{
    l->o = o;
    l->proxy = &o->proxy;
    l->n_clients = o->n_idle + o->n_conns;
    l->poll = epoll_create1(EPOLL_CLOEXEC);
    l->clients = calloc(l->n_clients, sizeof(*l->clients));
    l->bytes = calloc(1, LOAD_WRITE_BYTES);
    if (l->poll < 0 || !l->clients || !l->bytes) {
        fail(l, "start");
        return false;
    }
    for (unsigned i = 0; i < o->n_idle; i++)
        l->clients[i].is_idle = true;
    snprintf(l->tunnel_request, sizeof(l->tunnel_request),
             "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", o->target, o->target);
    snprintf(l->request, sizeof(l->request),
             "GET %s%s/%" PRIu64 " HTTP/1.1\r\nHost: %s\r\nUser-Agent: loadgen\r\n"
             "Accept: */*\r\n%s\r\n",
             o->is_origin ? "" : "http://", o->is_origin ? "" : o->target, o->body_bytes, o->target,
             o->mode == LOAD_MODE_REQUEST ? "Connection: close\r\n" : "");
    return true;
}

/* The bulk clients of a mixed run, in a process that only its parent ends. */
static pid_t start_bulk(const struct load_options *o, uint64_t *ret_bytes)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct load_options bulk = *o;
    bulk.mode = LOAD_MODE_DOWN;
    bulk.proxy = o->bulk_proxy;
    bulk.target = o->bulk_target;
    bulk.n_conns = o->n_bulk;
    bulk.n_idle = 0;
    static struct load l;
    if (load_init(&l, &bulk)) {
        l.ret_bytes = ret_bytes;
        open_all(&l, l.n_clients);
        turn_until(&l, now_ns() + (uint64_t)(LOAD_SECONDS_MAX * 2) * 1000000000);
    }
    _exit(1);
}

static void report(const struct load *l, const struct account *before, const struct account *after,
                   uint64_t ns)
{
    const struct histogram *h = &l->latencies;
    printf("{\"units\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"ns\": %" PRIu64
           ", \"cpu_ns\": %" PRIu64 ", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f"
           ", \"reconnects\": %" PRIu64 ", \"tunnels\": %u, \"threads\": %u"
           ", \"pss_before\": %" PRIu64 ", \"pss_after\": %" PRIu64 "}\n",
           l->units, l->n_bytes, ns, after->cpu_ns - before->cpu_ns,
           (double)histogram_at(h, 0.5) / 1000, (double)histogram_at(h, 0.9) / 1000,
           (double)histogram_at(h, 0.99) / 1000, l->n_reconnects, l->n_clients, after->n_threads,
           before->pss_bytes, after->pss_bytes);
}

static bool read_account(struct load *l, bool wants_pss, struct account *ret_account)
{
    int r =
        wants_pss ? account_read(l->o->pid, ret_account) : account_read_cpu(l->o->pid, ret_account);
    errno = -r;
    if (r < 0)
        fail(l, "the proxy's account");
    return r == 0;
}

/* Until the bulk clients are under way. */
static void await_bulk(struct load *l, const uint64_t *bulk_bytes)
{
    uint64_t until = now_ns() + (uint64_t)SETUP_MS * 1000000;
    while (!l->has_failed && *(const volatile uint64_t *)bulk_bytes < BULK_BEGUN_BYTES) {
        turn(l, until);
        if (now_ns() > until) {
            errno = ETIMEDOUT;
            fail(l, "bulk");
        }
    }
}

/* Between two readings; or, for idle tunnels, before the first and behind the last of them. */
static void measure(struct load *l, const uint64_t *bulk_bytes)
{
    struct account before = {0}, after = {0};
    bool is_idle = l->o->mode == LOAD_MODE_IDLE;
    uint64_t start = now_ns(), bulk_before = 0;
    if (is_idle && !read_account(l, true, &before))
        return;
    open_all(l, l->n_clients);
    if (bulk_bytes)
        await_bulk(l, bulk_bytes);
    turn_until(l, now_ns() + l->o->warm_ms * 1000000);
    if (!is_idle) {
        l->is_counting = true;
        start = now_ns();
        bulk_before = bulk_bytes ? *(const volatile uint64_t *)bulk_bytes : 0;
        if (!read_account(l, false, &before))
            return;
        turn_until(l, start + l->o->run_ms * 1000000);
    }
    uint64_t end = now_ns();
    if (!read_account(l, is_idle, &after) || l->has_failed)
        return;
    if (bulk_bytes)
        l->n_bytes = *(const volatile uint64_t *)bulk_bytes - bulk_before;
    report(l, &before, &after, end - start);
}

int load_run(const struct load_options *o)
{
    static struct load l;
    pid_t bulk = 0;
    uint64_t *bytes = NULL;
    if (o->mode == LOAD_MODE_MIXED) {
        bytes =
            mmap(NULL, sizeof(*bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (bytes == MAP_FAILED || (bulk = start_bulk(o, bytes)) < 0) {
            perror("loadgen");
            return 1;
        }
    }
    if (load_init(&l, o))
        measure(&l, bytes);
    if (bulk > 0) {
        if (waitpid(bulk, NULL, WNOHANG) == bulk) {
            errno = 0;
            fail(&l, "the bulk clients ended early");
        } else {
            kill(bulk, SIGKILL);
            waitpid(bulk, NULL, 0);
        }
    }
    return l.has_failed ? 1 : 0;
}

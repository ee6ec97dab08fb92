/* proxy_bench - one worker driven by hand, with a configuration of its own and real sockets around
 * it. */
#ifndef TESTS_FLOW_PROXY_BENCH_H
#define TESTS_FLOW_PROXY_BENCH_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conf/snapshot.h"
#include "proxy/flow/update.h"
#include "proxy/net/listener.h"
#include "proxy/report/sink.h"

struct bench {
    struct loop main_loop;
    struct mailbox main_mailbox;
    struct shared shared;
    struct worker worker;
    struct snapshot *snapshot;
    char dir[32], log_path[64];
    uint16_t port;   /* of the proxy */
    int origin;      /* listening; the test accepts */
    uint16_t origin_port;
    unsigned n_drained, n_updated;
};

static inline uint64_t bench_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void bench_on_drained(struct shared *s)
{
    list_entry(s, struct bench, shared)->n_drained++;
}

static inline void bench_on_updated(struct shared *s)
{
    list_entry(s, struct bench, shared)->n_updated++;
}

static inline uint16_t bench_port_of(int fd)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    return ntohs(sa.sin_port);
}

static inline void bench_write(const char *dir, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* @more: sections behind [web-proxy] and [log]; @acl: NULL for one that admits loopback both ways. */
static inline struct snapshot *bench_load(struct bench *b, const char *more, const char *acl)
{
    char conf[2048], path[64];
    snprintf(conf, sizeof(conf),
             "[web-proxy]\nlisten-network = 127.0.0.1\nlisten-port = 8080\n"
             "name-server = 127.0.0.1:9\nconnect-ports = 1-65535\n"
             "[log]\naccess = %s\naccess-format = logfmt\n%s",
             b->log_path, more);
    bench_write(b->dir, "ukai.conf", conf);
    bench_write(b->dir, "acl.conf",
                acl ? acl : "[in]\ntcp 8080 = 127.0.0.1\n[out]\nallow = 127.0.0.0/8\n");
    snprintf(path, sizeof(path), "%s/ukai.conf", b->dir);
    struct findings findings = {0};
    struct snapshot *s = NULL;
    int rc = snapshot_load_from(path, "/nonexistent", &findings, &s);
    if (rc < 0)
        findings_print(&findings, stderr);
    findings_fini(&findings);
    cr_assert_eq(rc, 0, "the configuration does not load");
    return s;
}

static inline void bench_step(struct bench *b)
{
    loop_round(&b->worker.loop, false);
    loop_round(&b->main_loop, false);
}

static inline void bench_run_ms(struct bench *b, uint64_t ms)
{
    for (uint64_t end = bench_now_ms() + ms; bench_now_ms() < end;) {
        bench_step(b);
        poll(NULL, 0, 1);
    }
}

static inline void bench_use(struct bench *b, struct snapshot *s, int fd)
{
    struct own_set *own = calloc(1, sizeof(*own));
    atomic_init(&own->n_refs, 1);
    struct socket_order order = {.id = 1, .kind = SOCKET_WEB, .conf_index = 0, .fd = fd};
    struct update *update = update_new(&b->worker, s, own, &order, 1);
    cr_assert_not_null(update);
    update_post(update);
    own_set_unref(own);
    for (unsigned n = b->n_updated; b->n_updated == n;)
        bench_step(b);
    snapshot_unref(b->snapshot);
    b->snapshot = s;
}

static inline struct bench *bench_new(const char *more, const char *acl)
{
    struct bench *b = calloc(1, sizeof(*b));
    int error;
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(b->dir, sizeof(b->dir), "/tmp/ukai-flow-XXXXXX");
    cr_assert_not_null(mkdtemp(b->dir));
    snprintf(b->log_path, sizeof(b->log_path), "%s/access.log", b->dir);
    struct snapshot *s = bench_load(b, more, acl);
    cr_assert_eq(loop_init(&b->main_loop), 0);
    cr_assert_eq(mailbox_init(&b->main_mailbox, &b->main_loop), 0);
    b->shared = (struct shared){.main_mailbox = &b->main_mailbox,
                                .via = "ukai-test",
                                .on_drained = bench_on_drained,
                                .on_updated = bench_on_updated};
    b->shared.sink = sink_new(&s->conf.log, &error);
    cr_assert_not_null(b->shared.sink);
    cr_assert_eq(sink_start(b->shared.sink), 0);
    atomic_init(&b->shared.max_clients, 100);
    atomic_init(&b->shared.max_tunnels, 100);
    atomic_init(&b->shared.max_pooled, 16);
    cr_assert_eq(worker_init(&b->worker, 0, &b->shared, 1024 * 1024), 0);
    struct addr loopback;
    cr_assert_eq(addr_parse("127.0.0.1", 9, &loopback), 0);
    int fd = listener_socket(SOCK_STREAM, "", false, &loopback, 0);
    cr_assert_geq(fd, 0);
    b->port = bench_port_of(fd);
    bench_use(b, s, fd);
    b->origin = listener_socket(SOCK_STREAM, "", false, &loopback, 0);
    cr_assert_geq(b->origin, 0);
    b->origin_port = bench_port_of(b->origin);
    return b;
}

static inline void bench_free(struct bench *b)
{
    char path[64];
    worker_fini(&b->worker);
    cr_expect_eq(atomic_load(&b->shared.n_clients), 0, "clients counted wrong");
    cr_expect_eq(atomic_load(&b->shared.n_tunnels), 0, "tunnels counted wrong");
    mailbox_fini(&b->main_mailbox);
    loop_fini(&b->main_loop);
    snapshot_unref(b->snapshot);
    sink_free(b->shared.sink);
    close(b->origin);
    static const char *const names[] = {"ukai.conf", "acl.conf", "access.log"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
        unlink(path);
    }
    rmdir(b->dir);
    free(b);
}

/* A client of the proxy, not blocking. @buffer_bytes: 0 as the kernel likes. */
static inline int bench_client_with(struct bench *b, int buffer_bytes)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(b->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (buffer_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static inline int bench_client(struct bench *b)
{
    return bench_client_with(b, 0);
}

static inline void bench_send(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next connection at the origin, not blocking; -1: none within @ms. */
static inline int bench_accept(struct bench *b, uint64_t ms)
{
    for (uint64_t end = bench_now_ms() + ms; bench_now_ms() < end;) {
        int fd = accept4(b->origin, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        bench_step(b);
    }
    return -1;
}

/* Reads for up to @ms until @until stands in it, an end or an error. Returns 1 found, 0 end,
 * -errno; -EAGAIN: neither. */
static inline int bench_read(struct bench *b, int fd, char *buf, size_t size, const char *until,
                             uint64_t ms)
{
    size_t got = 0;
    buf[0] = '\0';
    for (uint64_t end = bench_now_ms() + ms; bench_now_ms() < end;) {
        ssize_t n = recv(fd, buf + got, size - 1 - got, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EAGAIN)
            return -errno;
        if (n > 0) {
            got += (size_t)n;
            buf[got] = '\0';
            if (until && strstr(buf, until))
                return 1;
        } else {
            bench_step(b);
        }
    }
    return -EAGAIN;
}

static inline void bench_reset(int fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* An absolute-form request for our origin. */
static inline void bench_get(struct bench *b, int fd, const char *path, const char *version,
                             const char *fields)
{
    char text[512];
    snprintf(text, sizeof(text), "GET http://127.0.0.1:%u%s HTTP/%s\r\nHost: 127.0.0.1\r\n%s\r\n",
             b->origin_port, path, version, fields);
    bench_send(fd, text);
}

/* The access log as it is now; the sink's thread writes it, so it is waited for. */
static inline unsigned bench_records(struct bench *b, char *buf, size_t size, unsigned want)
{
    unsigned n = 0;
    for (uint64_t end = bench_now_ms() + 2000; n < want && bench_now_ms() < end;) {
        bench_run_ms(b, 10);
        int fd = open(b->log_path, O_RDONLY);
        ssize_t got = fd < 0 ? 0 : read(fd, buf, size - 1);
        close(fd);
        buf[got > 0 ? got : 0] = '\0';
        n = 0;
        for (const char *p = buf; (p = strchr(p, '\n')); p++)
            n++;
    }
    return n;
}

#endif

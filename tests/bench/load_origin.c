/*
 * The origin: one thread, level-triggered epoll, one service a process, so that a bulk source does
 * not stand in the way of an echo. Never the thing to be measured: bulk is read by MSG_TRUNC,
 * without a copy, and written 256 KiB a call.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct guest {
    int fd;
    bool is_writing, is_last;
    unsigned n_head;
    uint64_t body_left;
    char head[LOAD_HEAD_BYTES];
};

struct origin {
    enum load_service service;
    int poll, listener;
    char *bytes; /* LOAD_WRITE_BYTES of anything */
};

static void guest_end(struct guest *g)
{
    close(g->fd);
    free(g);
}

static void guest_watch(struct origin *o, struct guest *g, bool is_writing)
{
    if (g->is_writing == is_writing)
        return;
    g->is_writing = is_writing;
    struct epoll_event e = {.events = is_writing ? EPOLLOUT : EPOLLIN, .data.ptr = g};
    epoll_ctl(o->poll, EPOLL_CTL_MOD, g->fd, &e);
}

static void on_connection(struct origin *o)
{
    int fd = accept4(o->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct guest *g = fd < 0 ? NULL : malloc(sizeof(*g));
    if (!g) {
        if (fd >= 0)
            close(fd);
        return;
    }
    g->fd = fd;
    g->n_head = 0;
    g->body_left = 0;
    g->is_last = false;
    g->is_writing = o->service == LOAD_SERVICE_SOURCE;
    struct epoll_event e = {.events = g->is_writing ? EPOLLOUT : EPOLLIN, .data.ptr = g};
    if (epoll_ctl(o->poll, EPOLL_CTL_ADD, fd, &e) < 0)
        guest_end(g);
}

/* Whether the guest lives on: anything but "later" ends it. */
static bool is_later(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool echo(struct origin *o, struct guest *g)
{
    char bytes[LOAD_HEAD_BYTES];
    ssize_t n = recv(g->fd, bytes, sizeof(bytes), 0);
    if (n <= 0)
        return is_later(n);
    return send(g->fd, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static bool source(struct origin *o, struct guest *g)
{
    ssize_t n = send(g->fd, o->bytes, LOAD_WRITE_BYTES, MSG_NOSIGNAL);
    return n > 0 || is_later(n);
}

static bool sink(struct origin *o, struct guest *g)
{
    ssize_t n = recv(g->fd, NULL, LOAD_READ_BYTES, MSG_TRUNC);
    return n > 0 || is_later(n);
}

/* The size asked for stands behind the last slash of the target. */
static bool answer_head(struct guest *g)
{
    char *line_end = strstr(g->head, "\r\n");
    char *version = line_end ? strstr(g->head, " HTTP/1.") : NULL;
    if (!version || version > line_end)
        return false;
    g->is_last = version[8] == '0' || strcasestr(line_end, "\nconnection: close");
    *version = '\0';
    const char *slash = strrchr(g->head, '/');
    g->body_left = slash ? strtoull(slash + 1, NULL, 10) : 0;
    g->n_head = 0;
    return true;
}

static bool http_write(struct origin *o, struct guest *g)
{
    while (g->body_left > 0) {
        size_t want = g->body_left < LOAD_WRITE_BYTES ? (size_t)g->body_left : LOAD_WRITE_BYTES;
        ssize_t n = send(g->fd, o->bytes, want, MSG_NOSIGNAL);
        if (n < 0)
            return is_later(n);
        g->body_left -= (uint64_t)n;
        if (g->body_left > 0) { /* others first */
            guest_watch(o, g, true);
            return true;
        }
    }
    guest_watch(o, g, false);
    return !g->is_last;
}

/* Head and the start of the body in one write, as servers do. */
static bool http_answer(struct origin *o, struct guest *g)
{
    char out[LOAD_HEAD_BYTES + 512];
    int n_head =
        snprintf(out, sizeof(out),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                 "Cache-Control: no-store\r\nContent-Length: %llu\r\n%s\r\n",
                 (unsigned long long)g->body_left, g->is_last ? "Connection: close\r\n" : "");
    size_t n_body = g->body_left < LOAD_HEAD_BYTES ? (size_t)g->body_left : LOAD_HEAD_BYTES;
    memcpy(out + n_head, o->bytes, n_body);
    g->body_left -= n_body;
    if (send(g->fd, out, (size_t)n_head + n_body, MSG_NOSIGNAL) !=
        (ssize_t)((size_t)n_head + n_body))
        return false;
    return http_write(o, g);
}

static bool http_read(struct origin *o, struct guest *g)
{
    ssize_t n = recv(g->fd, g->head + g->n_head, sizeof(g->head) - 1 - g->n_head, 0);
    if (n <= 0)
        return is_later(n);
    g->n_head += (unsigned)n;
    g->head[g->n_head] = '\0';
    if (!strstr(g->head, "\r\n\r\n"))
        return g->n_head < sizeof(g->head) - 1;
    return answer_head(g) && http_answer(o, g);
}

static bool serve_guest(struct origin *o, struct guest *g)
{
    switch (o->service) {
    case LOAD_SERVICE_ECHO:
        return echo(o, g);
    case LOAD_SERVICE_SOURCE:
        return source(o, g);
    case LOAD_SERVICE_SINK:
        return sink(o, g);
    case LOAD_SERVICE_HTTP:
        return g->is_writing ? http_write(o, g) : http_read(o, g);
    }
    return false;
}

static int origin_open(struct origin *o, const struct sockaddr_in *at)
{
    int one = 1;
    o->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    o->poll = epoll_create1(EPOLL_CLOEXEC);
    o->bytes = calloc(1, LOAD_WRITE_BYTES);
    if (o->listener < 0 || o->poll < 0 || !o->bytes)
        return -1;
    setsockopt(o->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(o->listener, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    if (bind(o->listener, (const struct sockaddr *)at, sizeof(*at)) < 0 ||
        listen(o->listener, 4096) < 0)
        return -1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    return epoll_ctl(o->poll, EPOLL_CTL_ADD, o->listener, &e);
}

int load_serve(enum load_service service, const struct sockaddr_in *at)
{
    struct origin o = {.service = service};
    if (origin_open(&o, at) < 0) {
        perror("origin");
        return 1;
    }
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(o.poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct guest *g = events[i].data.ptr;
            if (!g)
                on_connection(&o);
            else if (!serve_guest(&o, g))
                guest_end(g);
        }
    }
}

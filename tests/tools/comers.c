/*
 * Short tunnels that come at a steady pace: each asks for a tunnel, says something, is answered and ends in order.
 *
 *     comers serve ADDRESS PORT                    echoes whatever comes, in any number of connections
 *     comers ask ADDRESS PORT TARGET A_SECOND      until standard input ends
 *
 * Every 50 ms a line with the numbers of those served and failed, and last one JSON object:
 * {"begun": N, "served": N, "seconds": S, "failed": [{"at": monotonic seconds, "why": "..."}, ...]}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_MAX_ = 1024, TELL_MS = 50, FAILED_MAX = 4096, LIMIT_MS = 15000, HELLO = 5, HEAD_MAX = 2048 };

enum state { FREE, CONNECTING, ASKED, SAID, ENDING };

struct comer {
    int fd;
    enum state state;
    uint64_t begun_ms;
    char head[HEAD_MAX];
    size_t n_head, n_echoed;
};

struct failure {
    uint64_t at_ms;
    char why[96];
};

static struct comer comers[OPEN_MAX_];
static struct failure failures[FAILED_MAX];
static uint64_t n_begun, n_served, n_failed;
static const char *target;
static int ep;

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void end(struct comer *c, const char *why)
{
    close(c->fd);
    c->state = FREE;
    if (!why) {
        n_served++;
        return;
    }
    if (n_failed < FAILED_MAX) {
        failures[n_failed].at_ms = now_ms();
        snprintf(failures[n_failed].why, sizeof(failures[n_failed].why), "%s", why);
    }
    n_failed++;
}

static void end_errno(struct comer *c, const char *what)
{
    char why[96];
    snprintf(why, sizeof(why), "%s: %s", what, strerror(errno));
    end(c, why);
}

static void ask(struct comer *c)
{
    char request[512];
    int error = 0, n = snprintf(request, sizeof(request), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);
    socklen_t len = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    errno = error;
    if (error || send(c->fd, request, (size_t)n, MSG_NOSIGNAL) != n) {
        end_errno(c, "connect");
        return;
    }
    c->state = ASKED;
}

static void take_head(struct comer *c)
{
    char why[96];
    c->head[c->n_head] = '\0';
    if (!strstr(c->head, "\r\n\r\n"))
        return;
    if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0) {
        snprintf(why, sizeof(why), "%.*s", (int)strcspn(c->head, "\r"), c->head);
        end(c, why);
    } else if (send(c->fd, "hello", HELLO, MSG_NOSIGNAL) != HELLO) {
        end_errno(c, "hello");
    } else {
        c->state = SAID;
    }
}

/* A byte of the echo, and the end behind it. */
static void take_echo(struct comer *c, const char *bytes, size_t n)
{
    if (c->n_echoed + n > HELLO || memcmp(bytes, &"hello"[c->n_echoed], n) != 0) {
        end(c, "a wrong echo");
        return;
    }
    if ((c->n_echoed += n) == HELLO) {
        shutdown(c->fd, SHUT_WR);
        c->state = ENDING;
    }
}

static void read_some(struct comer *c)
{
    char bytes[64];
    bool is_head = c->state == ASKED;
    ssize_t n = is_head ? recv(c->fd, c->head + c->n_head, HEAD_MAX - 1 - c->n_head, 0) : recv(c->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        end_errno(c, is_head ? "head" : "echo");
    else if (n == 0)
        end(c, c->state == ENDING ? NULL : "an early end");
    else if (is_head) {
        c->n_head += (size_t)n;
        take_head(c);
    } else if (c->state == ENDING)
        end(c, "more than the echo");
    else
        take_echo(c, bytes, (size_t)n);
}

static void begin(const struct sockaddr_in *to)
{
    struct comer *c = NULL;
    for (unsigned i = 0; i < OPEN_MAX_ && !c; i++)
        c = comers[i].state == FREE ? &comers[i] : NULL;
    if (!c)
        return;
    *c = (struct comer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .state = CONNECTING, .begun_ms = now_ms()};
    n_begun++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (c->fd < 0 || (connect(c->fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &event) < 0)
        end_errno(c, "begin");
}

static void on_event(struct comer *c, uint32_t events)
{
    if (c->state == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        ask(c);
    enum state before;
    do { /* edge-triggered: a state reads until it has nothing more, or is over */
        before = c->state;
        if (c->state > CONNECTING)
            read_some(c);
    } while (c->state != before && c->state != FREE);
}

static unsigned drop_late(void)
{
    unsigned n_open = 0;
    uint64_t now = now_ms();
    for (unsigned i = 0; i < OPEN_MAX_; i++) {
        if (comers[i].state != FREE && now - comers[i].begun_ms > LIMIT_MS)
            end(&comers[i], "15 s have passed");
        n_open += comers[i].state != FREE;
    }
    return n_open;
}

static bool has_input_ended(void)
{
    char byte;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void print(uint64_t began_ms)
{
    printf("{\"begun\": %llu, \"served\": %llu, \"seconds\": %.3f, \"failed\": [", (unsigned long long)n_begun,
           (unsigned long long)n_served, (double)(now_ms() - began_ms) / 1000);
    for (uint64_t i = 0; i < n_failed && i < FAILED_MAX; i++)
        printf("%s{\"at\": %.3f, \"why\": \"%s\"}", i ? ", " : "", (double)failures[i].at_ms / 1000, failures[i].why);
    puts("]}");
}

static int run_asking(const struct sockaddr_in *to, unsigned a_second)
{
    uint64_t began_ms = now_ms(), told_ms = began_ms, n_due = 0;
    bool is_over = false;
    for (unsigned n_open = 1; !is_over || n_open > 0;) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, 2);
        for (int i = 0; i < n; i++) {
            struct comer *c = events[i].data.ptr;
            if (c->state != FREE)
                on_event(c, events[i].events);
        }
        n_open = drop_late();
        is_over = is_over || has_input_ended();
        if (now_ms() - told_ms >= TELL_MS) {
            told_ms = now_ms();
            printf("%llu %llu\n", (unsigned long long)n_served, (unsigned long long)n_failed);
            fflush(stdout);
        }
        for (uint64_t due = (now_ms() - began_ms) * a_second / 1000; !is_over && n_due < due; n_due++)
            begin(to);
    }
    print(began_ms);
    return EXIT_SUCCESS;
}

static int run_serving(const struct sockaddr_in *at)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(listener, 1024) < 0 ||
        epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event) < 0) {
        perror("comers serve");
        return EXIT_FAILURE;
    }
    puts("listening");
    fflush(stdout);
    while (epoll_wait(ep, &event, 1, -1) >= 0 || errno == EINTR) {
        char bytes[4096];
        int fd = event.data.fd;
        if (fd == listener) {
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = accept(listener, NULL, NULL)};
            if (event.data.fd >= 0)
                epoll_ctl(ep, EPOLL_CTL_ADD, event.data.fd, &event);
            continue;
        }
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n > 0 && send(fd, bytes, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
            continue;
        if (n >= 0 || errno != EAGAIN)
            close(fd);
    }
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (argc < 4 || ep < 0 || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) {
        fprintf(stderr, "usage: comers serve ADDRESS PORT | comers ask ADDRESS PORT TARGET A_SECOND\n");
        return 2;
    }
    at.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
    if (strcmp(argv[1], "serve") == 0)
        return run_serving(&at);
    target = argc > 4 ? argv[4] : "";
    return run_asking(&at, argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 1);
}

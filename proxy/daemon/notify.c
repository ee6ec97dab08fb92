/*
 * The protocol is a datagram of lines to a Unix socket, by path or (with '@') by abstract name; it
 * is systemd's, documented in sd_notify(3) with the promise that it stays. Written here and not
 * through libsystemd, which would link a router's daemon to what routers often do not have.
 */
#include "proxy/daemon/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 400 };

static int connect_to(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(sa.sun_path))
        return -1;
    memcpy(sa.sun_path, path, len);
    if (path[0] == '@')
        sa.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, size) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The interval is for us when WATCHDOG_PID says so or says nothing. */
static uint64_t watchdog_interval_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!usec || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    char *end;
    unsigned long long n = strtoull(usec, &end, 10);
    return *usec >= '0' && *usec <= '9' && *end == '\0' && n >= 2000 ? n / 1000 : 0;
}

void notify_open(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (struct notify){.fd = path ? connect_to(path) : -1};
    if (n->fd >= 0)
        n->watchdog_ms = watchdog_interval_ms();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

static void tell(const struct notify *n, const char *text, int len)
{
    if (n->fd < 0 || len <= 0)
        return;
    ssize_t sent;
    do {
        sent = send(n->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
}

static void tell_with_status(const struct notify *n, const char *what, const char *status)
{
    char text[TEXT_MAX];
    int len = status ? snprintf(text, sizeof(text), "%s%sSTATUS=%.300s", what, what[0] ? "\n" : "",
                                status)
                     : snprintf(text, sizeof(text), "%s", what);
    tell(n, text, len);
}

void notify_ready(const struct notify *n, const char *status)
{
    tell_with_status(n, "READY=1", status);
}

void notify_reloading(const struct notify *n)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char text[TEXT_MAX];
    int len =
        snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
                 (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    tell(n, text, len);
}

void notify_stopping(const struct notify *n, const char *status)
{
    tell_with_status(n, "STOPPING=1", status);
}

void notify_status(const struct notify *n, const char *status)
{
    tell_with_status(n, "", status);
}

void notify_alive(const struct notify *n)
{
    tell_with_status(n, "WATCHDOG=1", NULL);
}

void notify_main_pid(const struct notify *n, int64_t pid)
{
    char text[TEXT_MAX];
    tell(n, text, snprintf(text, sizeof(text), "MAINPID=%lld", (long long)pid));
}

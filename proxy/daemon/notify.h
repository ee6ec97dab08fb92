/* notify - telling the service manager how we are: the datagrams of sd_notify(3). */
#ifndef PROXY_DAEMON_NOTIFY_H
#define PROXY_DAEMON_NOTIFY_H

#include <stdint.h>

struct notify {
    int fd;               /* -1: nobody asked to be told */
    uint64_t watchdog_ms; /* a sign of life is due this often; 0: none is */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, connects, and takes them out of the
 * environment. Before the sandbox. A socket that cannot be reached is as good as none. */
void notify_open(struct notify *n);
void notify_close(struct notify *n);

/* Never blocks; what the manager does not take is lost. @status: a line for people, printable, or
 * NULL. */
void notify_ready(const struct notify *n, const char *status);
void notify_reloading(const struct notify *n);
void notify_stopping(const struct notify *n, const char *status);
void notify_status(const struct notify *n, const char *status);
void notify_alive(const struct notify *n);
/* The service goes on in another process; only the one the manager knows may say so. */
void notify_main_pid(const struct notify *n, int64_t pid);

#endif

/*
 * The descriptors come as ancillary data of the answer's output, so many with each of its bytes
 * (daemon/control). A socket that both processes hold has one backlog: nothing that waits in it is
 * lost, whoever accepts it.
 */
#include "proxy/daemon/takeover.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/daemon/control.h"

enum { LIMIT_S = 10, ANSWER_MAX = 4096 };

static int connect_to(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timeval limit = {.tv_sec = LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* Descriptors that fit no offer are closed by it. @offers NULL: all are closed. */
static void take_fds(struct msghdr *message, struct offers *offers)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (!offers)
                close(fd);
            else if (offers_add(offers, fd) < 0)
                continue;
        }
    }
}

/* The whole answer, up to the end of the connection. */
static int read_answer(int fd, struct offers *offers, char *buf, size_t size, size_t *ret_len)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_A_MESSAGE)];
        struct cmsghdr align;
    } space;
    size_t len = 0;
    while (len < size) {
        struct iovec iov = {.iov_base = buf + len, .iov_len = size - len};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = space.bytes,
                                 .msg_controllen = sizeof(space.bytes)};
        ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        take_fds(&message, offers);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

static int ask(const char *path, const char *request, struct offers *offers)
{
    char answer[ANSWER_MAX];
    size_t len = 0;
    int fd = connect_to(path);
    if (fd < 0)
        return fd;
    ssize_t n = send(fd, request, strlen(request), MSG_NOSIGNAL);
    int rc = n == (ssize_t)strlen(request) ? 0 : n < 0 ? -errno : -EPIPE;
    if (rc == 0)
        rc = read_answer(fd, offers, answer, sizeof(answer), &len);
    close(fd);
    if (rc < 0)
        return rc;
    const char *end = memchr(answer, '\n', len);
    json_t *head = end ? json_loadb(answer, (size_t)(end - answer), 0, NULL) : NULL;
    int code = -1;
    rc = json_unpack(head, "{s:i}", "exit", &code) == 0 && code == 0 ? 0 : -EPROTO;
    json_decref(head);
    return rc;
}

int takeover_fetch(const char *path, struct offers *offers)
{
    return ask(path, "[\"handover\"]\n", offers);
}

int takeover_finish(const char *path)
{
    return ask(path, "[\"replaced\"]\n", NULL);
}

/*
 * Blocking, with a limit on each silence: who asks is a command that has nothing else to do, or a
 * daemon that has not begun to serve. The protocol is told in daemon/control. All is read by
 * recvmsg(2), so that descriptors which come along with the output are not lost.
 */
#include "proxy/daemon/ask.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proxy/daemon/control.h"

enum { HEAD_MAX = 96 };

int ask_connect(const struct ask *a)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = a->limit_s};
    if (strlen(a->path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, a->path, strlen(a->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

int ask_send(int fd, const char *const *words)
{
    json_t *request = json_array();
    for (; *words; words++)
        json_array_append_new(request, json_string(*words));
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (!text)
        return -EINVAL;
    size_t len = strlen(text), done = 0;
    text[len] = '\n'; /* in the place of the NUL */
    int rc = 0;
    while (rc == 0 && done < len + 1) {
        ssize_t n = send(fd, text + done, len + 1 - done, MSG_NOSIGNAL);
        if (n > 0)
            done += (size_t)n;
        else if (errno == EPIPE || errno == ECONNRESET)
            break; /* turned away: that is an answer too, and the reading finds it */
        else if (errno != EINTR)
            rc = -errno;
    }
    free(text);
    return rc;
}

static void take_fds(const struct ask *a, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            if (a->on_fd)
                a->on_fd(a->owner, fd);
            else
                close(fd);
        }
    }
}

static int read_exactly(const struct ask *a, int fd, char *buf, size_t len)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_A_MESSAGE)];
        struct cmsghdr align;
    } space;
    size_t done = 0;
    while (done < len) {
        struct iovec iov = {.iov_base = buf + done, .iov_len = len - done};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = space.bytes,
                                 .msg_controllen = sizeof(space.bytes)};
        ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        take_fds(a, &message);
        if (n == 0)
            return -ECONNRESET;
        done += (size_t)n;
    }
    return 0;
}

static int read_head(const struct ask *a, int fd, struct ask_answer *ret)
{
    char line[HEAD_MAX];
    json_int_t out, err;
    size_t n = 0;
    do {
        int rc = n < sizeof(line) ? read_exactly(a, fd, line + n, 1) : -EPROTO;
        if (rc < 0)
            return rc;
    } while (line[n++] != '\n');
    json_t *head = json_loadb(line, n, 0, NULL);
    int rc = json_unpack(head, "{s:i, s:I, s:I}", "exit", &ret->exit, "out", &out, "err", &err);
    json_decref(head);
    if (rc < 0 || out < 0 || err < 0 || out > CONTROL_ANSWER_MAX || err > CONTROL_ANSWER_MAX)
        return -EPROTO;
    ret->out_len = (size_t)out;
    ret->err_len = (size_t)err;
    return 0;
}

static int read_text(const struct ask *a, int fd, size_t len, char **ret)
{
    char *text = malloc(len + 1);
    if (!text)
        return -ENOMEM;
    text[len] = '\0';
    *ret = text;
    return read_exactly(a, fd, text, len);
}

int ask_read(const struct ask *a, int fd, struct ask_answer *ret_answer)
{
    struct ask_answer answer = {0};
    int rc = read_head(a, fd, &answer);
    if (rc == 0)
        rc = read_text(a, fd, answer.out_len, &answer.out);
    if (rc == 0)
        rc = read_text(a, fd, answer.err_len, &answer.err);
    if (rc < 0)
        ask_answer_fini(&answer);
    *ret_answer = answer;
    return rc;
}

void ask_answer_fini(struct ask_answer *answer)
{
    free(answer->out);
    free(answer->err);
    *answer = (struct ask_answer){0};
}

/*
 * The descriptors come as ancillary data of the answer's output, so many with each of its bytes
 * (daemon/control). A socket that both processes hold has one backlog: nothing that waits in it is
 * lost, whoever accepts it.
 */
#include "proxy/daemon/takeover.h"

#include <errno.h>
#include <unistd.h>

#include "proxy/daemon/ask.h"

enum { LIMIT_S = 10 };

/* One that fits no offer is closed by it. */
static void on_fd(void *owner, int fd)
{
    if (offers_add(owner, fd) < 0)
        return;
}

static int order(const struct ask *a, const char *verb)
{
    const char *const words[] = {verb, NULL};
    struct ask_answer answer = {0};
    int fd = ask_connect(a);
    if (fd < 0)
        return fd;
    int rc = ask_send(fd, words);
    if (rc == 0)
        rc = ask_read(a, fd, &answer);
    close(fd);
    if (rc == 0 && answer.exit != 0)
        rc = -EPROTO;
    ask_answer_fini(&answer);
    return rc;
}

int takeover_fetch(const char *path, struct offers *offers)
{
    struct ask a = {.path = path, .limit_s = LIMIT_S, .on_fd = on_fd, .owner = offers};
    return order(&a, "handover");
}

int takeover_finish(const char *path)
{
    struct ask a = {.path = path, .limit_s = LIMIT_S};
    return order(&a, "replaced");
}

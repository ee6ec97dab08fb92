/*
 * Pipes are lent for as long as one callback, or for as long as a destination blocks; so a worker
 * with a thousand transfers needs a handful. Beyond pipe-user-pages-soft the kernel silently makes
 * pipes of one or two pages, with which splice costs more than a copy: the size that F_SETPIPE_SZ
 * gave is checked, and such a pipe is not used.
 */
#include "proxy/net/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOO_SMALL_BYTES = 64 * 1024 };

static void pipe_close(struct pipes *p, struct pipe *pipe)
{
    close(pipe->out);
    close(pipe->in);
    free(pipe);
    p->n_owned--;
}

static struct pipe *pipe_open(struct pipes *p)
{
    int fds[2];
    struct pipe *pipe = calloc(1, sizeof(*pipe));
    if (!pipe || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        free(pipe);
        return NULL;
    }
    pipe->out = fds[0];
    pipe->in = fds[1];
    p->n_owned++;
    int size = fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
    if (size < 0)
        size = fcntl(fds[1], F_GETPIPE_SZ);
    if (size < TOO_SMALL_BYTES) {
        pipe_close(p, pipe);
        return NULL;
    }
    pipe->size = (uint32_t)size;
    return pipe;
}

struct pipe *pipes_take(struct pipes *p)
{
    struct pipe *pipe = p->spare;
    if (!pipe)
        return p->n_owned < PIPES_MAX ? pipe_open(p) : NULL;
    p->spare = pipe->next;
    p->n_spare--;
    return pipe;
}

void pipes_give(struct pipes *p, struct pipe *pipe)
{
    if (!pipe)
        return;
    if (pipe->held > 0 || p->n_spare >= PIPES_SPARE) {
        pipe_close(p, pipe);
        return;
    }
    pipe->next = p->spare;
    p->spare = pipe;
    p->n_spare++;
}

void pipes_fini(struct pipes *p)
{
    while (p->spare) {
        struct pipe *pipe = p->spare;
        p->spare = pipe->next;
        p->n_spare--;
        pipe_close(p, pipe);
    }
}

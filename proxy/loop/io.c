/*
 * A socket is watched once for everything and edge-triggered; afterwards the kernel is asked again
 * only when a call said EAGAIN. A short read may count as drained only while no FIN, no error and
 * no urgent byte is known: recv(2) stops in front of each, and none raises a second edge when it
 * came together with data.
 */
#include "proxy/loop/io.h"

#include <sys/socket.h>
#include <unistd.h>

static const uint32_t EDGES = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static void on_event(struct watch *w, uint32_t events)
{
    struct io *io = list_entry(w, struct io, watch);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        io->is_readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        io->is_writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        io->is_peer_done = true;
    if (events & EPOLLPRI)
        io->has_urgent = true;
    io->on_ready(io);
}

int io_open(struct io *io, struct loop *loop, int fd, io_ready_fn on_ready, void *owner)
{
    *io = (struct io){.on_ready = on_ready, .owner = owner};
    int rc = watch_open(&loop->watches, &io->watch, fd, EDGES, on_event);
    if (rc < 0) {
        close(fd);
        io->watch.fd = -1;
    }
    return rc;
}

void io_close(struct io *io)
{
    watch_close(&io->watch);
}

void io_reset(struct io *io)
{
    if (!io_is_open(io))
        return;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(io->watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    io_close(io);
}

int io_move(struct io *from, struct io *to, io_ready_fn on_ready, void *owner)
{
    *to = (struct io){.on_ready = on_ready, .owner = owner, .watch.fd = -1};
    int rc = watch_move(&from->watch, &to->watch, EDGES, on_event);
    if (rc < 0)
        io_close(from);
    return rc;
}

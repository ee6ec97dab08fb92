/*
 * A socket is registered once with everything and edge-triggered; afterwards the kernel is asked
 * again only when a call said EAGAIN. EV_CLOSED carries EPOLLRDHUP: a short read may count as
 * drained only while no FIN is known (a FIN that came together with data raises no second edge).
 */
#include "proxy/loop/io.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct io *io = arg;
    if (what & EV_READ)
        io->is_readable = true;
    if (what & EV_WRITE)
        io->is_writable = true;
    if (what & EV_CLOSED)
        io->is_readable = io->is_peer_done = true;
    /* EPOLLHUP and EPOLLERR arrive as both: nothing more will raise an edge. */
    io->on_ready(io);
}

int io_open(struct io *io, struct loop *loop, int fd, io_ready_fn on_ready, void *owner)
{
    *io = (struct io){.fd = fd, .on_ready = on_ready, .owner = owner};
    event_assign(&io->event, loop->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
                 on_event, io);
    if (event_add(&io->event, NULL) == 0)
        return 0;
    close(fd);
    io->fd = -1;
    return -ENOMEM;
}

void io_close(struct io *io)
{
    if (io->fd < 0)
        return;
    event_del(&io->event);
    close(io->fd);
    io->fd = -1;
}

void io_reset(struct io *io)
{
    if (io->fd < 0)
        return;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    io_close(io);
}

int io_move(struct io *from, struct io *to, struct loop *loop, io_ready_fn on_ready, void *owner)
{
    int fd = from->fd;
    event_del(&from->event);
    from->fd = -1;
    return io_open(to, loop, fd, on_ready, owner);
}

/* pipes - kernel buffers for splice: one scratch pipe a worker, lent to a transfer that blocks. */
#ifndef PROXY_NET_PIPES_H
#define PROXY_NET_PIPES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * PIPE_BYTES: 1 MiB was the best size measured; 256 KiB cost 1.1-1.2 times, 64 KiB 1.3-1.7 times
 * the CPU. PIPES_MAX: pipes a worker owns at most, lent ones included; past it what blocks goes to
 * the heap.
 */
enum { PIPE_BYTES = 1024 * 1024, PIPES_MAX = 128, PIPES_SPARE = 8 };

/* For tests: what a relay does whatever the reads say. */
enum pipes_mode { PIPES_ADAPTIVE, PIPES_NEVER, PIPES_ALWAYS, PIPES_SWITCH };

struct pipe {
    struct pipe *next;
    int out, in;   /* read end, write end */
    uint32_t size; /* what the kernel gave; may be far less than asked */
    uint32_t held; /* bytes in it */
};

/* Of one worker; zero-initialised is empty and valid. */
struct pipes {
    struct pipe *spare;
    unsigned n_spare, n_owned;
    enum pipes_mode mode;
};

/* An empty pipe, lent to the caller. NULL: the cap, no fds, or the kernel gives only tiny ones. */
struct pipe *pipes_take(struct pipes *p);
/* Takes it back; one that still holds bytes is closed. NULL is fine. */
void pipes_give(struct pipes *p, struct pipe *pipe);
/* Closes the spare ones; lent ones must have been given back. */
void pipes_fini(struct pipes *p);

#endif

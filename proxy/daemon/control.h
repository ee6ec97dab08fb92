/* control - the control socket: requests of `ukai status` and its like, one a connection. */
#ifndef PROXY_DAEMON_CONTROL_H
#define PROXY_DAEMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "proxy/loop/loop.h"
#include "proxy/loop/timers.h"

enum {
    CONTROL_REQUEST_MAX = 4096,
    CONTROL_ARGS_MAX = 16,
    CONTROL_CALLS_MAX = 16,
    CONTROL_ANSWER_MAX = 64 * 1024 * 1024,
    CONTROL_ANSWERS_MAX = 128 * 1024 * 1024, /* of all calls together */
    CONTROL_EXIT_FAILED = 1,
    CONTROL_READ_LIMIT_MS = 5000, /* to say the request, and to take each piece of the answer */
    CONTROL_FDS_A_MESSAGE = 200
};

/*
 * The protocol. The client sends one line: a JSON array of strings, the verb first. The answer is
 * one line, {"exit":N,"out":BYTES,"err":BYTES}, and then as many bytes for its standard output and
 * for its standard error; then the connection is closed. Who finds all places taken is answered
 * before the request.
 */

struct control;
struct control_call;

/* Runs on the main thread; must lead to control_end(), at once or later. @args ends with NULL and
 * lives as long as the call. */
typedef void (*control_run_fn)(struct control_call *call, int n_args, char **args);

struct control_verb {
    const char *name;
    control_run_fn run;
};

struct control {
    struct loop *loop;
    int fd; /* -1: there is none */
    struct event event;
    struct timer pause; /* runs while accept waits for free fds */
    char *path;         /* owned; removed at the end */
    dev_t device;       /* of the socket that we made, so that no other is removed */
    ino_t inode;
    const struct control_verb *verbs; /* borrowed; ends with an empty one */
    void *owner;
    struct list calls;
    unsigned n_calls;      /* their clients may have left */
    size_t n_answer_bytes; /* that calls hold */
};

/**
 * control_open - listen at @path (abuse case O08)
 * What a crash left there is replaced. Refused: a symbolic link, anything that is no socket, a
 * socket of another user or one that somebody answers on, a directory that others may write to.
 * Mode 0660, the group is the process's own. @ret_text says what is wrong and what to do.
 * @replaces: one that somebody answers on is replaced too; its daemon has given up its listeners.
 *
 * Returns: 0 · -errno; -EEXIST and -EPERM for what was refused.
 */
int control_open(struct control *c, struct loop *loop, const char *path, bool replaces,
                 const struct control_verb *verbs, void *owner, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
/* Removes the socket, unless another daemon has put its own in its place; calls under way end
 * without an answer, and what they wait for must not end them any more (control_end() is still
 * safe). */
void control_close(struct control *c);
/* The socket's name in the file system is another daemon's from now on: control_close() leaves it.
 */
void control_leave_place(struct control *c);

void *control_owner(const struct control_call *call);
/* The request's words, ended by NULL; as the verb got them. */
char **control_args(struct control_call *call, int *ret_n);
/* What the client will see on its standard output and standard error; never NULL. */
FILE *control_out(struct control_call *call);
FILE *control_err(struct control_call *call);
/* Sends the answer and ends the call: the caller forgets it. One that is too long, or that there
 * was no memory for, is not sent in part: the client is told, exit code 1. */
void control_end(struct control_call *call, int exit_code);
/* The same, with descriptors (borrowed for the call of this function): CONTROL_FDS_A_MESSAGE of
 * them go along with each byte of the output, which must be that long. */
void control_end_with_fds(struct control_call *call, int exit_code, const int *fds, size_t n_fds);
/* The process behind the call; -1: unknown. */
int64_t control_peer_pid(const struct control_call *call);
/* Whether somebody still waits for the answer. */
bool control_is_awaited(const struct control_call *call);

#endif

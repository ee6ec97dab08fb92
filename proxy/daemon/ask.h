/* ask - the client's side of the control socket: one request to the running daemon, its answer. */
#ifndef PROXY_DAEMON_ASK_H
#define PROXY_DAEMON_ASK_H

#include <stddef.h>

/* A descriptor that came along; taken. */
typedef void (*ask_fd_fn)(void *owner, int fd);

struct ask {
    const char *path; /* of the socket; borrowed */
    unsigned limit_s; /* how long the daemon may be silent */
    ask_fd_fn on_fd;  /* NULL: descriptors are closed */
    void *owner;      /* on_fd's */
};

struct ask_answer {
    int exit;  /* the code of the command */
    char *out; /* owned, with a NUL behind; @out_len without it */
    size_t out_len;
    char *err; /* owned, likewise */
    size_t err_len;
};

/* A connection to the daemon: fd · -ENAMETOOLONG · -errno; -ENOENT, -ECONNREFUSED: nobody is there.
 */
int ask_connect(const struct ask *a) __attribute__((warn_unused_result));
/* @words: the verb and its arguments, ends with NULL. 0 · -EINVAL: they are no UTF-8 · -errno. */
int ask_send(int fd, const char *const *words) __attribute__((warn_unused_result));
/* Waits for the answer. 0 · -errno, *ret_answer is empty then. Does not close @fd. */
int ask_read(const struct ask *a, int fd, struct ask_answer *ret_answer)
    __attribute__((warn_unused_result));
void ask_answer_fini(struct ask_answer *answer);

#endif

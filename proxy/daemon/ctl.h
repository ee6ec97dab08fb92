/* ctl - the client's side of the control socket: one request, its answer. */
#ifndef PROXY_DAEMON_CTL_H
#define PROXY_DAEMON_CTL_H

#include <stddef.h>

#include "proxy/daemon/daemon.h"

struct ctl_place {
    const char *file;   /* ukai.conf, whose [admin] names the socket */
    const char *socket; /* NULL: ask the file */
};

struct ctl_answer {
    enum exit_code exit;
    char *out; /* owned, with a NUL behind; @out_len without it */
    size_t out_len;
    char *err; /* owned, likewise */
    size_t err_len;
};

/**
 * ctl_ask - one request to the running daemon
 * @words: the verb and its arguments, ends with NULL.
 *
 * Returns: EXIT_DONE with an answer, whatever that says · EXIT_FAILED: no daemon is there, or it
 * broke off; told on standard error.
 */
enum exit_code ctl_ask(const struct ctl_place *place, const char *const *words,
                       struct ctl_answer *ret_answer);
void ctl_answer_fini(struct ctl_answer *a);
/* The command @argv[0]: status, tunnels, rules, learn, reload, drain, kill, flush or log. Asks, and
 * prints. */
enum exit_code ctl_run(int argc, char **argv);
/* The options that all of them have. */
#define CTL_OPTIONS_HELP                                                                           \
    "  -c, --config FILE  the configuration, which names the control socket (default:\n"           \
    "                     /etc/ukai/ukai.conf)\n"                                                  \
    "      --socket PATH  the control socket itself\n"

#endif

/* ctl - the commands that ask the running daemon, and print what it says. */
#ifndef PROXY_DAEMON_CTL_H
#define PROXY_DAEMON_CTL_H

#include <stddef.h>

#include "proxy/daemon/ask.h"
#include "proxy/daemon/daemon.h"

struct ctl_place {
    const char *file;   /* ukai.conf, whose [admin] names the socket */
    const char *socket; /* NULL: ask the file */
};

enum { CTL_PATH_MAX = 108 }; /* of a socket, the NUL included: unix(7) */

/* Where the control socket is: @place's, or the one that its file names. -ENAMETOOLONG. */
int ctl_find(const struct ctl_place *place, char ret_path[static CTL_PATH_MAX])
    __attribute__((warn_unused_result));
/**
 * ctl_ask - one request to the running daemon
 * @words: the verb and its arguments, ends with NULL.
 *
 * Returns: EXIT_DONE with an answer, whatever that says · EXIT_FAILED: no daemon is there, or it
 * broke off; told on standard error.
 */
enum exit_code ctl_ask(const struct ctl_place *place, const char *const *words,
                       struct ask_answer *ret_answer);
/* The command @argv[0]: status, tunnels, rules, learn, reload, drain, kill, flush or log. Asks, and
 * prints. */
enum exit_code ctl_run(int argc, char **argv);
#define CTL_DEFAULT_FILE "/etc/ukai/ukai.conf"
/* The options that all of them have. */
#define CTL_OPTIONS_HELP                                                                           \
    "  -c, --config FILE  the configuration, which names the control socket (default:\n"           \
    "                     /etc/ukai/ukai.conf)\n"                                                  \
    "      --socket PATH  the control socket itself\n"

#endif

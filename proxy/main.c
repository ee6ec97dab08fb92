/*
 * Arguments to subcommand, and the only exit(). Each command parses its own options with
 * getopt_long and has --help. Nothing here outlives the call; what a command prints is its result,
 * what is wrong goes to standard error.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/daemon/check.h"
#include "proxy/daemon/ctl.h"
#include "proxy/daemon/daemon.h"
#include "proxy/daemon/explain.h"
#include "proxy/daemon/firewall.h"
#include "proxy/daemon/top.h"
#include "proxy/daemon/version.h"

#define DEFAULT_FILE "/etc/ukai/ukai.conf"

struct command {
    const char *name;
    enum exit_code (*run)(int argc, char **argv);
    const char *summary;
};

static enum exit_code usage_error(const char *command)
{
    fprintf(stderr, "ukai: see `ukai %s%s--help`\n", command, command[0] ? " " : "");
    return EXIT_USAGE;
}

/* A number of workers, 1..64. 0: not one. */
static unsigned parse_workers(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    return *text && !*end && n >= 1 && n <= 64 ? (unsigned)n : 0;
}

/* A setting for tests, so not in the help: whatever the traffic, copy, splice, or change with every
 * read. */
static bool parse_relay_mode(const char *text, enum pipes_mode *ret_mode)
{
    static const char *const words[] = {[PIPES_ADAPTIVE] = "adaptive",
                                        [PIPES_NEVER] = "copy",
                                        [PIPES_ALWAYS] = "splice",
                                        [PIPES_SWITCH] = "switch"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_mode = (enum pipes_mode)i;
            return true;
        }
    }
    return false;
}

static enum exit_code cmd_run(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"workers", required_argument, NULL, 'w'},
        {"replace", no_argument, NULL, 'R'},      {"test-relay", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},         {0}};
    struct daemon_options o = {.file = access(DEFAULT_FILE, F_OK) == 0 ? DEFAULT_FILE : NULL};
    for (int opt; (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            o.file = optarg;
            break;
        case 'w':
            o.workers = parse_workers(optarg);
            if (!o.workers) {
                fprintf(stderr, "ukai run: --workers takes a number from 1 to 64\n");
                return EXIT_USAGE;
            }
            break;
        case 'R':
            o.replaces = true;
            break;
        case 'r':
            if (!parse_relay_mode(optarg, &o.relay_mode))
                return usage_error("run");
            break;
        case 'h':
            puts(
                "usage: ukai run [-c FILE] [--workers N] [--replace]\n\n"
                "Serves in the foreground until told to stop. HUP reloads, TERM and INT drain, a "
                "second one\n"
                "stops at once, QUIT stops at once, USR1 reopens log files.\n\n"
                "  -c, --config FILE  configuration (default: " DEFAULT_FILE
                "; without that file the\n"
                "                     embedded default: web proxy and DNS on loopback, for "
                "loopback)\n"
                "      --workers N    threads that serve, 1 to 64 (default: workers in [process])\n"
                "      --replace      take the listeners over from the running daemon, which then "
                "drains;\n"
                "                     nobody is refused meanwhile");
            return EXIT_DONE;
        default:
            return usage_error("run");
        }
    }
    return optind < argc ? usage_error("run") : daemon_run(&o);
}

static enum exit_code cmd_check(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"against-live", no_argument, NULL, 'a'},
        {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {0}};
    const char *file = DEFAULT_FILE, *socket = NULL;
    bool is_against_live = false, is_json = false;
    for (int opt; (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            file = optarg;
            break;
        case 'a':
            is_against_live = true;
            break;
        case 's':
            socket = optarg;
            break;
        case 'j':
            is_json = true;
            break;
        case 'h':
            puts(
                "usage: ukai check [-c FILE] [--against-live [--socket PATH] [--json]]\n\n"
                "Reads everything that `ukai run` would read and prints every finding as\n"
                "FILE:LINE: error|warning: text. Exit code 0: it would start; 78: it would not.\n\n"
                "  -c, --config FILE  configuration (default: " DEFAULT_FILE ")\n"
                "      --against-live ask the running daemon whom a reload of its files would "
                "cut;\n"
                "                     nothing changes. 1: no daemon answers\n"
                "      --socket PATH  its control socket (default: the one the file names)\n"
                "      --json         the daemon's answer for programs");
            return EXIT_DONE;
        default:
            return usage_error("check");
        }
    }
    if (optind < argc || (!is_against_live && (socket || is_json)))
        return usage_error("check");
    return is_against_live ? check_against_live(file, socket, is_json) : check_run(file);
}

/* TARGET is one argument, or the rest of the words. */
static bool join_words(int argc, char **argv, char *buf, size_t size)
{
    size_t len = 0;
    for (int i = optind; i < argc; i++) {
        int n = snprintf(buf + len, size - len, "%s%s", i > optind ? " " : "", argv[i]);
        if (n < 0 || (size_t)n >= size - len)
            return false;
        len += (size_t)n;
    }
    return len > 0;
}

static enum exit_code cmd_explain(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"listener", required_argument, NULL, 'l'},
                                            {"no-resolve", no_argument, NULL, 'n'},
                                            {"live", no_argument, NULL, 'L'},
                                            {"socket", required_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct explain_options o = {.file = DEFAULT_FILE};
    char target[2048];
    for (int opt; (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            o.file = optarg;
            break;
        case 'f':
            o.from = optarg;
            break;
        case 'l':
            o.listener = optarg;
            break;
        case 'n':
            o.no_resolve = true;
            break;
        case 'L':
            o.is_live = true;
            break;
        case 's':
            o.socket = optarg;
            o.is_live = true;
            break;
        case 'j':
            o.as_json = true;
            break;
        case 'h':
            puts("usage: ukai explain [-c FILE] --from ADDR [--listener NAME] [--no-resolve] "
                 "[--json]\n"
                 "                    [--live] [--socket PATH] TARGET\n\n"
                 "Says what would happen to a request and which rule decides. TARGET is one of\n"
                 "  CONNECT host:port      GET http://host/path\n"
                 "  DNS name [type]        DNS/tcp name [type]\n\n"
                 "  -c, --config FILE   configuration (default: " DEFAULT_FILE ")\n"
                 "      --from ADDR     the client's address\n"
                 "      --listener NAME which [web-proxy] or [dns], where several would answer "
                 "differently\n"
                 "      --no-resolve    do not ask name servers: judge the source, the name and "
                 "literals only\n"
                 "      --json          one JSON object\n"
                 "      --live          ask the running daemon: what its rules say, not the files\n"
                 "      --socket PATH   its control socket; means --live\n\n"
                 "Exit code 0: allowed; 3: refused; 1: the name could not be resolved, or no "
                 "daemon\nanswers; 78: bad configuration.");
            return EXIT_DONE;
        default:
            return usage_error("explain");
        }
    }
    if (!o.from || !join_words(argc, argv, target, sizeof(target))) {
        fprintf(stderr, "ukai explain: --from ADDR and a TARGET are needed\n");
        return usage_error("explain");
    }
    o.target = target;
    return explain_run(&o);
}

static enum exit_code cmd_version(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts(
            "usage: ukai version\n\nPrints the version of ukai and of the libraries it runs with.");
        return EXIT_DONE;
    }
    return argc > 1 ? usage_error("version") : version_run();
}

static enum exit_code cmd_export(int argc, char **argv)
{
    return firewall_export_run(argc, argv, DEFAULT_FILE);
}

static enum exit_code cmd_diff(int argc, char **argv)
{
    return firewall_diff_run(argc, argv, DEFAULT_FILE);
}

static const struct command commands[] = {
    {"run", cmd_run, "serve in the foreground"},
    {"check", cmd_check, "read all files, print every finding"},
    {"explain", cmd_explain, "what would happen to a request, and by which rule"},
    {"import", firewall_import_run, "a firewall's IN rules as acl.conf text"},
    {"export", cmd_export, "the [in] rules as firewall rules"},
    {"diff", cmd_diff, "where a firewall and the [in] rules disagree"},
    {"status", ctl_run, "what the running daemon is and does"},
    {"tunnels", ctl_run, "the open tunnels"},
    {"top", top_run, "who is busy: sources, destinations, rates"},
    {"rules", ctl_run, "every rule with its hits"},
    {"learn", ctl_run, "[out] lines from what was asked for"},
    {"reload", ctl_run, "read the files again"},
    {"drain", ctl_run, "finish what runs, then end"},
    {"kill", ctl_run, "end a tunnel, or all of a client"},
    {"flush", ctl_run, "forget cached DNS answers"},
    {"log", ctl_run, "set the level of the daemon's log"},
    {"version", cmd_version, "versions of ukai and its libraries"},
};

static enum exit_code help(FILE *out)
{
    fputs("usage: ukai COMMAND [OPTION...]\n\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`ukai COMMAND --help` says more; so do ukai(8), ukai.conf(5) and ukai-acl(5).\n", out);
    return out == stdout ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        exit(help(stderr));
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        exit(help(stdout));
    if (strcmp(argv[1], "--version") == 0)
        exit(version_run());
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            exit(commands[i].run(argc - 1, argv + 1));
    }
    fprintf(stderr, "ukai: there is no command '%s'\n", argv[1]);
    exit(help(stderr));
}

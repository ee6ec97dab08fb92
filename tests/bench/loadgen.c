/*
 * The load generator's command line. It is made for a network namespace without a way out: every
 * address is a literal, every count and time has a bound.
 */
#include "load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char *const SERVICES[] = {"echo", "source", "sink", "http", NULL};
static const char *const MODES[] = {"connect",   "pingpong", "down", "up",    "idle",
                                    "keepalive", "request",  "body", "mixed", NULL};

static int usage(void)
{
    fprintf(stderr,
            "usage: loadgen origin echo|source|sink|http ADDRESS:PORT\n"
            "       loadgen MODE --proxy A:P --target A:P --pid PID [--plain] [--origin-form]\n"
            "               [--conns N] [--idle N] [--ms N] [--warm-ms N] [--bytes N]\n"
            "               [--bulk N --bulk-proxy A:P --bulk-target A:P]\n"
            "modes: connect pingpong down up idle keepalive request body mixed\n");
    return 2;
}

static int find(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool parse_address(const char *text, struct sockaddr_in *ret_address)
{
    char host[16];
    unsigned port;
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (sscanf(text, "%15[0-9.]:%5u", host, &port) != 2 || port == 0 || port > 65535 ||
        inet_pton(AF_INET, host, &a.sin_addr) != 1)
        return false;
    a.sin_port = htons((uint16_t)port);
    *ret_address = a;
    return true;
}

static unsigned long bounded(const char *text, unsigned long max)
{
    unsigned long n = strtoul(text, NULL, 10);
    return n < max ? n : max;
}

static bool take_option(struct load_options *o, int option)
{
    switch (option) {
    case 'p':
        return parse_address(optarg, &o->proxy);
    case 'P':
        return parse_address(optarg, &o->bulk_proxy);
    case 't':
        o->target = optarg;
        return true;
    case 'T':
        o->bulk_target = optarg;
        return true;
    case 'i':
        o->pid = (pid_t)strtol(optarg, NULL, 10);
        return true;
    case 'l':
        o->is_plain = true;
        return true;
    case 'o':
        o->is_origin = true;
        return true;
    case 'c':
        o->n_conns = (unsigned)bounded(optarg, LOAD_CONNS_MAX);
        return true;
    case 'b':
        o->n_bulk = (unsigned)bounded(optarg, LOAD_CONNS_MAX);
        return true;
    case 'n':
        o->n_idle = (unsigned)bounded(optarg, LOAD_CONNS_MAX);
        return true;
    case 'm':
        o->run_ms = bounded(optarg, LOAD_SECONDS_MAX * 1000UL);
        return true;
    case 'w':
        o->warm_ms = bounded(optarg, LOAD_SECONDS_MAX * 1000UL);
        return true;
    case 's':
        o->body_bytes = bounded(optarg, 1UL << 40);
        return true;
    default:
        return false;
    }
}

static int run_client(int mode, int argc, char **argv)
{
    static const struct option options[] = {{"proxy", 1, 0, 'p'},       {"target", 1, 0, 't'},
                                            {"bulk-proxy", 1, 0, 'P'},  {"bulk-target", 1, 0, 'T'},
                                            {"pid", 1, 0, 'i'},         {"plain", 0, 0, 'l'},
                                            {"origin-form", 0, 0, 'o'}, {"conns", 1, 0, 'c'},
                                            {"bulk", 1, 0, 'b'},        {"idle", 1, 0, 'n'},
                                            {"ms", 1, 0, 'm'},          {"warm-ms", 1, 0, 'w'},
                                            {"bytes", 1, 0, 's'},       {0}};
    struct load_options o = {.mode = (enum load_mode)mode,
                             .n_conns = 32,
                             .n_bulk = 32,
                             .run_ms = 500,
                             .warm_ms = 150,
                             .body_bytes = 1024};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(&o, option))
            return usage();
    bool has_bulk = o.bulk_target && o.bulk_proxy.sin_port;
    if (optind < argc || !o.proxy.sin_port || !o.target || o.pid <= 0 ||
        o.n_conns + o.n_idle > LOAD_CONNS_MAX || (o.mode == LOAD_MODE_MIXED && !has_bulk))
        return usage();
    return load_run(&o);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct sockaddr_in at;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (argc == 4 && strcmp(argv[1], "origin") == 0) {
        int service = find(SERVICES, argv[2]);
        if (service < 0 || !parse_address(argv[3], &at))
            return usage();
        return load_serve((enum load_service)service, &at);
    }
    int mode = argc > 1 ? find(MODES, argv[1]) : -1;
    return mode < 0 ? usage() : run_client(mode, argc - 1, argv + 1);
}

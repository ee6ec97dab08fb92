/*
 * The daemon answers JSON; what people see is made here. The socket's path is read from ukai.conf
 * without any of the checks that loading has: a broken file must not stand in the way of asking the
 * daemon that still runs on the good one.
 */
#include "proxy/daemon/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/escape.h"
#include "proxy/base/human.h"

#define DEFAULT_SOCKET "/run/ukai/control.sock"

/* A reload waits for all workers; a large list takes a moment. */
enum { ANSWER_LIMIT_S = 60, SHOWN_MAX = 256, COMMAND_MAX = 1024, REFUSALS_SHOWN = 5 };

/* ---- whom to ask ---- */

static int on_key(void *user, const char *section, const char *name, const char *value)
{
    char *path = user;
    if (strcmp(section, "admin") == 0 && strcmp(name, "control-socket") == 0)
        snprintf(path, CTL_PATH_MAX, "%s", value);
    return 1;
}

int ctl_find(const struct ctl_place *place, char ret_path[static CTL_PATH_MAX])
{
    if (place->socket && strlen(place->socket) >= CTL_PATH_MAX)
        return -ENAMETOOLONG;
    snprintf(ret_path, CTL_PATH_MAX, "%s", place->socket ? place->socket : DEFAULT_SOCKET);
    if (!place->socket)
        ini_parse(place->file, on_key, ret_path);
    return 0;
}

enum exit_code ctl_ask(const struct ctl_place *place, const char *const *words,
                       struct ask_answer *ret_answer)
{
    char path[CTL_PATH_MAX] = "";
    struct ask ask = {.path = path, .limit_s = ANSWER_LIMIT_S};
    *ret_answer = (struct ask_answer){0};
    int rc = ctl_find(place, path);
    int fd = rc < 0 ? rc : ask_connect(&ask);
    if (fd < 0) {
        fprintf(stderr,
                "ukai %s: no answer at %s: %s; is the daemon running, and may you talk to it?\n",
                words[0], rc < 0 ? place->socket : path, strerror(-fd));
        return EXIT_FAILED;
    }
    rc = ask_send(fd, words);
    if (rc == 0)
        rc = ask_read(&ask, fd, ret_answer);
    close(fd);
    if (rc == 0)
        return EXIT_DONE;
    fprintf(stderr, "ukai %s: the daemon broke off: %s\n", words[0], strerror(-rc));
    return EXIT_FAILED;
}

/* ---- for people ---- */

static const char *shown(const char *text, char buf[static SHOWN_MAX])
{
    escape_write(ESCAPE_TEXT, text ? text : "-", text ? strlen(text) : 1, buf, SHOWN_MAX);
    return buf;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text && *text ? text : NULL;
}

static long long number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* 3 s, 5 m 3 s, 2 h 5 m, 3 d 2 h. */
static const char *span(long long seconds, char buf[static 32])
{
    static const struct {
        long long length;
        const char *unit, *below;
        long long below_length;
    } steps[] = {{86400, "d", "h", 3600}, {3600, "h", "m", 60}, {60, "m", "s", 1}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (seconds < steps[i].length)
            continue;
        snprintf(buf, 32, "%lld %s %lld %s", seconds / steps[i].length, steps[i].unit,
                 seconds % steps[i].length / steps[i].below_length, steps[i].below);
        return buf;
    }
    snprintf(buf, 32, "%lld s", seconds);
    return buf;
}

static const char *size_text(long long bytes, char buf[static 32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    snprintf(buf, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buf;
}

static void print_listener(const json_t *l)
{
    char kind[SHOWN_MAX], buf[SHOWN_MAX];
    size_t i;
    json_t *network;
    printf("  %-9s %-12s", shown(string_of(l, "kind"), kind), shown(string_of(l, "name"), buf));
    json_array_foreach(json_object_get(l, "networks"), i, network)
        printf("%s%s", i ? ", " : " ", shown(json_string_value(network), buf));
    printf(" port %lld", number_of(l, "port"));
    if (string_of(l, "description"))
        printf("  %s", shown(string_of(l, "description"), buf));
    putchar('\n');
}

static void print_limit(const char *what, long long limit, const char *text)
{
    if (limit)
        printf(", at most %s %s", text, what);
}

static void print_sources(const json_t *o)
{
    char a[32], buf[SHOWN_MAX];
    long long tunnels = number_of(o, "max_tunnels"), rate = number_of(o, "max_rate"),
              bandwidth = number_of(o, "max_bandwidth");
    if (!tunnels && !rate && !bandwidth)
        return;
    printf("sources   %lld", number_of(o, "now"));
    if (string_of(o, "busiest"))
        printf(", %s has %lld tunnels", shown(string_of(o, "busiest"), buf),
               number_of(o, "busiest_tunnels"));
    snprintf(a, sizeof(a), "%lld", tunnels);
    print_limit("tunnels each", tunnels, a);
    snprintf(a, sizeof(a), "%lld", rate);
    print_limit("connections a second each", rate, a);
    print_limit("a second each", bandwidth, size_text(bandwidth, a));
    putchar('\n');
}

static void print_name_server(const json_t *s)
{
    char server[SHOWN_MAX], name[SHOWN_MAX], down[64] = "";
    const char *state = string_of(s, "state");
    if (state && strcmp(state, "partly") == 0)
        snprintf(down, sizeof(down), "down for %lld workers", number_of(s, "workers_down"));
    printf("  %-28s %-6s", shown(string_of(s, "server"), server),
           *down ? down : shown(state, name));
    if (number_of(s, "answered"))
        printf(" rtt %.1f ms,", json_number_value(json_object_get(s, "rtt_ms")));
    printf(" %lld queries, %lld failed", number_of(s, "queries"), number_of(s, "failures"));
    if (string_of(s, "tls_name"))
        printf("  TLS %s", shown(string_of(s, "tls_name"), name));
    putchar('\n');
}

static void print_refusal(const json_t *r)
{
    char source[SHOWN_MAX], target[SHOWN_MAX], reason[SHOWN_MAX], rule[SHOWN_MAX], when[32];
    char command[COMMAND_MAX];
    const char *by = string_of(r, "rule"), *explain = string_of(r, "explain");
    bool has_line = by && strchr(by, ':'); /* else it says what the reason says */
    printf("  %s  %-15s %s  %s%s%s", human_time((uint64_t)number_of(r, "last_timestamp_s"), when),
           shown(string_of(r, "source"), source), shown(string_of(r, "target"), target),
           shown(string_of(r, "reason_text"), reason), has_line ? ", " : "",
           has_line ? shown(by, rule) : "");
    if (number_of(r, "times") > 1)
        printf("  (%lld times)", number_of(r, "times"));
    putchar('\n');
    if (!explain)
        return;
    escape_write(ESCAPE_TEXT, explain, strlen(explain), command, sizeof(command));
    printf("      %s\n", command);
}

static void print_refusals(const json_t *refusals)
{
    size_t n = json_array_size(refusals);
    if (n > 0)
        puts("refused lately");
    for (size_t i = 0; i < n && i < REFUSALS_SHOWN; i++)
        print_refusal(json_array_get(refusals, i));
}

static void print_restart(const json_t *k)
{
    char key[SHOWN_MAX], wanted[SHOWN_MAX], in_force[SHOWN_MAX], section[SHOWN_MAX];
    printf("needs a restart: [%s] %s = %s; until then it is %s\n",
           shown(string_of(k, "section"), section), shown(string_of(k, "key"), key),
           shown(string_of(k, "wanted"), wanted), shown(string_of(k, "in_force"), in_force));
}

static void print_status(const char *text)
{
    char a[32], b[32], buf[SHOWN_MAX], mode[SHOWN_MAX];
    json_t *s = json_loads(text, 0, NULL);
    const json_t *t = json_object_get(s, "traffic"), *d = json_object_get(s, "dns");
    size_t i;
    json_t *listener, *key;
    printf("ukai %s, pid %lld, up %s%s\n", shown(string_of(s, "version"), buf), number_of(s, "pid"),
           span(number_of(s, "uptime_s"), a),
           json_is_true(json_object_get(s, "draining")) ? ", draining" : "");
    printf("%s, generation %lld, %lld rules, mode %s\n",
           shown(string_of(s, "file") ? string_of(s, "file") : "(embedded default)", buf),
           number_of(s, "generation"), number_of(s, "rules"), shown(string_of(s, "mode"), mode));
    if (number_of(s, "last_good_timestamp_s"))
        printf("THE FILES ARE BROKEN: serving by the last good copy of them, of %s; see `ukai "
               "check`\n",
               human_time((uint64_t)number_of(s, "last_good_timestamp_s"), a));
    if (number_of(s, "reload_refused_timestamp_s"))
        printf("the last reload was refused, %s: %s\n",
               human_time((uint64_t)number_of(s, "reload_refused_timestamp_s"), a),
               shown(string_of(s, "reload_refused_reason"), buf));
    json_array_foreach(json_object_get(s, "needs_restart"), i, key) print_restart(key);
    if (number_of(s, "workers_behind"))
        printf(
            "NOT IN FORCE EVERYWHERE: %lld of %lld workers have no memory for the configuration; "
            "they go on trying\n",
            number_of(s, "workers_behind"), number_of(s, "workers"));
    puts("listeners");
    json_array_foreach(json_object_get(s, "listeners"), i, listener) print_listener(listener);
    printf("clients   %lld of %lld, tunnels %lld of %lld, requests under way %lld\n",
           number_of(t, "clients"), number_of(s, "max_clients"), number_of(t, "tunnels"),
           number_of(s, "max_tunnels"), number_of(t, "requests"));
    print_sources(json_object_get(s, "sources"));
    printf("so far    %lld accepted, %lld sources denied, %lld requests refused\n",
           number_of(t, "accepted"), number_of(t, "sources_denied"), number_of(t, "refused"));
    printf("tunnels   %lld opened, %s up, %s down\n", number_of(t, "tunnels_opened"),
           size_text(number_of(t, "bytes_up"), a), size_text(number_of(t, "bytes_down"), b));
    printf("dns       %lld queries by UDP, %lld by TCP: %lld from the cache, %lld forwarded, %lld "
           "errors\n",
           number_of(d, "queries_udp"), number_of(d, "queries_tcp"), number_of(d, "hits"),
           number_of(d, "forwarded"), number_of(d, "errors"));
    printf("cache     %lld answers, %s\n", number_of(d, "cache_entries"),
           size_text(number_of(d, "cache_bytes"), a));
    json_t *servers = json_object_get(s, "name_servers"), *server;
    if (json_array_size(servers))
        puts("name servers");
    json_array_foreach(servers, i, server) print_name_server(server);
    print_refusals(json_object_get(s, "refusals"));
    if (number_of(s, "log_dropped"))
        printf("log       %lld records dropped\n", number_of(s, "log_dropped"));
    json_decref(s);
}

static void print_tunnel(const json_t *t)
{
    char id[SHOWN_MAX], host[SHOWN_MAX], src[SHOWN_MAX], to[SHOWN_MAX + 8], age[32], idle[32],
        up[32], down[32];
    snprintf(to, sizeof(to), "%s:%lld", shown(string_of(t, "host"), host), number_of(t, "port"));
    printf("%-10s %-16s %-40s %9s %9s %10s %10s\n", shown(string_of(t, "id"), id),
           shown(string_of(t, "src"), src), to, span(number_of(t, "age_ms") / 1000, age),
           span(number_of(t, "idle_ms") / 1000, idle), size_text(number_of(t, "bytes_up"), up),
           size_text(number_of(t, "bytes_down"), down));
}

static void print_tunnels(const char *text)
{
    printf("%-10s %-16s %-40s %9s %9s %10s %10s\n", "ID", "SOURCE", "DESTINATION", "AGE", "IDLE",
           "UP", "DOWN");
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *t = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (t)
            print_tunnel(t);
        json_decref(t);
    }
}

static void print_killed(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    printf("%lld connections ended\n", number_of(o, "ended"));
    json_decref(o);
}

static void print_flushed(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    printf("%lld answers forgotten\n", number_of(o, "forgotten"));
    json_decref(o);
}

/* ---- the commands ---- */

struct command {
    const char *name;
    const char *arguments; /* for the usage; empty: none */
    bool needs_argument;
    bool has_json;   /* the option */
    bool sends_json; /* the daemon makes the text, and must know */
    void (*print)(const char *text);
    const char *help;
    bool has_html; /* the option: the status page */
};

static const struct command commands[] = {
    {"status", "", false, true, false, print_status,
     "What the running daemon is, serves and has served.\n", true},
    {"tunnels", "", false, true, false, print_tunnels,
     "The open tunnels. With --json a line each.\n"},
    {"rules", "", false, true, true, NULL,
     "Every line of the ACL with its hits, the last one and the bytes; those never hit, too.\n"},
    {"learn", "", false, true, true, NULL,
     "[out] lines for what was asked for while `mode = observe`, ready to paste.\n"},
    {"reload", "", false, false, false, NULL,
     "Reads the files again. Returns when all workers serve by them (0), or says why the old\n"
     "configuration stays in force (78: the files are wrong; 1: anything else).\n"},
    {"drain", "", false, false, false, NULL,
     "Stops accepting; the daemon ends when nothing runs any more, or after `drain` in "
     "[timeouts].\n"},
    {"kill", "ID|ADDR", true, true, false, print_killed,
     "Ends one connection by its id, or all of a source address. 3: there was none.\n"},
    {"flush", "[NAME]", false, true, false, print_flushed,
     "Forgets all answers of the DNS cache, or those of NAME; .NAME: and of all below it; *.NAME:\n"
     "below it only.\n"},
    {"log", "LEVEL", true, false, false, NULL,
     "Sets the level of the daemon's log until the next reload: error, warning, notice, info or\n"
     "debug.\n"},
};

static enum exit_code usage_error(const struct command *c)
{
    fprintf(stderr, "ukai: see `ukai %s --help`\n", c->name);
    return EXIT_USAGE;
}

static void print_help(const struct command *c)
{
    printf("usage: ukai %s [-c FILE] [--socket PATH]%s%s%s\n\n%s\n" CTL_OPTIONS_HELP, c->name,
           c->has_html   ? " [--json|--html]"
           : c->has_json ? " [--json]"
                         : "",
           c->arguments[0] ? " " : "", c->arguments, c->help);
    if (c->has_json)
        puts("      --json         for programs");
    if (c->has_html)
        puts("      --html         the status page, for a browser");
}

static enum exit_code ask_and_print(const struct command *c, const struct ctl_place *place,
                                    const char *argument, bool is_json, bool is_html)
{
    const char *words[4] = {c->name};
    struct ask_answer answer;
    unsigned n = 1;
    if (argument)
        words[n++] = argument;
    if (is_html)
        words[n++] = "--html";
    else if (is_json && c->sends_json)
        words[n++] = "--json";
    enum exit_code code = ctl_ask(place, words, &answer);
    if (code != EXIT_DONE)
        return code;
    if (answer.out_len > 0 && !is_json && !is_html && c->print)
        c->print(answer.out);
    else
        fwrite(answer.out, 1, answer.out_len, stdout);
    fwrite(answer.err, 1, answer.err_len, stderr);
    code = (enum exit_code)answer.exit;
    ask_answer_fini(&answer);
    return code;
}

static enum exit_code run(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},         {"html", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},         {0}};
    struct ctl_place place = {.file = CTL_DEFAULT_FILE};
    bool is_json = false, is_html = false;
    for (int opt; (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            place.file = optarg;
            break;
        case 's':
            place.socket = optarg;
            break;
        case 'j':
            if (!c->has_json)
                return usage_error(c);
            is_json = true;
            break;
        case 'w':
            if (!c->has_html)
                return usage_error(c);
            is_html = true;
            break;
        case 'h':
            print_help(c);
            return EXIT_DONE;
        default:
            return usage_error(c);
        }
    }
    int n = argc - optind;
    if (n > (c->arguments[0] ? 1 : 0) || (c->needs_argument && n == 0))
        return usage_error(c);
    return ask_and_print(c, &place, n ? argv[optind] : NULL, is_json, is_html);
}

enum exit_code ctl_run(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, argv[0]) == 0)
            return run(&commands[i], argc, argv);
    }
    return EXIT_USAGE;
}

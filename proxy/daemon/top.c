/*
 * A client of the control socket, one request a frame. In a terminal it waits for keys, signals and
 * the daemon's answer at the same time, so a daemon that takes its time does not hold up `q`;
 * elsewhere the same frames go out as plain lines. Signals come through a descriptor: whatever ends
 * the command, the terminal is given back on the way out.
 */
#include "proxy/daemon/top.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "proxy/daemon/ask.h"
#include "proxy/daemon/ctl.h"
#include "proxy/daemon/screen.h"
#include "proxy/daemon/topframe.h"
#include "proxy/daemon/topkeys.h"

enum {
    LIMIT_S = 10, /* reading large files may keep the daemon from answering for seconds */
    INTERVAL_MS = 2000,
    INTERVAL_MIN_MS = 500,
    INTERVAL_MAX_MS = 3600 * 1000,
    FIRST_WAIT_MS = 1000, /* batch: for something to count rates from */
    BATCH_COLUMNS = 80,
    BATCH_LINES = 50,
    ROWS_BEYOND = 200, /* asked for beyond the chosen one, so that scrolling finds them */
    PAGE_ROWS = 10
};

static const char *const sorts[] = {"rate", "bytes", "age", "source"};
enum { N_SORTS = sizeof(sorts) / sizeof(sorts[0]) };

struct top {
    struct ask ask;
    char path[CTL_PATH_MAX];
    bool is_live, is_once, is_json;
    uint64_t interval_ms;
    unsigned sort;
    struct topframe_view view;
    struct screen screen;
    struct topkeys keys;
    json_t *model;     /* owned; NULL: no answer yet */
    int signals;       /* owned fd; -1: none */
    int asking;        /* owned fd; -1: no request is under way */
    uint64_t asked_ms; /* when the last one began */
    uint64_t next_ms;  /* when the next one is due */
    char victim[64];   /* a tunnel that may be ended when `y` is pressed; empty: none */
    char message[256];
    bool is_over;
    enum exit_code code; /* valid when over */
};

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void end(struct top *t, enum exit_code code)
{
    t->is_over = true;
    t->code = code;
}

/* The daemon is not there, or not as it should be. */
static void fail(struct top *t, const char *what, int error)
{
    screen_leave(&t->screen);
    fprintf(stderr, "ukai top: %s at %s: %s\n", what, t->path, strerror(error));
    end(t, EXIT_FAILED);
}

/* ---- drawing ---- */

static unsigned size_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    unsigned long n = text ? strtoul(text, NULL, 10) : 0;
    return n > 0 && n <= 10000 ? (unsigned)n : otherwise;
}

static void print_lines(const struct topframe *f)
{
    for (unsigned i = 0; i < f->n_lines; i++) {
        const char *text = f->lines[i].text;
        size_t len = strlen(text);
        while (len > 0 && text[len - 1] == ' ')
            len--;
        printf("%.*s\n", (int)len, text);
    }
}

static void draw(struct top *t)
{
    unsigned n_columns = size_from("COLUMNS", BATCH_COLUMNS),
             n_lines = size_from("LINES", BATCH_LINES);
    if (!t->model)
        return;
    if (t->is_live) {
        n_columns = BATCH_COLUMNS;
        n_lines = 24;
        screen_size(&n_columns, &n_lines);
    }
    t->view.sort = sorts[t->sort];
    t->view.message = t->message[0] ? t->message : NULL;
    struct topframe *f = topframe_new(t->model, &t->view, n_columns, n_lines);
    int rc = f ? 0 : -ENOMEM;
    if (f && t->is_live)
        rc = screen_show(&t->screen, f);
    else if (f)
        print_lines(f);
    topframe_free(f);
    if (rc < 0)
        fail(t, "nothing can be shown of the daemon", -rc);
}

/* One frame as lines, or as JSON. */
static void print_batch(struct top *t)
{
    if (t->is_json) {
        json_dumpf(t->model, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        draw(t);
        fputs(t->is_once ? "" : "\n", stdout);
    }
    if (fflush(stdout) != 0)
        end(t, EXIT_FAILED);
    else if (t->is_once)
        end(t, EXIT_DONE);
}

/* ---- the daemon ---- */

static void drop_request(struct top *t)
{
    if (t->asking >= 0)
        close(t->asking);
    t->asking = -1;
}

/* A connection with @words sent; -1: there is none, and all is over. */
static int begin(struct top *t, const char *const *words)
{
    int fd = ask_connect(&t->ask);
    int rc = fd < 0 ? fd : ask_send(fd, words);
    if (rc >= 0)
        return fd;
    if (fd >= 0)
        close(fd);
    fail(t, t->model ? "the daemon is gone" : "no answer", -rc);
    return -1;
}

static void ask_frame(struct top *t)
{
    char rows[16];
    snprintf(rows, sizeof(rows), "%u", t->view.chosen + ROWS_BEYOND);
    const char *const words[] = {"top", sorts[t->sort], rows, NULL};
    t->asked_ms = now_ms();
    t->next_ms = t->asked_ms + t->interval_ms;
    t->asking = begin(t, words);
}

/* Takes the answer. Returns what it holds, or NULL, and all is over. */
static json_t *read_model(struct top *t, struct ask_answer *answer)
{
    json_t *model = answer->exit == EXIT_DONE ? json_loads(answer->out, 0, NULL) : NULL;
    if (!model) {
        screen_leave(&t->screen);
        if (answer->err_len)
            fwrite(answer->err, 1, answer->err_len, stderr);
        else
            fputs("ukai top: the daemon's answer is not understood\n", stderr);
        end(t, answer->exit == EXIT_DONE ? EXIT_FAILED : (enum exit_code)answer->exit);
    }
    ask_answer_fini(answer);
    return model;
}

static void on_answer(struct top *t)
{
    struct ask_answer answer;
    int rc = ask_read(&t->ask, t->asking, &answer);
    drop_request(t);
    if (rc < 0) {
        fail(t, "the daemon broke off", -rc);
        return;
    }
    json_t *model = read_model(t, &answer);
    if (!model)
        return;
    bool is_first = !t->model;
    bool has_rates =
        json_integer_value(json_object_get(json_object_get(model, "window"), "ms")) > 0;
    json_decref(t->model);
    t->model = model;
    if (!has_rates && is_first) /* soon there are some */
        t->next_ms = t->asked_ms + FIRST_WAIT_MS;
    if (t->is_live)
        draw(t);
    else if (has_rates || !is_first)
        print_batch(t);
}

/* Waits: the person who pressed `y` does so too. */
static void kill_victim(struct top *t)
{
    const char *const words[] = {"kill", t->victim, NULL};
    struct ask_answer answer = {0};
    int fd = begin(t, words);
    if (fd < 0)
        return;
    int rc = ask_read(&t->ask, fd, &answer);
    close(fd);
    if (rc < 0)
        snprintf(t->message, sizeof(t->message), "not ended: %s", strerror(-rc));
    else
        snprintf(t->message, sizeof(t->message),
                 answer.exit == EXIT_DONE ? "%s is ended" : "%s had ended already", t->victim);
    ask_answer_fini(&answer);
    t->next_ms = 0;
}

/* ---- keys ---- */

static void choose_victim(struct top *t)
{
    const json_t *row = json_array_get(json_object_get(t->model, "busy_tunnels"), t->view.chosen);
    const char *id = json_string_value(json_object_get(row, "id"));
    const char *src = json_string_value(json_object_get(row, "src"));
    if (t->view.table != TOPFRAME_TUNNELS || !id || !src || t->view.shows_help)
        return;
    snprintf(t->victim, sizeof(t->victim), "%s", id);
    snprintf(t->message, sizeof(t->message), "end tunnel %s of %s? y/n", id, src);
}

static void move(struct top *t, int rows)
{
    unsigned back = rows < 0 ? (unsigned)-rows : 0;
    t->view.chosen = rows > 0                ? t->view.chosen + (unsigned)rows
                     : t->view.chosen > back ? t->view.chosen - back
                                             : 0;
}

static void on_key(struct top *t, int key)
{
    bool is_confirmed = t->victim[0] && key == 'y';
    t->message[0] = '\0';
    if (is_confirmed)
        kill_victim(t);
    t->victim[0] = '\0';
    switch (key) {
    case 'q':
    case 'Q':
        end(t, EXIT_DONE);
        break;
    case 's':
        t->sort = (t->sort + 1) % N_SORTS;
        t->next_ms = 0;
        break;
    case 'd':
    case '\t':
        t->view.table =
            t->view.table == TOPFRAME_TUNNELS ? TOPFRAME_DESTINATIONS : TOPFRAME_TUNNELS;
        t->view.chosen = 0;
        break;
    case 'p':
        t->view.is_paused = !t->view.is_paused;
        break;
    case ' ':
        t->next_ms = 0;
        break;
    case '?':
    case 'h':
        t->view.shows_help = !t->view.shows_help;
        break;
    case 'x':
        choose_victim(t);
        break;
    case 'j':
    case TOPKEY_DOWN:
        move(t, 1);
        break;
    case 'k':
    case TOPKEY_UP:
        move(t, -1);
        break;
    case TOPKEY_PAGE_DOWN:
        move(t, PAGE_ROWS);
        break;
    case TOPKEY_PAGE_UP:
        move(t, -PAGE_ROWS);
        break;
    case 'g':
    case TOPKEY_HOME:
        t->view.chosen = 0;
        break;
    case 'G':
    case TOPKEY_END:
        move(t, 1000);
        break;
    default:
        break;
    }
}

static void on_terminal(struct top *t)
{
    char bytes[TOPKEYS_MAX];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        end(t, EXIT_FAILED); /* it hung up */
        return;
    }
    if (n < 0)
        return;
    topkeys_feed(&t->keys, bytes, (size_t)n);
    for (int key; !t->is_over && (key = topkeys_next(&t->keys)) != TOPKEY_NONE;)
        on_key(t, key);
    if (!t->is_over)
        draw(t);
}

/* ---- signals ---- */

static void block_signals(sigset_t *ret)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    sigemptyset(ret);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        sigaddset(ret, all[i]);
    sigprocmask(SIG_BLOCK, ret, NULL);
}

/* ^Z: the shell gets its terminal back, and we are stopped in here until it lets us go on. */
static void stop(struct top *t)
{
    sigset_t one;
    screen_leave(&t->screen);
    sigemptyset(&one);
    sigaddset(&one, SIGTSTP);
    raise(SIGTSTP); /* pending until the next line */
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    sigprocmask(SIG_BLOCK, &one, NULL);
    int rc = t->is_live ? screen_enter(&t->screen) : 0;
    if (rc < 0)
        fail(t, "no terminal to show the daemon", -rc);
    t->next_ms = t->view.is_paused ? t->next_ms : 0;
}

static void on_signal(struct top *t)
{
    struct signalfd_siginfo info;
    if (read(t->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGTSTP)
        stop(t);
    else if (info.ssi_signo != SIGWINCH)
        end(t, EXIT_DONE);
    t->screen.is_stale = true;
    if (!t->is_over && t->is_live)
        draw(t);
}

/* ---- the loop ---- */

static int wait_ms(const struct top *t)
{
    uint64_t now = now_ms();
    uint64_t until = t->asking >= 0 ? t->asked_ms + LIMIT_S * 1000 : t->next_ms;
    if (t->asking < 0 && t->view.is_paused && t->next_ms != 0)
        return -1;
    return until > now ? (int)(until - now) : 0;
}

static void step(struct top *t)
{
    struct pollfd fds[] = {{.fd = t->signals, .events = POLLIN},
                           {.fd = t->is_live ? STDIN_FILENO : -1, .events = POLLIN},
                           {.fd = t->asking, .events = POLLIN}};
    int n = poll(fds, 3, wait_ms(t));
    if (n < 0 && errno != EINTR)
        fail(t, "cannot wait for the daemon", errno);
    if (n > 0 && fds[0].revents)
        on_signal(t);
    if (n > 0 && fds[1].revents && !t->is_over)
        on_terminal(t);
    if (n > 0 && fds[2].revents && !t->is_over)
        on_answer(t);
    if (t->is_over || n != 0)
        return;
    if (t->asking >= 0)
        fail(t, "the daemon does not answer", ETIMEDOUT);
    else
        ask_frame(t);
}

static enum exit_code serve(struct top *t)
{
    sigset_t signals;
    block_signals(&signals);
    t->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    ask_frame(t); /* without a daemon the screen is not touched */
    int rc = !t->is_over && t->is_live ? screen_enter(&t->screen) : 0;
    if (rc < 0)
        fail(t, "no terminal to show the daemon", -rc);
    while (!t->is_over)
        step(t);
    screen_leave(&t->screen);
    drop_request(t);
    if (t->signals >= 0)
        close(t->signals);
    json_decref(t->model);
    return t->code;
}

/* ---- the command line ---- */

static enum exit_code usage_error(void)
{
    fputs("ukai: see `ukai top --help`\n", stderr);
    return EXIT_USAGE;
}

static void print_help(void)
{
    puts("usage: ukai top [-c FILE] [--socket PATH] [--interval SECONDS] [--sort WORD]\n"
         "                [--batch] [--once] [--json]\n\n"
         "The busiest sources and tunnels of the running daemon, drawn anew every two seconds. In\n"
         "the terminal `?` shows the keys.\n\n" CTL_OPTIONS_HELP
         "      --interval S   seconds between two frames, 0.5 to 3600 (default: 2)\n"
         "      --sort WORD    rate (default), bytes, age or source\n"
         "      --batch        frames one after the other, without a terminal\n"
         "      --once         one frame, then end\n"
         "      --json         for programs: one object a frame");
}

static bool parse_interval(const char *text, uint64_t *ret_ms)
{
    char *end;
    double s = strtod(text, &end);
    if (end == text || *end || !(s * 1000 >= INTERVAL_MIN_MS && s * 1000 <= INTERVAL_MAX_MS))
        return false;
    *ret_ms = (uint64_t)(s * 1000);
    return true;
}

static bool parse_sort(const char *text, unsigned *ret)
{
    for (unsigned i = 0; i < N_SORTS; i++) {
        if (strcmp(sorts[i], text) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

enum exit_code top_run(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"socket", required_argument, NULL, 'S'},
                                            {"interval", required_argument, NULL, 'i'},
                                            {"sort", required_argument, NULL, 's'},
                                            {"batch", no_argument, NULL, 'b'},
                                            {"once", no_argument, NULL, 'o'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct ctl_place place = {.file = CTL_DEFAULT_FILE};
    struct top t = {.interval_ms = INTERVAL_MS, .signals = -1, .asking = -1};
    bool is_batch = false;
    for (int opt; (opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            place.file = optarg;
            break;
        case 'S':
            place.socket = optarg;
            break;
        case 'i':
            if (!parse_interval(optarg, &t.interval_ms)) {
                fputs("ukai top: --interval takes seconds, 0.5 to 3600\n", stderr);
                return EXIT_USAGE;
            }
            break;
        case 's':
            if (!parse_sort(optarg, &t.sort)) {
                fputs("ukai top: --sort takes rate, bytes, age or source\n", stderr);
                return EXIT_USAGE;
            }
            break;
        case 'b':
            is_batch = true;
            break;
        case 'o':
            t.is_once = true;
            break;
        case 'j':
            t.is_json = true;
            break;
        case 'h':
            print_help();
            return EXIT_DONE;
        default:
            return usage_error();
        }
    }
    if (optind < argc)
        return usage_error();
    t.is_live = !is_batch && !t.is_once && !t.is_json && screen_is_possible();
    t.view.has_keys = t.is_live;
    t.view.interval_s = (double)t.interval_ms / 1000;
    t.ask = (struct ask){.path = t.path, .limit_s = LIMIT_S};
    if (ctl_find(&place, t.path) < 0) {
        fprintf(stderr, "ukai top: %s: %s\n", place.socket, strerror(ENAMETOOLONG));
        return EXIT_FAILED;
    }
    return serve(&t);
}

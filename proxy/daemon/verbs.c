/*
 * One row a verb. What the main thread knows is answered at once; what the workers know is asked of
 * them by mail (flow/roster, flow/survey), and the call waits. Answers for programs are JSON with
 * stable keys; the commands make tables of them for people (daemon/ctl).
 */
#include "proxy/daemon/verbs.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/daemon/against.h"
#include "proxy/daemon/daemon.h"
#include "proxy/daemon/inquiries.h"
#include "proxy/daemon/learn.h"
#include "proxy/daemon/overview.h"
#include "proxy/daemon/reload.h"
#include "proxy/daemon/status.h"
#include "proxy/flow/roster.h"

static bool has_word(char **args, const char *word)
{
    for (char **a = args + 1; *a; a++) {
        if (strcmp(*a, word) == 0)
            return true;
    }
    return false;
}

/* The first argument that is no option; NULL: there is none. */
static const char *subject(char **args)
{
    for (char **a = args + 1; *a; a++) {
        if (strncmp(*a, "--", 2) != 0)
            return *a;
    }
    return NULL;
}

static void fail(struct control_call *call, enum exit_code code, const char *why)
{
    fprintf(control_err(call), "ukai: %s\n", why);
    control_end(call, code);
}

/* ---- asking the workers ---- */

struct question {
    struct control_call *call;
    void (*answer)(struct question *q, struct roster *r);
};

static void on_answered(struct roster *r, void *owner)
{
    struct question *q = owner;
    if (control_is_awaited(q->call))
        q->answer(q, r);
    else
        control_end(q->call, EXIT_FAILED);
    roster_free(r);
    free(q);
}

/* NULL: out of memory, and the call is ended. */
static struct roster *question_new(struct control_call *call, enum roster_job job,
                                   void (*answer)(struct question *q, struct roster *r))
{
    struct daemon *d = control_owner(call);
    struct question *q = calloc(1, sizeof(*q));
    struct roster *r = q ? roster_new(d->workers, d->n_workers, job, on_answered, q) : NULL;
    if (!r) {
        free(q);
        fail(call, EXIT_FAILED, "out of memory");
        return NULL;
    }
    q->call = call;
    q->answer = answer;
    return r;
}

static bool is_cut_short(const struct roster *r)
{
    for (unsigned i = 0; i < r->n_parts; i++) {
        if (r->parts[i].is_cut_short)
            return true;
    }
    return false;
}

/* ---- status ---- */

static uint64_t monotonic_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Takes @o; NULL: there was no memory for it. */
static void end_with_json(struct control_call *call, json_t *o)
{
    if (!o) {
        fail(call, EXIT_FAILED, "out of memory");
        return;
    }
    json_dumpf(o, control_out(call), JSON_COMPACT);
    fputc('\n', control_out(call));
    json_decref(o);
    control_end(call, EXIT_DONE);
}

static void answer_status(struct question *q, struct roster *r)
{
    end_with_json(q->call, status_json(control_owner(q->call), r));
}

static void answer_page(struct question *q, struct roster *r)
{
    overview_write(control_owner(q->call), r, control_out(q->call));
    control_end(q->call, EXIT_DONE);
}

static void run_status(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    struct roster *r = has_word(args, "--html") ? question_new(call, ROSTER_OVERVIEW, answer_page)
                                                : question_new(call, ROSTER_STATUS, answer_status);
    if (r)
        roster_start(r);
}

/* ---- tunnels ---- */

static void answer_tunnels(struct question *q, struct roster *r)
{
    FILE *out = control_out(q->call);
    for (unsigned i = 0; i < r->n_parts; i++) {
        if (r->parts[i].len > 0)
            fwrite(r->parts[i].lines, 1, r->parts[i].len, out);
    }
    if (is_cut_short(r))
        fputs("ukai: the list is not whole: a worker was short of memory, or is ending\n",
              control_err(q->call));
    control_end(q->call, is_cut_short(r) ? EXIT_FAILED : EXIT_DONE);
}

static void run_tunnels(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    (void)args;
    struct roster *r = question_new(call, ROSTER_TUNNELS, answer_tunnels);
    if (r)
        roster_start(r);
}

/* ---- top ---- */

struct top_wish {
    enum toplist_sort sort;
    size_t n_rows;
};

/* `top ORDER ROWS`. */
static bool parse_wish(int n_args, char **args, struct top_wish *ret)
{
    char *end;
    if (n_args != 3 || !toplist_sort_parse(args[1], &ret->sort) || args[2][0] < '0' ||
        args[2][0] > '9')
        return false;
    unsigned long n = strtoul(args[2], &end, 10);
    ret->n_rows = n < TOPLIST_ROWS_MAX ? n : TOPLIST_ROWS_MAX;
    return *end == '\0';
}

static void answer_top(struct question *q, struct roster *r)
{
    struct daemon *d = control_owner(q->call);
    struct top_wish wish;
    int n_args;
    char **args = control_args(q->call, &n_args);
    json_t *s = parse_wish(n_args, args, &wish) ? status_json(d, r) : NULL;
    if (s && toplist_write(&d->top_past, r, wish.sort, wish.n_rows, monotonic_ms(), s) < 0) {
        json_decref(s);
        s = NULL;
    }
    end_with_json(q->call, s);
}

static void run_top(struct control_call *call, int n_args, char **args)
{
    struct top_wish wish;
    if (!parse_wish(n_args, args, &wish)) {
        fail(call, EXIT_USAGE,
             "top takes an order (rate, bytes, age, source) and a number of rows");
        return;
    }
    struct roster *r = question_new(call, ROSTER_TOP, answer_top);
    if (r)
        roster_start(r);
}

/* ---- kill ---- */

static bool parse_whom(const char *text, struct roster_whom *ret)
{
    char *end;
    *ret = (struct roster_whom){0};
    if (addr_parse(text, strlen(text), &ret->source) == 0) {
        ret->has_source = true;
        return true;
    }
    unsigned long worker = strtoul(text, &end, 10);
    if (end == text || *end != '.' || worker > UINT32_MAX || *text < '0' || *text > '9')
        return false;
    const char *serial = end + 1;
    ret->worker = (unsigned)worker;
    ret->serial = strtoull(serial, &end, 10);
    return *serial >= '0' && *serial <= '9' && *end == '\0';
}

static void answer_kill(struct question *q, struct roster *r)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < r->n_parts; i++)
        n += r->parts[i].n_done;
    log_notice("msg=\"ended by the admin\" connections=%llu", (unsigned long long)n);
    fprintf(control_out(q->call), "{\"ended\":%llu}\n", (unsigned long long)n);
    control_end(q->call, n ? EXIT_DONE : EXIT_NO);
}

static void run_kill(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    struct roster_whom whom;
    const char *text = subject(args);
    if (!text || !parse_whom(text, &whom)) {
        fail(call, EXIT_USAGE,
             "kill takes the id of a tunnel, as `ukai tunnels` shows it, or the "
             "address of a client");
        return;
    }
    struct roster *r = question_new(call, ROSTER_KILL, answer_kill);
    if (!r)
        return;
    r->whom = whom;
    roster_start(r);
}

/* ---- flush ---- */

static void answer_flush(struct question *q, struct roster *r)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < r->n_parts; i++)
        n += r->parts[i].n_done;
    fprintf(control_out(q->call), "{\"forgotten\":%llu}\n", (unsigned long long)n);
    control_end(q->call, EXIT_DONE);
}

static void run_flush(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    const char *text = subject(args);
    struct cache_names names;
    if (text && cache_names_parse(text, strlen(text), &names) < 0) {
        fail(call, EXIT_USAGE,
             "flush takes a name, .name (with all below it), *.name (all below it), or nothing for "
             "all of the cache");
        return;
    }
    struct roster *r = question_new(call, ROSTER_FLUSH, answer_flush);
    if (!r)
        return;
    r->has_names = text;
    if (text)
        r->names = names;
    roster_start(r);
}

/* ---- reload, drain, log ---- */

static void run_reload(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    (void)args;
    struct daemon *d = control_owner(call);
    if (d->is_draining) {
        fail(call, EXIT_FAILED, "the daemon is stopping");
        return;
    }
    enum exit_code code = reload_run(d, control_err(call));
    if (code == EXIT_DONE && d->n_unapplied > 0)
        d->reloads[d->n_reloads++] = call; /* as many as there are calls */
    else
        control_end(call, code);
}

static void run_drain(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    (void)args;
    struct daemon *d = control_owner(call);
    if (!d->is_draining)
        daemon_drain(d, false);
    control_end(call, EXIT_DONE);
}

static void run_log(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    static const char *const words[] = {"error", "warning", "notice", "info", "debug"};
    const char *text = subject(args);
    for (unsigned i = 0; text && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i], text) != 0)
            continue;
        log_set_level((enum log_level)i);
        log_notice("msg=\"log level changed\" level=%s", words[i]);
        control_end(call, EXIT_DONE);
        return;
    }
    fail(call, EXIT_USAGE, "log takes a level: error, warning, notice, info or debug");
}

/* ---- giving way to another daemon (daemon/takeover) ---- */

static void run_handover(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    (void)args;
    struct daemon *d = control_owner(call);
    int fds[OFFERS_MAX];
    size_t n = d->is_draining ? 0 : sockets_lend(&d->sockets, fds, OFFERS_MAX);
    if (n == 0) {
        fail(call, EXIT_FAILED, "there are no listeners to hand over");
        return;
    }
    for (size_t i = 0; i < n; i += CONTROL_FDS_A_MESSAGE)
        fputc('.', control_out(call));
    log_notice("msg=\"listeners handed over\" n=%zu pid=%lld", n,
               (long long)control_peer_pid(call));
    control_end_with_fds(call, EXIT_DONE, fds, n);
}

static void run_replaced(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    (void)args;
    struct daemon *d = control_owner(call);
    int64_t pid = control_peer_pid(call);
    log_notice("msg=\"replaced by another daemon\" pid=%lld", (long long)pid);
    if (pid > 0)
        notify_main_pid(&d->notify, pid);
    d->is_replaced = true;
    control_leave_place(&d->control); /* whoever comes next may put his there at any moment */
    admin_close_doors(&d->admin);
    if (!d->is_draining)
        daemon_drain(d, false);
    control_end(call, EXIT_DONE);
}

/* ---- rules, learn, check --against-live ---- */

static void run_rules(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    struct daemon *d = control_owner(call);
    rules_write(&d->rules, d->snapshot, monotonic_ms(), has_word(args, "--json"),
                control_out(call));
    control_end(call, EXIT_DONE);
}

static void run_learn(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    struct daemon *d = control_owner(call);
    if (learn_write(d->workers, d->n_workers, d->snapshot, monotonic_ms(), has_word(args, "--json"),
                    control_out(call)) < 0)
        fail(call, EXIT_FAILED, "out of memory");
    else
        control_end(call, EXIT_DONE);
}

struct against {
    struct control_call *call;
    bool is_json;
};

static void on_surveyed(struct survey *s, void *owner)
{
    struct against *a = owner;
    int rc = against_write(s, a->is_json, control_out(a->call));
    survey_free(s);
    if (rc < 0)
        fail(a->call, EXIT_FAILED, "out of memory");
    else
        control_end(a->call, EXIT_DONE);
    free(a);
}

/* The files that a reload would read, judged by the workers without a change. */
static void run_against(struct control_call *call, int n_args, char **args)
{
    (void)n_args;
    struct daemon *d = control_owner(call);
    struct findings findings = {0};
    struct snapshot *candidate = NULL;
    if (!d->options.file) {
        fail(call, EXIT_FAILED, "the daemon runs on the embedded default");
        return;
    }
    int rc = snapshot_load(d->options.file, &findings, &candidate);
    findings_print(&findings, control_err(call));
    bool is_config = findings.n_errors > 0;
    findings_fini(&findings);
    if (rc < 0) {
        control_end(call, is_config ? EXIT_CONFIG : EXIT_FAILED);
        return;
    }
    struct against *a = calloc(1, sizeof(*a));
    struct own_set *own = a ? sockets_own(&candidate->conf, &d->addresses) : NULL;
    struct survey *s = NULL;
    if (own) {
        *a = (struct against){.call = call, .is_json = has_word(args, "--json")};
        s = survey_start(d->workers, d->n_workers, candidate, own, on_surveyed, a);
    }
    own_set_unref(own);
    snapshot_unref(candidate);
    if (!s) {
        free(a);
        fail(call, EXIT_FAILED, "out of memory");
    }
}

static void run_explain(struct control_call *call, int n_args, char **args)
{
    inquiries_run(control_owner(call), call, n_args, args);
}

const struct control_verb *verbs_all(void)
{
    static const struct control_verb verbs[] = {
        {"status", run_status},     {"tunnels", run_tunnels},   {"top", run_top},
        {"kill", run_kill},         {"flush", run_flush},       {"reload", run_reload},
        {"drain", run_drain},       {"log", run_log},           {"rules", run_rules},
        {"learn", run_learn},       {"against", run_against},   {"explain", run_explain},
        {"handover", run_handover}, {"replaced", run_replaced}, {0}};
    return verbs;
}

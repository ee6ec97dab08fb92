/*
 * The main thread: it reads signals and files, opens sockets and tells the workers; it serves
 * nobody itself. Here are its start, its signals and its end. Signals come through a signalfd, so
 * that their work is done on the loop and never inside a handler.
 */
#include "proxy/daemon/daemon.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/daemon/adminroutes.h"
#include "proxy/daemon/apply.h"
#include "proxy/daemon/eventlog.h"
#include "proxy/daemon/expect.h"
#include "proxy/daemon/lastgood.h"
#include "proxy/daemon/privs.h"
#include "proxy/daemon/reload.h"
#include "proxy/daemon/sandbox.h"
#include "proxy/daemon/takeover.h"
#include "proxy/daemon/truststore.h"
#include "proxy/daemon/verbs.h"
#include "proxy/dns/loops.h"
#include "proxy/flow/drain.h"
#include "proxy/net/rates.h"
#include "proxy/net/tls.h"

enum {
    COPY_REMINDER_MS = 60 * 60 * 1000, /* that the files are broken */
    REPLACE_TRIES = 40,
    REPLACE_WAIT_MS = 50,
    FILES_UMASK = 0027, /* whatever we were started with: the group reads the access log */
};

static void reopen_logs(struct daemon *d)
{
    int rc = sink_reopen(d->shared.sink, &d->snapshot->conf.log);
    if (rc < 0)
        log_error("msg=\"the access log cannot be reopened, writing to the old one\" error=\"%s\"",
                  strerror(-rc));
    else
        log_notice("msg=\"log files reopened\"");
}

/* ---- the end ---- */

void daemon_drain(struct daemon *d, bool at_once)
{
    uint64_t limit_ms = at_once ? 0 : d->snapshot->conf.timeouts.drain_ms;
    log_notice("msg=%s limit_ms=%llu clients=%u", at_once ? "stopping" : "draining",
               (unsigned long long)limit_ms, atomic_load(&d->shared.n_clients));
    d->is_draining = true;
    if (!d->is_replaced) /* else the service goes on */
        notify_stopping(&d->notify, at_once ? "Stopping" : "Draining");
    for (unsigned i = 0; i < d->n_workers; i++)
        drain_post(&d->workers[i], limit_ms);
}

static void on_drained(struct shared *s)
{
    struct daemon *d = list_entry(s, struct daemon, shared);
    if (++d->n_drained == d->n_workers)
        loop_stop(&d->loop);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct daemon *d = arg;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGHUP:
            if (!d->is_draining)
                (void)reload_run(d, NULL);
            break;
        case SIGUSR1:
            reopen_logs(d);
            break;
        case SIGTERM:
        case SIGINT:
            daemon_drain(d, d->is_draining);
            break;
        case SIGQUIT:
            daemon_drain(d, true);
            break;
        default:
            break;
        }
    }
}

/* ---- start ---- */

/* Before the first thread is made: threads inherit the mask, and one that did not would die of a
 * HUP. */
static sigset_t block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is a full disk */
    return set;
}

static int watch_signals(struct daemon *d)
{
    sigset_t set = block_signals();
    d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (d->signal_fd < 0)
        return -errno;
    event_assign(&d->signal_event, d->loop.base, d->signal_fd, EV_READ | EV_PERSIST, on_signal, d);
    return event_add(&d->signal_event, NULL) < 0 ? -ENOMEM : 0;
}

static unsigned count_workers(const struct daemon *d)
{
    unsigned wanted = d->snapshot->conf.process.workers;
    if (wanted)
        return wanted;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

/* Each has a cache of its own: its share of the total. */
static int start_workers(struct daemon *d)
{
    d->workers = calloc(d->n_workers, sizeof(*d->workers));
    if (!d->workers)
        return -ENOMEM;
    unsigned n = d->n_workers;
    d->n_workers = 0;
    for (unsigned i = 0; i < n; i++) {
        int rc = worker_init(&d->workers[i], i, &d->shared, d->budget.cache_bytes);
        d->n_workers++;
        d->shared.workers = d->workers;
        d->shared.n_workers = d->n_workers;
        d->workers[i].pipes.mode = d->options.relay_mode;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void say_default(void)
{
    fputs("ukai: no configuration file; running on the embedded default:\n"
          "ukai:   web proxy on 127.0.0.1:8080 and [::1]:8080, DNS on UDP and TCP 127.0.0.1:5353\n"
          "ukai:   loopback sources only; name servers from /etc/resolv.conf; as the user that "
          "started it\n",
          stderr);
}

static void say_ready(const struct daemon *d, unsigned long n_files)
{
    const struct conf *conf = &d->snapshot->conf;
    log_notice("msg=ready workers=%u web_proxies=%zu dns=%zu rules=%zu max_clients=%u "
               "max_tunnels=%u nofile=%lu",
               d->n_workers, conf->n_web_proxies, conf->n_dns, d->snapshot->acl->n_in,
               atomic_load(&d->shared.max_clients), atomic_load(&d->shared.max_tunnels), n_files);
}

static void say_unused(unsigned n)
{
    if (n > 0)
        log_warning("msg=\"sockets that were handed over fit no listener and are closed\" n=%u", n);
}

static void say_sandbox(const struct conf *conf, const struct sandbox_state *fences)
{
    if (!conf->process.sandbox)
        log_warning("msg=\"running without a sandbox\" reason=\"sandbox = off\"");
    else if (!fences->has_calls)
        log_warning("msg=\"running without a sandbox\" reason=\"built with sanitizers\"");
    else if (fences->paths_abi == 0)
        log_warning("msg=\"sandboxed without a fence around files\" reason=\"this kernel has no "
                    "Landlock\"");
    else
        log_notice("msg=sandboxed seccomp=yes landlock_abi=%u", fences->paths_abi);
}

/* A pseudonym of our own in Via: two proxies of this kind in a row are no loop, the same one twice
 * is. */
static void name_ourselves(struct daemon *d)
{
    uint32_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        number = (uint32_t)getpid();
    snprintf(d->shared.via, sizeof(d->shared.via), "ukai-%08x", number);
}

/* Without a place for it the embedded default and a daemon without root serve all the same; a place
 * that somebody prepared for us is another matter. */
static int open_control(struct daemon *d, const struct conf *conf, char *ret_text, size_t text_size)
{
    int rc = control_open(&d->control, &d->loop, conf->control_socket, d->options.replaces,
                          verbs_all(), d, ret_text, text_size);
    bool has_no_place = rc == -ENOENT || rc == -EACCES || rc == -EROFS;
    if (!has_no_place || (rc == -EPERM && conf->file))
        return rc;
    log_warning("msg=\"no control socket\" error=\"%s\"", ret_text);
    return 0;
}

/* We serve already, by the same sockets: the other daemon may go, and its control socket is ours.
 */
static void finish_takeover(struct daemon *d, const struct conf *conf)
{
    char text[512] = "";
    int rc = takeover_finish(conf->control_socket);
    if (rc < 0 && rc != -ENOENT && rc != -ECONNREFUSED)
        log_warning("msg=\"the daemon that was replaced did not answer; stop it by hand\" "
                    "error=\"%s\"",
                    strerror(-rc));
    if (open_control(d, conf, text, sizeof(text)) < 0)
        log_warning("msg=\"no control socket\" error=\"%s\"", text);
}

static const char *date_of(uint64_t wall_s, char buf[static 32])
{
    time_t t = (time_t)wall_s;
    struct tm tm;
    strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    return buf;
}

static void on_copy_reminder(struct timer *t)
{
    struct daemon *d = list_entry(t, struct daemon, copy_reminder);
    char date[32];
    log_error("msg=\"the configuration's files are broken: serving by the last good copy of them\" "
              "kept=%s file=\"%s\" do=\"mend them, see `ukai check`, then `ukai reload`\"",
              date_of(d->copy_wall_s, date), d->options.file);
    loop_timer_start(&d->loop, t, COPY_REMINDER_MS, on_copy_reminder);
}

/* What an admin can do about it, where we know. */
static const char *remedy(int rc)
{
    switch (-rc) {
    case EAGAIN:
        return "; raise the limits of processes and threads (LimitNPROC=, TasksMax=)";
    case EMFILE:
        return "; raise the limit of open files (LimitNOFILE=)";
    case ENFILE:
        return "; raise the system's limit of open files (fs.file-max)";
    default:
        return "";
    }
}

/* Returns @rc. */
static int tell_failure(const char *what, int rc, char *ret_text, size_t text_size)
{
    snprintf(ret_text, text_size, "%s: %s%s", what, strerror(-rc), remedy(rc));
    return rc;
}

static enum exit_code cannot_start(const char *what, int rc)
{
    log_error("msg=\"cannot start\" error=\"%s: %s%s\"", what, strerror(-rc), remedy(rc));
    return EXIT_FAILED;
}

static int start_sink(struct daemon *d, char *ret_text, size_t text_size)
{
    int rc = sink_start(d->shared.sink);
    return rc < 0 ? tell_failure("the thread that writes the log could not be made", rc, ret_text,
                                 text_size)
                  : 0;
}

static int start_tls(char *ret_text, size_t text_size)
{
    int rc = tls_start();
    if (rc < 0)
        snprintf(ret_text, text_size,
                 "OpenSSL could not be set up; is its configuration (openssl.cnf) in order?");
    return rc;
}

/* A daemon that was to be replaced and was killed instead may still be on its way out: its ports
 * are free in a moment. */
static int apply_first(struct daemon *d, struct snapshot *s, char *ret_text, size_t text_size)
{
    int rc = apply_snapshot(d, s, ret_text, text_size);
    for (unsigned i = 0; rc == -EADDRINUSE && d->options.replaces && i < REPLACE_TRIES; i++) {
        poll(NULL, 0, REPLACE_WAIT_MS);
        rc = apply_snapshot(d, s, ret_text, text_size);
    }
    return rc;
}

/* Everything up to the running threads. @files: that were read. */
static enum exit_code start(struct daemon *d, const struct fileset *files)
{
    char text[512] = "out of memory";
    int rc = 0;
    block_signals();
    eventlog_begin();
    privs_make_log(&d->snapshot->conf);
    d->shared.sink = sink_new(&d->snapshot->conf.log, &rc);
    if (!d->shared.sink) {
        logtarget_explain(&d->snapshot->conf, rc, text, sizeof(text));
        log_error("msg=\"cannot start\" error=\"%s\"", text);
        return EXIT_FAILED;
    }
    inquiries_init(&d->inquiries);
    rc = loop_init(&d->loop);
    if (rc == 0)
        rc = mailbox_init(&d->mailbox, &d->loop);
    if (rc == 0)
        rc = watch_signals(d);
    if (rc < 0)
        return cannot_start("the event loop could not be made", rc);
    if (links_open(&d->links, &d->loop, apply_on_links_changed, d) < 0)
        log_warning(
            "msg=\"interfaces cannot be watched; listeners bind only at start and reload\"");
    if (filewatch_open(&d->files, &d->loop, reload_on_files_changed, d) < 0)
        log_warning("msg=\"files cannot be watched; they are read at start and reload only\"");
    rc = addresses_open(&d->addresses);
    if (rc < 0)
        return cannot_start("no route socket, and so no local addresses", rc);
    name_ourselves(d);
    if (getrandom(&d->shared.refusals_key, sizeof(d->shared.refusals_key), 0) < 0)
        log_debug("msg=\"no random key for the table of refusals\"");
    d->shared.rates = rates_new();
    d->shared.connects = rates_new();
    d->shared.quotas = quotas_new();
    d->shared.loops = loops_new();
    if (!d->shared.rates || !d->shared.connects || !d->shared.quotas || !d->shared.loops) {
        log_error("msg=\"cannot start\" error=\"out of memory\"");
        return EXIT_FAILED;
    }
    d->shared.main_mailbox = &d->mailbox;
    d->shared.on_drained = on_drained;
    d->shared.on_updated = reload_on_updated;
    d->n_workers = count_workers(d);
    sockets_init(&d->sockets, d->n_workers);
    unsigned long n_files = budget_raise_nofile(&d->snapshot->conf);
    budget_init(&d->budget, &d->snapshot->conf, d->n_workers);
    budget_share(&d->budget, &d->snapshot->conf, n_files, &d->shared);
    rc = start_workers(d);
    if (rc < 0)
        return cannot_start("the workers could not be made", rc);
    struct snapshot *s = d->snapshot;
    admin_init(&d->admin, &d->loop, adminroutes_all(), d);
    if (rules_init(&d->rules, d->workers, d->n_workers) < 0) {
        log_error("msg=\"cannot start\" error=\"out of memory\"");
        return EXIT_FAILED;
    }
    reload_number_rules(d, NULL, s->acl);
    d->snapshot = NULL; /* so that apply_snapshot() sees a new one */
    d->sockets.offers = &d->offers;
    rc = apply_first(d, s, text, sizeof(text));
    d->sockets.offers = NULL;
    d->snapshot = s;
    say_unused(offers_close(&d->offers));
    if (rc == 0)
        rc = start_tls(text, sizeof(text));
    if (rc == 0)
        privs_make_directory(&s->conf, s->conf.control_socket);
    if (rc == 0 && s->conf.process.last_good) {
        char inside[PATH_MAX];
        snprintf(inside, sizeof(inside), "%s/", lastgood_directory());
        privs_make_directory(&s->conf, inside);
    }
    if (rc == 0)
        rc = privs_drop(&s->conf, text, sizeof(text));
    if (rc == 0)
        rc = privs_check(&s->conf, text, sizeof(text));
    if (rc == 0 && !d->options.replaces)
        rc = open_control(d, &s->conf, text, sizeof(text));
    struct sandbox_state fences = {0};
    if (rc == 0 && s->conf.process.sandbox)
        rc = sandbox_enter(&s->conf, &fences, text, sizeof(text));
    if (rc == 0)
        rc = start_sink(d, text, sizeof(text));
    if (rc < 0) {
        log_error("msg=\"cannot start\" error=\"%s\"", text);
        return EXIT_FAILED;
    }
    say_sandbox(&s->conf, &fences);
    for (unsigned i = 0; i < d->n_workers; i++) {
        rc = worker_start(&d->workers[i]);
        if (rc < 0)
            _exit(cannot_start("a worker's thread could not be made", rc));
    }
    if (d->options.replaces)
        finish_takeover(d, &s->conf);
    s->generation = d->n_generations = 1;
    d->started_wall_s = d->loaded_wall_s = (uint64_t)time(NULL);
    reload_watch_files(d);
    if (watchdog_start(&d->watchdog, &d->loop, &d->mailbox, &d->notify, d->workers, d->n_workers) <
        0)
        log_warning("msg=\"no watchdog\" error=\"out of memory\"");
    d->top_past.loop = &d->loop;
    sampler_start(&d->sampler, &d->loop, d->workers, d->n_workers);
    budget_say(&d->budget, &d->snapshot->conf, &d->shared);
    if (d->copy_wall_s > 0)
        on_copy_reminder(&d->copy_reminder);
    else if (d->options.file)
        reload_keep_good(d, files);
    say_ready(d, n_files);
    notify_ready(&d->notify, "Serving");
    return EXIT_DONE;
}

static void stop_workers(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_workers; i++) {
        worker_post_stop(&d->workers[i]);
        pthread_join(d->workers[i].thread, NULL);
    }
}

static void daemon_fini(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_workers && d->workers; i++)
        worker_fini(&d->workers[i]);
    rules_fini(&d->rules);
    if (d->sockets.all.next)
        sockets_fini(&d->sockets);
    control_close(&d->control);
    inquiries_fini(&d->inquiries);
    admin_fini(&d->admin);
    for (unsigned i = 0; i < d->n_reloads; i++)
        control_end(d->reloads[i], EXIT_FAILED);
    sampler_stop(&d->sampler);
    toplist_past_fini(&d->top_past);
    links_close(&d->links);
    filewatch_close(&d->files);
    addresses_close(&d->addresses);
    notify_close(&d->notify);
    if (d->signal_fd >= 0) {
        event_del(&d->signal_event);
        close(d->signal_fd);
    }
    offers_close(&d->offers);
    mailbox_fini(&d->mailbox);
    free(d->workers);            /* mail of theirs was in it */
    watchdog_stop(&d->watchdog); /* its questions may have been in either mailbox */
    loop_fini(&d->loop);
    own_set_unref(d->own);
    snapshot_unref(d->snapshot);
    d->shared.rates = rates_free(d->shared.rates);
    d->shared.connects = rates_free(d->shared.connects);
    d->shared.quotas = quotas_free(d->shared.quotas);
    d->shared.loops = loops_free(d->shared.loops);
    d->shared.sink = sink_free(d->shared.sink);
    free(d->file);
}

/* It ended meanwhile? One that was killed may be connected to for a moment yet. */
static bool has_broken_off(int rc)
{
    return rc == -ECONNRESET || rc == -EPIPE || rc == -EPROTO;
}

/* False: there is a daemon, and it keeps its listeners. */
static bool fetch_listeners(struct daemon *d)
{
    const char *path = d->snapshot->conf.control_socket;
    int rc = takeover_fetch(path, &d->offers);
    for (unsigned n = 0; has_broken_off(rc) && n < REPLACE_TRIES; n++) {
        poll(NULL, 0, REPLACE_WAIT_MS);
        rc = takeover_fetch(path, &d->offers);
    }
    if (rc == -ENOENT || rc == -ECONNREFUSED)
        log_notice("msg=\"there is no daemon to replace\" control_socket=%s", path);
    else if (rc < 0)
        log_error("msg=\"cannot take over\" error=\"%s\" control_socket=%s", strerror(-rc), path);
    return rc == 0 || rc == -ENOENT || rc == -ECONNREFUSED;
}

/* What is found goes to standard error. *@ret_is_config: the files are to blame. On failure
 * *@ret is NULL. */
static int read_files(const char *file, struct fileset *files, bool *ret_is_config,
                      struct snapshot **ret)
{
    struct findings findings = {.files = files};
    struct snapshot *s = NULL;
    int rc = snapshot_load(file, &findings, &s);
    if (rc == 0)
        rc = truststore_check(&s->conf, &findings);
    if (rc == 0)
        rc = expect_check(s, sockets_own_once(&s->conf), &findings);
    findings_print(&findings, stderr);
    *ret_is_config = findings.n_errors > 0;
    findings_fini(&findings);
    *ret = rc < 0 ? snapshot_unref(s) : s;
    return rc;
}

/* The files are broken. 0: the copy of the last good ones is in @d. */
static int start_by_copy(struct daemon *d)
{
    struct lastgood copy;
    char text[512] = "";
    bool is_config;
    int rc = lastgood_find(d->options.file, &copy, text, sizeof(text));
    if (rc < 0) {
        if (rc != -ENOENT)
            fprintf(stderr, "ukai: the last good copy is not used: %s\n", text);
        return rc;
    }
    rc = read_files(d->options.file, &copy.files, &is_config, &d->snapshot);
    if (rc == 0 && !lastgood_is_trusted(&copy, &d->snapshot->conf.process)) {
        fprintf(stderr,
                "ukai: the last good copy is not used: it was written by user %u and "
                "names another user to run as, or no sandbox\n",
                (unsigned)copy.owner);
        d->snapshot = snapshot_unref(d->snapshot);
        rc = -EPERM;
    }
    if (rc == 0)
        d->copy_wall_s = copy.kept_wall_s;
    fileset_fini(&copy.files);
    return rc;
}

/* Symbolic links stay as they are: they may point elsewhere tomorrow. NULL: out of memory. */
static char *absolute_path(const char *file)
{
    char here[PATH_MAX], *path = NULL;
    if (file[0] == '/' || !getcwd(here, sizeof(here)))
        return strdup(file);
    return asprintf(&path, "%s/%s", here, file) < 0 ? NULL : path;
}

enum exit_code daemon_run(const struct daemon_options *options)
{
    struct daemon d = {.options = *options,
                       .signal_fd = -1,
                       .mailbox = {.watch.fd = -1},
                       .links = {.fd = -1},
                       .files = {.fd = -1},
                       .notify = {.fd = -1},
                       .control = {.fd = -1}};
    struct fileset files = {0};
    bool is_config = false;
    privs_reserve_stdio();
    umask(FILES_UMASK);
    offers_from_manager(&d.offers); /* before anything else is opened */
    if (options->file && !(d.file = absolute_path(options->file))) {
        fputs("ukai: not started: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    int rc = read_files(options->file, &files, &is_config, &d.snapshot);
    /* Who replaces a daemon that serves leaves it alone rather than to serve by a copy. */
    if (rc < 0 && is_config && options->file && !options->replaces && start_by_copy(&d) == 0)
        rc = 0;
    if (rc < 0) {
        fprintf(stderr, "ukai: not started: %s\n",
                is_config ? "see the errors above" : strerror(-rc));
        fileset_fini(&files);
        free(d.file);
        return is_config ? EXIT_CONFIG : EXIT_FAILED;
    }
    if (!options->file)
        say_default();
    reload_obey_options(&d, d.snapshot);
    restart_begin(&d.restart, &d.snapshot->conf);
    log_set_level(d.snapshot->conf.log.level);
    notify_open(&d.notify);
    if (options->replaces && !fetch_listeners(&d)) {
        fileset_fini(&files);
        daemon_fini(&d);
        return EXIT_FAILED;
    }
    enum exit_code code = start(&d, &files);
    fileset_fini(&files);
    if (code == EXIT_DONE) {
        loop_run(&d.loop);
        stop_workers(&d);
        log_notice("msg=stopped");
    }
    daemon_fini(&d);
    return code;
}

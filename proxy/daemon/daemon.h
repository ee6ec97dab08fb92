/* daemon - `ukai run`: threads, signals, reload, drain. */
#ifndef PROXY_DAEMON_DAEMON_H
#define PROXY_DAEMON_DAEMON_H

#include "proxy/daemon/addresses.h"
#include "proxy/daemon/admin.h"
#include "proxy/daemon/budget.h"
#include "proxy/daemon/control.h"
#include "proxy/daemon/filewatch.h"
#include "proxy/daemon/inquiries.h"
#include "proxy/daemon/links.h"
#include "proxy/daemon/notify.h"
#include "proxy/daemon/offers.h"
#include "proxy/daemon/restart.h"
#include "proxy/daemon/rules.h"
#include "proxy/daemon/sampler.h"
#include "proxy/daemon/sockets.h"
#include "proxy/daemon/toplist.h"
#include "proxy/daemon/watchdog.h"
#include "proxy/flow/worker.h"
#include "proxy/net/pipes.h"

/* Exit codes of every command (contract section 1). */
enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO = 3, EXIT_CONFIG = 78 };

struct daemon_options {
    const char *file;           /* NULL: the embedded default */
    unsigned workers;           /* 0: as configured */
    bool replaces;              /* takes the listeners over from the running daemon */
    enum pipes_mode relay_mode; /* for tests: how tunnels move bytes */
};

/* What the main thread has. */
struct daemon {
    struct daemon_options options;
    char *file; /* owned: options.file with an absolute path, for others; NULL: the default */
    struct loop loop;
    struct mailbox mailbox;
    struct shared shared;
    struct sockets sockets;
    struct budget budget;
    struct offers offers;
    struct links links;
    struct filewatch files; /* hosts files, resolv.conf */
    struct addresses addresses;
    struct notify notify;
    struct watchdog watchdog;
    struct snapshot *snapshot;
    struct restart restart; /* what of it waits for one */
    struct rules rules;
    struct sampler sampler;
    struct toplist_past top_past;
    struct own_set *own;
    struct worker *workers;
    unsigned n_workers, n_drained;
    unsigned n_unapplied;   /* updates on their way to the workers */
    bool is_admin_behind;   /* the pages are not served as configured, for want of memory */
    bool has_untold_reload; /* told once every worker works by it */
    struct admin admin;
    struct inquiries inquiries;
    struct control control;
    struct control_call *reloads[CONTROL_CALLS_MAX]; /* they wait until it is told */
    unsigned n_reloads;
    uint64_t started_wall_s, loaded_wall_s;
    uint64_t n_reloads_done, n_reloads_refused; /* n_reloads: who waits */
    uint64_t refused_wall_s;  /* the last reload was refused then; 0: it was not */
    char refused_reason[512]; /* escaped for the log */
    uint64_t copy_wall_s;     /* the files are broken, and these are what was kept then; 0: no */
    struct timer copy_reminder;
    int signal_fd;
    struct event signal_event;
    uint64_t n_generations;
    unsigned n_waiting;  /* interfaces that are not there */
    bool has_bad_resolv; /* told that resolv.conf names no server */
    bool is_draining;
    bool is_replaced; /* by another daemon, which has the listeners too */
};

/* Serves until it is told to stop. Returns an exit code. */
enum exit_code daemon_run(const struct daemon_options *options);

/* Stops accepting and ends when nothing runs any more, or at the limit; @at_once: now. */
void daemon_drain(struct daemon *d, bool at_once);

#endif

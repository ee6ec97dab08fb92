/*
 * A reload builds everything anew and changes nothing until all of it is there; a refused one says
 * why, and the old configuration stays in force. Files that the configuration names and that are
 * watched are read by themselves when they change.
 */
#include "proxy/daemon/reload.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/resolv.h"
#include "proxy/base/escape.h"
#include "proxy/base/log.h"
#include "proxy/daemon/apply.h"
#include "proxy/daemon/expect.h"
#include "proxy/daemon/lastgood.h"
#include "proxy/daemon/privs.h"
#include "proxy/daemon/truststore.h"

static void log_findings(const struct findings *f)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const struct finding *item = &f->items[i];
        if (item->level == FINDING_NOTE)
            continue;
        log_emit(item->level == FINDING_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
                 "msg=\"%s\" file=%s line=%u", item->text, item->file ? item->file : "-",
                 item->line);
    }
}

/* ---- files that are watched ---- */

void reload_watch_files(struct daemon *d)
{
    const struct conf *conf = &d->snapshot->conf;
    const char **files = calloc(conf->n_dns + 1, sizeof(*files));
    size_t n = 0;
    for (size_t i = 0; files && i < conf->n_dns; i++) {
        if (conf->dns[i].hosts_file)
            files[n++] = conf->dns[i].hosts_file;
    }
    if (files && snapshot_resolv(&d->snapshot->conf))
        files[n++] = RESOLV_PATH;
    int rc = files ? filewatch_set(&d->files, files, n) : -ENOMEM;
    if (rc < 0)
        log_warning("msg=\"not all changes of files will be noticed; reload after them\" "
                    "error=\"%s\"",
                    strerror(-rc));
    free(files);
}

/* Once, until it is usable again. */
static void tell_of_resolv(struct daemon *d, bool is_bad)
{
    if (is_bad && !d->has_bad_resolv)
        log_warning("msg=\"no usable name server, the old ones stay\" file=%s", RESOLV_PATH);
    if (!is_bad && d->has_bad_resolv)
        log_notice("msg=\"names a usable name server again\" file=%s", RESOLV_PATH);
    d->has_bad_resolv = is_bad;
}

static void say_reread(const struct conf *old, const struct conf *new)
{
    for (size_t i = 0; i < new->n_dns; i++) {
        if (new->dns[i].hosts != old->dns[i].hosts)
            log_notice("msg=\"local records read again\" file=\"%s\" records=%zu",
                       new->dns[i].hosts_file, hosts_count(new->dns[i].hosts));
    }
    const struct conf_name_servers *now = snapshot_resolv(new), *before = snapshot_resolv(old);
    if (now && before && !snapshot_same_servers(now, before))
        log_notice("msg=\"name servers read again\" file=%s servers=%zu", RESOLV_PATH,
                   now->n_items);
}

/* Nothing else of the configuration is read, so what an admin is editing meanwhile waits for a
 * reload. */
void reload_on_files_changed(void *arg)
{
    struct daemon *d = arg;
    struct findings findings = {0};
    struct snapshot *s;
    bool is_bad_resolv = false;
    char text[256] = "out of memory";
    if (d->is_draining)
        return;
    int rc = snapshot_reread(d->snapshot, NULL, &findings, &is_bad_resolv, &s);
    log_findings(&findings);
    findings_fini(&findings);
    tell_of_resolv(d, is_bad_resolv);
    if (rc == SNAPSHOT_SAME)
        return;
    if (rc == 0) {
        rc = apply_snapshot(d, s, text, sizeof(text));
        if (rc < 0)
            snapshot_unref(s);
    }
    if (rc < 0) {
        log_error("msg=\"changed files could not be applied, the old state stays\" error=\"%s\"",
                  text);
        return;
    }
    say_reread(&d->snapshot->conf, &s->conf);
    snapshot_unref(d->snapshot);
    d->snapshot = s;
}

/* ---- what a snapshot brings along ---- */

void reload_number_rules(struct daemon *d, const struct acl *old, struct acl *acl)
{
    int rc = rules_number(&d->rules, old, acl);
    if (rc < 0)
        log_warning("msg=\"the rules are not counted\" error=\"%s\"", strerror(-rc));
}

/* The files that were read are the last good ones from now on. */
void reload_keep_good(struct daemon *d, const struct fileset *files)
{
    char text[512] = "";
    int rc = lastgood_keep(d->snapshot, files, text, sizeof(text));
    bool is_wanted = d->snapshot->conf.process.last_good;
    if (rc < 0 && is_wanted)
        log_emit(rc == -ENOENT ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
                 "msg=\"no copy of the files is kept for a start with broken ones\" error=\"%s\"",
                 text);
    d->copy_wall_s = 0;
    loop_timer_stop(&d->loop, &d->copy_reminder);
}

/* The command line wins over the file. */
void reload_obey_options(const struct daemon *d, struct snapshot *s)
{
    if (d->options.workers)
        s->conf.process.workers = d->options.workers;
}

/* ---- reload ---- */

static bool same_target(const struct conf_log *a, const struct conf_log *b)
{
    if (a->access != b->access)
        return false;
    return a->access != CONF_ACCESS_FILE || strcmp(a->access_path, b->access_path) == 0;
}

static void refuse_reload(struct daemon *d, const char *why, FILE *said)
{
    char logged[512], *safe = d->refused_reason;
    escape_write(ESCAPE_LOG, why, strlen(why), logged, sizeof(logged));
    escape_write(ESCAPE_TEXT, why, strlen(why), safe, sizeof(d->refused_reason));
    d->refused_wall_s = (uint64_t)time(NULL);
    d->n_reloads_refused++;
    if (said)
        fprintf(said, "ukai: reload refused, the old configuration stays in force: %s\n", safe);
    notify_ready(&d->notify, "Reload refused, serving by the old configuration; see the log");
    log_error("msg=\"reload refused\" error=\"%s\" effect=\"the old configuration stays in force\"",
              logged);
}

enum exit_code reload_run(struct daemon *d, FILE *said)
{
    if (!d->options.file) {
        log_notice("msg=\"nothing to reload: running on the embedded default\"");
        if (said)
            fputs("ukai: nothing to reload: running on the embedded default\n", said);
        return EXIT_DONE;
    }
    notify_reloading(&d->notify);
    struct fileset files = {0};
    struct findings findings = {.files = &files};
    struct snapshot *s = NULL;
    char text[512] = "out of memory";
    int rc = snapshot_load(d->options.file, &findings, &s);
    if (rc == 0)
        rc = truststore_check(&s->conf, &findings);
    if (rc == 0)
        rc = expect_check(s, sockets_own(&s->conf, &d->addresses), &findings);
    log_findings(&findings);
    if (said)
        findings_print(&findings, said);
    bool is_config = findings.n_errors > 0;
    if (rc < 0) {
        if (findings.n_errors > 0)
            findings_first_error(&findings, text, sizeof(text));
        refuse_reload(d, text, said);
        findings_fini(&findings);
        fileset_fini(&files);
        snapshot_unref(s);
        return is_config ? EXIT_CONFIG : EXIT_FAILED;
    }
    findings_fini(&findings);
    reload_obey_options(d, s);
    tell_of_resolv(d, snapshot_keep_servers(s, d->snapshot));
    reload_number_rules(d, d->snapshot->acl, s->acl);
    bool has_other_target = !same_target(&d->snapshot->conf.log, &s->conf.log);
    struct logtarget target = {.fd = -1};
    if (has_other_target) {
        rc = logtarget_open(&s->conf.log, &target);
        if (rc < 0)
            logtarget_explain(&s->conf, rc, text, sizeof(text));
    }
    if (rc == 0)
        rc = privs_check(&s->conf, text, sizeof(text));
    if (rc == 0)
        rc = apply_snapshot(d, s, text, sizeof(text));
    if (rc < 0) {
        logtarget_close(&target);
        refuse_reload(d, text, said);
        fileset_fini(&files);
        snapshot_unref(s);
        return EXIT_FAILED;
    }
    if (has_other_target)
        sink_use(d->shared.sink, &target);
    restart_compare(&d->restart, &s->conf);
    restart_say(&d->restart, said);
    s->generation = ++d->n_generations;
    d->n_reloads_done++;
    log_set_level(s->conf.log.level);
    budget_share(&d->budget, &s->conf, budget_raise_nofile(&s->conf), &d->shared);
    budget_say(&d->budget, &s->conf, &d->shared);
    snapshot_unref(d->snapshot);
    d->snapshot = s;
    d->has_untold_reload = true;
    d->refused_wall_s = 0;
    d->loaded_wall_s = (uint64_t)time(NULL);
    reload_keep_good(d, &files);
    fileset_fini(&files);
    reload_watch_files(d);
    return EXIT_DONE;
}

/* The reload that waits is told as it came out. */
static void tell_reload(struct daemon *d)
{
    unsigned n_behind = apply_n_behind(d);
    bool is_whole = n_behind == 0 && !d->is_admin_behind;
    log_emit(is_whole ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR, "msg=%s generation=%llu rules=%zu",
             is_whole ? "reloaded" : "\"reloaded in part\"",
             (unsigned long long)d->snapshot->generation, d->snapshot->acl->n_in);
    notify_ready(&d->notify, is_whole ? "Serving" : "Reloaded in part, trying again; see the log");
    for (unsigned i = 0; i < d->n_reloads; i++) {
        if (n_behind)
            fprintf(control_err(d->reloads[i]),
                    "ukai: reloaded in part: %u of %u workers had no memory, or no room for a "
                    "socket, and are not through with it; they go on trying, see the "
                    "log and `ukai status`\n",
                    n_behind, d->n_workers);
        if (d->is_admin_behind)
            fputs("ukai: reloaded in part: the admin's pages are not served as configured; see "
                  "the log\n",
                  control_err(d->reloads[i]));
        control_end(d->reloads[i], is_whole ? EXIT_DONE : EXIT_FAILED);
    }
    d->n_reloads = 0;
}

void reload_on_updated(struct shared *s)
{
    struct daemon *d = list_entry(s, struct daemon, shared);
    if (--d->n_unapplied > 0 || !d->has_untold_reload)
        return;
    d->has_untold_reload = false;
    tell_reload(d);
}

/*
 * Names and labels are the interface's (section 6). The workers have counted for themselves and add
 * their figures up by mail (flow/roster), so that counting takes no atomics; tunnels tell what they
 * carried then, not with every byte. Rules are read where they are counted (report/hits).
 */
#include "proxy/daemon/metrics.h"

#include <dirent.h>
#include <event2/event.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proxy/daemon/daemon.h"
#include "proxy/report/metrictext.h"

enum { VALUE_MAX = 512 };

/* ---- listeners ---- */

struct listeners {
    const struct tally_listener *items[TALLY_LISTENERS_MAX + 1];
    unsigned n;
};

static struct listeners all_listeners(const struct tally *t)
{
    struct listeners all = {.n = t->n_listeners};
    for (unsigned i = 0; i < t->n_listeners; i++)
        all.items[i] = t->listeners[i];
    if (t->others.name[0])
        all.items[all.n++] = &t->others;
    return all;
}

static void write_connections(const struct listeners *all, FILE *out)
{
    static const char name[] = "ukai_connections_total";
    metrictext_head(out, name, "counter", "Connections of clients that ended, by why they did.");
    for (unsigned i = 0; i < all->n; i++) {
        for (unsigned reason = 0; reason < REASON_MAX; reason++) {
            const char *result = reason == REASON_NONE ? "ok" : reason_info(reason)->name;
            const char *labels[] = {"listener", all->items[i]->name, "result", result, NULL};
            if (all->items[i]->n_ended[reason] > 0 || reason == REASON_NONE)
                metrictext_sample(out, name, labels, all->items[i]->n_ended[reason]);
        }
    }
}

static void write_requests(const struct listeners *all, FILE *out)
{
    static const char name[] = "ukai_http_requests_total";
    char status[8];
    metrictext_head(out, name, "counter",
                    "Requests by method and status; a tunnel counts once it is open.");
    for (unsigned i = 0; i < all->n; i++) {
        for (unsigned m = 0; m < TALLY_METHODS * TALLY_STATUSES; m++) {
            unsigned method = m / TALLY_STATUSES, code = m % TALLY_STATUSES;
            uint64_t n = all->items[i]->n_requests[method][code];
            const char *labels[] = {"listener", all->items[i]->name,
                                    "method",   tally_method_text(method),
                                    "status",   tally_status_text(code, status),
                                    NULL};
            if (n > 0)
                metrictext_sample(out, name, labels, n);
        }
    }
}

static void write_bytes(const struct listeners *all, FILE *out)
{
    static const char name[] = "ukai_bytes_total";
    metrictext_head(out, name, "counter",
                    "Bytes of tunnels and of bodies, up: from client to origin.");
    for (unsigned i = 0; i < all->n; i++) {
        const struct tally_listener *l = all->items[i];
        metrictext_sample(out, name, (const char *[]){"listener", l->name, "direction", "up", NULL},
                          l->bytes_up);
        metrictext_sample(out, name,
                          (const char *[]){"listener", l->name, "direction", "down", NULL},
                          l->bytes_down);
    }
}

/* ---- rules ---- */

struct row {
    const char *section;
    const struct rule_place *place;
    uint64_t n;
};

struct rows {
    struct row *items; /* owned */
    size_t n, capacity;
};

static void keep_row(void *owner, const struct rules_row *row)
{
    struct rows *rows = owner;
    if (row->sum.n == 0)
        return;
    if (rows->n == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 256;
        struct row *grown = reallocarray(rows->items, capacity, sizeof(*grown));
        if (!grown)
            return;
        rows->items = grown;
        rows->capacity = capacity;
    }
    rows->items[rows->n++] = (struct row){row->section, row->place, row->sum.n};
}

/* Most hits first. Rules of a preset share the line that names it; memos tell them apart. */
static int compare_hits(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    int order = strcmp(x->section, y->section);
    if (order == 0)
        order = (x->place->line > y->place->line) - (x->place->line < y->place->line);
    return order ? order : strcmp(x->place->memo, y->place->memo);
}

/* The number; behind the file's name where it is not the ACL file itself. */
static const char *line_text(const struct acl *acl, const struct rule_place *place,
                             char buf[static VALUE_MAX])
{
    const char *slash = strrchr(acl->file, '/');
    if (strcmp(place->file, slash ? slash + 1 : acl->file) == 0)
        snprintf(buf, VALUE_MAX, "%u", place->line);
    else
        snprintf(buf, VALUE_MAX, "%s:%u", place->file, place->line);
    return buf;
}

static void write_rules(const struct daemon *d, FILE *out)
{
    static const char name[] = "ukai_acl_hits_total";
    struct rows rows = {0};
    char line[VALUE_MAX];
    metrictext_head(out, name, "counter", "Decisions of a rule; the 200 rules that have most.");
    rules_each(&d->rules, d->snapshot, keep_row, &rows);
    if (rows.n > 0)
        qsort(rows.items, rows.n, sizeof(*rows.items), compare_hits);
    for (size_t i = 0; i < rows.n && i < METRICS_RULES_MAX; i++) {
        const struct row *row = &rows.items[i];
        const char *labels[] = {"section", row->section,
                                "line",    line_text(d->snapshot->acl, row->place, line),
                                "memo",    row->place->memo ? row->place->memo : "",
                                NULL};
        metrictext_sample(out, name, labels, row->n);
    }
    free(rows.items);
}

/* ---- DNS ---- */

static void write_queries(const struct dns_server_counters *dns, FILE *out)
{
    static const char name[] = "ukai_dns_queries_total";
    metrictext_head(out, name, "counter", "Queries of the LAN, by what became of them.");
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned result = 0; result < SERVE_RESULTS; result++) {
            const char *labels[] = {"transport", i ? "tcp" : "udp", "result",
                                    serve_result_word(result), NULL};
            metrictext_sample(out, name, labels, dns->results[i][result]);
        }
    }
}

static void write_failures(const struct tally *t, FILE *out)
{
    static const char name[] = "ukai_dns_upstream_failures_total";
    char text[ENDPOINT_TEXT_MAX], server[VALUE_MAX];
    metrictext_head(out, name, "counter",
                    "Questions that a name server refused, broke off or did not answer in time.");
    for (unsigned i = 0; i < t->n_servers; i++) {
        const struct tally_server *s = &t->servers[i];
        snprintf(server, sizeof(server), "%s%s", s->is_tls ? "tls://" : "",
                 endpoint_text(&s->endpoint, text));
        metrictext_sample(out, name, (const char *[]){"server", server, NULL}, s->n_failures);
    }
    if (t->n_other_failures > 0)
        metrictext_sample(out, name, (const char *[]){"server", "other", NULL},
                          t->n_other_failures);
}

static void write_dns(const struct roster_figures *f, const struct tally *t, FILE *out)
{
    write_queries(&f->dns, out);
    write_failures(t, out);
    metrictext_times(out, "ukai_dns_upstream_seconds", "How long name servers took to answer.",
                     &t->dns_upstream);
    metrictext_one(out, "ukai_dns_cache_entries", "gauge", "Answers in the caches.",
                   f->cache_entries);
    metrictext_one(out, "ukai_dns_cache_bytes", "gauge", "Memory of these answers.",
                   f->cache_bytes);
}

/* ---- the daemon, and its process ---- */

static void write_daemon(const struct daemon *d, FILE *out)
{
    static const char reloads[] = "ukai_config_reloads_total", build[] = "ukai_build_info";
    metrictext_head(out, reloads, "counter", "Reloads that were asked for.");
    metrictext_sample(out, reloads, (const char *[]){"result", "ok", NULL}, d->n_reloads_done);
    metrictext_sample(out, reloads, (const char *[]){"result", "refused", NULL},
                      d->n_reloads_refused);
    metrictext_one(out, "ukai_config_loaded_timestamp_seconds", "gauge",
                   "When the configuration in force was read, since 1970.", d->loaded_wall_s);
    metrictext_one(out, "ukai_config_last_good", "gauge",
                   "1 while the files are broken and the last good copy of them is served by.",
                   d->copy_wall_s > 0);
    metrictext_one(out, "ukai_log_dropped_total", "counter",
                   "Access records that nobody took in time.", sink_n_dropped(d->shared.sink));
    metrictext_head(out, build, "gauge", "Always 1; what runs is in the labels.");
    metrictext_sample(out, build,
                      (const char *[]){"version", UKAI_VERSION, "libevent", event_get_version(),
                                       "openssl", OpenSSL_version(OPENSSL_VERSION_STRING), NULL},
                      1);
}

static uint64_t count_fds(void)
{
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (const struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n > 0 ? n - 1 : 0; /* the directory's own */
}

struct process {
    unsigned long long user_ticks, system_ticks, start_ticks, virtual_bytes;
    long long resident_pages;
};

/* proc(5): fields 14, 15, 22, 23 and 24, behind the name in brackets, which may hold anything. */
static bool read_process(struct process *ret)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = '\0';
    const char *rest = strrchr(text, ')');
    return rest && sscanf(rest,
                          ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
                          "%*d %*d %llu %llu %lld",
                          &ret->user_ticks, &ret->system_ticks, &ret->start_ticks,
                          &ret->virtual_bytes, &ret->resident_pages) == 5;
}

static void write_process(const struct daemon *d, FILE *out)
{
    struct process p;
    struct rlimit limit;
    uint64_t ticks_a_second = (uint64_t)sysconf(_SC_CLK_TCK);
    if (read_process(&p)) {
        metrictext_head(out, "process_cpu_seconds_total", "counter",
                        "Processor time of all threads.");
        metrictext_seconds(out, "process_cpu_seconds_total", NULL,
                           (p.user_ticks + p.system_ticks) * 1000 / ticks_a_second);
        metrictext_one(out, "process_virtual_memory_bytes", "gauge", "Address space.",
                       p.virtual_bytes);
        metrictext_one(out, "process_resident_memory_bytes", "gauge", "Memory in use.",
                       (uint64_t)p.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
    }
    metrictext_one(out, "process_start_time_seconds", "gauge", "When it started, since 1970.",
                   d->started_wall_s);
    metrictext_one(out, "process_open_fds", "gauge", "Open files.", count_fds());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrictext_one(out, "process_max_fds", "gauge", "How many files may be open.",
                       limit.rlim_cur);
}

void metrics_write(const struct daemon *d, const struct roster *r, FILE *out)
{
    struct roster_figures figures = roster_sum(r);
    struct tally *t = calloc(1, sizeof(*t));
    for (unsigned i = 0; t && i < r->n_parts; i++)
        tally_add_up(t, &r->parts[i].tally);
    metrictext_one(out, "ukai_tunnels_open", "gauge", "Tunnels that are open.", figures.n_tunnels);
    if (t) {
        struct listeners all = all_listeners(t);
        write_connections(&all, out);
        write_requests(&all, out);
        write_bytes(&all, out);
        metrictext_times(out, "ukai_connect_seconds",
                         "How long origins took to accept a connection.", &t->connect);
        write_dns(&figures, t, out);
        tally_fini(t);
    }
    free(t);
    write_rules(d, out);
    write_daemon(d, out);
    write_process(d, out);
}

/*
 * Each worker counts for itself (report/hits) by the numbers that acl/slots gives to lines; here
 * they are added up when somebody asks. A number may have had another line before, so what stood
 * under it when it was given is taken off. A line that no listener of ours can ever ask is said to
 * be not ours, which is another thing than never hit.
 */
#include "proxy/daemon/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/base/escape.h"

enum { TEXT_MAX = 1024, TIME_MAX = 32 };

int rules_init(struct rules *r, const struct worker *workers, unsigned n_workers)
{
    *r = (struct rules){.slots = slots_new(), .workers = workers, .n_workers = n_workers};
    return r->slots ? 0 : -ENOMEM;
}

void rules_fini(struct rules *r)
{
    slots_free(r->slots);
    free(r->before);
    *r = (struct rules){0};
}

static struct hits_sum add_up(const struct rules *r, uint32_t slot)
{
    struct hits_sum sum = {0};
    for (unsigned i = 0; i < r->n_workers; i++)
        hits_add_up(r->workers[i].hits, slot, &sum);
    return sum;
}

static void on_fresh(void *owner, uint32_t slot)
{
    struct rules *r = owner;
    if (slot < r->n_before) /* else nobody had it before */
        r->before[slot] = add_up(r, slot);
}

/* Numbers of this acl that a later one may get have their place here. */
static int make_room(struct rules *r, const struct acl *acl)
{
    size_t n = r->n_before;
    for (size_t i = 0; i < acl->n_in; i++)
        n = acl->in[i].place.slot >= n ? acl->in[i].place.slot + 1 : n;
    for (size_t i = 0; i < acl->n_out; i++)
        n = acl->out[i].place.slot >= n ? acl->out[i].place.slot + 1 : n;
    if (n == r->n_before)
        return 0;
    struct hits_sum *before = reallocarray(r->before, n, sizeof(*before));
    if (!before)
        return -ENOMEM;
    memset(before + r->n_before, 0, (n - r->n_before) * sizeof(*before));
    r->before = before;
    r->n_before = n;
    return 0;
}

int rules_number(struct rules *r, const struct acl *old, struct acl *acl)
{
    int rc = slots_assign(r->slots, old, acl, on_fresh, r);
    return rc < 0 ? rc : make_room(r, acl);
}

struct hits_sum rules_sum(const struct rules *r, const struct rule_place *place)
{
    struct hits_sum sum = add_up(r, place->slot);
    if (place->slot >= r->n_before)
        return sum;
    const struct hits_sum *before = &r->before[place->slot];
    sum.n -= before->n;
    sum.bytes -= before->bytes;
    if (sum.n == 0)
        sum.last_ms = 0;
    return sum;
}

/* ---- for people, and for programs ---- */

static bool serves(const struct in_rule *rule, const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        if (in_rule_serves(rule, IN_PROTO_TCP, conf->web_proxies[i].base.port))
            return true;
    }
    for (size_t i = 0; i < conf->n_dns; i++) {
        if (in_rule_serves(rule, IN_PROTO_UDP, conf->dns[i].base.port) ||
            in_rule_serves(rule, IN_PROTO_TCP, conf->dns[i].base.port))
            return true;
    }
    return false;
}

/* The wall clock of a monotonic moment, in UTC. */
static const char *wall_text(uint64_t at_ms, uint64_t now_ms, char buf[static TIME_MAX])
{
    time_t wall = time(NULL) - (time_t)((now_ms - (at_ms < now_ms ? at_ms : now_ms)) / 1000);
    struct tm tm;
    if (!gmtime_r(&wall, &tm) || strftime(buf, TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        buf[0] = '\0';
    return buf;
}

struct writer {
    uint64_t now_ms;
    FILE *out;
    bool is_json;
    size_t n, n_never;
};

static void write_text(const struct writer *w, const char *text)
{
    char safe[TEXT_MAX];
    size_t len = escape_write(w->is_json ? ESCAPE_JSON : ESCAPE_TEXT, text, strlen(text), safe,
                              sizeof(safe));
    fwrite(safe, 1, len, w->out);
}

static void write_json(const struct writer *w, const struct rules_row *row)
{
    const struct rule_place *p = row->place;
    const struct hits_sum *sum = &row->sum;
    char time[TIME_MAX];
    fprintf(w->out, "%s\n{\"section\":\"", w->n > 0 ? "," : "");
    write_text(w, row->section);
    fputs("\",\"file\":\"", w->out);
    write_text(w, p->file);
    fprintf(w->out, "\",\"line\":%u,\"text\":\"", p->line);
    write_text(w, p->text);
    fputs("\",\"memo\":\"", w->out);
    write_text(w, p->memo);
    fprintf(w->out, "\",\"ours\":%s,\"hits\":%llu,\"bytes\":%llu,\"last\":",
            row->is_ours ? "true" : "false", (unsigned long long)sum->n,
            (unsigned long long)sum->bytes);
    if (sum->last_ms)
        fprintf(w->out, "\"%s\"}", wall_text(sum->last_ms, w->now_ms, time));
    else
        fputs("null}", w->out);
}

static void write_row(const struct writer *w, const struct rules_row *row)
{
    const struct rule_place *p = row->place;
    const struct hits_sum *sum = &row->sum;
    char time[TIME_MAX];
    fprintf(w->out, "%12llu %16llu %-20s  [%s] ", (unsigned long long)sum->n,
            (unsigned long long)sum->bytes,
            sum->last_ms   ? wall_text(sum->last_ms, w->now_ms, time)
            : row->is_ours ? "never"
                           : "not ours",
            row->section);
    write_text(w, p->file);
    fprintf(w->out, ":%u: ", p->line);
    write_text(w, p->text);
    if (p->memo[0]) {
        fputs("   ; ", w->out);
        write_text(w, p->memo);
    }
    fputc('\n', w->out);
}

static void write_rule(void *owner, const struct rules_row *row)
{
    struct writer *w = owner;
    if (w->is_json)
        write_json(w, row);
    else
        write_row(w, row);
    w->n++;
    w->n_never += row->is_ours && row->sum.n == 0;
}

void rules_each(const struct rules *r, const struct snapshot *s, rules_row_fn tell, void *owner)
{
    for (size_t i = 0; i < s->acl->n_in; i++) {
        const struct in_rule *rule = &s->acl->in[i];
        tell(owner, &(struct rules_row){"in", &rule->place, serves(rule, &s->conf),
                                        rules_sum(r, &rule->place)});
    }
    for (size_t i = 0; i < s->acl->n_out; i++) {
        const struct rule_place *place = &s->acl->out[i].place;
        tell(owner, &(struct rules_row){"out", place, true, rules_sum(r, place)});
    }
}

void rules_write(const struct rules *r, const struct snapshot *s, uint64_t now_ms, bool is_json,
                 FILE *out)
{
    struct writer w = {.now_ms = now_ms, .out = out, .is_json = is_json};
    if (is_json)
        fputc('[', out);
    else
        fprintf(out, "%12s %16s %-20s  %s\n", "hits", "bytes", "last", "rule");
    rules_each(r, s, write_rule, &w);
    if (is_json)
        fputs("\n]\n", out);
    else
        fprintf(out, "%zu rules, %zu never hit\n", w.n, w.n_never);
}

/*
 * One document without anything from elsewhere, so that it works from a router's shell forwarded
 * to a desk, and on the day when nothing else works. The figures stand in it as text; its script
 * only fetches it again and swaps the parts, so both ways show the same. What it says is the
 * daemon's, how it looks is in page.html, page.css and page.js, which the build puts into
 * page_parts.h. Main thread; the time it takes is that of writing some hundred rows.
 */
#include "proxy/daemon/page.h"

#include <stdlib.h>

#include "proxy/base/human.h"
#include "proxy/base/markup.h"
#include "proxy/daemon/page_parts.h"
#include "proxy/daemon/pagetables.h"

enum { CHART_WIDTH = 240, CHART_HEIGHT = 48, PATH_MAX_BYTES = (SERIES_POINTS + 4) * 20 };

const char *page_policy(void)
{
    return PAGE_POLICY;
}

/* ---- head ---- */

static const char *state_word(const struct page_view *v)
{
    return v->is_draining ? "draining" : v->snapshot->conf.acl_observe ? "observing" : "serving";
}

static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

static void write_head(const struct page_view *v, FILE *out)
{
    char started[HUMAN_MAX], loaded[HUMAN_MAX], now[HUMAN_MAX], uptime[HUMAN_MAX];
    char generation[HUMAN_MAX];
    const struct markup_value values[] = {
        {"policy", PAGE_POLICY},
        {"style", page_style, true},
        {"state", state_word(v)},
        {"host", v->host_name},
        {"version", UKAI_VERSION},
        {"started", human_time(v->started_wall_s, started)},
        {"uptime", human_span(since(v->now_wall_s, v->started_wall_s), uptime)},
        {"file", v->file ? v->file : "embedded default"},
        {"loaded", human_time(v->loaded_wall_s, loaded)},
        {"generation", human_count(v->snapshot->generation, generation)},
        {"now", human_time(v->now_wall_s, now)},
        {0}};
    markup_write(out, page_part_head, values);
}

static void write_notice(FILE *out, const char *class, const char *title, const char *text)
{
    markup_write(out, page_part_notice,
                 (struct markup_value[]){{"class", class}, {"title", title}, {"text", text}, {0}});
}

static void write_notices(const struct page_view *v, FILE *out)
{
    char text[MARKUP_TEXT_MAX], at[HUMAN_MAX];
    if (v->is_last_good)
        write_notice(out, "bad", "Running on the last good configuration",
                     "The files are broken. Mend them and reload; see `ukai check`.");
    if (v->refused_wall_s) {
        snprintf(text, sizeof(text), "At %s; the configuration from before stays in force: %s",
                 human_time(v->refused_wall_s, at), v->refused_reason ? v->refused_reason : "");
        write_notice(out, "bad", "The last reload was refused", text);
    }
    for (unsigned i = 0; v->restart && i < v->restart->n_keys; i++) {
        char line[RESTART_LINE_MAX];
        if (restart_is_needed(&v->restart->keys[i]))
            write_notice(out, "warn", "Needs a restart", restart_text(&v->restart->keys[i], line));
    }
    if (v->is_draining)
        write_notice(out, "warn", "Draining",
                     "New connections are not accepted; what runs may come to its end.");
    if (v->snapshot->conf.acl_observe)
        write_notice(out, "warn", "Observing",
                     "What [in] and [out] would refuse is recorded and let pass.");
}

static void write_heading(FILE *out, const char *id, const char *title, const char *more)
{
    markup_write(out, page_part_heading,
                 (struct markup_value[]){{"id", id}, {"title", title}, {"more", more}, {0}});
}

/* ---- tiles ---- */

static void begin_tiles(FILE *out, const char *id, const char *class)
{
    markup_write(out, page_part_tiles_begin,
                 (struct markup_value[]){{"id", id}, {"class", class}, {0}});
}

static void write_tile(FILE *out, const char *label, const char *id, uint64_t value,
                       const char *text, const char *more)
{
    char plain[HUMAN_MAX], count[HUMAN_MAX];
    snprintf(plain, sizeof(plain), "%llu", (unsigned long long)value);
    const struct markup_value values[] = {
        {"label", label}, {"id", id},
        {"value", plain}, {"text", text ? text : human_count(value, count)},
        {"more", more},   {0}};
    markup_write(out, page_part_tile, values);
}

static void write_count(FILE *out, const char *label, const char *id, uint64_t value)
{
    write_tile(out, label, id, value, NULL, NULL);
}

static void write_size(FILE *out, const char *label, const char *id, uint64_t value)
{
    char text[HUMAN_MAX];
    write_tile(out, label, id, value, human_size((double)value, text), NULL);
}

static void write_of(FILE *out, const char *label, const char *id, uint64_t value, uint64_t most)
{
    char more[HUMAN_MAX + 4], text[HUMAN_MAX];
    snprintf(more, sizeof(more), "of %s", human_count(most, text));
    write_tile(out, label, id, value, NULL, more);
}

static void write_traffic(const struct page_view *v, const struct roster_figures *f, FILE *out)
{
    begin_tiles(out, "traffic", "");
    write_of(out, "Tunnels open", "tunnels-open", f->n_tunnels, v->max_tunnels);
    write_of(out, "Clients", "clients", f->n_clients, v->max_clients);
    write_count(out, "HTTP requests running", "requests", f->n_exchanges);
    write_count(out, "Connections accepted", "accepted", f->n_accepted);
    write_count(out, "Tunnels opened", "tunnels-opened", f->n_opened);
    write_count(out, "Sources denied", "sources-denied", f->n_source_denied);
    write_count(out, "Requests refused", "refused", f->n_refused);
    write_size(out, "Bytes up", "bytes-up", f->bytes_up + f->open_up);
    write_size(out, "Bytes down", "bytes-down", f->bytes_down + f->open_down);
    write_count(out, "Log lines lost", "log-dropped", v->n_log_dropped);
    markup_write(out, page_part_tiles_end, &(struct markup_value){0});
}

static void write_dns(const struct roster_figures *f, FILE *out)
{
    const struct dns_server_counters *d = &f->dns;
    uint64_t n = d->n_udp + d->n_tcp;
    char share[HUMAN_MAX + 16] = "";
    if (n > 0)
        snprintf(share, sizeof(share), "%.0f %%", 100 * (double)d->n_hits / (double)n);
    write_heading(out, "dns", "DNS", NULL);
    begin_tiles(out, "dns-figures", "small");
    write_count(out, "Queries by UDP", "dns-udp", d->n_udp);
    write_count(out, "Queries by TCP", "dns-tcp", d->n_tcp);
    write_tile(out, "From the cache", "dns-hits", d->n_hits, NULL, share);
    write_count(out, "Forwarded", "dns-forwarded", d->n_waited);
    write_count(out, "Errors", "dns-errors", d->n_errors);
    write_count(out, "Truncated", "dns-truncated", d->n_truncated);
    write_count(out, "Denied", "dns-denied", d->n_denied);
    write_count(out, "Over the rate", "dns-limited", d->n_limited);
    write_count(out, "Dropped", "dns-dropped", d->n_dropped);
    write_count(out, "Sent to name servers", "dns-sent", f->resolver.n_sent);
    write_count(out, "Failed there", "dns-failed", f->resolver.n_failed);
    write_count(out, "Not answered there", "dns-timeouts", f->resolver.n_timeouts);
    write_count(out, "Answers in the cache", "dns-entries", f->cache_entries);
    write_size(out, "Size of the cache", "dns-bytes", f->cache_bytes);
    markup_write(out, page_part_tiles_end, &(struct markup_value){0});
}

/* ---- charts ---- */

static const struct chart {
    const char *id, *label, *class;
    enum series_kind kind;
    enum { UNIT_RATE, UNIT_SIZE, UNIT_LEVEL } unit;
} charts[] = {
    {"tunnels", "Open tunnels", "", SERIES_TUNNELS, UNIT_LEVEL},
    {"connections", "Connections", "", SERIES_CONNECTIONS, UNIT_RATE},
    {"refusals", "Refusals", "refused", SERIES_REFUSALS, UNIT_RATE},
    {"up", "Up", "", SERIES_BYTES_UP, UNIT_SIZE},
    {"down", "Down", "", SERIES_BYTES_DOWN, UNIT_SIZE},
    {"queries", "DNS queries", "", SERIES_QUERIES, UNIT_RATE},
};

static void chart_text(const struct chart *c, double value, char buf[static HUMAN_MAX + 4])
{
    char text[HUMAN_MAX];
    switch (c->unit) {
    case UNIT_RATE:
        snprintf(buf, HUMAN_MAX + 4, "%s", human_rate(value, text));
        return;
    case UNIT_SIZE:
        snprintf(buf, HUMAN_MAX + 4, "%s/s", human_size(value, text));
        return;
    case UNIT_LEVEL:
        snprintf(buf, HUMAN_MAX + 4, "%s", human_count((uint64_t)value, text));
        return;
    }
}

static double chart_x(uint64_t at_ms, uint64_t now_ms)
{
    uint64_t age_ms = since(now_ms, at_ms);
    return age_ms >= SERIES_SPAN_MS ? 0
                                    : CHART_WIDTH * (1 - (double)age_ms / (double)SERIES_SPAN_MS);
}

/* A line through the points, from the beginning of the first one's period on; closed at the bottom
 * it is an area. */
static void chart_path(const struct page_view *v, const struct chart *c, double peak, bool is_area,
                       char *buf, size_t size)
{
    unsigned n = series_count(v->series);
    size_t len = 0;
    double first_x = 0, x = 0;
    buf[0] = '\0';
    for (unsigned i = 0; i < n && len + 64 < size; i++) {
        struct series_point p = series_at(v->series, c->kind, i);
        double y = CHART_HEIGHT - 1 - (peak > 0 ? (CHART_HEIGHT - 4) * p.value / peak : 0);
        x = chart_x(p.at_ms, v->now_ms);
        if (i == 0) {
            first_x = x - (double)CHART_WIDTH / SERIES_POINTS;
            first_x = first_x < 0 ? 0 : first_x;
            len += (size_t)snprintf(buf + len, size - len, "M%.1f %.1f", first_x, y);
        }
        len += (size_t)snprintf(buf + len, size - len, "L%.1f %.1f", x, y);
    }
    if (is_area && n > 0)
        snprintf(buf + len, size - len, "L%.1f %dL%.1f %dZ", x, CHART_HEIGHT, first_x,
                 CHART_HEIGHT);
}

static void write_chart(const struct page_view *v, const struct chart *c, FILE *out)
{
    char area[PATH_MAX_BYTES], line[PATH_MAX_BYTES], last[HUMAN_MAX + 4], highest[HUMAN_MAX + 4];
    unsigned n = series_count(v->series);
    double peak = series_peak(v->series, c->kind);
    chart_text(c, n ? series_at(v->series, c->kind, n - 1).value : 0, last);
    chart_text(c, peak, highest);
    chart_path(v, c, peak, true, area, sizeof(area));
    chart_path(v, c, peak, false, line, sizeof(line));
    const struct markup_value values[] = {{"id", c->id},        {"class", c->class},
                                          {"label", c->label},  {"last", n ? last : "not yet"},
                                          {"peak", highest},    {"area", area, true},
                                          {"line", line, true}, {0}};
    markup_write(out, page_part_chart, values);
}

static void write_charts(const struct page_view *v, FILE *out)
{
    write_heading(out, "rates", "The last hour", "a point every 30 seconds");
    fputs(page_part_charts_begin, out);
    for (size_t i = 0; i < sizeof(charts) / sizeof(charts[0]); i++)
        write_chart(v, &charts[i], out);
    fputs(page_part_charts_end, out);
}

void page_write(const struct page_view *v, FILE *out)
{
    struct roster_figures f = roster_sum(v->roster);
    write_head(v, out);
    write_notices(v, out);
    write_traffic(v, &f, out);
    write_charts(v, out);
    pagetables_refusals(v, out);
    pagetables_tunnels(v, out);
    pagetables_listeners(v, out);
    pagetables_rules(v, out);
    write_dns(&f, out);
    pagetables_servers(v, out);
    const struct markup_value values[] = {
        {"version", UKAI_VERSION}, {"script", page_script, true}, {0}};
    markup_write(out, page_part_foot, values);
}

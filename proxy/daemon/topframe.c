/*
 * The model is the daemon's JSON, the result plain text with a style a line: no terminal is needed
 * to test it. Columns have widths of their own and a screen width from which on they are shown; one
 * column of each table takes what is left. Two tables share the height: sources get a third.
 */
#include "proxy/daemon/topframe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cells.h"
#include "proxy/base/human.h"

enum { CELL_MAX = 1024, LINES_MAX = 1000, SOURCE_MIN = 15, SOURCE_MAX = 39, SOURCES_MIN = 4 };

struct column {
    const char *title;
    unsigned width; /* 0: what is left; SOURCE_MIN: of addresses, which may be longer */
    bool is_right;
    unsigned from_columns; /* of the screen */
    void (*write)(const json_t *row, bool has_rates, char cell[static CELL_MAX]);
};

/* ---- reading the model ---- */

static uint64_t number_of(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- figures in few columns ---- */

/* 999, 1.2K, 123K, 4.5G: five columns. */
static void write_size(uint64_t bytes, char cell[static CELL_MAX])
{
    static const char units[] = " KMGTPE";
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1000 && units[unit + 1]) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(cell, CELL_MAX, "%.0f", value);
    else
        snprintf(cell, CELL_MAX, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

/* 59s, 5m03, 23h05, 12d04: five columns, six from a hundred days on. */
static void write_span(uint64_t ms, char cell[static CELL_MAX])
{
    uint64_t s = ms / 1000;
    if (s < 60)
        snprintf(cell, CELL_MAX, "%us", (unsigned)s);
    else if (s < 3600)
        snprintf(cell, CELL_MAX, "%um%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else if (s < 86400)
        snprintf(cell, CELL_MAX, "%uh%02u", (unsigned)(s / 3600), (unsigned)(s % 3600 / 60));
    else if (s < 100 * 86400)
        snprintf(cell, CELL_MAX, "%ud%02u", (unsigned)(s / 86400), (unsigned)(s % 86400 / 3600));
    else
        snprintf(cell, CELL_MAX, "%llud", (unsigned long long)(s / 86400));
}

static void write_rate(uint64_t bytes, bool is_known, char cell[static CELL_MAX])
{
    if (is_known)
        write_size(bytes, cell);
    else
        snprintf(cell, CELL_MAX, "-");
}

/* ---- cells ---- */

static void write_source(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    snprintf(cell, CELL_MAX, "%s", string_of(row, "src"));
}

static void write_target(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    const char *host = string_of(row, "host");
    snprintf(cell, CELL_MAX, "%s:%llu", *host ? host : "-",
             (unsigned long long)number_of(row, "port"));
}

static void write_id(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    snprintf(cell, CELL_MAX, "%s", string_of(row, "id"));
}

static void write_memo(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    snprintf(cell, CELL_MAX, "%s", string_of(row, "memo"));
}

static void write_count(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    snprintf(cell, CELL_MAX, "%llu", (unsigned long long)number_of(row, "tunnels"));
}

static void write_age(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    write_span(number_of(row, "age_ms"), cell);
}

static void write_idle(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    write_span(number_of(row, "idle_ms"), cell);
}

static void write_up(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    write_rate(number_of(row, "rate_up"), has_rates, cell);
}

static void write_down(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    write_rate(number_of(row, "rate_down"), has_rates, cell);
}

static void write_total(const json_t *row, bool has_rates, char cell[static CELL_MAX])
{
    write_size(number_of(row, "bytes_up") + number_of(row, "bytes_down"), cell);
}

static const struct column source_columns[] = {
    {"SOURCE", SOURCE_MIN, false, 0, write_source},
    {"TUN", 4, true, 0, write_count},
    {"UP/S", 5, true, 0, write_up},
    {"DOWN/S", 6, true, 0, write_down},
    {"TOTAL", 5, true, 0, write_total},
    {"AGE", 6, true, 60, write_age},
    {"MEMO", 0, false, 60, write_memo},
    {0},
};

static const struct column tunnel_columns[] = {
    {"ID", 9, false, 80, write_id},
    {"SOURCE", SOURCE_MIN, false, 0, write_source},
    {"DESTINATION", 0, false, 0, write_target},
    {"AGE", 6, true, 64, write_age},
    {"IDLE", 6, true, 72, write_idle},
    {"UP/S", 5, true, 56, write_up},
    {"DOWN/S", 6, true, 0, write_down},
    {"TOTAL", 5, true, 48, write_total},
    {"MEMO", 24, false, 130, write_memo},
    {0},
};

static const struct column destination_columns[] = {
    {"DESTINATION", 0, false, 0, write_target},
    {"TUN", 4, true, 0, write_count},
    {"AGE", 6, true, 60, write_age},
    {"IDLE", 6, true, 70, write_idle},
    {"UP/S", 5, true, 0, write_up},
    {"DOWN/S", 6, true, 0, write_down},
    {"TOTAL", 5, true, 50, write_total},
    {0},
};

/* ---- lines ---- */

/* The next line to write to; what is put there when the frame is full is lost. */
static struct cells line_new(struct topframe *f, enum topframe_style style)
{
    bool is_full = f->n_lines == f->max_lines;
    struct topframe_line *line = &f->lines[is_full ? f->max_lines : f->n_lines++];
    line->style = style;
    line->text[0] = '\0';
    return (struct cells){.buf = line->text, .size = sizeof(line->text)};
}

static void add_line(struct topframe *f, enum topframe_style style, const char *text)
{
    struct cells c = line_new(f, style);
    cells_put(&c, text, f->n_columns);
}

/* A piece of a header line, unless there is no room for all of it. */
__attribute__((format(printf, 3, 4))) static void add_piece(const struct topframe *f,
                                                            struct cells *c, const char *fmt, ...)
{
    char piece[CELL_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(piece, sizeof(piece), fmt, args);
    va_end(args);
    unsigned gap = c->n_columns ? 2 : 0;
    if (c->n_columns + gap + cells_width(piece) > f->n_columns)
        return;
    cells_put(c, "  ", gap);
    cells_put(c, piece, f->n_columns);
}

/* ---- the header ---- */

struct rates {
    double a_second; /* 0: nothing to count from yet */
    const json_t *window;
};

static const char *rate_text(const struct rates *r, const char *key, char buf[static HUMAN_MAX])
{
    if (r->a_second <= 0) {
        snprintf(buf, HUMAN_MAX, "-");
        return buf;
    }
    return human_rate((double)number_of(r->window, key) * r->a_second, buf);
}

static const char *bytes_text(const struct rates *r, const char *key, char buf[static CELL_MAX])
{
    uint64_t n = (uint64_t)((double)number_of(r->window, key) * r->a_second);
    write_rate(n, r->a_second > 0, buf);
    return buf;
}

static void add_state(struct topframe *f, const json_t *m, const struct topframe_view *v)
{
    char up[HUMAN_MAX];
    bool is_draining = json_is_true(json_object_get(m, "draining"));
    uint64_t n_dropped = number_of(m, "log_dropped");
    bool is_observing = strcmp(string_of(m, "mode"), "observe") == 0;
    bool is_refused = number_of(m, "reload_refused_timestamp_s") > 0;
    bool is_copy = number_of(m, "last_good_timestamp_s") > 0;
    bool is_odd = is_draining || n_dropped || is_observing || is_refused || is_copy;
    struct cells c = line_new(f, is_odd ? TOPFRAME_WARNING : TOPFRAME_PLAIN);
    add_piece(f, &c, "ukai %s", string_of(m, "version"));
    add_piece(f, &c, "up %s", human_span(number_of(m, "uptime_s"), up));
    if (v->is_paused)
        add_piece(f, &c, "PAUSED");
    if (is_draining)
        add_piece(f, &c, "DRAINING");
    if (is_observing)
        add_piece(f, &c, "OBSERVING");
    if (is_copy)
        add_piece(f, &c, "BY THE LAST GOOD COPY");
    if (is_refused)
        add_piece(f, &c, "RELOAD REFUSED");
    if (n_dropped)
        add_piece(f, &c, "%llu log records dropped", (unsigned long long)n_dropped);
    add_piece(f, &c, "workers %llu", (unsigned long long)number_of(m, "workers"));
    add_piece(f, &c, "rules %llu", (unsigned long long)number_of(m, "rules"));
    if (v->has_keys)
        add_piece(f, &c, "every %g s", v->interval_s);
}

static void add_counts(struct topframe *f, const json_t *m)
{
    const json_t *t = json_object_get(m, "traffic");
    uint64_t n = number_of(t, "tunnels"), max = number_of(m, "max_tunnels");
    struct cells c = line_new(f, n >= max && max > 0 ? TOPFRAME_WARNING : TOPFRAME_PLAIN);
    add_piece(f, &c, "tunnels %llu/%llu", (unsigned long long)n, (unsigned long long)max);
    add_piece(f, &c, "clients %llu/%llu", (unsigned long long)number_of(t, "clients"),
              (unsigned long long)number_of(m, "max_clients"));
    add_piece(f, &c, "requests %llu", (unsigned long long)number_of(t, "requests"));
}

static void add_rates(struct topframe *f, const struct rates *r)
{
    char up[CELL_MAX], down[CELL_MAX], a[HUMAN_MAX], b[HUMAN_MAX], d[HUMAN_MAX];
    struct cells c = line_new(f, TOPFRAME_PLAIN);
    add_piece(f, &c, "up %s/s", bytes_text(r, "bytes_up", up));
    add_piece(f, &c, "down %s/s", bytes_text(r, "bytes_down", down));
    add_piece(f, &c, "refused %s", rate_text(r, "refused", a));
    add_piece(f, &c, "sources denied %s", rate_text(r, "sources_denied", b));
    add_piece(f, &c, "accepted %s", rate_text(r, "accepted", d));
}

/* Up are those that no worker takes for down. */
static size_t count_up(const json_t *servers)
{
    size_t n_up = 0;
    for (size_t i = 0; i < json_array_size(servers); i++)
        n_up += strcmp(string_of(json_array_get(servers, i), "state"), "up") == 0;
    return n_up;
}

static void add_dns(struct topframe *f, const json_t *m, const struct rates *r)
{
    char a[HUMAN_MAX], b[HUMAN_MAX];
    uint64_t n = number_of(r->window, "queries");
    const json_t *servers = json_object_get(m, "name_servers");
    size_t n_servers = json_array_size(servers), n_up = count_up(servers);
    struct cells c = line_new(f, n_up < n_servers ? TOPFRAME_WARNING : TOPFRAME_PLAIN);
    add_piece(f, &c, "dns %s", rate_text(r, "queries", a));
    if (n > 0)
        add_piece(f, &c, "cache %llu%%",
                  (unsigned long long)(number_of(r->window, "hits") * 100 / n));
    else
        add_piece(f, &c, "cache -");
    if (n_servers > 0)
        add_piece(f, &c, "name servers %zu/%zu up", n_up, n_servers);
    add_piece(f, &c, "errors %s", rate_text(r, "errors", b));
}

/* ---- tables ---- */

static bool is_shown(const struct column *col, const struct topframe *f)
{
    return f->n_columns >= col->from_columns;
}

/* As wide as the longest address on the screen, within reason. */
static unsigned source_width(const struct topframe *f, const json_t *rows, size_t first, size_t n)
{
    unsigned width = f->n_columns < 60 ? SOURCE_MIN - 2 : SOURCE_MIN;
    unsigned limit = f->n_columns >= 120 ? SOURCE_MAX : f->n_columns * 3 / 10;
    for (size_t i = first; i < first + n; i++) {
        unsigned w = cells_width(string_of(json_array_get(rows, i), "src"));
        width = w > width ? w : width;
    }
    return width < limit ? width : limit;
}

static unsigned width_of(const struct column *col, unsigned source)
{
    return col->width == SOURCE_MIN ? source : col->width;
}

static unsigned width_left(const struct topframe *f, const struct column *cols, unsigned source)
{
    unsigned used = 0;
    for (const struct column *col = cols; col->title; col++)
        used += is_shown(col, f) ? width_of(col, source) + (col > cols) : 0;
    return used < f->n_columns ? f->n_columns - used : 0;
}

/* @row NULL: the titles. */
static void add_row(struct topframe *f, const struct column *cols, unsigned source,
                    enum topframe_style style, const json_t *row, bool has_rates)
{
    char cell[CELL_MAX];
    struct cells c = line_new(f, style);
    unsigned left = width_left(f, cols, source);
    bool is_first = true;
    for (const struct column *col = cols; col->title; col++) {
        if (!is_shown(col, f))
            continue;
        unsigned width = col->width ? width_of(col, source) : left;
        if (!is_first)
            cells_put(&c, " ", c.n_columns < f->n_columns);
        is_first = false;
        if (row)
            col->write(row, has_rates, cell);
        unsigned room = f->n_columns - c.n_columns;
        cells_pad(&c, row ? cell : col->title, width < room ? width : room, col->is_right);
    }
}

static void add_title(struct topframe *f, const char *name, const char *sort, size_t first,
                      size_t n_shown, uint64_t n_all)
{
    char text[CELL_MAX];
    if (n_all == 0)
        snprintf(text, sizeof(text), "%s: none", name);
    else
        snprintf(text, sizeof(text), "%s by %s, %zu-%zu of %llu", name, sort, first + 1,
                 first + n_shown, (unsigned long long)n_all);
    add_line(f, TOPFRAME_PLAIN, text);
}

struct table {
    const char *name;
    const json_t *rows;
    uint64_t n_all;
    const struct column *columns;
    size_t first;
    size_t chosen; /* SIZE_MAX: no row is */
};

/* In @n_lines lines, its titles included. */
static void add_table(struct topframe *f, const struct table *t, const char *sort, unsigned n_lines,
                      bool has_rates)
{
    size_t n = json_array_size(t->rows), n_shown = n > t->first ? n - t->first : 0;
    if (n_lines < 3)
        return;
    n_shown = n_shown < n_lines - 2 ? n_shown : n_lines - 2;
    unsigned source = source_width(f, t->rows, t->first, n_shown);
    add_title(f, t->name, sort, t->first, n_shown, t->n_all);
    add_row(f, t->columns, source, TOPFRAME_TITLE, NULL, has_rates);
    for (size_t i = t->first; i < t->first + n_shown; i++)
        add_row(f, t->columns, source, i == t->chosen ? TOPFRAME_CHOSEN : TOPFRAME_PLAIN,
                json_array_get(t->rows, i), has_rates);
}

/* The chosen row is on the screen, and the screen is as full as can be. */
static void scroll(struct topframe_view *v, size_t n_rows, unsigned n_fit)
{
    if (v->chosen >= n_rows)
        v->chosen = n_rows ? (unsigned)n_rows - 1 : 0;
    if (v->first + n_fit > n_rows)
        v->first = n_rows > n_fit ? (unsigned)n_rows - n_fit : 0;
    if (v->chosen < v->first)
        v->first = v->chosen;
    if (n_fit > 0 && v->chosen >= v->first + n_fit)
        v->first = v->chosen - n_fit + 1;
}

static void add_tables(struct topframe *f, const json_t *m, struct topframe_view *v,
                       unsigned n_lines, bool has_rates)
{
    bool is_tunnels = v->table == TOPFRAME_TUNNELS;
    struct table sources = {
        "sources", json_object_get(m, "busy_sources"), number_of(m, "n_sources"), source_columns, 0,
        SIZE_MAX};
    struct table lower = {.name = is_tunnels ? "tunnels" : "destinations",
                          .rows =
                              json_object_get(m, is_tunnels ? "busy_tunnels" : "busy_destinations"),
                          .n_all = is_tunnels ? number_of(json_object_get(m, "traffic"), "tunnels")
                                              : number_of(m, "n_destinations"),
                          .columns = is_tunnels ? tunnel_columns : destination_columns,
                          .chosen = SIZE_MAX};
    unsigned n_sources = (unsigned)json_array_size(sources.rows) + 2;
    unsigned third = n_lines / 3 > SOURCES_MIN ? n_lines / 3 : SOURCES_MIN;
    n_sources = n_sources < 3 ? 3 : n_sources; /* none: its titles say so */
    n_sources = n_lines < 8 ? 0 : n_sources < third ? n_sources : third;
    unsigned rest = n_lines - n_sources;
    scroll(v, json_array_size(lower.rows), rest > 2 ? rest - 2 : 0);
    lower.first = v->first;
    if (v->has_keys)
        lower.chosen = v->chosen;
    add_table(f, &sources, v->sort, n_sources, has_rates);
    add_table(f, &lower, v->sort, rest, has_rates);
}

/* ---- the whole ---- */

static void add_help(struct topframe *f)
{
    static const char *const lines[] = {
        "q      leave",
        "s      sort: rate, bytes, age, source",
        "d      tunnels, or their destinations",
        "j k    a row down, up; arrows too",
        "g G    first row, last; PgUp PgDn ten",
        "x      end the chosen tunnel; it asks",
        "p      pause, go on",
        "space  look again now",
        "?      this page, or back",
        "",
        "Rates are bytes a second; K M G are 1024.",
        "AGE is of the oldest tunnel, IDLE of the",
        "one that moved last.",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        add_line(f, TOPFRAME_PLAIN, lines[i]);
}

static void add_last_line(struct topframe *f, const struct topframe_view *v)
{
    while (f->n_lines + 1 < f->max_lines)
        add_line(f, TOPFRAME_PLAIN, "");
    add_line(f, v->message ? TOPFRAME_WARNING : TOPFRAME_TITLE,
             v->message ? v->message
                        : "q quit  s sort  d by destination  ? help  j k scroll  p pause  x end");
}

struct topframe *topframe_new(const json_t *model, struct topframe_view *view, unsigned n_columns,
                              unsigned n_lines)
{
    n_lines = n_lines < 1 ? 1 : n_lines > LINES_MAX ? LINES_MAX : n_lines;
    n_columns = n_columns < TOPFRAME_COLUMNS_MIN   ? TOPFRAME_COLUMNS_MIN
                : n_columns > TOPFRAME_COLUMNS_MAX ? TOPFRAME_COLUMNS_MAX
                                                   : n_columns;
    struct topframe *f = malloc(sizeof(*f) + (n_lines + 1) * sizeof(f->lines[0]));
    if (!f)
        return NULL;
    *f = (struct topframe){.n_columns = n_columns, .max_lines = n_lines};
    const json_t *window = json_object_get(model, "window");
    uint64_t span_ms = number_of(window, "ms");
    struct rates rates = {.a_second = span_ms ? 1000.0 / (double)span_ms : 0, .window = window};
    unsigned n_last = view->has_keys && n_lines > 1;
    f->max_lines -= n_last;
    struct cells_locale locale = cells_enter();
    add_state(f, model, view);
    add_counts(f, model);
    add_rates(f, &rates);
    add_dns(f, model, &rates);
    if (view->shows_help)
        add_help(f);
    else
        add_tables(f, model, view, f->max_lines - f->n_lines, span_ms > 0);
    f->max_lines = n_lines;
    if (n_last)
        add_last_line(f, view);
    cells_leave(&locale);
    return f;
}

struct topframe *topframe_free(struct topframe *f)
{
    free(f);
    return NULL;
}

/*
 * What the status page shows of refusals. A flood of them must cost next to nothing, so a refusal
 * that is there already is found by one look into a table of hashes and counted, and a new one
 * overwrites the one that has not been seen for the longest time. The table forgets: two hashes
 * that meet in a cell make one refusal stand in two rows, which harms nobody. The hash is keyed, so
 * nobody can choose a name that is taken for another.
 *
 * Failures on the way to a permitted destination are refusals here as in the access log; clients
 * that left, and our own end, are not.
 */
#include "proxy/report/refusals.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/list.h"

enum { CELLS = 256 };

struct entry {
    struct list node; /* by last_ms, oldest first */
    struct refusal refusal;
};

struct refusals {
    struct siphash_key key;
    struct list by_age;
    unsigned n;
    uint8_t cells[CELLS]; /* 1 + index in entries, or 0; may be out of date */
    struct entry entries[REFUSALS_MAX];
};

struct refusals *refusals_new(const struct siphash_key *key)
{
    struct refusals *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->key = *key;
    list_init(&s->by_age);
    return s;
}

struct refusals *refusals_free(struct refusals *s)
{
    free(s);
    return NULL;
}

static bool is_refusal(const struct access_record *r)
{
    if (r->event == ACCESS_CLOSE)
        return r->reason == REASON_ACL_REVOKED;
    return (r->event == ACCESS_REFUSED || r->event == ACCESS_OBSERVED) &&
           r->reason != REASON_CLIENT_GONE && r->reason != REASON_SHUTDOWN &&
           r->reason != REASON_ADMIN;
}

/* Of all that makes two refusals the same for a reader. */
static uint64_t key_of(const struct refusals *s, const struct access_record *r)
{
    struct {
        struct addr source;
        uint64_t host, texts;
        uint32_t reason, line;
        uint16_t port;
        uint8_t event, pad[5];
    } all = {.source = r->source.addr,
             .host = siphash(&s->key, r->host ? r->host : "", r->host ? r->host_len : 0),
             .reason = r->reason,
             .line = r->rule_line,
             .port = r->port,
             .event = (uint8_t)r->event};
    const char *listener = r->listener ? r->listener : "", *method = r->method ? r->method : "";
    all.texts =
        siphash(&s->key, listener, strlen(listener)) ^ 3 * siphash(&s->key, method, strlen(method));
    return siphash(&s->key, &all, sizeof(all));
}

/* Returns whether all of it fits. */
static bool copy_text(char *to, size_t size, const char *text, size_t len)
{
    size_t n = !text ? 0 : len < size ? len : size - 1;
    if (n > 0)
        memcpy(to, text, n);
    to[n] = '\0';
    return !text || n == len;
}

static void copy_string(char *to, size_t size, const char *text)
{
    (void)copy_text(to, size, text, text ? strlen(text) : 0);
}

static struct entry *make(struct refusals *s)
{
    if (s->n < REFUSALS_MAX)
        return &s->entries[s->n++];
    return list_entry(list_first(&s->by_age), struct entry, node);
}

static void fill(struct refusal *to, const struct access_record *r)
{
    to->n = 0;
    to->source = r->source.addr;
    to->port = r->port;
    to->is_observed = r->event == ACCESS_OBSERVED;
    to->reason = r->reason;
    to->rule_line = r->rule_line;
    to->rule_words = r->rule_line ? NULL : r->rule_words;
    copy_string(to->listener, sizeof(to->listener), r->listener);
    copy_string(to->method, sizeof(to->method), r->method);
    copy_string(to->rule_file, sizeof(to->rule_file), r->rule_line ? r->rule_file : NULL);
    copy_string(to->memo, sizeof(to->memo), r->rule_line ? r->memo : NULL);
    to->is_host_cut = !copy_text(to->host, sizeof(to->host), r->host, r->host_len);
}

void refusals_note(struct refusals *s, const struct access_record *r, uint64_t wall_ms)
{
    if (!is_refusal(r))
        return;
    uint64_t key = key_of(s, r);
    uint8_t *cell = &s->cells[key % CELLS];
    struct entry *e = *cell ? &s->entries[*cell - 1] : NULL;
    if (!e || e->refusal.key != key) {
        e = make(s);
        fill(&e->refusal, r);
        e->refusal.key = key;
        e->refusal.first_ms = wall_ms;
        *cell = (uint8_t)(e - s->entries + 1);
    }
    e->refusal.n++;
    e->refusal.last_ms = wall_ms;
    list_remove(&e->node);
    list_append(&s->by_age, &e->node);
}

size_t refusals_copy(struct refusals *s, struct refusal ret[REFUSALS_MAX])
{
    size_t n = 0;
    for (struct list *pos = s->by_age.prev; pos != &s->by_age; pos = pos->prev)
        ret[n++] = list_entry(pos, struct entry, node)->refusal;
    return n;
}

/* ---- of several threads ---- */

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = ((const struct refusal *)a)->key, y = ((const struct refusal *)b)->key;
    return x < y ? -1 : x > y;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = ((const struct refusal *)a)->last_ms, y = ((const struct refusal *)b)->last_ms;
    return x > y ? -1 : x < y;
}

size_t refusals_join(struct refusal *items, size_t n)
{
    size_t n_left = 0;
    if (n == 0)
        return 0;
    qsort(items, n, sizeof(*items), compare_keys);
    for (size_t i = 1; i < n; i++) {
        struct refusal *to = &items[n_left];
        const struct refusal *from = &items[i];
        if (from->key != to->key) {
            items[++n_left] = *from;
            continue;
        }
        to->n += from->n;
        to->first_ms = from->first_ms < to->first_ms ? from->first_ms : to->first_ms;
        to->last_ms = from->last_ms > to->last_ms ? from->last_ms : to->last_ms;
    }
    n_left++;
    qsort(items, n_left, sizeof(*items), compare_times);
    return n_left;
}

/* Each worker keeps the last of its own; a source that is refused by two workers is one row. */
#include "proxy/daemon/refusallist.h"

#include <stdlib.h>

#include "proxy/daemon/jsonset.h"
#include "proxy/daemon/refusaltext.h"

struct refusal *refusallist_new(const struct roster *r, size_t *ret_n)
{
    size_t n = 0;
    for (unsigned i = 0; i < r->n_parts; i++)
        n += r->parts[i].n_refusals;
    struct refusal *all = n > 0 ? calloc(n, sizeof(*all)) : NULL;
    *ret_n = 0;
    if (!all)
        return NULL;
    n = 0;
    for (unsigned i = 0; i < r->n_parts; i++)
        for (size_t k = 0; k < r->parts[i].n_refusals; k++)
            all[n++] = r->parts[i].refusals[k];
    n = refusals_join(all, n);
    *ret_n = n < REFUSALLIST_MAX ? n : REFUSALLIST_MAX;
    return all;
}

static json_t *row_json(const struct refusal *r, const char *file)
{
    char target[JSONSET_TEXT_MAX], rule[JSONSET_TEXT_MAX], command[REFUSALTEXT_MAX];
    char source[ADDR_TEXT_MAX];
    json_t *o = json_object();
    (void)refusaltext_target(r, target, sizeof(target));
    refusaltext_rule(r, rule, sizeof(rule));
    jsonset_number(o, "first_timestamp_s", r->first_ms / 1000);
    jsonset_number(o, "last_timestamp_s", r->last_ms / 1000);
    jsonset_number(o, "times", r->n);
    jsonset_text(o, "source", addr_text(&r->source, source));
    jsonset_text(o, "listener", r->listener);
    jsonset_text(o, "target", r->host[0] || r->method[0] ? target : "");
    jsonset_text(o, "reason", reason_info(r->reason)->name);
    jsonset_text(o, "reason_text", refusaltext_reason(r->reason));
    json_object_set_new(o, "observed", json_boolean(r->is_observed));
    jsonset_text(o, "rule", rule);
    jsonset_text(o, "memo", r->memo);
    if (refusaltext_command(r, file, command, sizeof(command)))
        json_object_set_new(o, "explain", json_string(command));
    return o;
}

json_t *refusallist_json(const struct roster *r, const char *file)
{
    size_t n;
    struct refusal *all = refusallist_new(r, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, row_json(&all[i], file));
    free(all);
    return list;
}

/* Any bytes as acl.conf, and behind a form feed as the preset `p`: no crash, no leak; errors are
 * findings; the tables of [in] and [out] agree with naive walks, for sources in groups too; what
 * `check` adds is no error. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/lint.h"
#include "acl/names.h"
#include "acl/verdict.h"
#include "conf/aclfile.h"
#include "conf/fileset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The ends of every source range, and their neighbours. */
static void expect_agreement(const struct acl *acl)
{
    struct in_table *table = in_table_new(acl, IN_PROTO_TCP, 8080);

    if (!table)
        abort();
    for (size_t i = 0; i < acl->n_in; i++) {
        for (size_t k = 0; k < acl->in[i].n_sources; k++) {
            const struct addr_range *range = &acl->in[i].sources[k];
            const struct addr asked[] = {range->first, range->last, addr_prev(&range->first),
                                         addr_next(&range->last)};
            for (size_t a = 0; a < 4; a++) {
                if (in_table_ask(table, &asked[a]) !=
                    in_ask_naive(acl, IN_PROTO_TCP, 8080, &asked[a]))
                    abort();
            }
        }
    }
    in_table_free(table);
}

/* ---- [out] ---- */

enum { LINES_ASKED = 24, GROUPS_ASKED = 3 };

/* A source, and which sections hold for it. */
struct asker {
    const struct acl *acl;
    const struct addr *source; /* NULL: nobody's */
};

static bool is_member(const struct acl *acl, const char *group, const struct addr *a)
{
    uint32_t id;
    if (!a || !names_find(acl->group_names, group, strlen(group), &id))
        return false;
    for (size_t i = 0; i < acl->groups[id].n_members; i++)
        if (addr_range_has(&acl->groups[id].members[i], a))
            return true;
    return false;
}

/* [out]'s allow lines hold where no group of the source has a section. */
static bool is_in_force(const struct asker *who, const struct out_rule *r)
{
    const struct out_section *s = &who->acl->sections[r->section];
    if (s->group)
        return is_member(who->acl, s->group, who->source);
    for (size_t i = 1; r->is_allow && i < who->acl->n_sections; i++)
        if (is_member(who->acl, who->acl->sections[i].group, who->source))
            return false;
    return true;
}

static bool has_port(const struct out_rule *r, uint16_t port)
{
    for (size_t i = 0; i < r->n_ports; i++)
        if (r->ports[i].first <= port && port <= r->ports[i].last)
            return true;
    return !r->has_ports;
}

static bool names_it(const struct out_rule *r, const char *name)
{
    if (r->kind == OUT_KIND_ANY || r->kind == OUT_KIND_RANGE)
        return r->kind == OUT_KIND_ANY;
    size_t len = strlen(name), own = strlen(r->name);
    bool is_self = strcmp(name, r->name) == 0;
    bool is_below =
        len > own && name[len - own - 1] == '.' && strcmp(name + len - own, r->name) == 0;
    return r->kind == OUT_KIND_NAME    ? is_self
           : r->kind == OUT_KIND_BELOW ? is_below
                                       : is_self || is_below;
}

static enum verdict name_naive(const struct asker *who, const char *name, uint16_t port)
{
    bool has_allow = false, is_allowed = false, may_by_addr = false;
    for (size_t i = 0; i < who->acl->n_out; i++) {
        const struct out_rule *r = &who->acl->out[i];
        if (!is_in_force(who, r))
            continue;
        bool matches = names_it(r, name) && has_port(r, port);
        if (matches && !r->is_allow)
            return VERDICT_DENY;
        has_allow = has_allow || r->is_allow;
        is_allowed = is_allowed || (matches && r->is_allow);
        may_by_addr =
            may_by_addr || (r->is_allow && r->kind == OUT_KIND_RANGE && has_port(r, port));
    }
    if (!has_allow || is_allowed)
        return VERDICT_ALLOW;
    return may_by_addr ? VERDICT_UNDECIDED : VERDICT_DENY;
}

/* Whether a deny line has the address, for those that carry no other. */
static bool is_denied_naive(const struct asker *who, const struct addr *a, uint16_t port)
{
    for (size_t i = 0; i < who->acl->n_out; i++) {
        const struct out_rule *r = &who->acl->out[i];
        bool holds =
            r->kind == OUT_KIND_ANY || (r->kind == OUT_KIND_RANGE && addr_range_has(&r->range, a));
        if (!r->is_allow && holds && has_port(r, port) && is_in_force(who, r))
            return true;
    }
    return false;
}

static void expect_name(const struct asker *who, const char *name, uint16_t port)
{
    struct verdict_detail d = {0};
    if (strlen(name) <= NAMES_TEXT_MAX &&
        verdict_name(who->acl, who->source, name, port, &d) != name_naive(who, name, port))
        abort();
}

static void expect_out(const struct asker *who)
{
    const struct acl *acl = who->acl;
    for (size_t i = 0; i < acl->n_out && i < LINES_ASKED; i++) {
        const struct out_rule *r = &acl->out[i];
        uint16_t port = r->n_ports > 0 ? r->ports[0].first : 443;
        struct verdict_detail d = {0};
        char below[NAMES_TEXT_MAX + 3];
        if (r->name && r->name[0]) {
            snprintf(below, sizeof(below), "x.%s", r->name);
            expect_name(who, r->name, port);
            expect_name(who, below, port);
            expect_name(who, r->name, (uint16_t)(port + 1));
        }
        if (r->kind != OUT_KIND_RANGE || !addr_is_ipv4(&r->range.first))
            continue;
        bool is_denied = verdict_addr(acl, who->source, NULL, VERDICT_UNDECIDED, &r->range.last,
                                      port, &d) == VERDICT_DENY &&
                         d.rule && !d.rule->is_allow;
        if (is_denied != is_denied_naive(who, &r->range.last, port))
            abort();
    }
}

static void expect_lint(const struct acl *acl)
{
    static const struct lint_port listeners[] = {{IN_PROTO_TCP, 8080, "web-proxy"}};
    struct findings findings = {0};
    struct ports reach = {0};
    ports_add(&reach, 443, 443);
    acl_lint(acl, listeners, 1, &reach, &findings);
    if (findings.n_errors > 0)
        abort();
    findings_fini(&findings);
}

static void expect_all(const struct acl *acl)
{
    expect_agreement(acl);
    expect_lint(acl);
    expect_out(&(struct asker){acl, NULL});
    for (size_t i = 0; i < acl->n_groups && i < GROUPS_ASKED; i++)
        if (acl->groups[i].n_members > 0)
            expect_out(&(struct asker){acl, &acl->groups[i].members[0].first});
}

/* What is behind the form feed, as the only file there is. */
static struct fileset preset_of(const char *from, const char *end, struct fileset_file *file)
{
    size_t len = (size_t)(end - from);
    *file = (struct fileset_file){strdup("presets.d/p.conf"), malloc(len + 1), len};
    if (!file->path || !file->bytes)
        abort();
    memcpy(file->bytes, from, len);
    file->bytes[len] = '\0';
    return (struct fileset){.is_replay = true, .files = file, .n_files = 1, .n_bytes = len};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *cut = size > 0 ? memchr(text, '\f', size) : NULL;
    struct fileset_file file;
    struct acl *acl = NULL;

    if (size == 0)
        return 0;
    struct fileset files = preset_of(cut ? cut + 1 : text + size, text + size, &file);
    struct findings findings = {.files = &files};
    size_t len = cut ? (size_t)(cut - text) : size;
    int r = aclfile_parse_bytes("fuzz.conf", text, len, &findings, &acl);
    if ((r < 0) != (findings.n_errors > 0))
        abort();
    if (r == 0)
        expect_all(acl);
    acl_free(acl);
    findings_fini(&findings);
    free(file.path);
    free(file.bytes);
    return 0;
}

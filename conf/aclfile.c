/*
 * Hands each line of acl.conf to the part of acl/ that knows it. What a line means is decided
 * there; here are only the sections, and the statements that later versions will understand: one
 * that would restrict somebody must not be dropped in silence, so it is an error until it works.
 */
#include "conf/aclfile.h"

#include <errno.h>
#include <string.h>

#include "conf/inifile.h"
#include "conf/preset.h"
#include "conf/value.h"

enum kind { KIND_NONE, KIND_IN, KIND_OUT, KIND_EXPECT, KIND_GROUP };

struct reader {
    const char *file;
    struct acl *acl;
    struct findings *findings;
    enum kind kind;                  /* of the section that is open; NONE: its lines are left out */
    unsigned first_line[KIND_GROUP]; /* of [in], [out], [expect]; 0: not seen */
};

#define READER_ERROR(rd, line, ...)                                                                \
    findings_add((rd)->findings, FINDING_ERROR, (rd)->file, line, __VA_ARGS__)

static const char *const section_names[] = {[KIND_NONE] = "",
                                            [KIND_IN] = "in",
                                            [KIND_OUT] = "out",
                                            [KIND_EXPECT] = "expect",
                                            [KIND_GROUP] = "group"};

/* `group agents` gives GROUP and "agents". */
static enum kind split_heading(const char *section, const char **ret_name)
{
    size_t len = strcspn(section, " \t");

    *ret_name = section + len + strspn(section + len, " \t");
    for (int i = KIND_IN; i <= KIND_GROUP; i++) {
        if (strlen(section_names[i]) == len && memcmp(section_names[i], section, len) == 0)
            return (enum kind)i;
    }
    return KIND_NONE;
}

static void refuse_section(struct reader *rd, const struct inifile_entry *e)
{
    char quoted[VALUE_QUOTE_MAX], word[INIFILE_NAME_MAX + 1];
    struct value_nearest nearest = {0};

    snprintf(word, sizeof(word), "%.*s", (int)strcspn(e->section, " \t"), e->section);
    for (int i = KIND_IN; i <= KIND_GROUP; i++)
        value_nearest_add(&nearest, word, section_names[i]);
    value_quote(e->section, strlen(e->section), quoted);
    const char *near = value_nearest_get(&nearest, word);
    if (near)
        READER_ERROR(rd, e->line, "unknown section %s; did you mean [%s]?", quoted, near);
    else
        READER_ERROR(rd, e->line,
                     "unknown section %s; write [in], [out], [out @group], [expect] or "
                     "[group NAME]",
                     quoted);
}

static int open_group(struct reader *rd, const struct inifile_entry *e, const char *name)
{
    if (*name == '\0') {
        READER_ERROR(rd, e->line, "the group has no name; write [group NAME]");
        return 0;
    }
    int r = acl_add_group(rd->acl, name, e->line, rd->findings);
    if (r == 0)
        rd->kind = KIND_GROUP;
    return r == -ENOMEM ? r : 0;
}

static int open_section(struct reader *rd, const struct inifile_entry *e)
{
    const char *name;
    enum kind kind = split_heading(e->section, &name);

    rd->kind = KIND_NONE;
    if (kind == KIND_NONE) {
        refuse_section(rd, e);
        return 0;
    }
    if (kind == KIND_GROUP)
        return open_group(rd, e, name);
    if (kind == KIND_OUT && name[0] == '@') {
        int r = acl_open_out(rd->acl, name + 1, e->line, rd->findings);
        if (r == 0)
            rd->kind = KIND_OUT;
        return r == -ENOMEM ? r : 0;
    }
    if (*name != '\0') {
        READER_ERROR(rd, e->line, "[%s] takes no name; write [%s]", section_names[kind],
                     section_names[kind]);
        return 0;
    }
    if (rd->first_line[kind] != 0) {
        READER_ERROR(rd, e->line, "section [%s] is given twice, first in line %u; put all into one",
                     section_names[kind], rd->first_line[kind]);
        return 0;
    }
    rd->first_line[kind] = e->line;
    rd->kind = kind;
    if (kind == KIND_OUT && acl_open_out(rd->acl, NULL, e->line, rd->findings) == -ENOMEM)
        return -ENOMEM;
    return 0;
}

static int take_out(struct reader *rd, const struct inifile_entry *e)
{
    if (strcmp(e->key, "preset") == 0)
        return preset_add(rd->acl, rd->file, e->value, e->memo, e->line, rd->findings);
    return acl_add_out(rd->acl, e->key, e->value, e->memo, e->line, rd->findings);
}

static int take_line(struct reader *rd, const struct inifile_entry *e)
{
    const char *name;

    switch (rd->kind) {
    case KIND_NONE:
        return 0;
    case KIND_IN:
        return acl_add_in(rd->acl, e->key, e->value, e->memo, e->line, rd->findings);
    case KIND_OUT:
        return take_out(rd, e);
    case KIND_GROUP:
        split_heading(e->section, &name);
        return acl_add_member(rd->acl, name, e->key, e->value, e->memo, e->line, rd->findings);
    case KIND_EXPECT:
        return acl_add_expect(rd->acl, e->key, e->value, e->memo, e->line, rd->findings);
    }
    return 0;
}

static int on_entry(void *arg, const struct inifile_entry *e)
{
    struct reader *rd = arg;

    if (!e->key)
        return open_section(rd, e);
    if (e->section_line == 0) {
        READER_ERROR(rd, e->line, "a line before the first section; write [in] above it");
        return 0;
    }
    /* A refused line is a finding; the others are still to be read. */
    int r = take_line(rd, e);
    return r == -EINVAL ? 0 : r;
}

/* @bytes NULL: read the file. */
static int load_any(const char *file, const char *bytes, size_t len, struct findings *findings,
                    struct acl **ret_acl)
{
    struct reader rd = {.file = file, .findings = findings, .acl = acl_new(file)};
    size_t n_errors = findings->n_errors;

    if (!rd.acl)
        return -ENOMEM;
    int r = bytes ? inifile_parse_bytes(file, bytes, len, on_entry, &rd, findings)
                  : inifile_load(file, INIFILE_ACL_MAX, on_entry, &rd, findings);
    bool has_content = bytes || r == 0 || rd.acl->n_in > 0 || rd.acl->n_groups > 0;
    if (r != -ENOMEM && has_content) {
        int r_finish = acl_finish(rd.acl, findings);
        if (r_finish < 0)
            r = r_finish;
    }
    if (r == 0 && findings->n_errors > n_errors)
        r = -EINVAL;
    if (r < 0) {
        acl_free(rd.acl);
        return r;
    }
    *ret_acl = rd.acl;
    return 0;
}

int aclfile_load(const char *file, struct findings *findings, struct acl **ret_acl)
{
    return load_any(file, NULL, 0, findings, ret_acl);
}

int aclfile_parse_bytes(const char *file, const char *bytes, size_t len, struct findings *findings,
                        struct acl **ret_acl)
{
    return load_any(file, bytes, len, findings, ret_acl);
}

/*
 * A preset is text that an admin can read and copy, not a list in the program. Its name becomes
 * part of a path, so it is letters, digits and hyphens and nothing else.
 */
#include "conf/preset.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acl/pattern.h"
#include "conf/fileset.h"
#include "conf/inifile.h"
#include "conf/value.h"

#ifndef UKAI_PRESETS
#define UKAI_PRESETS "/usr/share/ukai/presets.d"
#endif

enum { NAME_MAX_BYTES = 40, SHOWN_MAX = 8 };

struct reading {
    struct acl *acl;
    const char *file; /* the preset's */
    const char *name;
    const char *memo; /* behind the line that named it */
    unsigned line;
    struct findings *findings;
    size_t n_lines;
};

static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && len <= NAME_MAX_BYTES && name[len] == '\0' && name[0] != '-';
}

/* A pattern's error belongs to the preset's own line. Whether it is one that the rules will take.
 */
static int check_pattern(struct reading *r, const struct inifile_entry *e)
{
    struct out_rule rule = {0};
    char why[PATTERN_WHY_MAX] = "";
    int rc = pattern_parse(e->value, strlen(e->value), &rule, why);
    if (rc == -EINVAL)
        findings_add(r->findings, FINDING_ERROR, r->file, e->line, "%s", why);
    out_rule_fini(&rule);
    return rc;
}

static int on_entry(void *arg, const struct inifile_entry *e)
{
    struct reading *r = arg;
    char *memo;
    if (!e->key || strcmp(e->section, "preset") != 0) {
        if (strcmp(e->section, "preset") != 0)
            findings_add(r->findings, FINDING_ERROR, r->file, e->line,
                         "a preset has one section, [preset], and nothing else");
        return 0;
    }
    if (strcmp(e->key, "allow") != 0) {
        findings_add(r->findings, FINDING_ERROR, r->file, e->line,
                     "a preset has lines `allow = PATTERN` only");
        return 0;
    }
    r->n_lines++;
    int rc = check_pattern(r, e);
    if (rc < 0)
        return rc == -EINVAL ? 0 : rc;
    if (asprintf(&memo, "preset %s:%u%s%s%s%s", r->name, e->line, e->memo[0] ? ": " : "", e->memo,
                 r->memo[0] ? "; " : "", r->memo) < 0)
        return -ENOMEM;
    rc = acl_add_out(r->acl, e->key, e->value, memo, r->line, r->findings);
    free(memo);
    return rc == -EINVAL ? 0 : rc;
}

/* presets.d beside the ACL file. */
static int own_folder(const char *acl_file, char ret[static PATH_MAX])
{
    const char *slash = strrchr(acl_file, '/');
    int n =
        snprintf(ret, PATH_MAX, "%.*spresets.d", slash ? (int)(slash - acl_file) + 1 : 0, acl_file);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool find_file(const struct fileset *files, const char *folder, const char *name,
                      char ret[static PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s/%s.conf", folder, name);
    return n > 0 && n < PATH_MAX && fileset_has(files, ret);
}

/* The names that there are, for who wrote one that there is not. */
struct known {
    const char *wanted;
    char text[(NAME_MAX_BYTES + 2) * SHOWN_MAX + 1];
    unsigned n;
    char nearest[NAME_MAX_BYTES + 1]; /* empty: none is near */
    unsigned distance;
};

static void compare_name(struct known *k, const char *name)
{
    struct value_nearest near = {0};
    value_nearest_add(&near, k->wanted, name);
    if (!value_nearest_get(&near, k->wanted) || (k->nearest[0] && near.distance >= k->distance))
        return;
    snprintf(k->nearest, sizeof(k->nearest), "%s", name);
    k->distance = near.distance;
}

static void name_some(const char *folder, struct known *k)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char name[NAME_MAX_BYTES + 1];
        size_t len = strlen(e->d_name), at = strlen(k->text);
        if (len <= 5 || len - 5 >= sizeof(name) || strcmp(e->d_name + len - 5, ".conf") != 0)
            continue;
        memcpy(name, e->d_name, len - 5);
        name[len - 5] = '\0';
        if (!is_name(name))
            continue;
        compare_name(k, name);
        if (k->n < SHOWN_MAX)
            snprintf(k->text + at, sizeof(k->text) - at, "%s%s", k->n++ ? ", " : "", name);
    }
    if (dir)
        closedir(dir);
}

static int refuse(const char *acl_file, const char *own, const char *name, unsigned line,
                  struct findings *findings)
{
    char quoted[VALUE_QUOTE_MAX];
    struct known known = {.wanted = name};
    name_some(own, &known);
    name_some(UKAI_PRESETS, &known);
    value_quote(name, strlen(name), quoted);
    if (known.nearest[0])
        findings_add(findings, FINDING_ERROR, acl_file, line,
                     "there is no preset %s in %s or " UKAI_PRESETS "; did you mean %s?", quoted,
                     own, known.nearest);
    else
        findings_add(findings, FINDING_ERROR, acl_file, line,
                     "there is no preset %s in %s or " UKAI_PRESETS "; known are: %s", quoted, own,
                     known.n ? known.text : "none");
    return -EINVAL;
}

int preset_add(struct acl *acl, const char *acl_file, const char *name, const char *memo,
               unsigned line, struct findings *findings)
{
    char own[PATH_MAX], file[PATH_MAX];
    if (own_folder(acl_file, own) < 0 || !is_name(name) ||
        (!find_file(findings->files, own, name, file) &&
         !find_file(findings->files, UKAI_PRESETS, name, file)))
        return refuse(acl_file, own, name, line, findings);
    struct reading r = {
        .acl = acl, .file = file, .name = name, .memo = memo, .line = line, .findings = findings};
    size_t n_errors = findings->n_errors;
    int rc = inifile_load(file, INIFILE_CONF_MAX, on_entry, &r, findings);
    if (rc == 0 && r.n_lines == 0 && findings->n_errors == n_errors)
        findings_add(findings, FINDING_ERROR, file, 0, "the preset has no line");
    return rc == -ENOMEM ? rc : findings->n_errors > n_errors ? -EINVAL : rc;
}

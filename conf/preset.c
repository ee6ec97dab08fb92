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

#include "conf/fileset.h"
#include "conf/inifile.h"
#include "conf/value.h"

#ifndef UKAI_PRESETS
#define UKAI_PRESETS "/usr/share/ukai/presets.d"
#endif

enum { NAME_MAX_BYTES = 40, SHOWN_MAX = 8, MEMO_MAX = 256 };

struct reading {
    struct acl *acl;
    const char *file; /* the preset's */
    const char *name;
    unsigned line;
    struct findings *findings;
    size_t n_lines;
};

static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && len <= NAME_MAX_BYTES && name[len] == '\0' && name[0] != '-';
}

static int on_entry(void *arg, const struct inifile_entry *e)
{
    struct reading *r = arg;
    char memo[MEMO_MAX];
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
    snprintf(memo, sizeof(memo), "preset %s%s%s", r->name, e->memo[0] ? ": " : "", e->memo);
    r->n_lines++;
    int rc = acl_add_out(r->acl, e->key, e->value, memo, r->line, r->findings);
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

static void name_some(const char *folder, char *text, size_t size, unsigned *n_shown)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) && *n_shown < SHOWN_MAX;) {
        char name[NAME_MAX_BYTES + 1];
        size_t len = strlen(e->d_name), at = strlen(text);
        if (len <= 5 || len - 5 >= sizeof(name) || strcmp(e->d_name + len - 5, ".conf") != 0)
            continue;
        memcpy(name, e->d_name, len - 5);
        name[len - 5] = '\0';
        if (is_name(name))
            snprintf(text + at, size - at, "%s%s", (*n_shown)++ ? ", " : "", name);
    }
    if (dir)
        closedir(dir);
}

static int refuse(const char *acl_file, const char *own, const char *name, unsigned line,
                  struct findings *findings)
{
    char quoted[VALUE_QUOTE_MAX], known[(NAME_MAX_BYTES + 2) * SHOWN_MAX + 1] = "";
    unsigned n = 0;
    name_some(own, known, sizeof(known), &n);
    name_some(UKAI_PRESETS, known, sizeof(known), &n);
    findings_add(findings, FINDING_ERROR, acl_file, line,
                 "there is no preset %s in %s or " UKAI_PRESETS "; known are: %s",
                 value_quote(name, strlen(name), quoted), own, n ? known : "none");
    return -EINVAL;
}

int preset_add(struct acl *acl, const char *acl_file, const char *name, unsigned line,
               struct findings *findings)
{
    char own[PATH_MAX], file[PATH_MAX];
    if (own_folder(acl_file, own) < 0 || !is_name(name) ||
        (!find_file(findings->files, own, name, file) &&
         !find_file(findings->files, UKAI_PRESETS, name, file)))
        return refuse(acl_file, own, name, line, findings);
    struct reading r = {.acl = acl, .file = file, .name = name, .line = line, .findings = findings};
    size_t n_errors = findings->n_errors;
    int rc = inifile_load(file, INIFILE_CONF_MAX, on_entry, &r, findings);
    if (rc == 0 && r.n_lines == 0 && findings->n_errors == n_errors)
        findings_add(findings, FINDING_ERROR, file, 0, "the preset has no line");
    return rc == -ENOMEM ? rc : findings->n_errors > n_errors ? -EINVAL : rc;
}

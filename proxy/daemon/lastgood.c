/*
 * One file for each configuration, written beside itself and renamed, so that there is always a
 * whole one. It holds all that was read (conf/fileset), under the paths it was read from: findings
 * and rules name the real files.
 */
#include "proxy/daemon/lastgood.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/wholefile.h"

#define DEFAULT_DIRECTORY "/var/lib/ukai"
#define FRESH             "new"
enum { NAME_BYTES = 240, HEADINGS_MAX = 4 * 1024 * 1024 };

const char *lastgood_directory(void)
{
    const char *dir = getenv("STATE_DIRECTORY");
    return dir && dir[0] == '/' && !strchr(dir, ':') ? dir : DEFAULT_DIRECTORY;
}

/* A name for the path in one directory: `/` is `_`, `_` is `__`. */
static int name_of(const char *conf_file, char ret[static NAME_BYTES])
{
    char path[PATH_MAX];
    size_t n = 0;
    if (!realpath(conf_file, path)) {
        if (conf_file[0] != '/' || strlen(conf_file) >= sizeof(path))
            return -ENOENT;
        memcpy(path, conf_file, strlen(conf_file) + 1);
    }
    for (const char *c = path + 1; *c; c++) {
        if (n + sizeof("__.last-good." FRESH) > NAME_BYTES)
            return -ENAMETOOLONG;
        ret[n++] = *c == '/' ? '_' : *c;
        if (*c == '_')
            ret[n++] = '_';
    }
    memcpy(ret + n, ".last-good", sizeof(".last-good"));
    return 0;
}

/* Whose it is goes to @ret_owner. */
static int open_directory(uid_t *ret_owner, char *ret_text, size_t text_size)
{
    const char *path = lastgood_directory();
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0) {
        int rc = -errno;
        snprintf(ret_text, text_size, "%s: %s", path, strerror(-rc));
        return rc;
    }
    bool is_ours = fstat(fd, &st) == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
                   (geteuid() == 0 || st.st_uid == 0 || st.st_uid == geteuid());
    if (!is_ours) {
        snprintf(ret_text, text_size,
                 "%s belongs to somebody else, or others may write to it; make it ours and 0700",
                 path);
        close(fd);
        return -EPERM;
    }
    *ret_owner = st.st_uid;
    return fd;
}

/* ---- keeping ---- */

static int write_whole(int dir, const char *fresh, const struct fileset *files)
{
    unlinkat(dir, fresh, 0);
    int fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    int rc = fileset_save(files, out);
    if (rc == 0 && (fflush(out) != 0 || fsync(fd) < 0))
        rc = -errno;
    if (fclose(out) != 0 && rc == 0)
        rc = -errno;
    return rc;
}

int lastgood_keep(const struct snapshot *s, const struct fileset *files, char *ret_text,
                  size_t text_size)
{
    char name[NAME_BYTES], fresh[NAME_BYTES + sizeof(FRESH)];
    int rc = name_of(s->conf.file, name);
    uid_t owner;
    int dir = rc < 0 ? rc : open_directory(&owner, ret_text, text_size);
    if (rc < 0)
        snprintf(ret_text, text_size, "%s: %s", s->conf.file, strerror(-rc));
    if (dir < 0)
        return dir;
    snprintf(fresh, sizeof(fresh), "%s." FRESH, name);
    if (!s->conf.process.last_good) {
        rc = unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
    } else {
        rc = write_whole(dir, fresh, files);
        if (rc == 0 && renameat(dir, fresh, dir, name) < 0)
            rc = -errno;
        if (rc == 0 && fsync(dir) < 0)
            rc = -errno;
        if (rc < 0)
            unlinkat(dir, fresh, 0);
    }
    close(dir);
    if (rc < 0)
        snprintf(ret_text, text_size, "%s/%s: %s", lastgood_directory(), name, strerror(-rc));
    return rc;
}

/* ---- finding ---- */

static int read_copy(int dir, const char *name, struct lastgood *ret, const char **ret_why)
{
    char path[64], *bytes;
    struct stat st;
    size_t len;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = wholefile_read(path, FILESET_BYTES_MAX + HEADINGS_MAX, &st, &bytes, &len, ret_why);
    close(fd);
    if (rc < 0)
        return rc;
    if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        *ret_why = "others may write to it";
        rc = -EPERM;
    }
    if (rc == 0 && (rc = fileset_parse(bytes, len, &ret->files)) == -EINVAL)
        *ret_why = "it is damaged, or of another version";
    free(bytes);
    ret->kept_wall_s = (uint64_t)st.st_mtim.tv_sec;
    ret->owner = st.st_uid;
    return rc;
}

int lastgood_find(const char *conf_file, struct lastgood *ret, char *ret_text, size_t text_size)
{
    char name[NAME_BYTES];
    const char *why = NULL;
    *ret = (struct lastgood){0};
    int rc = name_of(conf_file, name);
    uid_t owner = 0;
    int dir = rc < 0 ? rc : open_directory(&owner, ret_text, text_size);
    if (dir < 0)
        return dir;
    rc = read_copy(dir, name, ret, &why);
    close(dir);
    if (rc == 0 && ret->owner != 0 && ret->owner != owner) {
        fileset_fini(&ret->files);
        why = "it is not of the directory's owner";
        rc = -EPERM;
    }
    ret->owner = owner != 0 ? owner : ret->owner; /* who has the directory can put anything there */
    if (rc < 0)
        snprintf(ret_text, text_size, "%s/%s: %s", lastgood_directory(), name,
                 why ? why : strerror(-rc));
    return rc;
}

bool lastgood_is_trusted(const struct lastgood *l, const struct conf_process *process)
{
    if (geteuid() != 0 || l->owner == 0)
        return true;
    const struct passwd *pw = getpwnam(process->user ? process->user : "ukai");
    return pw && pw->pw_uid == l->owner && process->sandbox;
}

/*
 * A watch on a file itself would follow the inode into oblivion at the first rename, so directories
 * are watched, for names: every path is walked as the kernel walks it, and each (directory, name)
 * on the way is a point, symbolic links and their targets included. An event at a point means that
 * the path may lead elsewhere now; what it leads to is looked up afresh by whoever is told, so a
 * lost event costs nothing but time (an overflow counts as a change). The walk is repeated after
 * each change.
 *
 * A file that was just made and not yet closed is half of a file: that event is passed over, the
 * one of its closing comes. Belongs to the main thread; opened before the sandbox.
 */
#include "proxy/daemon/filewatch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SETTLE_MS = 50, STEPS_MAX = 256, LINKS_MAX = 40, EVENT_BYTES = 16 * 1024 };

#define EVENTS                                                                                     \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ATTRIB | IN_ONLYDIR)

struct filewatch_point {
    int wd;
    char *path; /* of the directory and the name, as far as it is walked */
    size_t name_at;
};

/* ---- the walk ---- */

struct walk {
    struct filewatch *f;
    struct filewatch_point *points;
    size_t n_points;
    int error; /* the first directory that could not be watched */
};

static void points_free(struct filewatch_point *points, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(points[i].path);
    free(points);
}

static bool has_point(const struct walk *w, int wd, const char *name)
{
    for (size_t i = 0; i < w->n_points; i++) {
        const struct filewatch_point *p = &w->points[i];
        if (p->wd == wd && strcmp(p->path + p->name_at, name) == 0)
            return true;
    }
    return false;
}

/* @path ends with the name, which begins at @name_at, behind a slash. */
static int add_point(struct walk *w, char *path, size_t name_at)
{
    char kept = path[name_at];
    path[name_at] = '\0'; /* "/etc/" */
    int wd = inotify_add_watch(w->f->fd, path, EVENTS);
    int error = wd < 0 ? -errno : 0;
    path[name_at] = kept;
    if (error < 0) {
        /* That it is not there is seen where it would be made. */
        if (error != -ENOENT && error != -ENOTDIR && w->error == 0)
            w->error = error;
        return 0;
    }
    if (has_point(w, wd, path + name_at))
        return 0;
    struct filewatch_point *grown = reallocarray(w->points, w->n_points + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    w->points = grown;
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    grown[w->n_points++] = (struct filewatch_point){.wd = wd, .path = copy, .name_at = name_at};
    return 0;
}

/* Puts the link at @path in the place of itself: @rest becomes its target and what followed.
 * Returns whether that worked. */
static bool follow(char path[static PATH_MAX], size_t name_at, char rest[static PATH_MAX])
{
    char target[PATH_MAX];
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    size_t n_rest = strlen(rest);
    if (len <= 0 || (size_t)len + 1 + n_rest + 1 > sizeof(target))
        return false;
    target[len] = '/';
    memcpy(target + len + 1, rest, n_rest + 1);
    memcpy(rest, target, (size_t)len + 1 + n_rest + 1);
    path[target[0] == '/' ? 1 : name_at] = '\0';
    return true;
}

/* Up to the next name of @rest: taken out of it and put behind @path. false: there is none. */
static bool step(char path[static PATH_MAX], char rest[static PATH_MAX], size_t *ret_name_at)
{
    size_t skip = strspn(rest, "/");
    size_t len = strcspn(rest + skip, "/");
    size_t n_path = strlen(path);
    if (len == 0 || n_path + 1 + len + 1 > PATH_MAX)
        return false;
    if (path[n_path - 1] != '/')
        path[n_path++] = '/';
    memcpy(path + n_path, rest + skip, len);
    path[n_path + len] = '\0';
    memmove(rest, rest + skip + len, strlen(rest + skip + len) + 1);
    *ret_name_at = n_path;
    return true;
}

/* One directory up. */
static void step_back(char *path)
{
    for (unsigned i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');
        slash[slash == path] = '\0';
    }
}

static int walk_file(struct walk *w, const char *file)
{
    char path[PATH_MAX] = "/", rest[PATH_MAX];
    unsigned n_links = 0;
    size_t name_at;
    if (file[0] != '/' && !getcwd(path, sizeof(path)))
        return 0;
    if (strlen(file) >= sizeof(rest))
        return 0;
    memcpy(rest, file, strlen(file) + 1);
    for (unsigned n = 0; n < STEPS_MAX && step(path, rest, &name_at); n++) {
        struct stat st;
        if (strcmp(path + name_at, ".") == 0) {
            path[name_at > 1 ? name_at - 1 : 1] = '\0';
            continue;
        }
        if (strcmp(path + name_at, "..") == 0) {
            step_back(path);
            continue;
        }
        int rc = add_point(w, path, name_at);
        if (rc < 0)
            return rc;
        if (lstat(path, &st) < 0)
            return 0;
        if (S_ISLNK(st.st_mode) && (++n_links > LINKS_MAX || !follow(path, name_at, rest)))
            return 0;
    }
    return 0;
}

static bool uses_watch(const struct filewatch_point *points, size_t n, int wd)
{
    for (size_t i = 0; i < n; i++) {
        if (points[i].wd == wd)
            return true;
    }
    return false;
}

/* Walks all paths again; a directory that is still needed keeps its watch. */
static int walk_all(struct filewatch *f)
{
    struct walk w = {.f = f};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->n_files; i++)
        rc = walk_file(&w, f->files[i]);
    if (rc < 0) {
        points_free(w.points, w.n_points);
        return rc;
    }
    for (size_t i = 0; i < f->n_points; i++) {
        if (!uses_watch(w.points, w.n_points, f->points[i].wd))
            (void)inotify_rm_watch(f->fd, f->points[i].wd);
    }
    points_free(f->points, f->n_points);
    f->points = w.points;
    f->n_points = w.n_points;
    return w.error;
}

/* ---- events ---- */

static bool is_half_made(const struct filewatch_point *p, uint32_t what)
{
    struct stat st;
    return what & IN_CREATE && lstat(p->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static bool is_ours(const struct filewatch *f, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW)
        return true;
    for (size_t i = 0; i < f->n_points && e->len > 0; i++) {
        const struct filewatch_point *p = &f->points[i];
        if (p->wd == e->wd && strcmp(p->path + p->name_at, e->name) == 0)
            return !is_half_made(p, e->mask);
    }
    return false;
}

static void on_settled(struct timer *t)
{
    struct filewatch *f = list_entry(t, struct filewatch, settle);
    (void)walk_all(f); /* before the files are read: what changes after that is told again */
    f->on_change(f->arg);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct filewatch *f = arg;
    char buf[EVENT_BYTES] __attribute__((aligned(8)));
    bool has_changed = false;
    ssize_t n;
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        const struct inotify_event *e;
        for (char *p = buf; p < buf + n; p += sizeof(*e) + e->len) {
            e = (const struct inotify_event *)(void *)p;
            has_changed = has_changed || is_ours(f, e);
        }
    }
    if (has_changed && !timer_is_running(&f->settle))
        loop_timer_start(f->loop, &f->settle, SETTLE_MS, on_settled);
}

/* ---- life ---- */

int filewatch_open(struct filewatch *f, struct loop *loop, filewatch_fn on_change, void *arg)
{
    *f = (struct filewatch){.loop = loop, .on_change = on_change, .arg = arg};
    f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->fd < 0)
        return -errno;
    event_assign(&f->event, loop->base, f->fd, EV_READ | EV_PERSIST, on_event, f);
    if (event_add(&f->event, NULL) == 0)
        return 0;
    close(f->fd);
    f->fd = -1;
    return -ENOMEM;
}

static void files_free(char **files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(files[i]);
    free(files);
}

void filewatch_close(struct filewatch *f)
{
    if (f->fd < 0 || !f->loop)
        return;
    loop_timer_stop(f->loop, &f->settle);
    event_del(&f->event);
    close(f->fd);
    f->fd = -1;
    points_free(f->points, f->n_points);
    files_free(f->files, f->n_files);
}

int filewatch_set(struct filewatch *f, const char *const *files, size_t n_files)
{
    if (f->fd < 0 || !f->loop)
        return 0;
    char **copies = calloc(n_files + 1, sizeof(*copies));
    if (!copies)
        return -ENOMEM;
    for (size_t i = 0; i < n_files; i++) {
        copies[i] = strdup(files[i]);
        if (!copies[i]) {
            files_free(copies, i);
            return -ENOMEM;
        }
    }
    files_free(f->files, f->n_files);
    f->files = copies;
    f->n_files = n_files;
    return walk_all(f);
}

/* What counts as a change of a file, on a real loop with files of the test's own. */
#include "proxy/daemon/filewatch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONG_MS = 5000, SHORT_MS = 200 };

struct rig {
    struct loop loop;
    struct filewatch watch;
    char dir[64];
    unsigned n_told;
};

struct patience {
    struct timer timer;
    bool is_over;
};

static void on_over(struct timer *t)
{
    list_entry(t, struct patience, timer)->is_over = true;
}

static void on_change(void *arg)
{
    ((struct rig *)arg)->n_told++;
}

/* Whether it was told of a change within the time. */
static bool is_told(struct rig *rig, uint64_t ms)
{
    struct patience p = {.is_over = false};
    unsigned before = rig->n_told;
    loop_timer_start(&rig->loop, &p.timer, ms, on_over);
    while (rig->n_told == before && !p.is_over)
        loop_round(&rig->loop, true);
    loop_timer_stop(&rig->loop, &p.timer);
    return rig->n_told != before;
}

static const char *path_of(const struct rig *rig, const char *name, char buf[static 128])
{
    snprintf(buf, 128, "%s/%s", rig->dir, name);
    return buf;
}

static int open_file(const struct rig *rig, const char *name)
{
    char path[128];
    int fd = open(path_of(rig, name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "x", 1), 1);
    return fd;
}

static void put(const struct rig *rig, const char *name)
{
    close(open_file(rig, name));
}

static void move(const struct rig *rig, const char *from, const char *to)
{
    char a[128], b[128];
    cr_assert_eq(rename(path_of(rig, from, a), path_of(rig, to, b)), 0);
}

static void link_to(const struct rig *rig, const char *target, const char *name)
{
    char path[128];
    cr_assert_eq(symlink(target, path_of(rig, name, path)), 0);
}

static void make_dir(const struct rig *rig, const char *name)
{
    char path[128];
    cr_assert_eq(mkdir(path_of(rig, name, path), 0755), 0);
}

static void watch(struct rig *rig, const char *name)
{
    char path[128];
    const char *files[] = {path_of(rig, name, path)};
    cr_assert_eq(filewatch_set(&rig->watch, files, 1), 0);
}

static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/ukai-test-XXXXXX");
    cr_assert_not_null(mkdtemp(rig->dir));
    cr_assert_eq(loop_init(&rig->loop), 0);
    cr_assert_eq(filewatch_open(&rig->watch, &rig->loop, on_change, rig), 0);
    return rig;
}

static void rig_free(struct rig *rig)
{
    filewatch_close(&rig->watch);
    loop_fini(&rig->loop);
    free(rig);
}

Test(daemon_filewatch, change__is_told__however_the_file_is_replaced)
{
    struct rig *rig = rig_new();
    char path[128];
    put(rig, "f");
    watch(rig, "f");
    put(rig, "f");
    cr_expect(is_told(rig, LONG_MS), "written in place");
    put(rig, "new");
    move(rig, "new", "f");
    cr_expect(is_told(rig, LONG_MS), "renamed over");
    put(rig, "new");
    move(rig, "new", "f");
    cr_expect(is_told(rig, LONG_MS), "and again: the watch is not the old inode's");
    unlink(path_of(rig, "f", path));
    cr_expect(is_told(rig, LONG_MS), "removed");
    put(rig, "f");
    cr_expect(is_told(rig, LONG_MS), "made");
    chmod(path_of(rig, "f", path), 0600);
    cr_expect(is_told(rig, LONG_MS), "made accessible");
    rig_free(rig);
}

Test(daemon_filewatch, half_a_file__is_not_told__until_it_is_closed)
{
    struct rig *rig = rig_new();
    watch(rig, "f");
    int fd = open_file(rig, "f");
    cr_expect(!is_told(rig, SHORT_MS));
    close(fd);
    cr_expect(is_told(rig, LONG_MS));
    fd = open_file(rig, "f");
    cr_expect(!is_told(rig, SHORT_MS), "truncated and half written");
    close(fd);
    cr_expect(is_told(rig, LONG_MS));
    rig_free(rig);
}

Test(daemon_filewatch, other_files__are_not_told)
{
    struct rig *rig = rig_new();
    put(rig, "f");
    watch(rig, "f");
    put(rig, "g");
    put(rig, "f2");
    cr_expect(!is_told(rig, SHORT_MS));
    watch(rig, "g");
    put(rig, "f");
    cr_expect(!is_told(rig, SHORT_MS), "no longer watched");
    put(rig, "g");
    cr_expect(is_told(rig, LONG_MS));
    rig_free(rig);
}

Test(daemon_filewatch, links__are_followed__at_every_step)
{
    struct rig *rig = rig_new();
    char path[128];
    make_dir(rig, "run");
    make_dir(rig, "v1");
    make_dir(rig, "v2");
    put(rig, "v1/f");
    put(rig, "v2/f");
    link_to(rig, "v1", "now");         /* a directory by link */
    link_to(rig, "../now/f", "run/f"); /* a file by link, through it */
    link_to(rig, "run/./f", "f");
    watch(rig, "f");
    put(rig, "v1/f");
    cr_expect(is_told(rig, LONG_MS), "the target");
    link_to(rig, "v2", "next");
    move(rig, "next", "now");
    cr_expect(is_told(rig, LONG_MS), "a directory's link turned");
    put(rig, "v2/f");
    cr_expect(is_told(rig, LONG_MS), "the new target");
    put(rig, "v1/f");
    cr_expect(!is_told(rig, SHORT_MS), "the old target");
    unlink(path_of(rig, "f", path));
    cr_expect(is_told(rig, LONG_MS), "the first link");
    link_to(rig, "f", "f");
    cr_expect(is_told(rig, LONG_MS), "a link to itself ends the walk");
    rig_free(rig);
}

Test(daemon_filewatch, directories__may_come_later)
{
    struct rig *rig = rig_new();
    watch(rig, "a/b/f");
    make_dir(rig, "a");
    cr_expect(is_told(rig, LONG_MS));
    make_dir(rig, "a/b");
    cr_expect(is_told(rig, LONG_MS));
    put(rig, "a/b/f");
    cr_expect(is_told(rig, LONG_MS));
    move(rig, "a", "c");
    cr_expect(is_told(rig, LONG_MS), "moved away with what is in it");
    rig_free(rig);
}

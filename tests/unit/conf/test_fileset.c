#include "conf/fileset.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A set that holds two files of the disk. */
static void make(struct fileset *set, char *path)
{
    static const char text[] = "[in]\nudp 53 = 192.168.1.10 ; \xe8\xa8\x98\xe6\x86\xb6\nfile 3 x\n";
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    close(fd);
    *set = (struct fileset){0};
    cr_assert_eq(fileset_read(set, path, 1000, &st, &bytes, &len, &why), 0);
    free(bytes);
    cr_assert_eq(fileset_read(set, path, 1000, &st, &bytes, &len, &why), 0);
    free(bytes);
    cr_assert_eq(set->n_files, 1, "the same file is kept once");
    cr_assert_eq(fileset_read(set, "/dev/null/x", 1000, &st, &bytes, &len, &why), -ENOTDIR);
}

static char *save(const struct fileset *set, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    cr_assert_eq(fileset_save(set, out), 0);
    fclose(out);
    return text;
}

Test(conf_fileset, parse__is_the_way_back__of_save)
{
    struct fileset set, back;
    char path[] = "/tmp/fileset-XXXXXX", *bytes;
    const char *why;
    struct stat st;
    size_t n, len;
    make(&set, path);
    char *text = save(&set, &n);
    unlink(path);
    cr_assert_eq(fileset_parse(text, n, &back), 0);
    cr_expect(fileset_has(&back, path) && !fileset_has(&back, "/etc/passwd"));
    cr_assert_eq(fileset_read(&back, path, 1000, &st, &bytes, &len, &why), 0);
    cr_expect(len == set.files[0].len && memcmp(bytes, set.files[0].bytes, len + 1) == 0);
    free(bytes);
    cr_expect_eq(fileset_read(&back, "/etc/passwd", 1 << 20, &st, &bytes, &len, &why), -ENOENT,
                 "a replay never reads the disk");
    cr_expect_eq(fileset_read(&back, path, 3, &st, &bytes, &len, &why), -ENOENT);
    fileset_fini(&back);
    fileset_fini(&set);
    free(text);
}

/* Cut anywhere, or with any byte changed, it is refused. */
Test(conf_fileset, parse__refuses__every_harm)
{
    struct fileset set, back;
    char path[] = "/tmp/fileset-XXXXXX";
    size_t n;
    make(&set, path);
    unlink(path);
    char *text = save(&set, &n);
    for (size_t i = 0; i < n; i++) {
        char *cut = malloc(i + 1);
        memcpy(cut, text, i);
        cr_expect_eq(fileset_parse(cut, i, &back), -EINVAL, "cut at %zu", i);
        free(cut);
        text[i] ^= 1;
        cr_expect_eq(fileset_parse(text, n, &back), -EINVAL, "byte %zu", i);
        text[i] ^= 1;
    }
    cr_expect_eq(fileset_parse("ukai last good 1\nfile 99999999999999999999 x\n", 46, &back),
                 -EINVAL);
    cr_expect_eq(fileset_parse("ukai last good 1\nend 0000000000000000\n", 38, &back), -EINVAL);
    fileset_fini(&set);
    free(text);
}

Test(conf_fileset, save__refuses__what_is_cut)
{
    struct fileset set = {.is_cut = true};
    cr_expect_eq(fileset_save(&set, stderr), -EINVAL);
}

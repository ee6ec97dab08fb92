/* found - helpers of the tests in this folder: what findings say, and files to read. */
#ifndef TESTS_UNIT_CONF_FOUND_H
#define TESTS_UNIT_CONF_FOUND_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/findings.h"

/* @line 0: any line. */
static inline bool found(const struct findings *f, enum finding_level level, unsigned line,
                         const char *part)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const struct finding *item = &f->items[i];
        if (item->level == level && (line == 0 || item->line == line) && strstr(item->text, part))
            return true;
    }
    return false;
}

/* All findings as one text for a failing test's message; the buffer is the test's. */
static inline const char *found_text(const struct findings *f, char *buf, size_t size)
{
    FILE *out = fmemopen(buf, size, "w");

    if (out) {
        findings_print(f, out);
        fclose(out);
    }
    buf[size - 1] = '\0';
    return buf;
}

/* A directory of the test's own; the files in it are left to the system's clean-up of /tmp. */
static inline const char *found_dir(char path[static 32])
{
    snprintf(path, 32, "/tmp/ukai-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path), "mkdtemp");
    return path;
}

static inline void found_write(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "cannot write %s", path);
    fchmod(fd, 0644);
    close(fd);
}

#endif

/*
 * A text that a person can read, with the files as they are. The checksum is for torn writes and
 * bad disks; whoever can write the text can write the checksum too, so who may is looked at by
 * whoever opens it (daemon/lastgood).
 */
#include "conf/fileset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/wholefile.h"
#include "proxy/base/siphash.h"

#define HEADING "ukai last good 1\n"
enum { PATH_BYTES_MAX = 4096 };

/* No secret: it finds accidents. */
static const struct siphash_key ACCIDENTS = {0x756b6169, 1};

void fileset_fini(struct fileset *set)
{
    for (size_t i = 0; i < set->n_files; i++) {
        free(set->files[i].path);
        free(set->files[i].bytes);
    }
    free(set->files);
    *set = (struct fileset){0};
}

static const struct fileset_file *find(const struct fileset *set, const char *path)
{
    for (size_t i = 0; i < set->n_files; i++) {
        if (strcmp(set->files[i].path, path) == 0)
            return &set->files[i];
    }
    return NULL;
}

static char *copy_bytes(const char *bytes, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy) {
        memcpy(copy, bytes, len);
        copy[len] = '\0';
    }
    return copy;
}

static int add(struct fileset *set, const char *path, size_t path_len, const char *bytes,
               size_t len)
{
    if (set->n_files == FILESET_FILES_MAX || len > FILESET_BYTES_MAX - set->n_bytes)
        return -E2BIG;
    struct fileset_file *grown = reallocarray(set->files, set->n_files + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    set->files = grown;
    struct fileset_file f = {strndup(path, path_len), copy_bytes(bytes, len), len};
    if (!f.path || !f.bytes) {
        free(f.path);
        free(f.bytes);
        return -ENOMEM;
    }
    set->files[set->n_files++] = f;
    set->n_bytes += len;
    return 0;
}

static int replay(const struct fileset *set, const char *path, size_t max_bytes,
                  struct stat *ret_st, char **ret_bytes, size_t *ret_len, const char **ret_why)
{
    const struct fileset_file *f = find(set, path);
    if (!f || f->len > max_bytes) {
        *ret_why = "is not in the last good copy";
        return -ENOENT;
    }
    *ret_bytes = copy_bytes(f->bytes, f->len);
    if (!*ret_bytes) {
        *ret_why = "does not fit into memory";
        return -ENOMEM;
    }
    *ret_len = f->len;
    *ret_st = (struct stat){.st_mode = S_IFREG | S_IRUSR, .st_size = (off_t)f->len};
    return 0;
}

int fileset_read(struct fileset *set, const char *path, size_t max_bytes, struct stat *ret_st,
                 char **ret_bytes, size_t *ret_len, const char **ret_why)
{
    if (set && set->is_replay)
        return replay(set, path, max_bytes, ret_st, ret_bytes, ret_len, ret_why);
    int r = wholefile_read(path, max_bytes, ret_st, ret_bytes, ret_len, ret_why);
    if (r == 0 && set && !find(set, path) && add(set, path, strlen(path), *ret_bytes, *ret_len) < 0)
        set->is_cut = true;
    return r;
}

bool fileset_has(const struct fileset *set, const char *path)
{
    return set && set->is_replay ? find(set, path) != NULL : access(path, F_OK) == 0;
}

static uint64_t sum_of(const struct fileset *set)
{
    uint64_t sum = set->n_files;
    for (size_t i = 0; i < set->n_files; i++) {
        const struct fileset_file *f = &set->files[i];
        sum = sum * 31 + siphash(&ACCIDENTS, f->path, strlen(f->path));
        sum = sum * 31 + siphash(&ACCIDENTS, f->bytes, f->len);
    }
    return sum;
}

int fileset_save(const struct fileset *set, FILE *out)
{
    if (set->is_cut || set->n_files == 0)
        return -EINVAL;
    fputs(HEADING, out);
    for (size_t i = 0; i < set->n_files; i++) {
        const struct fileset_file *f = &set->files[i];
        if (strchr(f->path, '\n'))
            return -EINVAL;
        fprintf(out, "file %zu %s\n", f->len, f->path);
        fwrite(f->bytes, 1, f->len, out);
        fputc('\n', out);
    }
    fprintf(out, "end %016" PRIx64 "\n", sum_of(set));
    return ferror(out) ? -EIO : 0;
}

/* What is left of the text. */
struct rest {
    const char *at;
    size_t len;
};

/* Takes @n bytes; NULL: there are not so many. */
static const char *take(struct rest *r, size_t n)
{
    const char *at = r->at;
    if (n > r->len)
        return NULL;
    r->at += n;
    r->len -= n;
    return at;
}

/* `file BYTES PATH` and what follows. */
static int parse_file(struct rest *r, struct fileset *set)
{
    const char *eol = memchr(r->at, '\n', r->len);
    char line[PATH_BYTES_MAX + 32], *end;
    if (!eol || (size_t)(eol - r->at) >= sizeof(line))
        return -EINVAL;
    size_t n = (size_t)(eol - r->at);
    memcpy(line, take(r, n + 1), n);
    line[n] = '\0';
    if (strncmp(line, "file ", 5) != 0 || line[5] < '0' || line[5] > '9')
        return -EINVAL;
    unsigned long long len = strtoull(line + 5, &end, 10);
    if (*end != ' ' || end[1] == '\0' || strlen(line) != n || len > FILESET_BYTES_MAX)
        return -EINVAL;
    const char *bytes = take(r, (size_t)len);
    const char *after = bytes ? take(r, 1) : NULL;
    if (!after || *after != '\n' || find(set, end + 1))
        return -EINVAL;
    int rc = add(set, end + 1, strlen(end + 1), bytes, (size_t)len);
    return rc == -E2BIG ? -EINVAL : rc;
}

static int parse_end(struct rest *r, const struct fileset *set)
{
    char expected[32];
    int n = snprintf(expected, sizeof(expected), "end %016" PRIx64 "\n", sum_of(set));
    return r->len == (size_t)n && memcmp(r->at, expected, (size_t)n) == 0 ? 0 : -EINVAL;
}

int fileset_parse(const char *bytes, size_t len, struct fileset *ret_set)
{
    struct rest r = {bytes, len};
    const char *heading = take(&r, strlen(HEADING));
    *ret_set = (struct fileset){.is_replay = true};
    int rc = heading && memcmp(heading, HEADING, strlen(HEADING)) == 0 ? 0 : -EINVAL;
    while (rc == 0 && r.len > 5 && memcmp(r.at, "file ", 5) == 0)
        rc = parse_file(&r, ret_set);
    if (rc == 0)
        rc = ret_set->n_files > 0 ? parse_end(&r, ret_set) : -EINVAL;
    if (rc < 0)
        fileset_fini(ret_set);
    return rc;
}

/*
 * hosts(5) as it is found in the field: blanks and tabs, `#` starts a comment anywhere, CRLF, a
 * UTF-8 mark, several names a line, no newline at the end. Unlike libc, which skips what it cannot
 * read, a bad line refuses the whole file: it is read while the daemon runs, and half of a file
 * must not take the place of a good one. The caller keeps what it had.
 */
#include "conf/hostsfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/value.h"
#include "conf/fileset.h"

struct parse {
    const char *file;
    unsigned line;
    struct findings *findings;
    struct hosts *hosts;
};

#define REFUSE(p, ...) findings_add((p)->findings, FINDING_ERROR, (p)->file, (p)->line, __VA_ARGS__)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* The next word of the line; false: there is none. */
static bool next_word(const char **at, const char *end, struct value_item *ret_word)
{
    const char *p = *at;
    while (p < end && is_blank(*p))
        p++;
    ret_word->text = p;
    while (p < end && !is_blank(*p))
        p++;
    ret_word->len = (size_t)(p - ret_word->text);
    *at = p;
    return ret_word->len > 0;
}

static int take_name(struct parse *p, struct value_item word, const struct addr *a)
{
    char quoted[VALUE_QUOTE_MAX];
    int r = hosts_add(p->hosts, word.text, word.len, a);
    switch (r) {
    case 0:
    case -EEXIST:
        return 0;
    case -EINVAL:
        REFUSE(p, "%s is no host name; write letters, digits, hyphens and dots",
               value_quote(word.text, word.len, quoted));
        return 0;
    case -ENOSPC:
        REFUSE(p, "%s has more than %d addresses", value_quote(word.text, word.len, quoted),
               HOSTS_ADDRS_MAX);
        return 0;
    case -E2BIG:
        REFUSE(p, "more than %d records", HOSTS_RECORDS_MAX);
        return -E2BIG;
    default:
        return r;
    }
}

static int take_line(struct parse *p, const char *text, const char *end)
{
    char quoted[VALUE_QUOTE_MAX];
    struct value_item word;
    struct addr addr;

    const char *hash = memchr(text, '#', (size_t)(end - text));
    if (hash)
        end = hash;
    if (!next_word(&text, end, &word))
        return 0;
    if (end - word.text > HOSTSFILE_LINE_MAX) {
        REFUSE(p, "the line is longer than %d bytes; put the names on several lines",
               HOSTSFILE_LINE_MAX);
        return 0;
    }
    const char *scope = memchr(word.text, '%', word.len);
    if (addr_parse(word.text, scope ? (size_t)(scope - word.text) : word.len, &addr) < 0) {
        REFUSE(p, "%s is no address; write ADDRESS NAME ...",
               value_quote(word.text, word.len, quoted));
        return 0;
    }
    if (scope) {
        findings_add(p->findings, FINDING_WARNING, p->file, p->line,
                     "%s: an address with an interface fits no DNS record; the line is left out",
                     value_quote(word.text, word.len, quoted));
        return 0;
    }
    if (!next_word(&text, end, &word)) {
        REFUSE(p, "an address without a name; write ADDRESS NAME ...");
        return 0;
    }
    int r = 0;
    do {
        r = take_name(p, word, &addr);
    } while (r == 0 && next_word(&text, end, &word));
    return r;
}

int hostsfile_parse_bytes(const char *file, const char *bytes, size_t len,
                          struct findings *findings, struct hosts **ret_hosts)
{
    struct parse p = {.file = file, .findings = findings, .hosts = hosts_new(file)};
    const char *end = bytes + len;
    size_t n_errors = findings->n_errors;
    int r = p.hosts ? 0 : -ENOMEM;

    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        bytes += 3;
    while (r == 0 && bytes < end) {
        const char *lf = memchr(bytes, '\n', (size_t)(end - bytes));
        const char *stop = lf ? lf : end;
        p.line++;
        r = take_line(&p, bytes, stop);
        bytes = lf ? lf + 1 : end;
    }
    if (r == 0 && findings->n_errors == n_errors) {
        *ret_hosts = p.hosts;
        return 0;
    }
    hosts_unref(p.hosts);
    return r == -ENOMEM ? r : -EINVAL;
}

static struct hosts_stamp stamp_of(const struct stat *st)
{
    return (struct hosts_stamp){.dev = st->st_dev,
                                .ino = st->st_ino,
                                .size = st->st_size,
                                .changed = st->st_ctim,
                                .modified = st->st_mtim};
}

int hostsfile_load(const char *file, struct findings *findings, struct hosts **ret_hosts)
{
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;

    int r = fileset_read(findings->files, file, HOSTSFILE_BYTES_MAX, &st, &bytes, &len, &why);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        findings_add(findings, FINDING_ERROR, file, 0, "hosts-file: %s", why);
        return -EINVAL;
    }
    r = hostsfile_parse_bytes(file, bytes, len, findings, ret_hosts);
    free(bytes);
    if (r < 0)
        return r;
    struct hosts_stamp stamp = stamp_of(&st);
    hosts_set_stamp(*ret_hosts, &stamp);
    return 0;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool hostsfile_is_current(const struct hosts *h)
{
    const struct hosts_stamp *then = hosts_stamp(h);
    struct stat st;
    if (stat(hosts_file(h), &st) < 0)
        return false;
    struct hosts_stamp now = stamp_of(&st);
    return now.dev == then->dev && now.ino == then->ino && now.size == then->size &&
           is_same_time(&now.changed, &then->changed) &&
           is_same_time(&now.modified, &then->modified);
}

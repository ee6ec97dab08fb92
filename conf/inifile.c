/*
 * inih reads what it is given without a word about what it had to bend: it cuts at NUL, splits long
 * lines and takes their tails for new keys, glues indented lines to the key above, cuts values at `
 * ;`, and goes on behind errors (each reproduced with version 55). A rule file must not change its
 * meaning by an accident like that. So a guard looks at every line first, takes the memo off, and
 * passes on only lines that inih cannot misread; the rest become findings with their line number.
 * inih's own split of the line is what the handler gets, and it must agree with the guard's
 * heading.
 *
 * The guard is not a second parser: it knows where a line is dangerous, not what keys mean.
 * Everything here belongs to the caller's thread; no state outlives a call.
 */
#include "conf/inifile.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"
#include "conf/fileset.h"
#include "proxy/base/escape.h"

struct span {
    const char *p;
    size_t len;
};

struct reader {
    const char *file;
    const char *next; /* first byte not looked at yet */
    const char *end;
    struct findings *findings;
    inifile_entry_fn entry;
    void *arg;
    unsigned line;
    bool has_errors;
    bool is_lost; /* behind a broken heading */
    int result;   /* first failure of the handler */
    char section[INIFILE_NAME_MAX + 1];
    unsigned section_line;
    char *memo; /* of the line that inih holds now; grows, owned */
    size_t memo_size;
};

static void refuse(struct reader *rd, const char *text)
{
    rd->has_errors = true;
    findings_add(rd->findings, FINDING_ERROR, rd->file, rd->line, "%s", text);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim_end(struct span s)
{
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

static struct span trim(struct span s)
{
    while (s.len > 0 && is_blank(*s.p)) {
        s.p++;
        s.len--;
    }
    return trim_end(s);
}

/* The next line without its LF or CRLF. */
static bool take_line(struct reader *rd, struct span *ret_line)
{
    if (rd->next == rd->end)
        return false;
    const char *lf = memchr(rd->next, '\n', (size_t)(rd->end - rd->next));
    const char *stop = lf ? lf : rd->end;
    struct span line = {.p = rd->next, .len = (size_t)(stop - rd->next)};

    rd->next = lf ? lf + 1 : rd->end;
    rd->line++;
    if (lf && line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    return true;
}

/* Bytes that must not stand anywhere, comments included. */
static bool check_bytes(struct reader *rd, struct span line)
{
    const char *why = NULL;

    for (size_t i = 0; i < line.len && !why; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if (c == 0)
            why = "a NUL byte in the line; write the file again as plain UTF-8 text";
        else if (c == '\r')
            why = "a lone carriage return in the line; end lines with LF or CRLF";
        else if ((c < 0x20 && c != '\t') || c == 0x7f)
            why = "a control character in the line; remove it";
    }
    if (!why && !escape_is_utf8(line.p, line.len))
        why = "not UTF-8; convert the file, for example with `iconv -f CP932 -t UTF-8`";
    if (why)
        refuse(rd, why);
    return !why;
}

/* Takes ` ; memo` off. A `;` at the start of the line is a comment: nothing is left. */
static struct span split_memo(struct span line, struct span *ret_memo)
{
    *ret_memo = (struct span){.p = line.p + line.len, .len = 0};
    for (size_t i = 0; i < line.len; i++) {
        if (line.p[i] != ';' || (i > 0 && !is_blank(line.p[i - 1])))
            continue;
        if (i > 0)
            *ret_memo = trim((struct span){.p = line.p + i + 1, .len = line.len - i - 1});
        return (struct span){.p = line.p, .len = i};
    }
    return line;
}

static bool has_blank_hash(struct span s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.p[i] == '#' && is_blank(s.p[i - 1]))
            return true;
    }
    return false;
}

/* What holds for headings and keys alike. */
static const char *check_rest(struct span rest)
{
    if (is_blank(rest.p[0]))
        return "an indented line; start it in the first column, and repeat the key for a further "
               "value";
    if (memchr(rest.p, ';', rest.len))
        return "a `;` without a blank before it; write ` ; ` before a memo";
    if (has_blank_hash(rest))
        return "` #` does not start a memo; write ` ; ` before it";
    if (rest.len > INIFILE_LINE_MAX)
        return "the line is longer than 199 bytes without its memo; split it into several lines";
    return NULL;
}

static const char *check_heading(struct span rest, struct span *ret_name)
{
    const char *close = memchr(rest.p, ']', rest.len);

    if (!close)
        return "the section is not closed; write `[name]`";
    if (close != rest.p + rest.len - 1)
        return "text behind `]`; only a memo may stand there: `[name] ; memo`";
    *ret_name = trim((struct span){.p = rest.p + 1, .len = rest.len - 2});
    if (ret_name->len == 0)
        return "the section has no name; write `[name]`";
    if (ret_name->len > INIFILE_NAME_MAX)
        return "the section's name is longer than 49 bytes; shorten it";
    return NULL;
}

/* `2001:db8::1` where a key should be: more than one colon and nothing but hex digits around. */
static bool looks_like_ipv6(struct span s)
{
    size_t n_colons = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == ':')
            n_colons++;
        else if (!strchr("0123456789abcdefABCDEF./", s.p[i]))
            return false;
    }
    return n_colons > 1;
}

static const char *check_key(struct span rest)
{
    const char *equals = memchr(rest.p, '=', rest.len);
    struct span key =
        trim_end((struct span){.p = rest.p, .len = equals ? (size_t)(equals - rest.p) : rest.len});

    if (looks_like_ipv6(key))
        return "an IPv6 address cannot be a key; write it as a value: `any = 2001:db8::1`";
    if (memchr(key.p, ':', key.len))
        return "a `:` before the first `=`; write `key = value`";
    if (!equals)
        return "no `=` in the line; write `key = value`";
    if (key.len == 0)
        return "no key before the `=`; write `key = value`";
    if (equals + 1 < rest.p + rest.len && equals[1] == '#')
        return "a value cannot start with `#`; write ` ; ` before a memo";
    if (key.len > INIFILE_NAME_MAX)
        return "the key is longer than 49 bytes; see the manual for the keys";
    return NULL;
}

static int keep_memo(struct reader *rd, struct span memo)
{
    if (memo.len + 1 > rd->memo_size) {
        char *grown = realloc(rd->memo, memo.len + 1);
        if (!grown)
            return -ENOMEM;
        rd->memo = grown;
        rd->memo_size = memo.len + 1;
    }
    memcpy(rd->memo, memo.p, memo.len);
    rd->memo[memo.len] = '\0';
    return 0;
}

static void give(struct reader *rd, const char *key, const char *value)
{
    struct inifile_entry entry = {
        .section = rd->section,
        .section_line = rd->section_line,
        .key = key,
        .value = value,
        .memo = rd->memo,
        .line = rd->line,
    };
    rd->result = rd->entry(rd->arg, &entry);
}

static void open_section(struct reader *rd, struct span name)
{
    memcpy(rd->section, name.p, name.len);
    rd->section[name.len] = '\0';
    rd->section_line = rd->line;
    rd->is_lost = false;
    give(rd, NULL, NULL);
}

/* Judges one line. Returns true when inih shall see *ret_rest. */
static bool pass_line(struct reader *rd, struct span line, struct span *ret_rest)
{
    struct span memo, name;

    if (!check_bytes(rd, line)) {
        rd->is_lost = rd->is_lost || line.p[0] == '[';
        return false;
    }
    if (line.len > 0 && line.p[0] == '#')
        return false;
    struct span rest = trim_end(split_memo(line, &memo));
    struct span bare = trim(rest);
    if (bare.len == 0 || bare.p[0] == '#')
        return false;
    if (bare.p[0] == '[' && is_blank(rest.p[0]))
        rd->is_lost = true;
    bool is_heading = rest.p[0] == '[';
    const char *why = check_rest(rest);
    if (!why)
        why = is_heading ? check_heading(rest, &name) : check_key(rest);
    if (why) {
        rd->is_lost = rd->is_lost || is_heading;
        refuse(rd, why);
        return false;
    }
    if (rd->is_lost && !is_heading)
        return false;
    rd->result = keep_memo(rd, memo);
    if (is_heading && rd->result == 0)
        open_section(rd, name);
    *ret_rest = rest;
    return rd->result == 0;
}

/* inih's fgets(): one line that passed, or the end. A line is at most 199 bytes, @size is 200. */
static char *on_inih_wants(char *buf, int size, void *stream)
{
    struct reader *rd = stream;
    struct span line, rest;

    while (rd->result == 0 && take_line(rd, &line)) {
        if (!pass_line(rd, line, &rest))
            continue;
        if (size < 0 || rest.len >= (size_t)size) {
            refuse(rd, "the INI library takes no line of this length");
            continue;
        }
        memcpy(buf, rest.p, rest.len);
        buf[rest.len] = '\0';
        return buf;
    }
    return NULL;
}

/* The section as inih read it, blanks around it aside, must be the one the guard saw. */
static bool is_same_section(const struct reader *rd, const char *section)
{
    struct span s = trim((struct span){.p = section, .len = strlen(section)});
    return s.len == strlen(rd->section) && memcmp(s.p, rd->section, s.len) == 0;
}

static int on_inih_pair(void *user, const char *section, const char *key, const char *value)
{
    struct reader *rd = user;

    if (rd->result < 0)
        return 1;
    if (!is_same_section(rd, section))
        refuse(rd, "the INI library reads this line in another section; rename the section");
    else
        give(rd, key, value);
    return 1;
}

/* File-wide troubles that would give one finding a line. */
static bool check_whole(struct reader *rd, const char *bytes, size_t len)
{
    const char *why = NULL;

    if (len >= 2 && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0))
        why = "the file is UTF-16; save it as UTF-8";
    else if (len >= 4 && ((bytes[0] == 0) != (bytes[1] == 0)) &&
             ((bytes[2] == 0) != (bytes[3] == 0)))
        why = "the file looks like UTF-16; save it as UTF-8";
    else if (memchr(bytes, '\r', len) && !memchr(bytes, '\n', len))
        why = "the lines end with CR alone; end them with LF or CRLF";
    if (why) {
        rd->line = 1;
        refuse(rd, why);
    }
    return !why;
}

int inifile_parse_bytes(const char *file, const char *bytes, size_t len, inifile_entry_fn entry,
                        void *arg, struct findings *findings)
{
    struct reader rd = {.file = file, .findings = findings, .entry = entry, .arg = arg};

    if (!check_whole(&rd, bytes, len))
        return -EINVAL;
    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        bytes += 3;
        len -= 3;
    }
    if (len == 0)
        return 0;
    rd.next = bytes;
    rd.end = bytes + len;
    int r = ini_parse_stream(on_inih_wants, &rd, on_inih_pair, &rd);
    if (r != 0 && rd.result == 0 && !rd.has_errors) {
        /* Its count of lines is not ours: it saw only those that passed. */
        rd.line = 0;
        refuse(&rd, "the INI library cannot read the file");
    }
    free(rd.memo);
    if (rd.result < 0)
        return rd.result;
    if (bytes[len - 1] != '\n')
        findings_add(findings, FINDING_WARNING, file, rd.line,
                     "the last line does not end; if the file is whole, add a line end");
    return rd.has_errors ? -EINVAL : 0;
}

static void check_mode(const char *path, const struct stat *st, struct findings *findings)
{
    if (st->st_mode & S_IWOTH)
        findings_add(findings, FINDING_ERROR, path, 0,
                     "writable by everybody; run `chmod o-w` on the file");
    else if (st->st_mode & S_IWGRP)
        findings_add(findings, FINDING_WARNING, path, 0,
                     "writable by its group; run `chmod g-w` on the file");
}

static void check_directory(const char *path, struct findings *findings)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    struct stat st = {0};

    if (!dir || stat(dir, &st) < 0 || (st.st_mode & S_ISVTX))
        st.st_mode = 0;
    if (st.st_mode & S_IWOTH)
        findings_add(findings, FINDING_WARNING, path, 0,
                     "its directory is writable by everybody; run `chmod o-w` on the directory");
    else if (st.st_mode & S_IWGRP)
        findings_add(findings, FINDING_WARNING, path, 0,
                     "its directory is writable by a group; run `chmod g-w` on the directory");
    free(dir);
}

int inifile_load(const char *path, size_t max_bytes, inifile_entry_fn entry, void *arg,
                 struct findings *findings)
{
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;

    int r = fileset_read(findings->files, path, max_bytes, &st, &bytes, &len, &why);
    if (r < 0) {
        findings_add(findings, FINDING_ERROR, path, 0, "%s", why);
        return r == -ENOMEM ? r : -EINVAL;
    }
    size_t n_errors = findings->n_errors;
    check_mode(path, &st, findings);
    check_directory(path, findings);
    r = inifile_parse_bytes(path, bytes, len, entry, arg, findings);
    free(bytes);
    return r == 0 && findings->n_errors > n_errors ? -EINVAL : r;
}

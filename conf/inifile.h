/* inifile - one INI file checked by our own rules, then read by inih line by line. */
#ifndef CONF_INIFILE_H
#define CONF_INIFILE_H

#include <stddef.h>

#include "proxy/base/findings.h"

enum {
    INIFILE_CONF_MAX = 1024 * 1024,     /* ukai.conf */
    INIFILE_ACL_MAX = 64 * 1024 * 1024, /* acl.conf: a million rules fit */
    INIFILE_NAME_MAX = 49,              /* bytes of a section or key; inih cuts longer ones */
    INIFILE_LINE_MAX = 199, /* bytes of a line without its memo; inih splits longer ones */
};

/* One `key = value ; memo`, or a section's heading (key and value NULL). All texts are trimmed. */
struct inifile_entry {
    const char *section;
    unsigned section_line;
    const char *key;
    const char *value;
    const char *memo; /* without its `;`; empty when there is none */
    unsigned line;
};

/* All of @entry is borrowed for the call. Returns 0 to go on; a negative errno ends the reading. */
typedef int (*inifile_entry_fn)(void *arg, const struct inifile_entry *entry);

/**
 * inifile_parse_bytes - read a file's content
 * @file:  name for the findings
 * @entry: called for every heading and every key that the guard let pass, in the order of the file
 *
 * Lines that the guard refuses are findings and are left out; behind a broken heading all lines are
 * left out up to the next one, so that nothing lands in the wrong section.
 * Returns: 0 · -EINVAL findings has errors of this layer · what @entry returned.
 */
int inifile_parse_bytes(const char *file, const char *bytes, size_t len, inifile_entry_fn entry,
                        void *arg, struct findings *findings) __attribute__((warn_unused_result));

/**
 * inifile_load - the same from a regular file of at most @max_bytes
 *
 * A file that everybody may write is an error; one that its group may write, or that lies in a
 * directory where everybody may replace it, is a warning.
 * Returns: as inifile_parse_bytes() · -EINVAL also when the file cannot be read (said in findings).
 */
int inifile_load(const char *path, size_t max_bytes, inifile_entry_fn entry, void *arg,
                 struct findings *findings) __attribute__((warn_unused_result));

#endif

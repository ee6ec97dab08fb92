/* value - the scalar types of the configuration: text to number and back, nearest word (pure). */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All parsers: 0 · -EINVAL not of this form · -ERANGE of this form, but over 2^64 - 1 (nothing
 * wraps). */

/* Decimal digits, or 0x and hex digits; no sign, no blanks. */
int value_parse_number(const char *text, uint64_t *ret_number) __attribute__((warn_unused_result));
/* Digits and one of ms s m h d; the unit is mandatory, `0s` included. -ENODATA: the unit is
 * missing. */
int value_parse_duration(const char *text, uint64_t *ret_ms) __attribute__((warn_unused_result));
/* Digits and at most one of K M G (1024), in either case. */
int value_parse_size(const char *text, uint64_t *ret_bytes) __attribute__((warn_unused_result));
/* yes no on off true false. */
int value_parse_bool(const char *text, bool *ret_bool) __attribute__((warn_unused_result));

enum { VALUE_TEXT_MAX = 32 };

/* The shortest text that the parser gives back as the same value. Return @buf. */
const char *value_duration_text(uint64_t ms, char buf[static VALUE_TEXT_MAX]);
const char *value_size_text(uint64_t bytes, char buf[static VALUE_TEXT_MAX]);

/* Edits (insert, delete, replace, swap of neighbours) from @a to @b, case aside; words over 49
 * bytes are cut. */
unsigned value_distance(const char *a, const char *b);

/* The nearer of two candidates: keeps the best so far. Zero-initialise, add each, then ask. */
struct value_nearest {
    const char *best; /* borrowed */
    unsigned distance;
};
void value_nearest_add(struct value_nearest *n, const char *word, const char *candidate);
/* NULL when nothing is near enough to be a misspelling of @word. */
const char *value_nearest_get(const struct value_nearest *n, const char *word);

/* One item of a comma-separated list. */
struct value_item {
    const char *text; /* into the list; not terminated */
    size_t len;       /* blanks around it taken off; 0: nothing between two commas */
};

/**
 * value_next_item - walk `a, b, c`
 * @cursor: starts at the text; moved behind the item; NULL after the last one
 * Returns: false when there is no further item. An empty text is one empty item.
 */
bool value_next_item(const char **cursor, struct value_item *ret_item);

enum { VALUE_QUOTE_MAX = 128 };

/* "text", escaped and cut, so that a finding stays one readable line. Returns @buf. */
const char *value_quote(const char *text, size_t len, char buf[static VALUE_QUOTE_MAX]);

#endif

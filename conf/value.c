/*
 * Scalars are parsed by hand, not by strtoul(): that one takes signs, leading blanks and wraps, and
 * a wrapped timeout is a timeout that never ends. A duration without a unit is refused, since
 * nobody remembers whether a bare 30 means seconds here or milliseconds.
 *
 * Not here: ranges. They belong to the key (conf/schema.c), not to the type.
 */
#include "conf/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/escape.h"

enum { WORD_MAX = 49 };

static int digit_value(char c, unsigned base)
{
    int d = -1;

    if (c >= '0' && c <= '9')
        d = c - '0';
    else if (c >= 'a' && c <= 'f')
        d = c - 'a' + 10;
    else if (c >= 'A' && c <= 'F')
        d = c - 'A' + 10;
    return d < (int)base ? d : -1;
}

/* Leading digits of @text; the rest starts at *ret_rest. Goes on past an overflow to find the rest.
 */
static int parse_digits(const char *text, unsigned base, uint64_t *ret_number,
                        const char **ret_rest)
{
    uint64_t number = 0;
    bool overflow = false;
    const char *p = text;

    for (; digit_value(*p, base) >= 0; p++) {
        if (__builtin_mul_overflow(number, base, &number) ||
            __builtin_add_overflow(number, (uint64_t)digit_value(*p, base), &number))
            overflow = true;
    }
    if (p == text)
        return -EINVAL;
    *ret_rest = p;
    if (overflow)
        return -ERANGE;
    *ret_number = number;
    return 0;
}

int value_parse_number(const char *text, uint64_t *ret_number)
{
    bool is_hex = text[0] == '0' && text[1] == 'x';
    const char *rest;
    uint64_t number;

    int r = parse_digits(text + (is_hex ? 2 : 0), is_hex ? 16 : 10, &number, &rest);
    if (r == -EINVAL || *rest != '\0')
        return -EINVAL;
    if (r == 0)
        *ret_number = number;
    return r;
}

static const struct {
    const char *word;
    uint64_t ms;
} units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

int value_parse_duration(const char *text, uint64_t *ret_ms)
{
    const char *rest;
    uint64_t number = 0;

    int r = parse_digits(text, 10, &number, &rest);
    if (r == -EINVAL)
        return r;
    if (*rest == '\0')
        return -ENODATA;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(rest, units[i].word) != 0)
            continue;
        if (r < 0 || __builtin_mul_overflow(number, units[i].ms, &number))
            return -ERANGE;
        *ret_ms = number;
        return 0;
    }
    return -EINVAL;
}

static int size_shift(const char *unit)
{
    if (unit[0] == '\0')
        return 0;
    if (unit[1] != '\0')
        return -1;
    switch (unit[0]) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return -1;
    }
}

int value_parse_size(const char *text, uint64_t *ret_bytes)
{
    const char *rest;
    uint64_t number = 0;

    int r = parse_digits(text, 10, &number, &rest);
    if (r == -EINVAL || size_shift(rest) < 0)
        return -EINVAL;
    if (r < 0 || __builtin_mul_overflow(number, UINT64_C(1) << size_shift(rest), &number))
        return -ERANGE;
    *ret_bytes = number;
    return 0;
}

int value_parse_bool(const char *text, bool *ret_bool)
{
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_bool = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

const char *value_duration_text(uint64_t ms, char buf[static VALUE_TEXT_MAX])
{
    size_t i = 0;

    while (ms % units[i].ms != 0)
        i++;
    if (ms == 0)
        i = 3; /* 0s reads better than 0d */
    snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 "%s", ms / units[i].ms, units[i].word);
    return buf;
}

const char *value_size_text(uint64_t bytes, char buf[static VALUE_TEXT_MAX])
{
    static const char *const suffix[] = {"", "K", "M", "G"};
    size_t i = 0;

    while (i < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 "%s", bytes, suffix[i]);
    return buf;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment: three rows of the usual table, the third one for swapped neighbours. */
unsigned value_distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1];
    size_t len_a = strnlen(a, WORD_MAX), len_b = strnlen(b, WORD_MAX);

    for (size_t j = 0; j <= len_b; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= len_a; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= len_b; j++) {
            unsigned cost = lower(a[i - 1]) != lower(b[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min3(row[j], above2[j - 2] + 1, row[j]);
        }
    }
    return rows[len_a % 3][len_b];
}

void value_nearest_add(struct value_nearest *n, const char *word, const char *candidate)
{
    unsigned distance = value_distance(word, candidate);

    if (n->best && n->distance <= distance)
        return;
    n->best = candidate;
    n->distance = distance;
}

const char *value_nearest_get(const struct value_nearest *n, const char *word)
{
    /* A third of the letters wrong is a slip of the fingers; more is another word. */
    size_t most = strnlen(word, WORD_MAX) / 3;

    if (most < 2)
        most = strnlen(word, WORD_MAX) < 3 ? 1 : 2;
    return n->best && n->distance <= most ? n->best : NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool value_next_item(const char **cursor, struct value_item *ret_item)
{
    const char *p = *cursor;

    if (!p)
        return false;
    size_t len = strcspn(p, ",");
    *cursor = p[len] == ',' ? p + len + 1 : NULL;
    while (len > 0 && is_blank(*p)) {
        p++;
        len--;
    }
    while (len > 0 && is_blank(p[len - 1]))
        len--;
    *ret_item = (struct value_item){.text = p, .len = len};
    return true;
}

const char *value_quote(const char *text, size_t len, char buf[static VALUE_QUOTE_MAX])
{
    buf[0] = '"';
    size_t n = 1 + escape_write(ESCAPE_TEXT, text, len, buf + 1, VALUE_QUOTE_MAX - 2);
    buf[n] = '"';
    buf[n + 1] = '\0';
    return buf;
}

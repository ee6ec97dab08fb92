/* lines - helpers of the tests in this folder: rules from a text, what findings say, numbers from a seed. */
#ifndef TESTS_UNIT_ACL_LINES_H
#define TESTS_UNIT_ACL_LINES_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/rule.h"
#include "proxy/base/findings.h"

#define N_ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

/* @line 0: any line. */
static inline bool found(const struct findings *f, enum finding_level level, unsigned line, const char *part)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const struct finding *item = &f->items[i];
        if (item->level == level && (line == 0 || item->line == line) && strstr(item->text, part))
            return true;
    }
    return false;
}

static inline size_t n_found(const struct findings *f, enum finding_level level, const char *part)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_items; i++)
        n += f->items[i].level == level && strstr(f->items[i].text, part);
    return n;
}

/* All findings as one text for a failing test's message. */
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

static inline char *cut(char *text, const char *mark)
{
    char *at = strstr(text, mark);

    if (!at)
        return text + strlen(text);
    *at = '\0';
    return at + strlen(mark);
}

static inline int take_line(struct acl *acl, const char *section, char *text, unsigned line, struct findings *f)
{
    const char *memo = cut(text, " ; ");
    const char *value = cut(text, " = ");

    if (strcmp(section, "in") == 0)
        return acl_add_in(acl, text, value, memo, line, f);
    if (strcmp(section, "out") == 0 || strncmp(section, "out @", 5) == 0)
        return acl_add_out(acl, text, value, memo, line, f);
    return acl_add_member(acl, section + strlen("group "), text, value, memo, line, f);
}

/* `[in]`, `key = value ; memo`: well-formed files only. The result of acl_finish() goes to @ret. */
static inline struct acl *acl_of(const char *text, struct findings *f, int *ret)
{
    struct acl *acl = acl_new("/etc/ukai/acl.conf");
    char *copy = strdup(text);
    char section[64] = "";
    unsigned line = 0;

    cr_assert(acl && copy);
    for (char *at = copy; *at;) {
        char *next = cut(at, "\n");
        line++;
        if (at[0] == '[') {
            snprintf(section, sizeof(section), "%.*s", (int)strcspn(at + 1, "]"), at + 1);
            if (strncmp(section, "group ", 6) == 0)
                (void)!acl_add_group(acl, section + 6, line, f);
            if (strncmp(section, "out", 3) == 0)
                (void)!acl_open_out(acl, section[3] ? section + 5 : NULL, line, f);
        } else if (at[0]) {
            (void)!take_line(acl, section, at, line, f);
        }
        at = next;
    }
    free(copy);
    *ret = acl_finish(acl, f);
    return acl;
}

/* The same for a text that must be right. */
static inline struct acl *acl_good(const char *text)
{
    struct findings f = {0};
    char said[2048];
    int r;
    struct acl *acl = acl_of(text, &f, &r);

    cr_assert(r == 0 && f.n_errors == 0, "%s", found_text(&f, said, sizeof(said)));
    findings_fini(&f);
    return acl;
}

static inline struct addr addr_of(const char *text)
{
    struct addr a = {{0}};

    cr_assert_eq(addr_parse(text, strlen(text), &a), 0, "%s", text);
    return a;
}

/* xorshift64*: the same numbers on every machine. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(next_random(state) >> 33) % limit;
}

/*
 * A range in a part of the space of 2^@n_bits (16..23) addresses, so that ranges meet: hosts, networks and odd ranges, IPv4 at
 * the end of its space and IPv6. In the smallest part also, now and then, one from or to an end of the space.
 */
static inline struct addr_range random_range_in(uint64_t *state, unsigned n_bits)
{
    struct addr_range r;
    uint32_t size = 1U << n_bits;
    uint32_t first = random_below(state, size), len = random_below(state, 4) ? random_below(state, 64) : 0;
    uint32_t last = first + (random_below(state, 20) ? len : len * 256);

    if (random_below(state, 3) == 0) { /* a network */
        unsigned host_bits = random_below(state, 12);
        first &= ~((1U << host_bits) - 1);
        last = first | ((1U << host_bits) - 1);
    }
    if (random_below(state, 2)) {
        r = (struct addr_range){addr_from_ipv4(first - size), addr_from_ipv4(last >= size ? UINT32_MAX : last - size)};
    } else {
        r.first = r.last = addr_of("2001:db8::");
        memcpy(r.first.bytes + 12, (uint8_t[]){0, first >> 16, first >> 8, first}, 4);
        memcpy(r.last.bytes + 12, (uint8_t[]){0, last >> 16, last >> 8, last}, 4);
    }
    if (n_bits == 16 && random_below(state, 500) == 0)
        r.first = addr_is_ipv4(&r.first) ? addr_from_ipv4(0) : (struct addr){{0}};
    if (n_bits == 16 && random_below(state, 500) == 0 && !addr_is_ipv4(&r.first))
        memset(r.last.bytes, 0xff, sizeof(r.last.bytes));
    return r;
}

static inline struct addr_range random_range(uint64_t *state)
{
    return random_range_in(state, 16);
}

/* An end of @r, or one beside it: where a look-up goes wrong if it does. */
static inline struct addr near_edge(uint64_t *state, const struct addr_range *r)
{
    struct addr a = random_below(state, 2) ? r->first : r->last;

    switch (random_below(state, 4)) {
    case 0:
        return addr_next(&a);
    case 1:
        return addr_prev(&a);
    default:
        return a;
    }
}

#endif

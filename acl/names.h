/* names - a table of words, asked for a word or for every suffix of a domain name (pure). */
#ifndef ACL_NAMES_H
#define ACL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAMES_TEXT_MAX = 253, /* of a domain name in text; RFC 1035 section 2.3.4 */
    NAMES_HITS_MAX = 129, /* suffixes of one name, the root included */
};

/* Words are bytes: no folding of case, no final dot; the empty word is the root. They get ids 0, 1,
 * 2, ... */
struct names;

struct names_hit {
    uint32_t id;
    bool is_self; /* the whole name, not something above it */
};

struct names *names_new(void); /* NULL: out of memory */
struct names *names_free(struct names *names);
size_t names_count(const struct names *names);

/**
 * names_add - the id of @word, a new one when it is not known
 * @word: borrowed for as long as @names lives
 * Returns: 0 added · -EEXIST known already, @ret_id is its id · -ENOMEM.
 */
int names_add(struct names *names, const char *word, size_t len, uint32_t *ret_id)
    __attribute__((warn_unused_result));
bool names_find(const struct names *names, const char *word, size_t len, uint32_t *ret_id);

/* The words that are @name or a domain above it, the root first. One pass over @name whatever the
 * table holds. */
size_t names_match(const struct names *names, const char *name, size_t len,
                   struct names_hit ret_hits[static NAMES_HITS_MAX]);

#endif

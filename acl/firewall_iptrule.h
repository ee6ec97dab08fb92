/* firewall_iptrule - one rule in the words of iptables-save (pure). */
#ifndef ACL_FIREWALL_IPTRULE_H
#define ACL_FIREWALL_IPTRULE_H

#include "acl/firewall_match.h"

enum { IPTRULE_WORDS_MAX = 512, IPTRULE_WHY_MAX = 192 };

/* A line cut into words; quotes and their escapes are taken off. */
struct iptrule_words {
    const char *items[IPTRULE_WORDS_MAX]; /* in the line, which is changed */
    bool is_quoted[IPTRULE_WORDS_MAX];
    size_t n;
};

struct iptrule {
    struct firewall_match match;
    const char *target; /* borrowed from the words; NULL: none */
    bool is_goto;
    const char *comment; /* likewise */
    unsigned family;     /* 4, 6; 0: the rule does not tell */
};

/* Cuts @line in place. Returns: 0 · -EINVAL an open quote or too many words, @why says which. */
int firewall_iptrule_split(char *line, struct iptrule_words *ret_words,
                           char why[static IPTRULE_WHY_MAX]) __attribute__((warn_unused_result));

/**
 * firewall_iptrule_parse - the words behind `-A CHAIN`
 * @first: index of the first of them
 * What narrows the rule and cannot be said in an ACL becomes the match's condition.
 * Returns: 0 · -EINVAL with @why · -ENOMEM. @ret_rule's match is the caller's to end.
 */
int firewall_iptrule_parse(const struct iptrule_words *words, size_t first,
                           struct iptrule *ret_rule, char why[static IPTRULE_WHY_MAX])
    __attribute__((warn_unused_result));

#endif

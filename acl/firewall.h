/* firewall - a router's IN rules as a list, whatever format they came in; made into ACL lines. */
#ifndef ACL_FIREWALL_H
#define ACL_FIREWALL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "acl/rule.h"
#include "proxy/base/addr.h"
#include "proxy/base/findings.h"

enum {
    FIREWALL_FILE_MAX = 64 * 1024 * 1024, /* bytes of a table, as of acl.conf */
    FIREWALL_RULES_MAX = 1000000,         /* one rule has one source */
};

/* One admitted (protocol, port range, source range). */
struct firewall_rule {
    enum in_proto proto;
    const char *proto_word; /* static: as in struct in_rule */
    uint16_t port_first;    /* ANY: 1-65535; OTHER: 0 */
    uint16_t port_last;
    struct addr_range source;
    char *memo;  /* owned: fits an ACL line */
    char *where; /* owned: where it stands in the table, for people */
};

/* `--group NAME=CIDR,...`: what a named group stands for. */
struct firewall_group {
    char *name; /* owned */
    struct addr_range *members;
    size_t n_members;
    bool is_used; /* a rule names it */
};

struct firewall {
    const char *file; /* borrowed: name for findings */
    struct findings *findings;
    struct firewall_group *groups; /* borrowed; is_used is set */
    size_t n_groups;
    struct firewall_rule *rules;
    size_t n_rules;
    char *extra; /* owned, or NULL: comment lines behind the rules ([web-proxy] of Terraform) */
};

/* One rule as a table's text says it; every string may be NULL or empty: not given. Borrowed. */
struct firewall_item {
    const char *where;
    unsigned line; /* 0: not known */
    const char *proto;
    const char *port_first;
    const char *port_last;
    const char *in_out;
    const char *memo;
    const char *const *ranges;
    size_t n_ranges;
    const char *const *groups;
    size_t n_groups;
};

/**
 * firewall_group_parse - `NAME=CIDR,...`
 * Returns: 0 · -EINVAL · -ENOMEM. Host bits are masked.
 */
int firewall_group_parse(const char *text, struct firewall_group *ret_group)
    __attribute__((warn_unused_result));
void firewall_group_fini(struct firewall_group *group);

/**
 * firewall_add_item - one rule of the table into the list
 * What makes the table unreadable is an error, what is left out or changed is a warning, both in
 * @fw->findings. Returns: 0 (also with an error found) · -ENOMEM · -E2BIG.
 */
int firewall_add_item(struct firewall *fw, const struct firewall_item *item)
    __attribute__((warn_unused_result));
/* The lowest layer: one source; @memo is made fit, @proto and ports are valid. */
int firewall_add(struct firewall *fw, const struct firewall_rule *like, const char *where,
                 unsigned line, const char *memo) __attribute__((warn_unused_result));
void firewall_fini(struct firewall *fw);

/* "tcp", "ssh", ... in any case, into proto, proto_word and the ports of a preset. 0 · -EINVAL. */
int firewall_word(const char *text, struct firewall_rule *ret_rule)
    __attribute__((warn_unused_result));

/* All [in] lines of a finished ACL as firewall rules; @where becomes `FILE:LINE`. 0 · -ENOMEM. */
int firewall_from_acl(struct firewall *fw, const struct acl *acl)
    __attribute__((warn_unused_result));
/* The rules as acl.conf text. */
void firewall_write_acl(FILE *out, const struct firewall *fw);

#endif

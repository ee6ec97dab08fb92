/* rule - the ACL file as data: [in], [group], [out]; built line by line, const afterwards. */
#ifndef ACL_RULE_H
#define ACL_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/findings.h"

struct names;
struct out_index;
struct out_views;
struct slots_lease;

/* Where a line stands and how it was written; part of every rule. */
struct rule_place {
    const char *file; /* without its folder; borrowed from the acl that holds the rule */
    unsigned line;
    char *text;    /* owned: the line as written, without memo */
    char *memo;    /* owned: UTF-8, empty string when there is none */
    uint32_t slot; /* what its counters go by; 0: none (acl/slots) */
};

enum in_proto {
    IN_PROTO_TCP,
    IN_PROTO_UDP,
    IN_PROTO_ANY,   /* every protocol and port */
    IN_PROTO_OTHER, /* icmp, gre, ...: kept, never ours */
};

/* One [in] line: several sources are one rule. */
struct in_rule {
    struct rule_place place;
    enum in_proto proto;
    const char *proto_word; /* static: "tcp", "icmp", ... lower case, as the router knows it */
    uint16_t port_first;    /* ANY: 1-65535; OTHER: 0 */
    uint16_t port_last;
    struct addr_range *sources; /* owned; members of groups are in it after acl_finish() */
    size_t n_sources;
    char **groups; /* owned names of the @groups as written */
    size_t n_groups;
    size_t index; /* position in acl->in */
};

struct acl_group {
    char *name;
    unsigned line;
    struct addr_range *members;
    size_t n_members;
};

enum out_kind {
    OUT_KIND_ANY,    /* * */
    OUT_KIND_NAME,   /* name: exactly it */
    OUT_KIND_BELOW,  /* *.name: below it */
    OUT_KIND_SUFFIX, /* .name: both */
    OUT_KIND_RANGE,  /* address, CIDR, range */
};

struct out_rule {
    struct rule_place place;
    bool is_allow;
    enum out_kind kind;
    char *name;              /* lower case, no dots at the ends */
    struct addr_range range; /* OUT_KIND_RANGE */
    bool has_ports;
    struct {
        uint16_t first, last;
    } * ports; /* owned; has_ports */
    size_t n_ports;
    bool opens_special; /* allow line whose range lies wholly inside one special-use range */
    uint32_t section;   /* index into acl->sections */
    size_t index;
};

/* [out], or [out @group]; its lines are out[first .. first + n). */
struct out_section {
    char *group; /* owned; NULL: [out] itself */
    unsigned line;
    size_t first;
    size_t n;
    struct out_index *index; /* compiled by acl_finish(); owned */
};

/* A line of [expect]: what must be so. */
struct acl_expect {
    struct rule_place place;
    bool is_allow;
    struct addr from;
    char *target; /* owned: "CONNECT host:port", "DNS name", ...; its form was not looked at */
};

struct acl {
    char *file;
    struct in_rule *in;
    size_t n_in;
    size_t n_in_refused; /* [in] lines with an error */
    struct acl_group *groups;
    size_t n_groups;
    struct names *group_names; /* name to index of groups; owned */
    struct out_rule *out;      /* of all sections, in file order */
    size_t n_out;
    struct out_section *sections; /* [out] is the first, whether the file has it or not */
    size_t n_sections;
    size_t open_section;
    struct out_views *out_views; /* compiled by acl_finish(); owned; see acl/outviews.h */
    struct acl_expect *expects;
    size_t n_expects;
    struct slots_lease *lease; /* owned; NULL: its rules are not counted */
};

enum {
    ACL_SOURCES_MAX = 4000000
}; /* of all [in] lines together, groups counted for each line that names them */

/* Empty ACL for @file (name in findings). NULL: out of memory. */
struct acl *acl_new(const char *file);
struct acl *acl_free(struct acl *acl);

/**
 * acl_add_in / _member / _out - one line of the file; the memo is already off and all strings are
 * trimmed
 * @key: `tcp 8080`, `any`, `ssh`, ... for [in]; `member` for [group]; `allow`, `deny` for [out]
 * What is wrong goes to @findings with the line; the line then adds nothing. Returns: 0 · -EINVAL ·
 * -ENOMEM.
 */
int acl_add_in(struct acl *acl, const char *key, const char *value, const char *memo, unsigned line,
               struct findings *findings);
/* Orders lines by protocol, ports, sources and group names; 0: they say the same. */
int in_rule_compare(const struct in_rule *a, const struct in_rule *b);
void out_rule_fini(struct out_rule *rule); /* what it owns */
/* Opens [group NAME]; the same group twice is an error naming both lines. */
int acl_add_group(struct acl *acl, const char *name, unsigned line, struct findings *findings);
int acl_add_member(struct acl *acl, const char *group, const char *key, const char *value,
                   const char *memo, unsigned line, struct findings *findings);
/* Opens [out] (@group NULL) or [out @group]; the lines of acl_add_out() go there. The same section
 * twice is an error naming both lines. */
int acl_open_out(struct acl *acl, const char *group, unsigned line, struct findings *findings);
int acl_add_expect(struct acl *acl, const char *key, const char *value, const char *memo,
                   unsigned line, struct findings *findings);
int acl_add_out(struct acl *acl, const char *key, const char *value, const char *memo,
                unsigned line, struct findings *findings);

/**
 * acl_finish - resolve groups, compile [out], find what no single line shows
 * Unknown groups and an empty [in] are errors; exact duplicates are warnings.
 * Returns: 0 · -EINVAL (findings has the errors) · -ENOMEM.
 */
int acl_finish(struct acl *acl, struct findings *findings);

#endif

/* schema - every key of ukai.conf: section, type, range, default, meaning. The manual is made from
 * it. */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/value.h"

enum schema_section {
    SCHEMA_WEB_PROXY,
    SCHEMA_DNS,
    SCHEMA_DNS_ZONES,
    SCHEMA_DNS_HOSTS,
    SCHEMA_ACL,
    SCHEMA_LIMITS,
    SCHEMA_TIMEOUTS,
    SCHEMA_LOG,
    SCHEMA_ADMIN,
    SCHEMA_PROCESS,
    SCHEMA_N_SECTIONS,
};

struct schema_section_info {
    const char *name;
    bool has_instances; /* [web-proxy NAME] */
    const char *doc;    /* mdoc text for the manual */
};

enum schema_type {
    SCHEMA_TYPE_BOOL,         /* bool */
    SCHEMA_TYPE_NUMBER,       /* unsigned field of any width */
    SCHEMA_TYPE_SIZE,         /* the same, K/M/G */
    SCHEMA_TYPE_DURATION,     /* the same, in steps of unit_ms */
    SCHEMA_TYPE_WORD,         /* enum or bool: index into words */
    SCHEMA_TYPE_TEXT,         /* char *, min..max characters */
    SCHEMA_TYPE_PORTS,        /* struct ports */
    SCHEMA_TYPE_NETWORKS,     /* networks and n_networks of struct conf_listener */
    SCHEMA_TYPE_EGRESS,       /* struct conf_egress, its mark aside */
    SCHEMA_TYPE_MARK,         /* mark of struct conf_egress */
    SCHEMA_TYPE_NAME_SERVERS, /* struct conf_name_servers */
    SCHEMA_TYPE_ACCESS,       /* struct conf_log: access, access_path */
    SCHEMA_TYPE_FORMAT,       /* struct conf_log: format, format_text */
    SCHEMA_TYPE_ON_RELOAD,    /* struct conf: on_reload, on_reload_grace_ms */
    SCHEMA_TYPE_RANGES,       /* addresses, CIDRs, ranges */
    SCHEMA_TYPE_ENDPOINT,     /* ADDR:PORT, ...: struct conf_endpoints */
    SCHEMA_TYPE_PARENTS,      /* http://[user:pass@]host:port, ...; checked only */
    SCHEMA_TYPE_REBIND,       /* on, off, or on and suffixes; checked only */
    SCHEMA_TYPE_ZONE,         /* NAME SERVER, ...: one more of struct conf_zones */
    SCHEMA_TYPE_HOST,         /* NAME ADDR, ...: more of struct hosts * */
};

enum schema_apply { SCHEMA_RELOAD, SCHEMA_RESTART };

enum { SCHEMA_NO_FIELD = -1, SCHEMA_WHY_MAX = 200 };

struct schema_key {
    enum schema_section section;
    const char *name;
    enum schema_type type;
    const char *preset;     /* default, as it would be written; NULL: none */
    const char *preset_doc; /* what the manual says where preset is NULL */
    uint64_t min, max;      /* NUMBER, SIZE, DURATION (ms), TEXT (characters) */
    uint64_t unit_ms;       /* DURATION: what the field counts; 0: milliseconds */
    const char
        *zero_word; /* NUMBER, SIZE, DURATION: `off` or `auto`, kept as 0; NULL: not allowed */
    const char *const *words; /* WORD, ACCESS, FORMAT: NULL-terminated */
    enum schema_apply apply;
    bool is_later; /* accepted and checked, but not available yet */
    bool is_list;  /* may be repeated */
    bool is_required;
    ptrdiff_t offset; /* in struct conf_web_proxy, struct conf_dns or struct conf */
    size_t size;      /* of the field */
    const char *doc;  /* mdoc text for the manual: one or two sentences */
};

size_t schema_n_keys(void);
const struct schema_key *schema_key_at(size_t i);
const struct schema_section_info *schema_section_info(enum schema_section section);
/* "duration", "list of ports", ...: what the manual calls the type. */
const char *schema_type_text(const struct schema_key *key);

/* NULL when there is no such key; *ret_index is its place in the table otherwise. */
const struct schema_key *schema_find(enum schema_section section, const char *name,
                                     size_t *ret_index);
/* Nearest known key of the section, or NULL. */
const char *schema_nearest_key(enum schema_section section, const char *name);
/* The section whose name is the first word of @heading; false when unknown. */
bool schema_find_section(const char *word, enum schema_section *ret_section);
const char *schema_nearest_section(const char *word);

/**
 * schema_parse - check a value against its key and store it
 * @base: struct conf_web_proxy, struct conf_dns or struct conf, as the section says; what the field
 *        owned before is freed. NULL: check only
 * @why:  on -EINVAL, what is wrong and what to write instead; peer bytes escaped
 *
 * Returns: 0 · -EINVAL nothing stored · -ENOMEM.
 */
int schema_parse(const struct schema_key *key, const char *text, void *base,
                 char why[static SCHEMA_WHY_MAX]) __attribute__((warn_unused_result));

/* Stores the defaults of a section's keys. Returns 0 · -ENOMEM. */
int schema_preset(enum schema_section section, void *base) __attribute__((warn_unused_result));

#endif

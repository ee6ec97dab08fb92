/* snapshot - one complete configuration with its compiled rules; const after load, counted by its
 * users. */
#ifndef CONF_SNAPSHOT_H
#define CONF_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/verdict.h"
#include "conf/hosts.h"
#include "proxy/base/addr.h"
#include "proxy/base/findings.h"
#include "proxy/base/log.h"

enum { CONF_IFNAME_MAX = 16 };

/* One entry of listen-network: an interface by name, or an address. */
struct conf_network {
    char ifname[CONF_IFNAME_MAX]; /* empty: by address */
    struct addr addr;             /* ifname empty */
};

/* bypass-network and bypass-mark: how outgoing traffic leaves. All empty: by route. */
struct conf_egress {
    char ifname[CONF_IFNAME_MAX];
    bool has_ipv4_source;
    bool has_ipv6_source;
    struct addr ipv4_source;
    struct addr ipv6_source;
    bool has_mark;
    uint32_t mark;
};

struct conf_name_server {
    struct endpoint endpoint;
    bool is_tls;
    char *tls_name; /* owned; NULL without TLS */
};

struct conf_name_servers {
    struct conf_name_server *items;
    size_t n_items;
};

/* Conditional forwarding: names at and below @name are asked of these servers. */
struct conf_zone {
    char *name; /* owned; lower case, no final dot */
    struct conf_name_servers servers;
    unsigned line;
};

struct conf_zones {
    struct conf_zone *items;
    size_t n_items;
};

/* What [web-proxy] and [dns] have in common. */
struct conf_listener {
    char *name;    /* owned: "lan" of [web-proxy lan]; the section's own word when it has none */
    unsigned line; /* of the section */
    struct conf_network *networks;
    size_t n_networks;
    uint16_t port;
    struct conf_egress egress;
    struct conf_name_servers name_servers; /* default filled in; empty only with uses_resolv_conf */
    bool uses_resolv_conf;                 /* they came from /etc/resolv.conf */
    char *description;
};

struct conf_web_proxy {
    struct conf_listener base;
    struct ports connect_ports;
    struct ports http_ports;
    const struct in_table *table; /* (tcp, port); owned by the snapshot */
    struct hosts *hosts; /* one reference: those of the first [dns] that has a file; NULL: none */
};

/* Addresses and networks. */
struct conf_ranges {
    struct addr_range *items; /* owned */
    size_t n_items;
};

/* Addresses with ports. */
struct conf_endpoints {
    struct endpoint *items; /* owned */
    size_t n_items;
};

/* rebind-protection */
struct conf_rebind {
    bool is_on;
    char **exempt; /* owned: names whose answers, and those below, may point inside */
    size_t n_exempt;
};

struct conf_dns {
    struct conf_listener base;
    uint64_t cache_size_bytes;
    uint32_t min_ttl_s, max_ttl_s, negative_max_ttl_s;
    uint32_t serve_stale_s; /* 0: off */
    bool prefetch;
    struct conf_rebind rebind;
    struct conf_ranges trust_ad;
    bool apply_out;
    bool any_minimal;
    bool special_forward; /* special-names = forward */
    bool randomise_case;
    uint32_t per_client_rate; /* queries a second; 0: off */
    bool refuses_over_limit;  /* over-limit = refuse */
    char *version_answer;     /* NULL: refuse */
    char *hosts_file;         /* NULL: none; absolute or relative to the working directory */
    struct hosts *hosts;      /* one reference: what it holds */
    const struct in_table *udp_table;
    const struct in_table *tcp_table;
};

enum conf_on_reload { CONF_RELOAD_REVOKE, CONF_RELOAD_KEEP, CONF_RELOAD_GRACE };
enum conf_access_target {
    CONF_ACCESS_OFF,
    CONF_ACCESS_STDERR,
    CONF_ACCESS_SYSLOG,
    CONF_ACCESS_JOURNALD,
    CONF_ACCESS_FILE
};
enum conf_access_format {
    CONF_FORMAT_SQUID,
    CONF_FORMAT_JSON,
    CONF_FORMAT_LOGFMT,
    CONF_FORMAT_CUSTOM
};

struct conf_limits {
    uint32_t max_clients;        /* 0: sized to the fd limit */
    uint32_t max_tunnels;        /* 0: sized to the fd limit */
    uint32_t per_source_tunnels; /* 0: off */
    uint32_t per_source_rate;
    uint64_t per_source_bandwidth;
    uint32_t request_line_bytes;
    uint32_t head_bytes;
};

struct conf_timeouts {
    uint64_t head_ms, dns_ms, connect_ms, tunnel_idle_ms, half_closed_ms;
    uint64_t tunnel_life_ms; /* 0: off */
    uint64_t http_idle_ms, http_response_ms, drain_ms;
};

struct conf_log {
    enum log_level level;
    enum conf_access_target access;
    char *access_path; /* CONF_ACCESS_FILE */
    enum conf_access_format format;
    char *format_text;    /* CONF_FORMAT_CUSTOM */
    uint64_t periodic_ms; /* 0: off */
    bool log_queries;
    bool log_query_strings;
};

struct conf_process {
    unsigned workers; /* 0: auto */
    char *user;       /* NULL: default */
    char *group;
    bool sandbox;
    uint64_t nofile; /* 0: auto */
    bool last_good;
};

/* What findings and rules name as their file when the embedded default is used. */
#define SNAPSHOT_BUILTIN "(built-in)"

struct conf {
    char *file; /* NULL: the embedded default */
    struct conf_web_proxy *web_proxies;
    size_t n_web_proxies;
    struct conf_dns *dns;
    size_t n_dns;
    struct conf_zones zones;
    struct hosts *hosts;  /* [dns-hosts]: one reference; NULL: none */
    char *acl_file;       /* absolute or relative to the working directory */
    bool acl_deny_403;    /* deny-answer = 403 */
    bool acl_dns_refused; /* deny-answer-dns = refused */
    bool acl_observe;
    enum conf_on_reload on_reload;
    uint64_t on_reload_grace_ms;
    struct conf_limits limits;
    struct conf_timeouts timeouts;
    struct conf_log log;
    char *control_socket;
    struct conf_endpoints admin_listen; /* none: there is no admin listener */
    struct conf_ranges admin_allow;
    struct conf_process process;
};

struct snapshot {
    struct conf conf;
    struct snapshot
        *base; /* one reference: owner of all but the watched files' part; NULL: itself */
    struct acl *acl;
    struct in_table **tables; /* owned; conf points into it */
    size_t n_tables;
    uint64_t generation; /* set by the daemon: 1, 2, 3 ... */
    int n_refs;          /* atomic: only through snapshot_ref/unref */
};

/**
 * snapshot_load - read, check and compile everything that `run` would use
 * @file: ukai.conf, or NULL for the embedded default (listeners on loopback, contract section 1)
 * @findings: gets all of it, warnings too
 *
 * Reads ukai.conf, the ACL file, /etc/resolv.conf where it is the source of name servers. Nothing
 * global changes. Returns: 0 (one reference is the caller's) · -EINVAL findings has errors ·
 * -ENOMEM.
 */
int snapshot_load(const char *file, struct findings *findings, struct snapshot **ret_snapshot);
/* The same with another resolv.conf(5). */
int snapshot_load_from(const char *file, const char *resolv_conf, struct findings *findings,
                       struct snapshot **ret_snapshot);

/**
 * snapshot_reread - what the hosts files and resolv.conf say now, in the place of what @old has
 * @resolv_conf: NULL: the system's own
 *
 * Everything else is @old's and shared with it, so nothing that an admin is just editing comes into
 * force. A hosts file that cannot be used keeps its old records (findings has errors), a
 * resolv.conf without a usable server its old servers (*ret_is_bad_resolv).
 * Returns: 0 (one reference is the caller's) · SNAPSHOT_SAME nothing has changed · -ENOMEM.
 */
enum { SNAPSHOT_SAME = 1 };
int snapshot_reread(struct snapshot *old, const char *resolv_conf, struct findings *findings,
                    bool *ret_is_bad_resolv, struct snapshot **ret_snapshot)
    __attribute__((warn_unused_result));
/* The servers that listeners have from resolv.conf; NULL: none has. */
const struct conf_name_servers *snapshot_resolv(const struct conf *conf);
bool snapshot_same_servers(const struct conf_name_servers *a, const struct conf_name_servers *b);
/* For a new one that is not published yet: listeners that found no server in resolv.conf get those
 * that they had in @old. Returns whether there were any. */
bool snapshot_keep_servers(struct snapshot *s, const struct snapshot *old);
struct snapshot *snapshot_ref(struct snapshot *s);
struct snapshot *
snapshot_unref(struct snapshot *s); /* always NULL; frees with the last one; any thread */

#endif

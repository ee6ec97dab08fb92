/*
 * Two passes. While the file is read, each key is looked up in the schema and stored; afterwards
 * come the checks that no single line shows: two listeners on one port, a name server that is
 * ourselves, a listener without a network. Everything that is wrong is said, so nothing stops at
 * the first error; the caller throws the result away when there was one.
 *
 * Defaults come from the schema as text and take the same way as what an admin writes.
 */
#include "conf/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/inifile.h"
#include "conf/resolv.h"
#include "conf/schema.h"

/* One heading of the file. */
struct section {
    enum schema_section kind;
    size_t index; /* in conf->web_proxies or conf->dns */
    unsigned line;
    unsigned *line_of_key; /* by place in the schema; 0: not given; owned */
};

struct load {
    const char *file;
    struct conf *conf;
    struct findings *findings;
    const char *resolv_conf;
    struct section *sections;
    size_t n_sections;
    bool is_open;         /* the last section takes keys */
    unsigned secret_line; /* the first that holds a password; 0: none */
};

static void *base_of(struct load *l, const struct section *s)
{
    switch (s->kind) {
    case SCHEMA_WEB_PROXY:
        return &l->conf->web_proxies[s->index];
    case SCHEMA_DNS:
        return &l->conf->dns[s->index];
    case SCHEMA_DNS_ZONES:
    case SCHEMA_DNS_HOSTS:
    case SCHEMA_ACL:
    case SCHEMA_LIMITS:
    case SCHEMA_TIMEOUTS:
    case SCHEMA_LOG:
    case SCHEMA_ADMIN:
    case SCHEMA_PROCESS:
    case SCHEMA_N_SECTIONS:
        break;
    }
    return l->conf;
}

static struct conf_listener *listener_of(struct load *l, const struct section *s)
{
    switch (s->kind) {
    case SCHEMA_WEB_PROXY:
        return &l->conf->web_proxies[s->index].base;
    case SCHEMA_DNS:
        return &l->conf->dns[s->index].base;
    case SCHEMA_DNS_ZONES:
    case SCHEMA_DNS_HOSTS:
    case SCHEMA_ACL:
    case SCHEMA_LIMITS:
    case SCHEMA_TIMEOUTS:
    case SCHEMA_LOG:
    case SCHEMA_ADMIN:
    case SCHEMA_PROCESS:
    case SCHEMA_N_SECTIONS:
        break;
    }
    return NULL;
}

static unsigned line_of(const struct section *s, const char *key)
{
    size_t i;

    return schema_find(s->kind, key, &i) ? s->line_of_key[i] : 0;
}

#define LOAD_ERROR(l, line, ...)                                                                   \
    findings_add((l)->findings, FINDING_ERROR, (l)->file, line, __VA_ARGS__)
#define LOAD_WARNING(l, line, ...)                                                                 \
    findings_add((l)->findings, FINDING_WARNING, (l)->file, line, __VA_ARGS__)

/* ---- headings ---- */

/* Letters, digits, dot, hyphen, underscore: the name becomes a label of metrics and a word of a
 * command. */
static bool is_instance_name(const char *name)
{
    for (const char *p = name; *p; p++) {
        bool is_alnum =
            (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!is_alnum && !strchr("._-", *p))
            return false;
    }
    return *name != '\0';
}

/* Splits `web-proxy lan2` into its kind and "lan2"; without a name, the kind's own word. */
static bool split_heading(struct load *l, const struct inifile_entry *e,
                          enum schema_section *ret_kind, const char **ret_name)
{
    char word[INIFILE_NAME_MAX + 1], quoted[VALUE_QUOTE_MAX];
    size_t len = strcspn(e->section, " \t");
    const char *name = e->section + len + strspn(e->section + len, " \t");

    memcpy(word, e->section, len);
    word[len] = '\0';
    value_quote(e->section, strlen(e->section), quoted);
    if (!schema_find_section(word, ret_kind)) {
        const char *near = schema_nearest_section(word);
        if (near)
            LOAD_ERROR(l, e->line, "unknown section %s; did you mean [%s]?", quoted, near);
        else
            LOAD_ERROR(l, e->line, "unknown section %s; see ukai.conf(5)", quoted);
        return false;
    }
    if (*name && !schema_section_info(*ret_kind)->has_instances) {
        LOAD_ERROR(l, e->line, "section %s takes no name; write [%s]", quoted, word);
        return false;
    }
    if (*name && !is_instance_name(name)) {
        LOAD_ERROR(l, e->line, "the name in %s may hold letters, digits, `.`, `-` and `_` only",
                   quoted);
        return false;
    }
    *ret_name = *name ? name : schema_section_info(*ret_kind)->name;
    return true;
}

static bool is_given(struct load *l, enum schema_section kind, const char *name, unsigned *ret_line)
{
    for (size_t i = 0; i < l->n_sections; i++) {
        const struct conf_listener *listener = listener_of(l, &l->sections[i]);
        if (l->sections[i].kind != kind || (listener && strcmp(listener->name, name) != 0))
            continue;
        *ret_line = l->sections[i].line;
        return true;
    }
    return false;
}

/* The array with room for one more, zeroed item. NULL: out of memory, @items is as it was. */
static void *grow(void *items, size_t n_items, size_t item_bytes)
{
    char *grown = reallocarray(items, n_items + 1, item_bytes);

    if (grown)
        memset(grown + n_items * item_bytes, 0, item_bytes);
    return grown;
}

static int add_listener(struct load *l, enum schema_section kind, const char *name, unsigned line,
                        size_t *ret_index)
{
    struct conf *conf = l->conf;
    struct conf_listener *listener;

    if (kind == SCHEMA_WEB_PROXY) {
        struct conf_web_proxy *grown = grow(conf->web_proxies, conf->n_web_proxies, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        conf->web_proxies = grown;
        *ret_index = conf->n_web_proxies++;
        listener = &conf->web_proxies[*ret_index].base;
    } else {
        struct conf_dns *grown = grow(conf->dns, conf->n_dns, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        conf->dns = grown;
        *ret_index = conf->n_dns++;
        listener = &conf->dns[*ret_index].base;
    }
    listener->line = line;
    listener->name = strdup(name);
    return listener->name ? schema_preset(kind, listener) : -ENOMEM;
}

static int open_section(struct load *l, const struct inifile_entry *e)
{
    enum schema_section kind;
    const char *name;
    unsigned first;

    l->is_open = false;
    if (!split_heading(l, e, &kind, &name))
        return 0;
    if (is_given(l, kind, name, &first)) {
        LOAD_ERROR(l, e->line, "section [%s] is given twice, first in line %u; put all into one%s",
                   e->section, first,
                   schema_section_info(kind)->has_instances ? ", or give it another name" : "");
        return 0;
    }
    if ((kind == SCHEMA_WEB_PROXY && l->conf->n_web_proxies == LOAD_LISTENERS_MAX) ||
        (kind == SCHEMA_DNS && l->conf->n_dns == LOAD_LISTENERS_MAX)) {
        LOAD_ERROR(l, e->line, "more than %d sections of this kind", LOAD_LISTENERS_MAX);
        return 0;
    }
    struct section s = {.kind = kind, .line = e->line};
    struct section *grown = grow(l->sections, l->n_sections, sizeof(s));
    if (!grown)
        return -ENOMEM;
    l->sections = grown;
    if (schema_section_info(kind)->has_instances) {
        int r = add_listener(l, kind, name, e->line, &s.index);
        if (r < 0)
            return r;
    }
    s.line_of_key = calloc(schema_n_keys(), sizeof(*s.line_of_key));
    if (!s.line_of_key)
        return -ENOMEM;
    l->sections[l->n_sections++] = s;
    l->is_open = true;
    return 0;
}

/* ---- keys ---- */

static void refuse_key(struct load *l, const struct section *s, const struct inifile_entry *e)
{
    char quoted[VALUE_QUOTE_MAX];
    const char *near = schema_nearest_key(s->kind, e->key);

    value_quote(e->key, strlen(e->key), quoted);
    if (near)
        LOAD_ERROR(l, e->line, "unknown key %s in [%s]; did you mean %s?", quoted, e->section,
                   near);
    else
        LOAD_ERROR(l, e->line, "unknown key %s in [%s]; see ukai.conf(5)", quoted, e->section);
}

static void refuse_value(struct load *l, const struct schema_key *key,
                         const struct inifile_entry *e, const char *why)
{
    char quoted[VALUE_QUOTE_MAX];

    /* May hold a password. */
    if (key->type == SCHEMA_TYPE_PARENTS)
        LOAD_ERROR(l, e->line, "%s: %s", key->name, why);
    else
        LOAD_ERROR(l, e->line, "%s = %s: %s", key->name,
                   value_quote(e->value, strlen(e->value), quoted), why);
}

static int take_key(struct load *l, const struct inifile_entry *e)
{
    struct section *s = &l->sections[l->n_sections - 1];
    char why[SCHEMA_WHY_MAX];
    size_t i;

    const struct schema_key *key = schema_find(s->kind, e->key, &i);
    if (!key) {
        refuse_key(l, s, e);
        return 0;
    }
    if (s->line_of_key[i] != 0 && !key->is_list) {
        LOAD_ERROR(l, e->line, "%s is given twice in [%s], first in line %u; remove one of them",
                   key->name, e->section, s->line_of_key[i]);
        return 0;
    }
    s->line_of_key[i] = e->line;
    if (key->type == SCHEMA_TYPE_PARENTS && strchr(e->value, '@') && l->secret_line == 0)
        l->secret_line = e->line;
    int r = schema_parse(key, e->value, base_of(l, s), why);
    if (r == 0 && key->type == SCHEMA_TYPE_ZONE)
        l->conf->zones.items[l->conf->zones.n_items - 1].line = e->line;
    if (r == -EINVAL)
        refuse_value(l, key, e, why);
    else if (r == 0 && key->is_later)
        LOAD_WARNING(l, e->line, "%s is not available yet; the line has no effect", key->name);
    return r == -ENOMEM ? r : 0;
}

static int on_entry(void *arg, const struct inifile_entry *e)
{
    struct load *l = arg;

    if (!e->key)
        return open_section(l, e);
    if (e->section_line == 0) {
        LOAD_ERROR(l, e->line,
                   "a key before the first section; write [web-proxy] or another section above it");
        return 0;
    }
    return l->is_open ? take_key(l, e) : 0;
}

/* ---- what keys mean together ---- */

static void check_required(struct load *l)
{
    if (l->conf->n_web_proxies + l->conf->n_dns == 0)
        LOAD_ERROR(l, 0, "neither [web-proxy] nor [dns]: nothing to serve; write one of them");
    for (size_t i = 0; i < l->n_sections; i++) {
        const struct section *s = &l->sections[i];
        for (size_t k = 0; k < schema_n_keys(); k++) {
            const struct schema_key *key = schema_key_at(k);
            if (key->section == s->kind && key->is_required && s->line_of_key[k] == 0)
                LOAD_ERROR(l, s->line, "[%s] has no %s; write `%s = ` with an interface or address",
                           schema_section_info(s->kind)->name, key->name, key->name);
        }
    }
}

static bool is_wildcard(const struct conf_network *n)
{
    static const struct addr unspecified;

    if (n->ifname[0] != '\0')
        return false;
    return addr_compare(&n->addr, &unspecified) == 0 ||
           (addr_is_ipv4(&n->addr) && addr_ipv4(&n->addr) == 0);
}

static void check_wildcard(struct load *l, const struct section *s)
{
    const struct conf_listener *listener = listener_of(l, s);
    unsigned line = line_of(s, "listen-network");

    for (size_t i = 0; i < listener->n_networks; i++) {
        if (!is_wildcard(&listener->networks[i]))
            continue;
        if (s->kind == SCHEMA_DNS)
            LOAD_ERROR(l, line,
                       "listen-network: a wildcard address answers the outer side too; write the "
                       "interface's name or address");
        else
            LOAD_WARNING(l, line,
                         "listen-network: a wildcard address is reachable from every side; write "
                         "the interface's name or address");
    }
}

/* Whether both take the same network; the port is the caller's. */
static bool have_common_network(const struct conf_listener *a, const struct conf_listener *b)
{
    for (size_t i = 0; i < a->n_networks; i++) {
        for (size_t j = 0; j < b->n_networks; j++) {
            if (strcmp(a->networks[i].ifname, b->networks[j].ifname) == 0 &&
                addr_compare(&a->networks[i].addr, &b->networks[j].addr) == 0)
                return true;
        }
    }
    return false;
}

/* [web-proxy] and [dns] both listen on TCP, so a common port is wrong whatever the kinds are. */
static void check_conflicts(struct load *l, size_t i)
{
    const struct conf_listener *mine = listener_of(l, &l->sections[i]);

    for (size_t j = 0; j < i; j++) {
        const struct conf_listener *other = listener_of(l, &l->sections[j]);
        if (!other || other->port != mine->port || !have_common_network(other, mine))
            continue;
        LOAD_ERROR(l, mine->line,
                   "port %u of the same network is taken by the section in line %u; write "
                   "another listen-port or listen-network",
                   mine->port, other->line);
    }
}

/* The admin's pages must not take what a listener has, and should not be seen from outside. */
static void check_admin(struct load *l, const struct section *s)
{
    char text[ENDPOINT_TEXT_MAX];
    unsigned line = line_of(s, "listen");

    for (size_t i = 0; i < l->conf->admin_listen.n_items; i++) {
        const struct endpoint *ep = &l->conf->admin_listen.items[i];
        const struct conf_network where = {.addr = ep->addr};
        if (is_wildcard(&where))
            LOAD_WARNING(l, line,
                         "listen: %s is reachable from every side; write an address of the inner "
                         "side",
                         endpoint_text(ep, text));
        for (size_t j = 0; j < l->n_sections; j++) {
            const struct conf_listener *other = listener_of(l, &l->sections[j]);
            const struct conf_listener mine = {.networks = (struct conf_network *)(uintptr_t)&where,
                                               .n_networks = 1};
            if (other && other->port == ep->port && have_common_network(other, &mine))
                LOAD_ERROR(l, line,
                           "listen: %s is taken by the section in line %u; write another port",
                           endpoint_text(ep, text), other->line);
        }
    }
}

/* Whether a query to @ep would come to one of our own DNS listeners. */
static bool is_own_dns(const struct conf *conf, const struct endpoint *ep)
{
    for (size_t i = 0; i < conf->n_dns; i++) {
        const struct conf_listener *listener = &conf->dns[i].base;
        for (size_t j = 0; j < listener->n_networks; j++) {
            if (listener->networks[j].ifname[0] == '\0' && listener->port == ep->port &&
                addr_compare(&listener->networks[j].addr, &ep->addr) == 0)
                return true;
        }
    }
    return false;
}

static void drop_server(struct conf_name_servers *servers, size_t i)
{
    free(servers->items[i].tls_name);
    servers->n_items--;
    memmove(&servers->items[i], &servers->items[i + 1],
            (servers->n_items - i) * sizeof(servers->items[0]));
}

/* @key: where they stand, for the findings. */
static void check_servers(struct load *l, struct conf_name_servers *servers, const char *key,
                          unsigned line)
{
    char text[ENDPOINT_TEXT_MAX];

    if (servers->n_items == 0)
        return;
    for (size_t i = servers->n_items; i-- > 0;) {
        const struct endpoint *ep = &servers->items[i].endpoint;
        if (is_own_dns(l->conf, ep))
            LOAD_ERROR(l, line, "%s: %s is our own [dns]; it would ask itself", key,
                       endpoint_text(ep, text));
    }
}

static void check_zones(struct load *l)
{
    struct conf_zones *zones = &l->conf->zones;

    for (size_t i = 0; i < zones->n_items; i++)
        check_servers(l, &zones->items[i].servers, "zone", zones->items[i].line);
}

int load_copy_servers(const struct conf_name_servers *from, struct conf_name_servers *to)
{
    if (from->n_items == 0)
        return 0;
    to->items = calloc(from->n_items, sizeof(*to->items));
    if (!to->items)
        return -ENOMEM;
    for (; to->n_items < from->n_items; to->n_items++) {
        struct conf_name_server *item = &to->items[to->n_items];
        *item = from->items[to->n_items];
        item->tls_name = item->is_tls ? strdup(item->tls_name) : NULL;
        if (item->is_tls && !item->tls_name)
            return -ENOMEM;
    }
    return 0;
}

int load_resolv(const struct conf *conf, const char *resolv_conf, struct findings *findings,
                struct conf_name_servers *ret_servers)
{
    char text[ENDPOINT_TEXT_MAX];

    int r = resolv_load(resolv_conf, findings, ret_servers);
    if (r < 0)
        return r;
    for (size_t i = ret_servers->n_items; i-- > 0;) {
        const struct endpoint *ep = &ret_servers->items[i].endpoint;
        if (!is_own_dns(conf, ep))
            continue;
        findings_add(findings, FINDING_WARNING, resolv_conf, 0,
                     "%s is our own [dns] and is left out; set name-server in ukai.conf",
                     endpoint_text(ep, text));
        drop_server(ret_servers, i);
    }
    return 0;
}

/* Listeners without name servers get those of the first [dns] that has some, else the host's. */
static int share_name_servers(struct load *l)
{
    struct conf_name_servers host = {0};
    const struct conf_name_servers *shared = NULL;
    bool is_host = false;
    int r = 0;

    for (size_t i = 0; i < l->conf->n_dns && !shared; i++) {
        if (l->conf->dns[i].base.name_servers.n_items > 0)
            shared = &l->conf->dns[i].base.name_servers;
    }
    for (size_t i = 0; i < l->n_sections && r == 0; i++) {
        struct conf_listener *listener = listener_of(l, &l->sections[i]);
        if (!listener || line_of(&l->sections[i], "name-server") != 0)
            continue;
        if (!shared) {
            r = load_resolv(l->conf, l->resolv_conf, l->findings, &host);
            shared = &host;
            is_host = true;
        }
        listener->uses_resolv_conf = is_host;
        if (r == 0)
            r = load_copy_servers(shared, &listener->name_servers);
    }
    free(host.items);
    return r;
}

static void check_dns(struct load *l, const struct section *s)
{
    const struct conf_dns *dns = &l->conf->dns[s->index];

    if (dns->min_ttl_s > dns->max_ttl_s)
        LOAD_ERROR(l, s->line, "min-ttl is longer than max-ttl; swap them");
    if (s->index > 0 && line_of(s, "cache-size") > 0 &&
        dns->cache_size_bytes != l->conf->dns[0].cache_size_bytes)
        LOAD_WARNING(l, line_of(s, "cache-size"),
                     "the cache is one for all [dns], and cache-size of the first of them holds; "
                     "remove this one, or make it the same");
}

/* Keys whose values are partly available. */
static void check_singles(struct load *l, const struct section *s)
{
    const struct conf *conf = l->conf;

    if (s->kind == SCHEMA_ACL && conf->acl_observe)
        LOAD_WARNING(l, line_of(s, "mode"),
                     "mode = observe lets pass what the rules refuse; write enforce when they are "
                     "complete");
    if (s->kind == SCHEMA_LIMITS && conf->limits.request_line_bytes > conf->limits.head_bytes)
        LOAD_ERROR(l, s->line,
                   "request-line-size is larger than head-size, which contains it; swap them");
}

/* A file beside ukai.conf, unless its path is absolute. */
static int place_file(struct load *l, char **file)
{
    const char *slash = l->file ? strrchr(l->file, '/') : NULL;
    size_t dir_len = slash ? (size_t)(slash - l->file) + 1 : 0;

    if (!*file || (*file)[0] == '/' || dir_len == 0)
        return 0;
    size_t name_len = strlen(*file);
    char *path = malloc(dir_len + name_len + 1);
    if (!path)
        return -ENOMEM;
    memcpy(path, l->file, dir_len);
    memcpy(path + dir_len, *file, name_len + 1);
    free(*file);
    *file = path;
    return 0;
}

static int place_files(struct load *l)
{
    int r = place_file(l, &l->conf->acl_file);

    for (size_t i = 0; r == 0 && i < l->conf->n_dns; i++)
        r = place_file(l, &l->conf->dns[i].hosts_file);
    return r;
}

static int finish(struct load *l)
{
    check_required(l);
    for (size_t i = 0; i < l->n_sections; i++) {
        const struct section *s = &l->sections[i];
        if (listener_of(l, s)) {
            check_wildcard(l, s);
            check_conflicts(l, i);
            check_servers(l, &listener_of(l, s)->name_servers, "name-server",
                          line_of(s, "name-server"));
        }
        if (s->kind == SCHEMA_DNS)
            check_dns(l, s);
        if (s->kind == SCHEMA_ADMIN)
            check_admin(l, s);
        check_singles(l, s);
    }
    check_zones(l);
    int r = place_files(l);
    return r < 0 ? r : share_name_servers(l);
}

static int init(struct load *l)
{
    for (int i = 0; i < SCHEMA_N_SECTIONS; i++) {
        if (schema_section_info((enum schema_section)i)->has_instances)
            continue;
        int r = schema_preset((enum schema_section)i, l->conf);
        if (r < 0)
            return r;
    }
    return 0;
}

static void fini(struct load *l)
{
    for (size_t i = 0; i < l->n_sections; i++)
        free(l->sections[i].line_of_key);
    free(l->sections);
}

/* G26: what is not for everybody's eyes is in a file that is. */
static void check_secrecy(const struct load *l)
{
    struct stat st;
    if (l->secret_line > 0 && stat(l->file, &st) == 0 && st.st_mode & S_IROTH)
        findings_add(l->findings, FINDING_WARNING, l->file, l->secret_line,
                     "there is a password in this line, and everybody may read the file; run "
                     "`chmod o-r` on it");
}

/* @bytes NULL: read the file. */
static int load_any(const char *file, const char *bytes, size_t len, const char *resolv_conf,
                    struct findings *findings, struct conf *ret_conf)
{
    struct load l = {
        .file = file, .conf = ret_conf, .findings = findings, .resolv_conf = resolv_conf};
    size_t n_errors = findings->n_errors;

    *ret_conf = (struct conf){0};
    int r = init(&l);
    if (r == 0)
        r = bytes ? inifile_parse_bytes(file, bytes, len, on_entry, &l, findings)
                  : inifile_load(file, INIFILE_CONF_MAX, on_entry, &l, findings);
    /* A file that could not be read at all has nothing to say about its sections. */
    bool has_content = bytes || l.n_sections > 0 || r == 0;
    if (r != -ENOMEM && has_content) {
        int r_finish = finish(&l);
        if (r_finish < 0)
            r = r_finish;
    }
    if (!bytes)
        check_secrecy(&l);
    fini(&l);
    return r == 0 && findings->n_errors > n_errors ? -EINVAL : r;
}

int load_file(const char *file, const char *resolv_conf, struct findings *findings,
              struct conf *ret_conf)
{
    return load_any(file, NULL, 0, resolv_conf, findings, ret_conf);
}

int load_bytes(const char *file, const char *bytes, size_t len, const char *resolv_conf,
               struct findings *findings, struct conf *ret_conf)
{
    return load_any(file, bytes, len, resolv_conf, findings, ret_conf);
}

static void servers_fini(struct conf_name_servers *servers)
{
    for (size_t i = 0; i < servers->n_items; i++)
        free(servers->items[i].tls_name);
    free(servers->items);
}

static void listener_fini(struct conf_listener *listener)
{
    free(listener->name);
    free(listener->networks);
    servers_fini(&listener->name_servers);
    free(listener->description);
}

void load_fini(struct conf *conf)
{
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        listener_fini(&conf->web_proxies[i].base);
        hosts_unref(conf->web_proxies[i].hosts);
    }
    free(conf->web_proxies);
    for (size_t i = 0; i < conf->n_dns; i++) {
        listener_fini(&conf->dns[i].base);
        free(conf->dns[i].version_answer);
        free(conf->dns[i].trust_ad.items);
        for (size_t k = 0; k < conf->dns[i].rebind.n_exempt; k++)
            free(conf->dns[i].rebind.exempt[k]);
        free(conf->dns[i].rebind.exempt);
        free(conf->dns[i].hosts_file);
        hosts_unref(conf->dns[i].hosts);
    }
    free(conf->dns);
    for (size_t i = 0; i < conf->zones.n_items; i++) {
        free(conf->zones.items[i].name);
        servers_fini(&conf->zones.items[i].servers);
    }
    free(conf->zones.items);
    hosts_unref(conf->hosts);
    free(conf->file);
    free(conf->acl_file);
    free(conf->log.access_path);
    free(conf->log.format_text);
    free(conf->control_socket);
    free(conf->admin_listen.items);
    free(conf->admin_allow.items);
    free(conf->process.user);
    free(conf->process.group);
    *conf = (struct conf){0};
}

/*
 * Walks the schema and writes each field back in the form that its type is read in, so that what is
 * printed can be read again. Name servers that came from resolv.conf are a comment: they are not a
 * setting. Keys that are not available yet are left out, since nothing acts on them.
 */
#include "conf/print.h"

#include <inttypes.h>
#include <string.h>

#include "conf/schema.h"

static uint64_t fetch_unsigned(const struct schema_key *key, const void *field)
{
    switch (key->size) {
    case sizeof(uint8_t):
        return *(const uint8_t *)field;
    case sizeof(uint16_t):
        return *(const uint16_t *)field;
    case sizeof(uint32_t):
        return *(const uint32_t *)field;
    default:
        return *(const uint64_t *)field;
    }
}

static void print_ports(const struct ports *ports, FILE *out)
{
    const char *comma = "";

    for (unsigned first = 1; first <= 65535; first++) {
        if (!ports_has(ports, (uint16_t)first))
            continue;
        unsigned last = first;
        while (last < 65535 && ports_has(ports, (uint16_t)(last + 1)))
            last++;
        if (first == last)
            fprintf(out, "%s%u", comma, first);
        else
            fprintf(out, "%s%u-%u", comma, first, last);
        comma = ", ";
        first = last;
    }
}

static void print_networks(const struct conf_listener *listener, FILE *out)
{
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < listener->n_networks; i++) {
        const struct conf_network *n = &listener->networks[i];
        fprintf(out, "%s%s", i ? ", " : "", n->ifname[0] ? n->ifname : addr_text(&n->addr, text));
    }
}

static void print_egress(const struct conf_egress *egress, FILE *out)
{
    char text[ADDR_TEXT_MAX];

    fputs(egress->ifname, out);
    if (egress->has_ipv4_source)
        fputs(addr_text(&egress->ipv4_source, text), out);
    if (egress->has_ipv6_source)
        fprintf(out, "%s%s", egress->has_ipv4_source ? ", " : "",
                addr_text(&egress->ipv6_source, text));
}

static void print_servers(const struct conf_name_servers *servers, FILE *out)
{
    char text[ENDPOINT_TEXT_MAX];

    for (size_t i = 0; i < servers->n_items; i++) {
        const struct conf_name_server *s = &servers->items[i];
        fprintf(out, "%s%s%s%s%s", i ? ", " : "", s->is_tls ? "tls://" : "",
                endpoint_text(&s->endpoint, text), s->is_tls ? "#" : "",
                s->is_tls ? s->tls_name : "");
    }
}

/* Whether the key has a value that can be written. */
static bool has_value(const struct schema_key *key, const void *field)
{
    if (key->offset == SCHEMA_NO_FIELD || key->is_later)
        return false;
    switch (key->type) {
    case SCHEMA_TYPE_TEXT:
        return *(char *const *)field != NULL;
    case SCHEMA_TYPE_EGRESS: {
        const struct conf_egress *egress = field;
        return egress->ifname[0] || egress->has_ipv4_source || egress->has_ipv6_source;
    }
    case SCHEMA_TYPE_MARK:
        return ((const struct conf_egress *)field)->has_mark;
    case SCHEMA_TYPE_NAME_SERVERS:
        return ((const struct conf_name_servers *)field)->n_items > 0;
    case SCHEMA_TYPE_BOOL:
    case SCHEMA_TYPE_NUMBER:
    case SCHEMA_TYPE_SIZE:
    case SCHEMA_TYPE_DURATION:
    case SCHEMA_TYPE_WORD:
    case SCHEMA_TYPE_PORTS:
    case SCHEMA_TYPE_NETWORKS:
    case SCHEMA_TYPE_ACCESS:
    case SCHEMA_TYPE_FORMAT:
    case SCHEMA_TYPE_ON_RELOAD:
        return true;
    case SCHEMA_TYPE_RANGES:
        return ((const struct conf_ranges *)field)->n_items > 0;
    case SCHEMA_TYPE_REBIND:
        return true;
    case SCHEMA_TYPE_ENDPOINT:
        return true;
    case SCHEMA_TYPE_PARENTS:
    case SCHEMA_TYPE_ZONE: /* lists have lines of their own */
    case SCHEMA_TYPE_HOST:
        return false;
    }
    return false;
}

static void print_unsigned(const struct schema_key *key, uint64_t value, FILE *out)
{
    char text[VALUE_TEXT_MAX];

    if (value == 0 && key->zero_word)
        fputs(key->zero_word, out);
    else if (key->type == SCHEMA_TYPE_DURATION)
        fputs(value_duration_text(value * (key->unit_ms ? key->unit_ms : 1), text), out);
    else if (key->type == SCHEMA_TYPE_SIZE)
        fputs(value_size_text(value, text), out);
    else
        fprintf(out, "%" PRIu64, value);
}

static void print_on_reload(const struct conf *conf, FILE *out)
{
    char text[VALUE_TEXT_MAX];

    switch (conf->on_reload) {
    case CONF_RELOAD_REVOKE:
        fputs("revoke", out);
        break;
    case CONF_RELOAD_KEEP:
        fputs("keep", out);
        break;
    case CONF_RELOAD_GRACE:
        fprintf(out, "grace=%s", value_duration_text(conf->on_reload_grace_ms, text));
        break;
    }
}

static void print_ranges(const struct conf_ranges *ranges, FILE *out)
{
    char text[2 * ADDR_TEXT_MAX];

    for (size_t i = 0; i < ranges->n_items; i++)
        fprintf(out, "%s%s", i ? ", " : "", addr_range_text(&ranges->items[i], text, sizeof(text)));
}

static void print_endpoints(const struct schema_key *key, const struct conf_endpoints *list,
                            FILE *out)
{
    char text[ENDPOINT_TEXT_MAX];

    if (list->n_items == 0)
        fputs(key->zero_word, out);
    for (size_t i = 0; i < list->n_items; i++)
        fprintf(out, "%s%s", i ? ", " : "", endpoint_text(&list->items[i], text));
}

static void print_rebind(const struct conf_rebind *rebind, FILE *out)
{
    fputs(rebind->is_on ? "on" : "off", out);
    for (size_t i = 0; i < rebind->n_exempt; i++)
        fprintf(out, ", %s", rebind->exempt[i]);
}

static void print_value(const struct schema_key *key, const void *base, const void *field,
                        FILE *out)
{
    const struct conf_log *log = field;

    switch (key->type) {
    case SCHEMA_TYPE_BOOL:
        fputs(*(const bool *)field ? "yes" : "no", out);
        break;
    case SCHEMA_TYPE_NUMBER:
    case SCHEMA_TYPE_SIZE:
    case SCHEMA_TYPE_DURATION:
        print_unsigned(key, fetch_unsigned(key, field), out);
        break;
    case SCHEMA_TYPE_WORD:
        fputs(key->words[fetch_unsigned(key, field)], out);
        break;
    case SCHEMA_TYPE_TEXT:
        fputs(*(char *const *)field, out);
        break;
    case SCHEMA_TYPE_PORTS:
        print_ports(field, out);
        break;
    case SCHEMA_TYPE_NETWORKS:
        print_networks(field, out);
        break;
    case SCHEMA_TYPE_EGRESS:
        print_egress(field, out);
        break;
    case SCHEMA_TYPE_MARK:
        fprintf(out, "0x%x", ((const struct conf_egress *)field)->mark);
        break;
    case SCHEMA_TYPE_NAME_SERVERS:
        print_servers(field, out);
        break;
    case SCHEMA_TYPE_ACCESS:
        fputs(log->access == CONF_ACCESS_FILE ? log->access_path : key->words[log->access], out);
        break;
    case SCHEMA_TYPE_FORMAT:
        fputs(log->format == CONF_FORMAT_CUSTOM ? log->format_text : key->words[log->format], out);
        break;
    case SCHEMA_TYPE_ON_RELOAD:
        print_on_reload(base, out);
        break;
    case SCHEMA_TYPE_RANGES:
        print_ranges(field, out);
        break;
    case SCHEMA_TYPE_REBIND:
        print_rebind(field, out);
        break;
    case SCHEMA_TYPE_ENDPOINT:
        print_endpoints(key, field, out);
        break;
    case SCHEMA_TYPE_PARENTS:
    case SCHEMA_TYPE_ZONE:
    case SCHEMA_TYPE_HOST:
        break;
    }
}

static void print_section(enum schema_section section, const char *name, const void *base,
                          FILE *out)
{
    const char *word = schema_section_info(section)->name;
    bool is_resolv = false;

    if (name)
        is_resolv = ((const struct conf_listener *)base)->uses_resolv_conf;
    if (name && strcmp(name, word) != 0)
        fprintf(out, "[%s %s]\n", word, name);
    else
        fprintf(out, "[%s]\n", word);
    for (size_t i = 0; i < schema_n_keys(); i++) {
        const struct schema_key *key = schema_key_at(i);
        const char *field = (const char *)base + (key->offset == SCHEMA_NO_FIELD ? 0 : key->offset);
        if (key->section != section || !has_value(key, field))
            continue;
        bool is_comment = key->type == SCHEMA_TYPE_NAME_SERVERS && is_resolv;
        fprintf(out, "%s%s = ", is_comment ? "; resolv.conf: " : "", key->name);
        print_value(key, base, field, out);
        fputc('\n', out);
    }
    fputc('\n', out);
}

static void print_zones(const struct conf_zones *zones, FILE *out)
{
    fputs("[dns-zones]\n", out);
    for (size_t i = 0; i < zones->n_items; i++) {
        fprintf(out, "zone = %s ", zones->items[i].name);
        print_servers(&zones->items[i].servers, out);
        fputc('\n', out);
    }
    fputc('\n', out);
}

/* One line a record, so that none grows over what a line may hold. */
static void print_hosts(const struct hosts *hosts, FILE *out)
{
    char name[HOSTS_NAME_MAX], text[ADDR_TEXT_MAX];

    fputs("[dns-hosts]\n", out);
    for (size_t i = 0; i < hosts_count(hosts); i++) {
        const struct addr *a = hosts_at(hosts, i, name);
        fprintf(out, "host = %s %s\n", name, addr_text(a, text));
    }
    fputc('\n', out);
}

bool print_key(const struct conf *conf, const struct schema_key *key, FILE *out)
{
    const void *base = conf;

    if (key->section == SCHEMA_WEB_PROXY)
        base = conf->n_web_proxies ? conf->web_proxies : NULL;
    if (key->section == SCHEMA_DNS)
        base = conf->n_dns ? conf->dns : NULL;
    if (!base || key->offset == SCHEMA_NO_FIELD)
        return false;
    const char *field = (const char *)base + key->offset;
    if (!has_value(key, field))
        return false;
    print_value(key, base, field, out);
    return true;
}

void print_conf(const struct conf *conf, FILE *out)
{
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        print_section(SCHEMA_WEB_PROXY, conf->web_proxies[i].base.name, &conf->web_proxies[i], out);
    for (size_t i = 0; i < conf->n_dns; i++)
        print_section(SCHEMA_DNS, conf->dns[i].base.name, &conf->dns[i], out);
    if (conf->zones.n_items > 0)
        print_zones(&conf->zones, out);
    if (conf->hosts)
        print_hosts(conf->hosts, out);
    print_section(SCHEMA_ACL, NULL, conf, out);
    print_section(SCHEMA_LIMITS, NULL, conf, out);
    print_section(SCHEMA_TIMEOUTS, NULL, conf, out);
    print_section(SCHEMA_LOG, NULL, conf, out);
    print_section(SCHEMA_ADMIN, NULL, conf, out);
    print_section(SCHEMA_PROCESS, NULL, conf, out);
}

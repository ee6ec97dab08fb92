/*
 * From the text of a value to the field that its row names. One function a type; each checks the
 * whole value first and stores last, so a refused value changes nothing. With no field to store to,
 * the same functions check the keys whose features are not built yet.
 *
 * Pure but for the heap: no file, no look-up, no interface is asked here.
 */
#include "conf/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/logfield.h"
#include "conf/snapshot.h"
#include "proxy/base/escape.h"

typedef int (*parse_fn)(const struct schema_key *key, const char *text, void *field, char *why);

static int refuse(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(char *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, SCHEMA_WHY_MAX, fmt, args);
    va_end(args);
    return -EINVAL;
}

/* Unsigned fields of any width; the row's range was checked before and fits. */
static void store_unsigned(const struct schema_key *key, uint64_t number, void *field)
{
    if (!field)
        return;
    switch (key->size) {
    case sizeof(uint8_t):
        *(uint8_t *)field = (uint8_t)number;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)field = (uint16_t)number;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)field = (uint32_t)number;
        break;
    case sizeof(uint64_t):
        *(uint64_t *)field = number;
        break;
    }
}

static bool is_zero_word(const struct schema_key *key, const char *text)
{
    return key->zero_word && strcmp(text, key->zero_word) == 0;
}

static const char *or_zero_word(const struct schema_key *key, char buf[static VALUE_TEXT_MAX])
{
    if (!key->zero_word)
        return "";
    snprintf(buf, VALUE_TEXT_MAX, ", or `%s`", key->zero_word);
    return buf;
}

static int parse_bool(const struct schema_key *key, const char *text, void *field, char *why)
{
    static const char *const words[] = {"yes", "no", "on", "off", "true", "false"};
    struct value_nearest nearest = {0};
    bool value;

    if (value_parse_bool(text, &value) == 0) {
        if (field)
            *(bool *)field = value;
        return 0;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        value_nearest_add(&nearest, text, words[i]);
    const char *near = value_nearest_get(&nearest, text);
    if (near)
        return refuse(why, "did you mean `%s`? Write yes or no", near);
    return refuse(why, "write yes or no");
}

static int parse_number(const struct schema_key *key, const char *text, void *field, char *why)
{
    char zero[VALUE_TEXT_MAX];
    uint64_t number = 0;

    if (!is_zero_word(key, text)) {
        int r = value_parse_number(text, &number);
        if (r < 0 || number < key->min || number > key->max)
            return refuse(why, "write a number from %" PRIu64 " to %" PRIu64 "%s", key->min,
                          key->max, or_zero_word(key, zero));
    }
    store_unsigned(key, number, field);
    return 0;
}

static int parse_size(const struct schema_key *key, const char *text, void *field, char *why)
{
    char zero[VALUE_TEXT_MAX], min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
    uint64_t bytes = 0;

    if (!is_zero_word(key, text)) {
        int r = value_parse_size(text, &bytes);
        if (r < 0 || bytes < key->min || bytes > key->max)
            return refuse(why, "write a size from %s to %s, in bytes or with K, M or G%s",
                          value_size_text(key->min, min), value_size_text(key->max, max),
                          or_zero_word(key, zero));
    }
    store_unsigned(key, bytes, field);
    return 0;
}

static int parse_duration(const struct schema_key *key, const char *text, void *field, char *why)
{
    char zero[VALUE_TEXT_MAX], min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
    uint64_t unit_ms = key->unit_ms ? key->unit_ms : 1;
    uint64_t ms = 0;

    if (!is_zero_word(key, text)) {
        int r = value_parse_duration(text, &ms);
        if (r == -ENODATA)
            return refuse(why, "a time needs a unit: ms, s, m, h or d, for example `30s`");
        if (r < 0 || ms < key->min || ms > key->max)
            return refuse(why, "write a time from %s to %s with the unit ms, s, m, h or d%s",
                          value_duration_text(key->min, min), value_duration_text(key->max, max),
                          or_zero_word(key, zero));
        if (ms % unit_ms != 0)
            return refuse(why, "write whole seconds");
    }
    store_unsigned(key, ms / unit_ms, field);
    return 0;
}

/* Index of @text in @words, or -1. */
static int word_index(const char *const *words, const char *text)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
    }
    return -1;
}

/* "did you mean ...", or all the words that there are, then what else may stand there. */
static int refuse_word(const struct schema_key *key, const char *text, const char *tail, char *why)
{
    struct value_nearest nearest = {0};
    char list[SCHEMA_WHY_MAX] = "";
    size_t len = 0;

    for (size_t i = 0; key->words[i]; i++) {
        value_nearest_add(&nearest, text, key->words[i]);
        int n = snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", key->words[i]);
        if (n > 0 && (size_t)n < sizeof(list) - len)
            len += (size_t)n;
    }
    const char *near = value_nearest_get(&nearest, text);
    if (near)
        return refuse(why, "did you mean `%s`?", near);
    return refuse(why, "write one of: %s%s", list, tail);
}

static int parse_word(const struct schema_key *key, const char *text, void *field, char *why)
{
    int i = word_index(key->words, text);

    if (i < 0)
        return refuse_word(key, text, "", why);
    store_unsigned(key, (uint64_t)i, field);
    return 0;
}

static int replace_text(char **field, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static int parse_text(const struct schema_key *key, const char *text, void *field, char *why)
{
    size_t n = escape_utf8_length(text, strlen(text));

    if (key->zero_word && strcmp(text, key->zero_word) == 0) {
        if (field) {
            free(*(char **)field);
            *(char **)field = NULL;
        }
        return 0;
    }
    if (n < key->min)
        return refuse(why, "the value is empty");
    if (n > key->max)
        return refuse(why, "%zu characters; write at most %" PRIu64, n, key->max);
    return field ? replace_text(field, text) : 0;
}

static int parse_ports(const struct schema_key *key, const char *text, void *field, char *why)
{
    static const char example[] = "write for example `443` or `80, 443, 8000-8999`";
    struct ports ports;
    const char *what;

    if (ports_parse(text, strlen(text), &ports, &what) < 0)
        return refuse(why, "%s; %s", what, example);
    if (field)
        *(struct ports *)field = ports;
    return 0;
}

/* Digits and dots only, or a colon: meant as an address, so it is no interface name. */
static bool looks_like_address(struct value_item item)
{
    return memchr(item.text, ':', item.len) || strspn(item.text, "0123456789./-") >= item.len;
}

static bool is_interface_name(struct value_item item)
{
    if (item.len == 0 || item.len >= CONF_IFNAME_MAX)
        return false;
    for (size_t i = 0; i < item.len; i++) {
        unsigned char c = (unsigned char)item.text[i];
        if (c <= ' ' || c >= 0x7f || c == '/' || c == '[' || c == ']' || c == '*')
            return false;
    }
    return item.text[0] != '.';
}

static bool is_multicast(const struct addr *a)
{
    if (addr_is_ipv4(a))
        return addr_ipv4(a) >= 0xe0000000;
    return a->bytes[0] == 0xff;
}

static bool is_link_local_ipv6(const struct addr *a)
{
    return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/* An address of ours: interface name or address. */
static int parse_network(struct value_item item, struct conf_network *ret_network, char *why)
{
    char quoted[VALUE_QUOTE_MAX];
    struct conf_network network = {0};

    if (addr_parse(item.text, item.len, &network.addr) == 0) {
        if (is_multicast(&network.addr))
            return refuse(why, "%s is a multicast address; write one of this host's own",
                          value_quote(item.text, item.len, quoted));
        if (is_link_local_ipv6(&network.addr))
            return refuse(why, "%s is link-local; write the interface's name instead",
                          value_quote(item.text, item.len, quoted));
        *ret_network = network;
        return 0;
    }
    if (looks_like_address(item) || !is_interface_name(item))
        return refuse(
            why, "%s is neither an address of this host nor an interface name (at most 15 bytes)",
            value_quote(item.text, item.len, quoted));
    memcpy(network.ifname, item.text, item.len);
    *ret_network = network;
    return 0;
}

static bool is_same_network(const struct conf_network *a, const struct conf_network *b)
{
    return strcmp(a->ifname, b->ifname) == 0 && addr_compare(&a->addr, &b->addr) == 0;
}

/* A value is at most 199 bytes, so no list has more items than this. */
enum { LIST_MAX = 100, ZONES_MAX = 1024 };

static int parse_networks(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_network items[LIST_MAX];
    struct conf_listener *listener = field;
    const char *cursor = text;
    struct value_item item;
    size_t n = 0;

    while (value_next_item(&cursor, &item)) {
        if (n == LIST_MAX)
            return refuse(why, "at most %d items", LIST_MAX);
        int r = parse_network(item, &items[n], why);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++) {
            if (is_same_network(&items[i], &items[n]))
                return refuse(why, "the same network twice; remove one of them");
        }
        n++;
    }
    if (!listener)
        return 0;
    struct conf_network *copy = calloc(n, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    memcpy(copy, items, n * sizeof(*copy));
    free(listener->networks);
    listener->networks = copy;
    listener->n_networks = n;
    return 0;
}

static int add_source(struct conf_egress *egress, const struct addr *a, char *why)
{
    static const struct addr wildcard;
    bool is_ipv4 = addr_is_ipv4(a);

    if (addr_compare(a, &wildcard) == 0 || (is_ipv4 && addr_ipv4(a) == 0))
        return refuse(why,
                      "the unspecified address is no source; leave the key out to go by route");
    if (is_ipv4 ? egress->has_ipv4_source : egress->has_ipv6_source)
        return refuse(why, "more than one IPv%c address; write at most one of each family",
                      is_ipv4 ? '4' : '6');
    if (is_ipv4) {
        egress->has_ipv4_source = true;
        egress->ipv4_source = *a;
    } else {
        egress->has_ipv6_source = true;
        egress->ipv6_source = *a;
    }
    return 0;
}

static int parse_egress(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_egress egress = {0};
    const char *cursor = text;
    struct value_item item;
    size_t n = 0;

    while (value_next_item(&cursor, &item)) {
        struct conf_network network;
        int r = parse_network(item, &network, why);
        if (r < 0)
            return r;
        if (network.ifname[0] != '\0' ? n > 0 : egress.ifname[0] != '\0')
            return refuse(why, "write either one interface, or one IPv4 and one IPv6 address");
        if (network.ifname[0] != '\0')
            memcpy(egress.ifname, network.ifname, sizeof(egress.ifname));
        else if (add_source(&egress, &network.addr, why) < 0)
            return -EINVAL;
        n++;
    }
    if (field) {
        struct conf_egress *old = field;
        egress.has_mark = old->has_mark;
        egress.mark = old->mark;
        *old = egress;
    }
    return 0;
}

static int parse_mark(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_egress *egress = field;
    uint64_t mark;

    if (value_parse_number(text, &mark) < 0 || mark < key->min || mark > key->max)
        return refuse(why, "write a number from 1 to 4294967295, decimal or with 0x");
    if (egress) {
        egress->has_mark = true;
        egress->mark = (uint32_t)mark;
    }
    return 0;
}

static void free_servers(struct conf_name_server *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(items[i].tls_name);
    free(items);
}

/* Letters, digits, hyphen, underscore and dots; 1..253 bytes, labels of 1..63. */
static bool is_domain(const char *text, size_t len)
{
    size_t label = 0;

    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (strchr("-_", c) || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                   (c >= 'A' && c <= 'Z')) {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return label > 0;
}

/* What a certificate may be for. */
static bool is_tls_name(const char *text, size_t len)
{
    struct addr literal;
    return is_domain(text, len) || addr_parse(text, len, &literal) == 0;
}

static int parse_server(struct value_item item, struct conf_name_server *ret_server, char *why)
{
    static const char scheme[] = "tls://";
    char quoted[VALUE_QUOTE_MAX];
    struct conf_name_server server = {0};
    const char *text = item.text;
    size_t len = item.len;
    const char *name = NULL;

    if (len > strlen(scheme) && memcmp(text, scheme, strlen(scheme)) == 0) {
        server.is_tls = true;
        text += strlen(scheme);
        len -= strlen(scheme);
        name = memchr(text, '#', len);
        if (!name || !is_tls_name(name + 1, (size_t)(text + len - name - 1)))
            return refuse(why, "%s: write the name to verify behind `#`: tls://ADDR#NAME",
                          value_quote(item.text, item.len, quoted));
        size_t name_len = (size_t)(text + len - name - 1);
        len = (size_t)(name - text);
        name++;
        if (endpoint_parse(text, len, 853, &server.endpoint) < 0 || server.endpoint.port == 0)
            return refuse(why, "%s: write tls://ADDR#NAME or tls://ADDR:PORT#NAME",
                          value_quote(item.text, item.len, quoted));
        server.tls_name = strndup(name, name_len);
        if (!server.tls_name)
            return -ENOMEM;
        *ret_server = server;
        return 0;
    }
    if (endpoint_parse(text, len, 53, &server.endpoint) < 0 || server.endpoint.port == 0)
        return refuse(why,
                      "%s is no name server; write ADDR, ADDR:PORT, [V6]:PORT or tls://ADDR#NAME",
                      value_quote(item.text, item.len, quoted));
    if (is_multicast(&server.endpoint.addr))
        return refuse(why, "%s is a multicast address", value_quote(item.text, item.len, quoted));
    *ret_server = server;
    return 0;
}

/* From the cursor to the end of the list. On failure nothing is left to free. */
static int parse_server_list(const char *cursor, struct conf_name_servers *ret_servers, char *why)
{
    struct conf_name_server *items = calloc(LIST_MAX, sizeof(*items));
    struct value_item item;
    size_t n = 0;
    int r = 0;

    if (!items)
        return -ENOMEM;
    while (r == 0 && value_next_item(&cursor, &item)) {
        r = n == LIST_MAX ? refuse(why, "at most %d items", LIST_MAX)
                          : parse_server(item, &items[n], why);
        for (size_t i = 0; r == 0 && i < n; i++) {
            if (endpoint_equal(&items[i].endpoint, &items[n].endpoint))
                r = refuse(why, "the same name server twice; remove one of them");
        }
        n += r == 0 || (n < LIST_MAX && items[n].tls_name);
    }
    if (r < 0) {
        free_servers(items, n);
        return r;
    }
    ret_servers->items = items;
    ret_servers->n_items = n;
    return 0;
}

static int parse_name_servers(const struct schema_key *key, const char *text, void *field,
                              char *why)
{
    struct conf_name_servers servers, *old = field;

    int r = parse_server_list(text, &servers, why);
    if (r < 0)
        return r;
    if (!old) {
        free_servers(servers.items, servers.n_items);
        return 0;
    }
    free_servers(old->items, old->n_items);
    *old = servers;
    return 0;
}

static int parse_access(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_log *log = field;
    int i = word_index(key->words, text);

    if (i < 0 && !strchr(text, '/'))
        return refuse_word(key, text, ", or a path", why);
    if (i < 0 && text[strlen(text) - 1] == '/')
        return refuse(why, "the path names a directory; write the path of a file");
    if (!log)
        return 0;
    if (i < 0) {
        int r = replace_text(&log->access_path, text);
        if (r < 0)
            return r;
    }
    log->access = i < 0 ? CONF_ACCESS_FILE : (enum conf_access_target)i;
    return 0;
}

static int check_format(const char *text, char *why)
{
    struct log_piece piece;
    const char *cursor = text;
    enum logfield_outcome outcome;
    while ((outcome = logfield_next(&cursor, &piece)) == LOGFIELD_PIECE)
        ;
    if (outcome == LOGFIELD_END)
        return 0;
    char quoted[VALUE_QUOTE_MAX];
    return refuse(why,
                  "%s is no field; write %%{name} with a name of the JSON record, for example "
                  "%%{src}, or %%%% for a percent sign",
                  value_quote(piece.text, piece.len, quoted));
}

static int parse_format(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_log *log = field;
    int i = word_index(key->words, text);

    if (i < 0 && !strchr(text, '%'))
        return refuse_word(key, text, ", or a format string with `%` in it", why);
    if (i < 0 && check_format(text, why) < 0)
        return -EINVAL;
    if (!log)
        return 0;
    if (i < 0) {
        int r = replace_text(&log->format_text, text);
        if (r < 0)
            return r;
    }
    log->format = i < 0 ? CONF_FORMAT_CUSTOM : (enum conf_access_format)i;
    return 0;
}

static int parse_on_reload(const struct schema_key *key, const char *text, void *field, char *why)
{
    static const char *const words[] = {"revoke", "keep", "grace=", NULL};
    struct schema_key shown = {.words = words};
    struct conf *conf = NULL;
    uint64_t grace_ms = 0;
    int i = word_index(words, text);

    if (strncmp(text, words[2], strlen(words[2])) == 0) {
        i = CONF_RELOAD_GRACE;
        if (value_parse_duration(text + strlen(words[2]), &grace_ms) < 0 || grace_ms == 0 ||
            grace_ms > 86400000)
            return refuse(why, "write a time of at most 1d with its unit, for example `grace=30s`");
    }
    if (i < 0)
        return refuse_word(&shown, text, "TIME", why);
    if (field) {
        conf = (struct conf *)(void *)((char *)field - offsetof(struct conf, on_reload));
        conf->on_reload = (enum conf_on_reload)i;
        conf->on_reload_grace_ms = grace_ms;
    }
    return 0;
}

static int add_range(struct conf_ranges *ranges, struct value_item item, char *why)
{
    char quoted[VALUE_QUOTE_MAX];
    struct addr_range range;

    int r = addr_parse_range(item.text, item.len, &range);
    if (r == -ERANGE)
        return refuse(why, "%s has host bits set; write the network's own address",
                      value_quote(item.text, item.len, quoted));
    if (r < 0)
        return refuse(why, "%s is neither an address nor a CIDR",
                      value_quote(item.text, item.len, quoted));
    struct addr_range *grown = reallocarray(ranges->items, ranges->n_items + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    ranges->items = grown;
    grown[ranges->n_items++] = range;
    return 0;
}

static int parse_ranges(const struct schema_key *key, const char *text, void *field, char *why)
{
    const char *cursor = text;
    struct value_item item;
    struct conf_ranges fresh = {0}, *ranges = field;
    int r = 0;

    while (!is_zero_word(key, text) && r == 0 && value_next_item(&cursor, &item))
        r = add_range(&fresh, item, why);
    if (r == 0 && ranges) {
        free(ranges->items);
        *ranges = fresh;
    } else {
        free(fresh.items);
    }
    return r;
}

static int add_endpoint(struct conf_endpoints *list, struct value_item item, char *why)
{
    enum { ENDPOINTS_MAX = 8 };
    char quoted[VALUE_QUOTE_MAX];
    struct endpoint ep;

    if (endpoint_parse(item.text, item.len, 0, &ep) < 0 || ep.port == 0)
        return refuse(why, "%s is no ADDR:PORT or [V6]:PORT; write that, or `off`",
                      value_quote(item.text, item.len, quoted));
    if (is_multicast(&ep.addr) || is_link_local_ipv6(&ep.addr))
        return refuse(why, "%s cannot be listened on; write an address of the inner side",
                      value_quote(item.text, item.len, quoted));
    if (list->n_items == ENDPOINTS_MAX)
        return refuse(why, "more than %d addresses", ENDPOINTS_MAX);
    for (size_t i = 0; i < list->n_items; i++) {
        if (endpoint_equal(&list->items[i], &ep))
            return refuse(why, "%s is given twice", value_quote(item.text, item.len, quoted));
    }
    struct endpoint *grown = reallocarray(list->items, list->n_items + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    list->items = grown;
    grown[list->n_items++] = ep;
    return 0;
}

static int parse_endpoint(const struct schema_key *key, const char *text, void *field, char *why)
{
    const char *cursor = text;
    struct value_item item;
    struct conf_endpoints fresh = {0}, *list = field;
    int r = 0;

    while (!is_zero_word(key, text) && r == 0 && value_next_item(&cursor, &item))
        r = add_endpoint(&fresh, item, why);
    if (r == 0 && list) {
        free(list->items);
        *list = fresh;
    } else {
        free(fresh.items);
    }
    return r;
}

static int parse_parents(const struct schema_key *key, const char *text, void *field, char *why)
{
    static const char scheme[] = "http://";
    const char *cursor = text;
    struct value_item item;

    /* The value may hold a password: no part of it goes into a message. */
    while (value_next_item(&cursor, &item)) {
        const char *at = memrchr(item.text, '@', item.len);
        const char *host = at ? at + 1 : item.text + strlen(scheme);
        const char *end = item.text + item.len;
        uint16_t first, last;
        const char *what;

        if (item.len <= strlen(scheme) || memcmp(item.text, scheme, strlen(scheme)) != 0)
            return refuse(why, "write http://host:port or http://user:pass@host:port");
        const char *colon = memrchr(host, ':', (size_t)(end - host));
        if (!colon || colon == host ||
            ports_parse_range(colon + 1, (size_t)(end - colon - 1), &first, &last, &what) < 0 ||
            first != last)
            return refuse(why, "a port is missing or wrong; write http://host:port");
    }
    return 0;
}

static int add_exempt(struct conf_rebind *rebind, const char *text, size_t len)
{
    char **grown = reallocarray(rebind->exempt, rebind->n_exempt + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    rebind->exempt = grown;
    grown[rebind->n_exempt] = strndup(text, len);
    if (!grown[rebind->n_exempt])
        return -ENOMEM;
    rebind->n_exempt++;
    return 0;
}

static int parse_rebind(const struct schema_key *key, const char *text, void *field, char *why)
{
    const char *cursor = text;
    struct value_item item;
    struct conf_rebind *rebind = field;
    bool is_on, is_first = true;

    if (value_parse_bool(text, &is_on) == 0) {
        if (rebind)
            rebind->is_on = is_on;
        return 0;
    }
    while (value_next_item(&cursor, &item)) {
        bool is_ok = is_first ? item.len == 2 && memcmp(item.text, "on", 2) == 0
                              : is_domain(item.text, item.len);
        if (!is_ok)
            return refuse(why, "write on, off, or `on, SUFFIX, ...`");
        if (rebind && !is_first) {
            int r = add_exempt(rebind, item.text, item.len);
            if (r < 0)
                return r;
        }
        is_first = false;
    }
    if (rebind)
        rebind->is_on = true;
    return 0;
}

/* `NAME REST`: gives where REST starts. */
static int split_name(const char *text, const char **ret_rest, char *why)
{
    size_t len = strcspn(text, " \t");
    size_t dot = len > 1 && text[len - 1] == '.';

    if (!is_domain(text, len - dot))
        return refuse(why,
                      "the value starts with a domain name: letters, digits, hyphens and dots");
    if (text[len] == '\0')
        return refuse(why, "nothing behind the name; write NAME, a blank, then the list");
    *ret_rest = text + len;
    return 0;
}

/* The name in front of @rest as it is kept: lower case, no final dot. */
static char *zone_name(const char *text, const char *rest)
{
    size_t len = (size_t)(rest - text);
    char *name = strndup(text, len > 1 && text[len - 1] == '.' ? len - 1 : len);

    for (char *p = name; p && *p; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
    return name;
}

/* Takes @servers and @name on success. */
static int add_zone(struct conf_zones *zones, char *name, const struct conf_name_servers *servers,
                    char *why)
{
    for (size_t i = 0; i < zones->n_items; i++) {
        if (strcmp(zones->items[i].name, name) == 0)
            return refuse(why, "this zone is given twice; put all its servers into one line");
    }
    if (zones->n_items == ZONES_MAX)
        return refuse(why, "more than %d zones", ZONES_MAX);
    struct conf_zone *grown = reallocarray(zones->items, zones->n_items + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    zones->items = grown;
    grown[zones->n_items++] = (struct conf_zone){.name = name, .servers = *servers};
    return 0;
}

static int parse_zone(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct conf_name_servers servers;
    struct conf_zones none = {0};
    const char *rest;

    int r = split_name(text, &rest, why);
    if (r == 0)
        r = parse_server_list(rest, &servers, why);
    if (r < 0)
        return r;
    char *name = zone_name(text, rest);
    r = !name ? -ENOMEM : add_zone(field ? field : &none, name, &servers, why);
    if (r < 0 || !field) {
        free(name);
        free_servers(servers.items, servers.n_items);
    }
    free(none.items);
    return r;
}

static int add_host(struct hosts *hosts, const char *text, size_t name_len, struct value_item item,
                    char *why)
{
    char quoted[VALUE_QUOTE_MAX];
    struct addr addr;

    if (addr_parse(item.text, item.len, &addr) < 0)
        return refuse(why, "%s is no address", value_quote(item.text, item.len, quoted));
    int r = hosts_add(hosts, text, name_len, &addr);
    switch (r) {
    case -EEXIST:
        return refuse(why, "the same record twice; remove one of them");
    case -ENOSPC:
        return refuse(why, "a name has at most %d addresses", HOSTS_ADDRS_MAX);
    case -E2BIG:
        return refuse(why, "more than %d records", HOSTS_RECORDS_MAX);
    case -EINVAL:
        return refuse(why, "the name is no host name");
    default:
        return r;
    }
}

/* The addresses before a bad one stay: the caller throws all away when there was an error. */
static int parse_host(const struct schema_key *key, const char *text, void *field, char *why)
{
    struct hosts *scratch = NULL, **hosts = field ? field : &scratch;
    struct value_item item;
    const char *rest;

    int r = split_name(text, &rest, why);
    if (r < 0)
        return r;
    size_t name_len = (size_t)(rest - text);
    if (!*hosts && !(*hosts = hosts_new(NULL)))
        return -ENOMEM;
    while (r == 0 && value_next_item(&rest, &item))
        r = add_host(*hosts, text, name_len, item, why);
    hosts_unref(scratch);
    return r;
}

static const parse_fn parsers[] = {
    [SCHEMA_TYPE_BOOL] = parse_bool,
    [SCHEMA_TYPE_NUMBER] = parse_number,
    [SCHEMA_TYPE_SIZE] = parse_size,
    [SCHEMA_TYPE_DURATION] = parse_duration,
    [SCHEMA_TYPE_WORD] = parse_word,
    [SCHEMA_TYPE_TEXT] = parse_text,
    [SCHEMA_TYPE_PORTS] = parse_ports,
    [SCHEMA_TYPE_NETWORKS] = parse_networks,
    [SCHEMA_TYPE_EGRESS] = parse_egress,
    [SCHEMA_TYPE_MARK] = parse_mark,
    [SCHEMA_TYPE_NAME_SERVERS] = parse_name_servers,
    [SCHEMA_TYPE_ACCESS] = parse_access,
    [SCHEMA_TYPE_FORMAT] = parse_format,
    [SCHEMA_TYPE_ON_RELOAD] = parse_on_reload,
    [SCHEMA_TYPE_RANGES] = parse_ranges,
    [SCHEMA_TYPE_ENDPOINT] = parse_endpoint,
    [SCHEMA_TYPE_PARENTS] = parse_parents,
    [SCHEMA_TYPE_REBIND] = parse_rebind,
    [SCHEMA_TYPE_ZONE] = parse_zone,
    [SCHEMA_TYPE_HOST] = parse_host,
};

int schema_parse(const struct schema_key *key, const char *text, void *base,
                 char why[static SCHEMA_WHY_MAX])
{
    void *field = base && key->offset != SCHEMA_NO_FIELD ? (char *)base + key->offset : NULL;

    if (text[0] == '\0' && !(key->type == SCHEMA_TYPE_TEXT && key->min == 0))
        return refuse(why, "the value is empty; write one, or remove the line");
    return parsers[key->type](key, text, field, why);
}

int schema_preset(enum schema_section section, void *base)
{
    char why[SCHEMA_WHY_MAX];

    for (size_t i = 0; i < schema_n_keys(); i++) {
        const struct schema_key *key = schema_key_at(i);
        if (key->section != section || !key->preset)
            continue;
        int r = schema_parse(key, key->preset, base, why);
        if (r < 0)
            return r;
    }
    return 0;
}

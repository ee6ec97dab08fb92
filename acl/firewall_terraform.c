/*
 * Three shapes of the same resources: what `terraform show -json` prints for a state ("values") and
 * for a plan ("planned_values"), trees of modules; and the state file itself, a flat list with
 * instances. Modules are walked by a list, not by recursion. A plan leaves out what is known only
 * after it is applied, so a rule is held against "after_unknown": a port that is not there yet must
 * not be read as a port that is not given. The provider's defaults (IN, TCP) and its habit to keep
 * 0 for "not given" are those of its own schema.
 */
#include "acl/firewall_terraform.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "acl/firewall_json.h"
#include "proxy/base/escape.h"

enum { WHERE_MAX = 256, VALUE_MAX = 161 };

struct reader {
    struct firewall *fw;
    json_t *unknown; /* owned: address to "after_unknown" */
    json_t *groups;  /* owned: the names of the groups that rules belong to, as a set */
    FILE *extra;
    size_t n_proxies;
    int result;
};

/* Whether a plan leaves @key open. */
static bool is_unknown(const struct reader *rd, const char *address, const char *key)
{
    return json_is_true(json_object_get(json_object_get(rd->unknown, address), key));
}

static bool is_known_whole(struct reader *rd, const char *address)
{
    static const char *const keys[] = {
        "type", "protocol", "from_port", "to_port", "cidr_ip", "source_security_group_name",
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (!is_unknown(rd, address, keys[i]))
            continue;
        findings_add(rd->fw->findings, FINDING_ERROR, rd->fw->file, 0,
                     "%s: %s is known only after the plan is applied; read the state then", address,
                     keys[i]);
        return false;
    }
    return true;
}

static void note_groups(struct reader *rd, const json_t *values)
{
    const json_t *name;
    size_t i;

    json_array_foreach(json_object_get(values, "security_group_names"), i, name)
    {
        if (json_is_string(name) &&
            json_object_set_new(rd->groups, json_string_value(name), json_true()) < 0)
            rd->result = -ENOMEM;
    }
}

static void read_rule(struct reader *rd, const char *address, const json_t *values)
{
    char buf[7][FIREWALL_JSON_NUMBER_MAX];
    struct firewall *fw = rd->fw;

    if (!is_known_whole(rd, address))
        return;
    const char *proto = firewall_json_text(fw, values, "protocol", address, buf[0]);
    const char *first = firewall_json_text(fw, values, "from_port", address, buf[1]);
    const char *last = firewall_json_text(fw, values, "to_port", address, buf[2]);
    const char *cidr = firewall_json_text(fw, values, "cidr_ip", address, buf[3]);
    const char *group =
        firewall_json_text(fw, values, "source_security_group_name", address, buf[4]);
    proto = proto && *proto ? proto : "TCP";
    /* The provider sends ports with these two only, whatever the configuration says. */
    bool has_ports = strcasecmp(proto, "TCP") == 0 || strcasecmp(proto, "UDP") == 0;
    const struct firewall_item item = {
        .where = address,
        .proto = proto,
        .port_first = has_ports ? first : NULL,
        .port_last = has_ports ? last : NULL,
        .in_out = firewall_json_text(fw, values, "type", address, buf[5]),
        .memo = firewall_json_text(fw, values, "description", address, buf[6]),
        .ranges = &cidr,
        .n_ranges = cidr && *cidr,
        .groups = &group,
        .n_groups = group && *group,
    };
    note_groups(rd, values);
    int r = firewall_add_item(fw, &item);
    if (r < 0)
        rd->result = r;
}

static void write_key(struct reader *rd, const char *address, const json_t *values, const char *key,
                      const char *const names[static 2])
{
    char buf[FIREWALL_JSON_NUMBER_MAX], shown[VALUE_MAX];
    const char *text = NULL;

    for (size_t i = 0; i < 2 && names[i] && !(text && *text); i++)
        text = firewall_json_text(rd->fw, values, names[i], address, buf);
    bool is_open = is_unknown(rd, address, names[0]) && !(text && *text);
    if (is_open)
        text = "known after apply";
    if (!text || !*text)
        return;
    escape_write(ESCAPE_TEXT, text, strlen(text), shown, sizeof(shown));
    fprintf(rd->extra, "; %s = %s\n", key, shown);
}

static void read_web_proxy(struct reader *rd, const char *address, const char *name,
                           const json_t *values)
{
    static const struct {
        const char *key;
        const char *names[2];
    } keys[] = {
        {"listen-network", {"listen_interface_network_id", "listen_interface_network_name"}},
        {"listen-port", {"listen_port"}},
        {"bypass-network", {"bypass_interface_network_id", "bypass_interface_network_name"}},
        {"name-server", {"name_server"}},
        {"description", {"description"}},
    };
    char shown[VALUE_MAX];

    if (rd->n_proxies++ == 0)
        fputs("\n; The router's web proxy, for ukai.conf. Put your interfaces in place of the "
              "networks.\n",
              rd->extra);
    escape_write(ESCAPE_TEXT, name, strlen(name), shown, sizeof(shown));
    fprintf(rd->extra, "; [web-proxy %s]\n", shown);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        write_key(rd, address, values, keys[i].key, keys[i].names);
}

/* One resource, or one instance of a state file's. */
static void read_resource(struct reader *rd, const char *address, const json_t *resource,
                          const json_t *values)
{
    const char *type = json_string_value(json_object_get(resource, "type"));
    const char *mode = json_string_value(json_object_get(resource, "mode"));
    const char *name = json_string_value(json_object_get(resource, "name"));
    bool is_rule = type && strcmp(type, "nifcloud_security_group_rule") == 0;
    bool is_proxy = type && strcmp(type, "nifcloud_web_proxy") == 0;

    if ((!is_rule && !is_proxy) || (mode && strcmp(mode, "managed") != 0))
        return;
    if (!mode)
        firewall_json_refuse(rd->fw, address, "a resource without its mode");
    else if (!json_is_object(values))
        firewall_json_refuse(rd->fw, address, "a resource without its values");
    else if (is_rule)
        read_rule(rd, address, values);
    else
        read_web_proxy(rd, address, name ? name : "", values);
}

/* ---- the tree of modules ---- */

static void say_deposed(struct reader *rd, const char *address)
{
    findings_add(rd->fw->findings, FINDING_WARNING, rd->fw->file, 0,
                 "%s: replaced and waiting to be destroyed; left out", address);
}

static void read_module(struct reader *rd, const json_t *module, json_t *queue)
{
    const json_t *resources = json_object_get(module, "resources");
    const json_t *children = json_object_get(module, "child_modules");
    const json_t *resource;
    json_t *child;
    size_t i;

    if ((resources && !json_is_array(resources)) || (children && !json_is_array(children)) ||
        !json_is_object(module)) {
        firewall_json_refuse(rd->fw, "root_module", "a module of another shape");
        return;
    }
    json_array_foreach(resources, i, resource)
    {
        const char *address = json_string_value(json_object_get(resource, "address"));
        if (address && json_object_get(resource, "deposed_key"))
            say_deposed(rd, address);
        else if (rd->result == 0 && address)
            read_resource(rd, address, resource, json_object_get(resource, "values"));
        else if (rd->result == 0)
            firewall_json_refuse(rd->fw, "resources", "a resource without its address");
    }
    json_array_foreach(children, i, child)
    {
        if (json_array_append(queue, child) < 0)
            rd->result = -ENOMEM;
    }
}

static void read_modules(struct reader *rd, json_t *root_module)
{
    json_t *queue = json_array();

    if (!queue || json_array_append(queue, root_module) < 0)
        rd->result = -ENOMEM;
    for (size_t i = 0; rd->result == 0 && i < json_array_size(queue); i++)
        read_module(rd, json_array_get(queue, i), queue);
    json_decref(queue);
}

static void index_unknown(struct reader *rd, const json_t *changes)
{
    const json_t *change;
    size_t i;

    json_array_foreach(changes, i, change)
    {
        const char *address = json_string_value(json_object_get(change, "address"));
        json_t *unknown = json_object_get(json_object_get(change, "change"), "after_unknown");
        if (address && json_is_object(unknown) &&
            json_object_set(rd->unknown, address, unknown) < 0)
            rd->result = -ENOMEM;
    }
}

/* ---- the state file ---- */

static void name_instance(const json_t *resource, const json_t *instance, char *buf, size_t size)
{
    const char *module = json_string_value(json_object_get(resource, "module"));
    const char *type = json_string_value(json_object_get(resource, "type"));
    const char *name = json_string_value(json_object_get(resource, "name"));
    const json_t *key = json_object_get(instance, "index_key");
    int n = snprintf(buf, size, "%s%s%s.%s", module ? module : "", module ? "." : "",
                     type ? type : "", name ? name : "");

    if (n < 0 || (size_t)n >= size)
        return;
    if (json_is_string(key))
        snprintf(buf + n, size - (size_t)n, "[\"%s\"]", json_string_value(key));
    else if (json_is_integer(key))
        snprintf(buf + n, size - (size_t)n, "[%" JSON_INTEGER_FORMAT "]", json_integer_value(key));
}

static void read_state_resource(struct reader *rd, const json_t *resource)
{
    const json_t *instances = json_object_get(resource, "instances"), *instance;
    char address[WHERE_MAX];
    size_t i;

    if (!json_is_array(instances)) {
        firewall_json_refuse(rd->fw, "resources", "a resource without its instances");
        return;
    }
    json_array_foreach(instances, i, instance)
    {
        name_instance(resource, instance, address, sizeof(address));
        if (json_object_get(instance, "deposed"))
            say_deposed(rd, address);
        else if (rd->result == 0)
            read_resource(rd, address, resource, json_object_get(instance, "attributes"));
    }
}

/* ---- all of it ---- */

static void read_root(struct reader *rd, const json_t *root)
{
    const char *version = json_string_value(json_object_get(root, "format_version"));
    const json_t *planned = json_object_get(root, "planned_values"), *resource;
    const json_t *values = planned ? planned : json_object_get(root, "values");
    json_t *module = json_object_get(values, "root_module");
    const json_t *resources = json_object_get(root, "resources");
    size_t i;

    if (version && module && strncmp(version, "0.", 2) != 0 && strncmp(version, "1.", 2) != 0)
        firewall_json_refuse(rd->fw, "format_version", "neither 0.x nor 1.x");
    else if (version && module) {
        index_unknown(rd, json_object_get(root, "resource_changes"));
        read_modules(rd, module);
    } else if (json_integer_value(json_object_get(root, "version")) == 4 &&
               json_is_array(resources)) {
        json_array_foreach(resources, i, resource)
        {
            if (rd->result == 0)
                read_state_resource(rd, resource);
        }
    } else
        firewall_json_refuse(rd->fw, "root_module",
                             "missing: neither what `terraform show -json` prints nor a state file "
                             "of version 4");
    if (json_object_size(rd->groups) > 1)
        findings_add(rd->fw->findings, FINDING_WARNING, rd->fw->file, 0,
                     "rules of %zu firewall groups in one file; they are taken together",
                     json_object_size(rd->groups));
}

int firewall_terraform_read(struct firewall *fw, const char *bytes, size_t len)
{
    struct reader rd = {.fw = fw, .unknown = json_object(), .groups = json_object()};
    char *extra = NULL;
    size_t size;
    json_t *root = firewall_json_load(fw, bytes, len);

    rd.extra = open_memstream(&extra, &size);
    if (!rd.unknown || !rd.groups || !rd.extra)
        rd.result = -ENOMEM;
    else if (root)
        read_root(&rd, root);
    if (rd.extra && fclose(rd.extra) == EOF)
        rd.result = -ENOMEM;
    if (rd.result == 0 && rd.n_proxies > 0) {
        free(fw->extra);
        fw->extra = extra;
        extra = NULL;
    }
    free(extra);
    json_decref(rd.unknown);
    json_decref(rd.groups);
    json_decref(root);
    return rd.result < 0 ? rd.result : fw->findings->n_errors > 0 ? -EINVAL : 0;
}

/*
 * The parser is jansson, which refuses duplicate keys, bad UTF-8, numbers out of range, text behind
 * the end and nesting over 2,048 levels; the readers only walk trees of known depth. jansson keeps
 * no line numbers, so a rule's place is its path.
 */
#include "acl/firewall_json.h"

#include <string.h>
#include <strings.h>

json_t *firewall_json_load(struct firewall *fw, const char *bytes, size_t len)
{
    json_error_t error;
    json_t *root = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &error);

    if (!root)
        findings_add(fw->findings, FINDING_ERROR, fw->file,
                     error.line > 0 ? (unsigned)error.line : 0, "%s", error.text);
    return root;
}

void firewall_json_refuse(struct firewall *fw, const char *where, const char *what)
{
    findings_add(fw->findings, FINDING_ERROR, fw->file, 0, "%s: %s", where, what);
}

const char *firewall_json_text(struct firewall *fw, const json_t *object, const char *key,
                               const char *where, char buf[static FIREWALL_JSON_NUMBER_MAX])
{
    const json_t *value = json_object_get(object, key);

    if (!value || json_is_null(value))
        return NULL;
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_integer(value)) {
        snprintf(buf, FIREWALL_JSON_NUMBER_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return buf;
    }
    findings_add(fw->findings, FINDING_ERROR, fw->file, 0, "%s: %s is no text and no whole number",
                 where, key);
    return NULL;
}

void firewall_json_check_keys(struct firewall *fw, const json_t *object, const char *where,
                              const char *const *known)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        for (size_t i = 0; known[i]; i++)
            if (strcasecmp(key, known[i]) == 0 && strcmp(key, known[i]) != 0)
                findings_add(fw->findings, FINDING_ERROR, fw->file, 0, "%s: %s: write %s", where,
                             key, known[i]);
    }
}

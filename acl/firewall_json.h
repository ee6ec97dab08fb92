/* firewall_json - what the JSON forms of a firewall's table have in common. */
#ifndef ACL_FIREWALL_JSON_H
#define ACL_FIREWALL_JSON_H

#include <jansson.h>

#include "acl/firewall.h"

enum { FIREWALL_JSON_NUMBER_MAX = 24 };

/* The parsed text, or NULL with an error in the findings. Duplicate keys are refused. */
json_t *firewall_json_load(struct firewall *fw, const char *bytes, size_t len)
    __attribute__((warn_unused_result));
/* One error about @where, a path in the text. */
void firewall_json_refuse(struct firewall *fw, const char *where, const char *what);
/* @key's text, or its whole number as text in @buf; NULL: absent, null, or neither (an error then).
 */
const char *firewall_json_text(struct firewall *fw, const json_t *object, const char *key,
                               const char *where, char buf[static FIREWALL_JSON_NUMBER_MAX]);
/* An error for each key of @object that is one of @known (ends with NULL) but for upper and lower
 * case: it would be overlooked. */
void firewall_json_check_keys(struct firewall *fw, const json_t *object, const char *where,
                              const char *const *known);

#endif

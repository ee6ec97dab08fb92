/* jansson refuses text that is no UTF-8, and so would lose the peer that sent it. */
#include "proxy/daemon/jsonset.h"

#include <string.h>

#include "proxy/base/escape.h"

void jsonset_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

void jsonset_text(json_t *object, const char *key, const char *text)
{
    char buf[JSONSET_TEXT_MAX];
    escape_write(ESCAPE_TEXT, text, strlen(text), buf, sizeof(buf));
    json_object_set_new(object, key, json_string(buf));
}

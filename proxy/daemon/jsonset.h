/* jsonset - values into JSON objects that a program or a person at a terminal may read. */
#ifndef PROXY_DAEMON_JSONSET_H
#define PROXY_DAEMON_JSONSET_H

#include <jansson.h>
#include <stdint.h>

enum { JSONSET_TEXT_MAX = 1024 };

void jsonset_number(json_t *object, const char *key, uint64_t value);
/* Anybody's bytes, made harmless (ESCAPE_TEXT); what does not fit into JSONSET_TEXT_MAX is cut. */
void jsonset_text(json_t *object, const char *key, const char *text);

#endif

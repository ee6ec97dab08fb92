/* print - the effective configuration as a ukai.conf. */
#ifndef CONF_PRINT_H
#define CONF_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/schema.h"
#include "conf/snapshot.h"

/* Every key that has a value, defaults included; reading it back gives the same settings (lines
 * over 199 bytes aside). */
void print_conf(const struct conf *conf, FILE *out);
/* The value alone of a key that is no list; in a section of several instances the first one's.
 * False: it has none, and nothing is written. */
bool print_key(const struct conf *conf, const struct schema_key *key, FILE *out);

#endif

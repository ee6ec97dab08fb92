/* print - the effective configuration as a ukai.conf. */
#ifndef CONF_PRINT_H
#define CONF_PRINT_H

#include <stdio.h>

#include "conf/snapshot.h"

/* Every key that has a value, defaults included; reading it back gives the same settings (lines
 * over 199 bytes aside). */
void print_conf(const struct conf *conf, FILE *out);

#endif

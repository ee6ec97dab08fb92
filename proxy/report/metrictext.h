/* metrictext - figures in the text format of Prometheus, version 0.0.4 (pure). */
#ifndef PROXY_REPORT_METRICTEXT_H
#define PROXY_REPORT_METRICTEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proxy/report/tally.h"

#define METRICTEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum { METRICTEXT_VALUE_MAX = 512 }; /* bytes of a label's value, before quotes are escaped */

/* HELP and TYPE; all samples of the name follow before the next head. */
void metrictext_head(FILE *out, const char *name, const char *type, const char *help);
/**
 * metrictext_sample - one line
 * @labels: name, value, name, value, NULL; NULL: none. Values may hold any bytes: what is no
 * printable UTF-8 is shown as \xNN, quotes and backslashes are escaped, long ones are cut between
 * characters.
 */
void metrictext_sample(FILE *out, const char *name, const char *const *labels, uint64_t value);
/* The same for seconds, given in milliseconds. */
void metrictext_seconds(FILE *out, const char *name, const char *const *labels, uint64_t ms);
/* A figure without labels, with its head. */
void metrictext_one(FILE *out, const char *name, const char *type, const char *help,
                    uint64_t value);
/* A histogram with its head. */
void metrictext_times(FILE *out, const char *name, const char *help, const struct tally_times *t);

#endif

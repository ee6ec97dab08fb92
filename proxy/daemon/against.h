/* against - what `check --against-live` says: who would be cut by the files on disk, and why. */
#ifndef PROXY_DAEMON_AGAINST_H
#define PROXY_DAEMON_AGAINST_H

#include <stdbool.h>
#include <stdio.h>

#include "proxy/flow/survey.h"

/* One line (or JSON object) a source and reason, behind a summary. Sorts what the survey found.
 * Returns: 0 · -ENOMEM nothing was written. */
int against_write(struct survey *s, bool is_json, FILE *out) __attribute__((warn_unused_result));

#endif

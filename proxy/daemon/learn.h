/* learn - [out] lines from what was asked for while `mode = observe`, ready to paste. */
#ifndef PROXY_DAEMON_LEARN_H
#define PROXY_DAEMON_LEARN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "conf/snapshot.h"
#include "proxy/flow/worker.h"

/**
 * learn_write - what all workers have seen so far
 * As text: an [out @group] section for each group of @s whose members asked, [out] for all other
 * sources, counts as memos, and a note when something found no room. As JSON: one array of
 * {source, group, host, port, n, last}. @now_ms: monotonic. Main thread; the workers go on.
 * Returns: 0 · -ENOMEM nothing was written.
 */
int learn_write(const struct worker *workers, unsigned n_workers, const struct snapshot *s,
                uint64_t now_ms, bool is_json, FILE *out) __attribute__((warn_unused_result));

#endif

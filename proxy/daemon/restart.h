/* restart - the keys that a reload does not change: what is in force, and what the files say. */
#ifndef PROXY_DAEMON_RESTART_H
#define PROXY_DAEMON_RESTART_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/schema.h"
#include "conf/snapshot.h"

enum { RESTART_KEYS_MAX = 16, RESTART_TEXT_MAX = 256, RESTART_LINE_MAX = 640 };

struct restart_key {
    const struct schema_key *key;
    char in_force[RESTART_TEXT_MAX]; /* as it would be written, escaped as text: of the start */
    char wanted[RESTART_TEXT_MAX];   /* the same of the files in force */
};

struct restart {
    struct restart_key keys[RESTART_KEYS_MAX];
    unsigned n_keys;
};

/* The daemon starts with @conf. */
void restart_begin(struct restart *r, const struct conf *conf);
/* It has been reloaded, and this is its configuration now. */
void restart_compare(struct restart *r, const struct conf *conf);
bool restart_is_needed(const struct restart_key *k);
/* "[process] workers = 3; until then it is 2": escaped as text. */
const char *restart_text(const struct restart_key *k, char buf[static RESTART_LINE_MAX]);
/* A line for each key that waits for a restart: in the log, and to @said (NULL: nobody asks). */
void restart_say(const struct restart *r, FILE *said);

#endif

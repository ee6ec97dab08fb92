/* story - what `ukai explain` says, step by step: lines for people, or one JSON object. */
#ifndef PROXY_DAEMON_STORY_H
#define PROXY_DAEMON_STORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "acl/rule.h"

struct story {
    FILE *out;               /* borrowed */
    json_t *whole;           /* owned; NULL: lines */
    json_t *chapter, *steps; /* of the listener at hand; in whole */
    const char *what;        /* of the step at hand; static */
    FILE *sentence;          /* likewise */
    char *text;              /* owned: what was written to it */
    size_t len;
    bool is_cut; /* out of memory: something is missing */
};

/* story_fini() is safe on a zero-initialised one. */
void story_init(struct story *s, FILE *out, bool as_json, const char *target, const char *from);
void story_fini(struct story *s);

/* The steps that follow are @name's. @protocol: "tcp" or "udp". */
void story_listener(struct story *s, const char *name, const char *protocol, unsigned port);
/**
 * story_step - one sentence, written to the stream that is returned, with or without a newline
 * @what: static. Ends with story_step_end(); never NULL.
 */
FILE *story_step(struct story *s, const char *what);
/* @verdict: a word, static; NULL: it decides nothing. @rule: the line that decided, or NULL. */
void story_step_end(struct story *s, const char *verdict, const struct rule_place *rule);
void story_say(struct story *s, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What all steps of the listener came to. */
void story_verdict(struct story *s, const char *verdict);
/* Of no listener. */
void story_note(struct story *s, const char *what, const char *text);
/* The end: in JSON, the whole is written now. False: out of memory, something is missing. */
bool story_close(struct story *s, const char *verdict, int exit_code);

#endif

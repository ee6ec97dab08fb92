/*
 * The sentences are the same for people and programs; a program gets beside them the verdict of the
 * step and the line that decided, in fields of their own.
 */
#include "proxy/daemon/story.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void keep(struct story *s, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        s->is_cut = true;
}

void story_init(struct story *s, FILE *out, bool as_json, const char *target, const char *from)
{
    *s = (struct story){.out = out};
    if (!as_json) {
        fprintf(out, "%s from %s\n", target, from);
        return;
    }
    s->whole = json_pack("{s:s, s:s, s:[]}", "target", target, "from", from, "listeners");
    s->is_cut = !s->whole;
}

void story_fini(struct story *s)
{
    if (s->sentence)
        fclose(s->sentence);
    free(s->text);
    json_decref(s->whole);
    *s = (struct story){0};
}

void story_listener(struct story *s, const char *name, const char *protocol, unsigned port)
{
    if (!s->whole) {
        story_say(s, "listener", "%s (%s %u)", name, protocol, port);
        return;
    }
    s->chapter = json_pack("{s:s, s:s, s:i, s:[]}", "name", name, "protocol", protocol, "port",
                           (int)port, "steps");
    s->steps = json_object_get(s->chapter, "steps");
    if (json_array_append_new(json_object_get(s->whole, "listeners"), s->chapter) == 0)
        return;
    s->chapter = s->steps = NULL;
    s->is_cut = true;
}

FILE *story_step(struct story *s, const char *what)
{
    s->what = what;
    s->sentence = open_memstream(&s->text, &s->len);
    if (s->sentence)
        return s->sentence;
    s->is_cut = true;
    return s->out;
}

static json_t *rule_json(const struct rule_place *rule)
{
    return json_pack("{s:s, s:i, s:s, s:s}", "file", rule->file, "line", (int)rule->line, "text",
                     rule->text, "memo", rule->memo);
}

void story_step_end(struct story *s, const char *verdict, const struct rule_place *rule)
{
    if (!s->sentence)
        return;
    bool is_whole = fclose(s->sentence) == 0;
    s->sentence = NULL;
    if (is_whole && s->len > 0 && s->text[s->len - 1] == '\n')
        s->text[--s->len] = '\0';
    if (!is_whole) {
        s->is_cut = true;
    } else if (!s->whole) {
        fprintf(s->out, "  %-9s %s\n", s->what, s->text);
    } else {
        json_t *step = json_pack("{s:s, s:s}", "step", s->what, "text", s->text);
        if (verdict)
            keep(s, step, "verdict", json_string(verdict));
        if (rule)
            keep(s, step, "rule", rule_json(rule));
        if (json_array_append_new(s->steps, step) < 0)
            s->is_cut = true;
    }
    free(s->text);
    s->text = NULL;
}

void story_say(struct story *s, const char *what, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(story_step(s, what), fmt, args);
    va_end(args);
    story_step_end(s, NULL, NULL);
}

void story_verdict(struct story *s, const char *verdict)
{
    if (s->whole)
        keep(s, s->chapter, "verdict", json_string(verdict));
    else
        story_say(s, "verdict", "%s", verdict);
}

void story_note(struct story *s, const char *what, const char *text)
{
    if (s->whole)
        keep(s, s->whole, what, json_string(text));
    else
        story_say(s, what, "%s", text);
}

bool story_close(struct story *s, const char *verdict, int exit_code)
{
    if (s->whole) {
        keep(s, s->whole, "verdict", json_string(verdict));
        keep(s, s->whole, "exit", json_integer(exit_code));
        if (json_dumpf(s->whole, s->out, JSON_INDENT(2)) < 0)
            s->is_cut = true;
        fputc('\n', s->out);
    }
    return !s->is_cut;
}

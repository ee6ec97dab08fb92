/*
 * Walks the schema, so that no key is forgotten: what its row says of a reload is what the manual
 * says, too. Compared is with the start and not with the reload before, since that is what stays in
 * force; so a warning comes again at each reload until the files and the process agree.
 *
 * Texts instead of the old snapshot: its rules may be large, and nobody needs them any more.
 */
#include "proxy/daemon/restart.h"

#include <string.h>

#include "conf/print.h"
#include "proxy/base/escape.h"
#include "proxy/base/log.h"

static void key_text(const struct conf *conf, const struct schema_key *key,
                     char buf[static RESTART_TEXT_MAX])
{
    char text[RESTART_TEXT_MAX] = "";
    FILE *out = fmemopen(text, sizeof(text) - 1, "w");
    bool has_value = out && print_key(conf, key, out);
    if (out)
        fclose(out);
    const char *what = has_value ? text : key->preset_doc ? key->preset_doc : "none";
    escape_write(ESCAPE_TEXT, what, strlen(what), buf, RESTART_TEXT_MAX);
}

void restart_begin(struct restart *r, const struct conf *conf)
{
    *r = (struct restart){0};
    for (size_t i = 0; i < schema_n_keys() && r->n_keys < RESTART_KEYS_MAX; i++) {
        const struct schema_key *key = schema_key_at(i);
        if (key->apply != SCHEMA_RESTART)
            continue;
        struct restart_key *k = &r->keys[r->n_keys++];
        k->key = key;
        key_text(conf, key, k->in_force);
        memcpy(k->wanted, k->in_force, sizeof(k->wanted));
    }
}

void restart_compare(struct restart *r, const struct conf *conf)
{
    for (unsigned i = 0; i < r->n_keys; i++)
        key_text(conf, r->keys[i].key, r->keys[i].wanted);
}

bool restart_is_needed(const struct restart_key *k)
{
    return strcmp(k->in_force, k->wanted) != 0;
}

const char *restart_text(const struct restart_key *k, char buf[static RESTART_LINE_MAX])
{
    snprintf(buf, RESTART_LINE_MAX, "[%s] %s = %s; until then it is %s",
             schema_section_info(k->key->section)->name, k->key->name, k->wanted, k->in_force);
    return buf;
}

static void log_key(const struct restart_key *k)
{
    char in_force[RESTART_TEXT_MAX], wanted[RESTART_TEXT_MAX];
    escape_write(ESCAPE_LOG, k->in_force, strlen(k->in_force), in_force, sizeof(in_force));
    escape_write(ESCAPE_LOG, k->wanted, strlen(k->wanted), wanted, sizeof(wanted));
    log_warning("msg=\"needs a restart\" section=%s key=%s in_force=\"%s\" wanted=\"%s\"",
                schema_section_info(k->key->section)->name, k->key->name, in_force, wanted);
}

void restart_say(const struct restart *r, FILE *said)
{
    char text[RESTART_LINE_MAX];
    for (unsigned i = 0; i < r->n_keys; i++) {
        if (!restart_is_needed(&r->keys[i]))
            continue;
        log_key(&r->keys[i]);
        if (said)
            fprintf(said, "ukai: needs a restart: %s\n", restart_text(&r->keys[i], text));
    }
}

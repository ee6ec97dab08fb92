/*
 * Build-time tool: writes the keys of the schema as mdoc, one subsection a section, for
 * ukai.conf(5); with `example` it writes conf/examples/full.conf. Both come from the one table that
 * the daemon reads with, so that neither can tell another story. Not installed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/schema.h"

/* A line that starts with a dot or an apostrophe would be a request; a sentence starts a line of
 * its own. */
static void put_text(const char *text)
{
    bool is_start = true;

    for (const char *p = text; *p; p++) {
        if (is_start && (*p == '.' || *p == '\''))
            fputs("\\&", stdout);
        is_start = p[0] == '.' && p[1] == ' ';
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
        if (is_start) {
            putchar('\n');
            p++;
        }
    }
}

static const char *preset_text(const struct schema_key *key)
{
    return key->preset ? key->preset : key->preset_doc;
}

static void put_range(const struct schema_key *key)
{
    char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];

    if (key->type == SCHEMA_TYPE_DURATION)
        printf("; %s to %s", value_duration_text(key->min, min),
               value_duration_text(key->max, max));
    else if (key->type == SCHEMA_TYPE_SIZE)
        printf("; %s to %s", value_size_text(key->min, min), value_size_text(key->max, max));
    else if (key->type == SCHEMA_TYPE_NUMBER)
        printf("; %" PRIu64 " to %" PRIu64, key->min, key->max);
    if (key->zero_word)
        printf(" or %s", key->zero_word);
    for (size_t i = 0; key->words && key->words[i]; i++)
        printf("%s %s", i ? "," : ";", key->words[i]);
}

static void put_key(const struct schema_key *key)
{
    printf(".It Ic %s\n", key->name);
    put_text(key->doc);
    if (key->is_later)
        fputs("\n.Em Not available yet :\nthe line is checked and then has no effect.", stdout);
    fputs("\n.br\n", stdout);
    put_text(schema_type_text(key));
    put_range(key);
    if (key->is_required) {
        puts(".\nRequired.");
    } else {
        fputs(".\nDefault: ", stdout);
        put_text(preset_text(key));
        puts(".");
    }
    if (!key->is_later)
        puts(key->apply == SCHEMA_RELOAD ? "Applied by a reload." : "Needs a restart.");
}

static void put_manual(void)
{
    for (int s = 0; s < SCHEMA_N_SECTIONS; s++) {
        const struct schema_section_info *info = schema_section_info((enum schema_section)s);
        printf(".Ss [%s]\n", info->name);
        put_text(info->doc);
        putchar('\n');
        puts(".Bl -tag -width Ds");
        for (size_t i = 0; i < schema_n_keys(); i++) {
            if (schema_key_at(i)->section == (enum schema_section)s)
                put_key(schema_key_at(i));
        }
        puts(".El");
    }
}

/* What stands in the example: live where the default can be written and works, else a comment. */
static void put_example_key(const struct schema_key *key)
{
    if (key->is_required)
        printf("%s = 127.0.0.1, ::1 ; required\n", key->name);
    else if (!key->preset)
        printf("; %s =  (default: %s)%s\n", key->name, key->preset_doc,
               key->is_later ? "  not available yet" : "");
    else if (key->is_later)
        printf("; %s = %s  (not available yet)\n", key->name, key->preset);
    else
        printf("%s = %s\n", key->name, key->preset);
}

static void put_example(void)
{
    puts("; Every key of ukai.conf with its default. Made from the schema; see ukai.conf(5).");
    for (int s = 0; s < SCHEMA_N_SECTIONS; s++) {
        printf("\n[%s]\n", schema_section_info((enum schema_section)s)->name);
        for (size_t i = 0; i < schema_n_keys(); i++) {
            if (schema_key_at(i)->section == (enum schema_section)s)
                put_example_key(schema_key_at(i));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "example") == 0)
        put_example();
    else
        put_manual();
    return fflush(stdout) == 0 ? 0 : 1;
}

/* markup - templates of HTML with values put in, escaped unless said otherwise. */
#ifndef PROXY_BASE_MARKUP_H
#define PROXY_BASE_MARKUP_H

#include <stdbool.h>
#include <stdio.h>

/* Longer texts are cut. */
enum { MARKUP_TEXT_MAX = 1024 };

struct markup_value {
    const char *name;
    const char *text; /* NULL: empty */
    bool is_markup;   /* our own: written as it is, of any length */
};

/**
 * markup_write - @template with each {name} replaced by the value of that name
 * @values: ends with one without a name. Text that a peer chose is never markup, neither between
 * tags nor inside a quoted attribute. A name that has no value leaves nothing.
 */
void markup_write(FILE *out, const char *template, const struct markup_value *values);

#endif

/* explain - one decision in words, for a person (writes to a FILE, decides nothing). */
#ifndef ACL_EXPLAIN_H
#define ACL_EXPLAIN_H

#include <stdint.h>
#include <stdio.h>

#include "acl/verdict.h"

/* `acl.conf:3: tcp 8080 = 192.168.1.10   ; memo`, escaped. */
void explain_place(FILE *out, const struct rule_place *place);

/* Each writes one line, without indentation, with its newline. */
/* @rule: what in_table_ask() gave for @source; NULL: nobody admits it. */
void explain_source(FILE *out, const struct in_rule *rule, enum in_proto proto, uint16_t port,
                    const struct addr *source);
/* @verdict, @detail: what verdict_name() gave. */
void explain_name(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                  const char *name, uint16_t port);
/* @verdict, @detail: what verdict_query() gave. */
void explain_query(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                   const char *name);
/* @verdict, @detail: what verdict_addr() gave. */
void explain_addr(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                  const struct addr *a, uint16_t port);

#endif

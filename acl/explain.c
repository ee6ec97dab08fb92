/*
 * The sentence for a decision that was made by acl/verdict: which line of which file, as written,
 * with its memo, or why no line decided. It is told the outcome and never judges, so what a person
 * reads is what the data path did. The memo and the text of a line are the admin's, a name may be a
 * peer's: all of it goes through escape.
 */
#include "acl/explain.h"

#include <string.h>

#include "proxy/base/escape.h"

enum { TEXT_MAX = 1024 };

static void write_escaped(FILE *out, const char *text)
{
    char buf[TEXT_MAX];

    escape_write(ESCAPE_TEXT, text, strlen(text), buf, sizeof(buf));
    fputs(buf, out);
}

void explain_place(FILE *out, const struct rule_place *place)
{
    write_escaped(out, place->file);
    fprintf(out, ":%u: ", place->line);
    write_escaped(out, place->text);
    if (place->memo[0] != '\0') {
        fputs("   ; ", out);
        write_escaped(out, place->memo);
    }
}

/* "... by acl.conf:3: ..." */
static void write_by(FILE *out, const char *what, const struct rule_place *place)
{
    fprintf(out, " is %s by ", what);
    explain_place(out, place);
    fputc('\n', out);
}

void explain_source(FILE *out, const struct in_rule *rule, enum in_proto proto, uint16_t port,
                    const struct addr *source)
{
    char text[ADDR_TEXT_MAX];
    const char *word = proto == IN_PROTO_UDP ? "udp" : "tcp";

    fprintf(out, "%s", addr_text(source, text));
    if (rule)
        write_by(out, "admitted", &rule->place);
    else
        fprintf(out, " is refused: no [in] line admits it to %s %u\n", word, port);
}

void explain_name(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                  const char *name, uint16_t port)
{
    bool is_denied = verdict == VERDICT_DENY;
    char sections[VERDICT_SECTIONS_MAX];

    write_escaped(out, name);
    fprintf(out, ":%u", port);
    if (detail->rule)
        write_by(out, is_denied ? "denied" : "allowed", &detail->rule->place);
    else if (is_denied)
        fprintf(out, " is denied: no allow line of %s matches\n",
                verdict_sections(detail, sections));
    else if (verdict == VERDICT_UNDECIDED)
        fputs(": no line decides by name, so each of its addresses is judged\n", out);
    else
        fprintf(out, " is allowed: no deny line matches, and there is no allow line in %s\n",
                verdict_sections(detail, sections));
}

void explain_query(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                   const char *name)
{
    char sections[VERDICT_SECTIONS_MAX];

    write_escaped(out, name);
    if (detail->rule)
        write_by(out, verdict == VERDICT_DENY ? "denied" : "allowed", &detail->rule->place);
    else if (verdict == VERDICT_DENY)
        fprintf(out, " is denied: %s has name lines to allow, and none matches\n",
                verdict_sections(detail, sections));
    else
        fputs(" may be asked: no line of [out] is against it\n", out);
}

void explain_addr(FILE *out, enum verdict verdict, const struct verdict_detail *detail,
                  const struct addr *a, uint16_t port)
{
    struct endpoint ep = {.addr = *a, .port = port};
    char text[ENDPOINT_TEXT_MAX], sections[VERDICT_SECTIONS_MAX];

    fputs(endpoint_text(&ep, text), out);
    switch (verdict) {
    case VERDICT_OWN:
        fputs(" is refused: it is a listener of ukai's own\n", out);
        return;
    case VERDICT_SPECIAL:
        fprintf(out,
                " is refused: it is in the special-use range %s, and no allow line inside that "
                "range names it\n",
                detail->special ? detail->special : "");
        return;
    case VERDICT_PORT:
        fputs(" is refused: the port is not in the listener's list\n", out);
        return;
    case VERDICT_ALLOW:
        if (detail->rule)
            write_by(out, "allowed", &detail->rule->place);
        else
            fputs(" is allowed\n", out);
        return;
    case VERDICT_DENY:
    case VERDICT_UNDECIDED:
        if (detail->rule)
            write_by(out, "denied", &detail->rule->place);
        else
            fprintf(out, " is denied: no allow line of %s matches\n",
                    verdict_sections(detail, sections));
        return;
    }
}

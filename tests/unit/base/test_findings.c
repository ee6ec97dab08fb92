/* The list of an admin's mistakes: exact counts, one clean line each, bounded. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/findings.h"

static char *print_all(const struct findings *f)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert(out);
    findings_print(f, out);
    fclose(out);
    return text;
}

Test(base_findings, print__writes_one_line_each)
{
    struct findings f = {0};
    findings_add(&f, FINDING_ERROR, "acl.conf", 12, "unknown group %s", "x");
    findings_add(&f, FINDING_WARNING, "ukai.conf", 0, "empty");
    findings_add(&f, FINDING_NOTE, NULL, 0, "done");
    char *text = print_all(&f);
    cr_expect_str_eq(text, "acl.conf:12: error: unknown group x\n"
                           "ukai.conf: warning: empty\n"
                           "note: done\n");
    cr_expect_eq(f.n_errors, 1);
    cr_expect_eq(f.n_warnings, 1);
    free(text);
    findings_fini(&f);
}

Test(base_findings, add__escapes_but_keeps_quotes_and_memos)
{
    struct findings f = {0};
    findings_add(&f, FINDING_ERROR, "a\nb", 1, "bad \"key\"\n\x1b[2J 通信用 \\");
    cr_expect_str_eq(f.items[0].text, "bad \"key\"\\x0a\\x1b[2J 通信用 \\");
    cr_expect_str_eq(f.items[0].file, "a\\x0ab");
    findings_fini(&f);
}

Test(base_findings, add__is_bounded_and_counts_on)
{
    struct findings f = {0};
    for (int i = 0; i < 2005; i++)
        findings_add(&f, i < 2002 ? FINDING_ERROR : FINDING_WARNING, "f", (unsigned)i, "e%d", i);
    cr_expect_eq(f.n_items, 2000);
    cr_expect_eq(f.n_errors, 2002);
    cr_expect_eq(f.n_warnings, 3);
    cr_expect_eq(f.n_dropped, 5);
    char *text = print_all(&f);
    cr_expect(strstr(text, "5 more findings are not shown, 2 of them errors"));
    free(text);
    findings_fini(&f);
}

Test(base_findings, add__cuts_endless_text)
{
    struct findings f = {0};
    char *text = malloc(100001);
    memset(text, '\n', 100000);
    text[100000] = '\0';
    findings_add(&f, FINDING_ERROR, NULL, 0, "%s", text);
    cr_expect_leq(strlen(f.items[0].text), 1024);
    free(text);
    findings_fini(&f);
}

Test(base_findings, first_error__skips_warnings)
{
    struct findings f = {0};
    char buf[64];
    cr_expect_str_eq(findings_first_error(&f, buf, sizeof(buf)), "");
    findings_add(&f, FINDING_WARNING, "f", 1, "w");
    cr_expect_str_eq(findings_first_error(&f, buf, sizeof(buf)), "");
    findings_add(&f, FINDING_ERROR, "f", 2, "first");
    findings_add(&f, FINDING_ERROR, "f", 3, "second");
    cr_expect_str_eq(findings_first_error(&f, buf, sizeof(buf)), "f:2: first");
    cr_expect_str_eq(findings_first_error(&f, buf, 4), "f:2");
    findings_fini(&f);
}

Test(base_findings, fini__leaves_an_empty_list)
{
    struct findings f = {0};
    findings_add(&f, FINDING_ERROR, "f", 1, "e");
    findings_fini(&f);
    cr_expect_eq(f.n_items, 0);
    cr_expect_eq(f.n_errors, 0);
    findings_add(&f, FINDING_ERROR, "f", 1, "again");
    cr_expect_eq(f.n_items, 1);
    findings_fini(&f);
    findings_fini(NULL);
}

Test(base_findings, add__keeps_an_error__behind_a_thousand_warnings)
{
    struct findings f = {0};
    for (int i = 0; i < 1500; i++)
        findings_add(&f, FINDING_WARNING, "f", (unsigned)i, "w");
    findings_add(&f, FINDING_ERROR, "f", 7, "why it is refused");
    char *text = print_all(&f);
    cr_expect(strstr(text, "f:7: error: why it is refused\n"));
    cr_expect(strstr(text, "500 more findings are not shown, 0 of them errors"));
    free(text);
    findings_fini(&f);
}

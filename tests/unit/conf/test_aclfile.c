/* acl.conf as a file: sections, what reaches acl/, what is not available yet (G02, G08, G10-G12,
 * G14-G17, G25). */
#include "conf/aclfile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "found.h"

struct row {
    const char *id;
    const char *text;
    unsigned line;
    const char *why; /* of the error; NULL: accepted */
};

static const struct row rows[] = {
    {"one rule", "[in]\ntcp 8080 = 192.168.1.10 ; memo\n", 0, NULL},
    {"all sections",
     "[in]\nudp 53 = @a\n[group a]\nmember = 192.168.1.1\n[out]\ndeny = *.example.net\n[expect]\n"
     "allow = 192.168.1.1 DNS\n",
     0, NULL},
    {"G02 empty", "", 0, "[in]"},
    {"G02 no rule", "[in]\n[out]\nallow = *\n", 0, "[in]"},
    {"G08 IPv6 as key", "[in]\nany = ::1\n2001:db8::1\n", 3, "as a value"},
    {"G10 [in] twice", "[in]\nany = ::1\n[in]\nany = ::2\n", 3, "first in line 1"},
    {"G10 [out] twice", "[in]\nany = ::1\n[out]\n[out]\n", 4, "first in line 3"},
    {"G10 group twice", "[in]\nany = ::1\n[group a]\nmember = ::1\n[group a]\nmember = ::2\n", 5,
     "3"},
    {"G11 section", "[in]\nany = ::1\n[groups a]\n", 3, "[group]"},
    {"G11 far section", "[in]\nany = ::1\n[frobnicate]\n", 3, "[group NAME]"},
    {"G11 key of [out]", "[in]\nany = ::1\n[out]\nalow = *\n", 4, "allow"},
    {"G11 key of [group]", "[in]\nany = ::1\n[group a]\nmembr = ::1\n", 4, "member"},
    {"G11 protocol", "[in]\ntpc 80 = ::1\n", 2, "tpc"},
    {"G12 unterminated", "[in]\nany = ::1\n[out\nallow = *\n", 3, "not closed"},
    {"G14 prefix", "[in]\nany = 10.0.0.0/33\n", 2, ""},
    {"G14 negative prefix", "[in]\nany = 10.0.0.0/-1\n", 2, ""},
    {"G14 no prefix", "[in]\nany = 10.0.0.0/\n", 2, ""},
    {"G14 short", "[in]\nany = 10.0.0/8\n", 2, ""},
    {"G14 twice", "[in]\nany = 10.0.0.0/8/8\n", 2, ""},
    {"G14 mask", "[in]\nany = 10.0.0.0/255.0.0.0\n", 2, ""},
    {"G14 v6 prefix", "[in]\nany = ::/129\n", 2, ""},
    {"G14 leading zero", "[in]\nany = 010.0.0.0/8\n", 2, ""},
    {"G15 host bits", "[in]\nany = 10.0.0.5/8\n", 2, "host bits"},
    {"reversed range", "[in]\nany = 10.0.0.5-10.0.0.1\n", 2, ""},
    {"G17 port 0", "[in]\ntcp 0 = ::1\n", 2, ""},
    {"G17 port 65536", "[in]\ntcp 65536 = ::1\n", 2, ""},
    {"G17 open range", "[in]\ntcp 443- = ::1\n", 2, ""},
    {"G17 reversed ports", "[in]\ntcp 500-400 = ::1\n", 2, ""},
    {"no port", "[in]\ntcp = ::1\n", 2, ""},
    {"unknown group", "[in]\nany = @nobody\n", 2, "nobody"},
    {"group without a name", "[in]\nany = ::1\n[group]\nmember = ::1\n", 3, "no name"},
    {"before a section", "any = ::1\n[in]\nany = ::1\n", 1, "before the first section"},
    {"[in] with a name", "[in x]\nany = ::1\n", 1, "write [in]"},
    {"[out @group]", "[in]\nany = ::1\n[out @a]\nallow = *\n", 3, "unknown group @a"},
    {"[out @group] twice", "[in]\nany = ::1\n[group a]\nmember = ::1\n[out @a]\nallow = *\n[out @a]\n", 7, "given twice"},
    {"preset", "[in]\nany = ::1\n[out]\npreset = no-such\n", 4, "there is no preset"},
    {"preset path", "[in]\nany = ::1\n[out]\npreset = ../x\n", 4, "there is no preset"},
    {"expect key", "[in]\nany = ::1\n[expect]\npermit = ::1 DNS\n", 4, "`allow = `"},
    {"expect address", "[in]\nany = ::1\n[expect]\nallow = localhost DNS\n", 4, "client's address"},
};

Test(conf_aclfile, parse__accepts_or_says_why__in_each_row)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct findings findings = {0};
        struct acl *acl = NULL;
        char text[4096];
        int r =
            aclfile_parse_bytes("acl.conf", rows[i].text, strlen(rows[i].text), &findings, &acl);
        found_text(&findings, text, sizeof(text));
        cr_expect_eq(r, rows[i].why ? -EINVAL : 0, "%s gives %d:\n%s", rows[i].id, r, text);
        cr_expect_eq(acl == NULL, rows[i].why != NULL, "%s", rows[i].id);
        cr_expect(!rows[i].why || found(&findings, FINDING_ERROR, rows[i].line, rows[i].why),
                  "%s:\n%s", rows[i].id, text);
        acl_free(acl);
        findings_fini(&findings);
    }
}

Test(conf_aclfile, parse__keeps_memo_and_line__of_every_rule)
{
    struct findings findings = {0};
    struct acl *acl = NULL;
    static const char text[] =
        "[in]\ntcp 8080 = 192.168.1.10 ; Webプロキシ利用でのDSaaS通信用\nudp 53 = 192.168.1.10\n";

    cr_assert_eq(aclfile_parse_bytes("acl.conf", text, strlen(text), &findings, &acl), 0);
    cr_assert_eq(acl->n_in, 2);
    cr_expect_str_eq(acl->in[0].place.memo, "Webプロキシ利用でのDSaaS通信用");
    cr_expect_eq(acl->in[0].place.line, 2);
    cr_expect_str_eq(acl->in[1].place.memo, "");
    acl_free(acl);
    findings_fini(&findings);
}

/* G25: nothing in the parser is quadratic. */
Test(conf_aclfile, parse__takes_many_rules, .timeout = 60)
{
    enum { N_RULES = 100000 };
    struct findings findings = {0};
    struct acl *acl = NULL;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    fputs("[in]\n", out);
    for (unsigned i = 0; i < N_RULES; i++)
        fprintf(out, "tcp %u = 10.%u.%u.%u ; rule %u\n", 1 + i % 60000, i >> 16, i >> 8 & 255,
                i & 255, i);
    fclose(out);
    cr_assert_eq(aclfile_parse_bytes("acl.conf", text, len, &findings, &acl), 0);
    cr_expect_eq(acl->n_in, N_RULES);
    acl_free(acl);
    findings_fini(&findings);
    free(text);
}

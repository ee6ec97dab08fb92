/* The words for a decision: the line as written with its memo, escaped; or why no line decided. */
#include "acl/explain.h"

#include "lines.h"

static const char text[] = "[in]\ntcp 8080 = 192.168.1.10 ; first host\n[out]\ndeny = *.example.net ; no \x1b[31m\n"
                           "allow = 10.1.2.0/24:443\nallow = a.example\n";

Test(acl_explain, source__names_the_line__or_says_that_there_is_none)
{
    struct acl *acl = acl_good(text);
    struct addr in = addr_of("192.168.1.10"), out = addr_of("192.168.1.99");
    char buf[1024] = "";
    FILE *file = fmemopen(buf, sizeof(buf), "w");

    explain_source(file, in_ask_naive(acl, IN_PROTO_TCP, 8080, &in), IN_PROTO_TCP, 8080, &in);
    explain_source(file, in_ask_naive(acl, IN_PROTO_UDP, 53, &out), IN_PROTO_UDP, 53, &out);
    fclose(file);
    cr_expect_str_eq(buf, "192.168.1.10 is admitted by acl.conf:2: tcp 8080 = 192.168.1.10   ; first host\n"
                          "192.168.1.99 is refused: no [in] line admits it to udp 53\n", "%s", buf);
    acl_free(acl);
}

static void explain_both(FILE *file, const struct acl *acl, const char *name, const char *literal)
{
    struct verdict_detail d = {0};
    struct addr a = addr_of(literal);
    enum verdict v = verdict_name(acl, NULL, name, 443, &d);

    explain_name(file, v, &d, name, 443);
    v = verdict_addr(acl, NULL, NULL, VERDICT_UNDECIDED, &a, 443, &d);
    explain_addr(file, v, &d, &a, 443);
}

Test(acl_explain, destination__names_the_line_or_the_range__escaped)
{
    static const char *const parts[] = {
        "www.example.net:443 is denied by acl.conf:4: deny = *.example.net   ; no \\x1b[31m\n",
        "10.1.2.3:443 is allowed by acl.conf:5: allow = 10.1.2.0/24:443\n",
        "a.example:443 is allowed by acl.conf:6: allow = a.example\n",
        "127.0.0.1:443 is refused: it is in the special-use range 127.0.0.0/8, and",
        "b.example:443: no line decides by name",
        "[2001:db8::1]:443 is denied: no allow line of [out] matches\n",
    };
    struct acl *acl = acl_good(text);
    char buf[2048] = "";
    FILE *file = fmemopen(buf, sizeof(buf), "w");

    explain_both(file, acl, "www.example.net", "10.1.2.3");
    explain_both(file, acl, "a.example", "127.0.0.1");
    explain_both(file, acl, "b.example", "2001:db8::1");
    fclose(file);
    for (size_t i = 0; i < N_ROWS(parts); i++)
        cr_expect(strstr(buf, parts[i]), "`%s` is not in:\n%s", parts[i], buf);
    acl_free(acl);
}

/* Firewall tables: the two NIFCLOUD forms, every trap, and the way there and back (G19). */
#include "acl/firewall.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "acl/firewall_diff.h"
#include "acl/firewall_nifcloud_json.h"
#include "acl/firewall_nifcloud_xml.h"
#include "tables.h"

#define ITEM(fields) "{\"SecurityGroupInfo\":[{\"IpPermissions\":[{" fields "}]}]}"
#define FROM ",\"IpRanges\":[{\"CidrIp\":\"10.0.0.1\"}]"

Test(acl_firewall, json_read__takes_or_refuses__row_by_row)
{
    static const struct row rows[] = {
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":8080" FROM), "[in]\ntcp 8080 = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":\"80\",\"ToPort\":\"\"" FROM), "[in]\ntcp 80 = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"any\",\"FromPort\":null" FROM), "[in]\nany = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"SSH\",\"FromPort\":22" FROM), "[in]\nssh = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"UDP\",\"FromPort\":53,\"Description\":\"DNS\\n用\"" FROM),
         "[in]\nudp 53 = 10.0.0.1   ; DNS 用\n", 1},
        {ITEM("\"IpProtocol\":\"ICMP\",\"IpRanges\":[{\"CidrIp\":\"10.9.8.7/16\"}]"), "[in]\nicmp = 10.9.0.0/16\n", 1},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":1,\"InOut\":\"OUT\"" FROM), "[in]\n", 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"Groups\":[{\"GroupName\":\"web\"}]"), "[in]\nany = 10.1.0.0/16\nany = 10.2.0.9\n", 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"Groups\":[{\"GroupName\":\"x\"}]"), "[in]\n", 1},
        {ITEM("\"IpProtocol\":\"ANY\",\"IpRanges\":\"\""), "[in]\n", 1},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":0,\"ToPort\":65535" FROM), "[in]\ntcp 1-65535 = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"ICMP\",\"FromPort\":0,\"ToPort\":0" FROM), "[in]\nicmp = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":0" FROM), NULL, 0},
        {"{\"SecurityGroupInfo\":[{\"GroupStatus\":\"processing\"}]}", "[in]\n", 2},
        {ITEM("\"IpProtocol\":\"TCP\"" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"ToPort\":80" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":90,\"ToPort\":80" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":65536" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":1e999" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":80.5" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":80,\"FromPort\":81" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"FromPort\":80" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"SCTP\"" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"InOut\":\"SIDE\"" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"Description\":\"\\ud800\"" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"IpRanges\":[{\"CidrIp\":\"10.1\"}]"), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"IpRanges\":{}"), NULL, 0},
        /* unknown keys are the API's business; known ones in another case would be overlooked */
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":80,\"AddDatetime\":\"2026\",\"New\":{\"a\":[1]}" FROM), "[in]\ntcp 80 = 10.0.0.1\n", 0},
        {ITEM("\"IpProtocol\":\"TCP\",\"FromPort\":80,\"toport\":90" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"inOut\":\"OUT\"" FROM), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"IpRanges\":[{\"cidrIp\":\"10.0.0.1\"}]"), NULL, 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"ipRanges\":[{\"CidrIp\":\"10.0.0.1\"}]"), NULL, 0},
        {"{\"SecurityGroupInfo\":[{\"groupName\":\"g\",\"ipPermissions\":[]}]}", NULL, 0},
        {"{\"SecurityGroupInfo\":[{\"GroupName\":\"g\",\"IpPermissionsIngress\":[]}]}", "[in]\n", 1},
        {ITEM("\"IpProtocol\":\"\\u0041NY\",\"Description\":\"\\u7528 \\\"x\\\"\"" FROM), "[in]\nany = 10.0.0.1   ; 用 \"x\"\n", 0},
        {ITEM("\"IpProtocol\":\"ANY\",\"IpRanges\":[{\"CidrIp\":\"10.0.0.1\"},{\"CidrIp\":\"2001:db8::/32\"}]"),
         "[in]\nany = 10.0.0.1\nany = 2001:db8::/32\n", 0},
        {"{\"SecurityGroupInfo\":[]} x", NULL, 0},
        {"{\"SecurityGroupInfo\":[1]}", NULL, 0},
        {"[]", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_row(&rows[i], firewall_nifcloud_json_read);
}

Test(acl_firewall, json_read__refuses__nested_100000_deep)
{
    char *deep = malloc(100001);

    memset(deep, '[', 100000);
    deep[100000] = '\0';
    expect_row(&(struct row){deep, NULL, 0}, firewall_nifcloud_json_read);
    free(deep);
}

#define XML(fields)                                                                                \
    "<r><securityGroupInfo><item><ipPermissions><item>" fields                                     \
    "</item></ipPermissions></item></securityGroupInfo></r>"
#define XFROM "<ipRanges><item><cidrIp>10.0.0.1</cidrIp></item></ipRanges>"

Test(acl_firewall, xml_read__takes_or_refuses__row_by_row)
{
    static const struct row rows[] = {
        {XML("<ipProtocol>TCP</ipProtocol><fromPort>80</fromPort><toPort/><groups/>" XFROM), "[in]\ntcp 80 = 10.0.0.1\n", 0},
        {"<a:r xmlns:a=\"urn:x\"><a:securityGroupInfo><a:item><a:ipPermissions/></a:item></a:securityGroupInfo></a:r>", "[in]\n", 0},
        {XML("<ipProtocol>ANY</ipProtocol><description>a&#10;b</description>" XFROM), "[in]\nany = 10.0.0.1   ; a b\n", 1},
        {XML("<ipProtocol>ANY</ipProtocol><inOut>OUT</inOut>" XFROM), "[in]\n", 0},
        /* comments, sections, another namespace, what the API may add, several sources, host bits */
        {XML("<ipProtocol>T<!-- x -->CP</ipProtocol><fromPort><![CDATA[80]]></fromPort>" XFROM), "[in]\ntcp 80 = 10.0.0.1\n", 0},
        {"<r xmlns=\"urn:a\"><securityGroupInfo xmlns=\"urn:b\"><item><ipPermissions><item><b:ipProtocol xmlns:b=\"urn:b\">ANY</b:ipProtocol>" XFROM
         "</item></ipPermissions></item></securityGroupInfo></r>", "[in]\nany = 10.0.0.1\n", 0},
        {XML("<ipProtocol>ANY</ipProtocol><new><a><b/>x</a></new>" XFROM), "[in]\nany = 10.0.0.1\n", 0},
        {XML("<ipProtocol>ANY</ipProtocol><ipRanges><item><cidrIp>10.0.0.1</cidrIp></item><item><cidrIp> 10.1.2.3/16 </cidrIp></item></ipRanges>"),
         "[in]\nany = 10.0.0.1\nany = 10.1.0.0/16\n", 1},
        {"<r><securityGroupInfo><item><groupStatus>processing</groupStatus><ipPermissions/></item></securityGroupInfo></r>", "[in]\n", 1},
        {"<r><securityGroupInfo><item><ipPermissionsIngress><item/></ipPermissionsIngress>\n</item></securityGroupInfo></r>", "[in]\n", 1, 2},
        /* a table of another spelling is not one with fewer rules, or wider ones */
        {XML("<ipProtocol>ANY</ipProtocol><inOut>OUT<b/></inOut>" XFROM), NULL, 0},
        {XML("<ipProtocol>TCP</ipProtocol><fromPort>80</fromPort><toPort>90<b/></toPort>" XFROM), NULL, 0},
        {XML("<ipProtocol>TCP</ipProtocol><fromPort>80</fromPort><toPort><v>90</v></toPort>" XFROM), NULL, 0},
        {XML("<ipProtocol>TCP</ipProtocol><fromPort>80</fromPort><toport>90</toport>" XFROM), NULL, 0},
        {XML("<ipProtocol>ANY</ipProtocol><ipRanges><member><cidrIp>10.0.0.1</cidrIp></member></ipRanges>" XFROM), NULL, 0},
        {XML("<ipProtocol>ANY</ipProtocol><groups><member/></groups>" XFROM), NULL, 0},
        {"<r><securityGroupInfo><item><ipPermissions><member/></ipPermissions></item></securityGroupInfo></r>", NULL, 0},
        {"<r><securityGroupInfo><member/></securityGroupInfo></r>", NULL, 0},
        {"<r><securityGroupInfo><item><IpPermissions/></item></securityGroupInfo></r>", NULL, 0},
        {XML("<ipProtocol>ANY</ipProtocol>\n<groups>\n<member/></groups>" XFROM), NULL, 0, 3},
        {XML("<ipProtocol>ANY</ipProtocol>\n<inOut>OUT\n<b/></inOut>" XFROM), NULL, 0, 3},
        {XML("<ipProtocol>ANY</ipProtocol>\n<groups>web\n</groups>" XFROM), NULL, 0, 3},
        {XML("<ipProtocol>ANY</ipProtocol><ipRanges>10.0.0.9<item><cidrIp>10.0.0.1</cidrIp></item></ipRanges>"), NULL, 0, 1},
        {XML("<ipProtocol>ANY</ipProtocol><ipRanges><item><cidrIp>10.0.0.1</cidrIp>10.0.0.9</item></ipRanges>"), NULL, 0, 1},
        {XML("<ipProtocol>ANY</ipProtocol>OUT" XFROM), NULL, 0, 1},
        {"<r><securityGroupInfo><item><ipPermissions>TCP 80</ipPermissions></item></securityGroupInfo></r>", NULL, 0, 1},
        {"<r>x<securityGroupInfo>\n <item>\n <ipPermissions> </ipPermissions></item> <!-- y --></securityGroupInfo>z</r>", "[in]\n", 0},
        {XML("<ipProtocol>ANY</ipProtocol><new>x<a/>y</new>" XFROM), "[in]\nany = 10.0.0.1\n", 0},
        {XML("<ipProtocol>ANY</ipProtocol><ipProtocol>TCP</ipProtocol>" XFROM), NULL, 0},
        {XML("<ipProtocol>TCP</ipProtocol>" XFROM), NULL, 0},
        {XML("<ipProtocol>ANY</ipProtocol><ipRanges><item/></ipRanges>"), NULL, 0},
        {XML("<ipProtocol>ANY</ipProtocol><groups><item><userId/></item></groups>"), NULL, 0},
        {"<r><securityGroupInfo><item/><item><ipPermissions/></item></securityGroupInfo></r>", "[in]\n", 2},
        {"<!DOCTYPE r [<!ENTITY a \"b\">]><r><securityGroupInfo/></r>", NULL, 0},
        {"<r><securityGroupInfo></r>", NULL, 0},
        {"<r/>", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_row(&rows[i], firewall_nifcloud_xml_read);
}

Test(acl_firewall, json_write__is_read_back_the_same__for_cidrs)
{
    struct findings findings = {0};
    struct firewall fw = {.file = "t", .findings = &findings}, back = fw;
    char *json = NULL;
    size_t size;
    struct firewall_rule rule = {IN_PROTO_TCP, "tcp", 80, 90};

    srandom(5);
    for (unsigned i = 0; i < 200; i++) {
        char where[32], cidr[32];
        snprintf(cidr, sizeof(cidr), "10.%ld.%ld.0/%ld", random() % 256, random() % 256, 8 + random() % 25);
        snprintf(where, sizeof(where), "acl.conf:%u", i);
        int r = addr_parse_cidr(cidr, strlen(cidr), &rule.source);
        cr_assert(r == 0 || r == -ERANGE);
        cr_assert_eq(firewall_add(&fw, &rule, where, i, "用"), 0);
    }
    FILE *out = open_memstream(&json, &size);
    cr_assert_eq(firewall_nifcloud_json_write(out, &fw), 0);
    fclose(out);
    cr_assert_eq(firewall_nifcloud_json_read(&back, json, size), 0);
    char *a = acl_text(&fw), *b = acl_text(&back);
    cr_expect_str_eq(a, b);
    free(a);
    free(b);
    free(json);
    firewall_fini(&fw);
    firewall_fini(&back);
    findings_fini(&findings);
}

/* ---- there and back: the meaning stays, for any table ---- */

static void expect_same(const struct firewall *a, const struct firewall *b)
{
    struct firewall_drift *drifts;
    size_t n;

    cr_assert_eq(firewall_diff(a, b, NULL, &drifts, &n), 0);
    cr_expect_eq(n, 0, "%zu drifts", n);
    free(drifts);
}

/* @fw as acl.conf, and its rules again. */
static void through_acl(const struct firewall *fw, struct firewall *back)
{
    char *text = acl_text(fw);
    struct acl *acl = acl_good(text);

    cr_assert_eq(firewall_from_acl(back, acl), 0);
    acl_free(acl);
    free(text);
}

/* @fw as the API's JSON, and its rules again. */
static void through_json(const struct firewall *fw, struct firewall *back)
{
    char *json = NULL;
    size_t size;
    FILE *out = open_memstream(&json, &size);

    cr_assert(out);
    cr_assert_eq(firewall_nifcloud_json_write(out, fw), 0);
    fclose(out);
    cr_assert_eq(firewall_nifcloud_json_read(back, json, size), 0);
    free(json);
}

static void write_numbered(FILE *out, unsigned n, const char *net, const char *end)
{
    for (unsigned i = 0; i < n; i++)
        fprintf(out, "%s%u.%u%s", net, i >> 8 & 255, i & 255, end);
}

/* A group of 5,000, a line of 4,096 and one of 4,097 sources, ranges that cross the edge of an item, all neighbours. */
static struct acl *large_acl(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    fputs("[group big]\n", out);
    write_numbered(out, 5000, "member = 10.0.", "\n");
    fputs("[in]\ntcp 8080 = @big ; 多\nudp 53 = @big\n", out);
    for (unsigned n = 4096; n <= 4097; n++) {
        fputs("tcp 8080 = 10.9.0.0", out);
        write_numbered(out, n - 1, ", 10.1.", "");
        fputs(" ; 用\n", out);
    }
    fputs("any = 2001:db8::1-2001:db8:ffff:ffff:ffff:ffff:ffff:fffe", out);
    write_numbered(out, 3900, ", 10.2.", "");
    fputs(", 2001:db9::1-2001:db9:ffff:ffff:ffff:ffff:ffff:fffe\n", out);
    fclose(out);
    struct acl *acl = acl_good(text);
    free(text);
    return acl;
}

Test(acl_firewall, json_write__begins_new_items__for_lines_of_many_sources, .timeout = 30)
{
    struct findings findings = {0};
    struct firewall fw = {.file = "t", .findings = &findings}, json = fw;
    struct acl *acl = large_acl();

    cr_assert_eq(firewall_from_acl(&fw, acl), 0);
    firewall_nifcloud_json_check(&fw);
    cr_expect_eq(findings.n_items, 0, "nine items or so");
    through_json(&fw, &json);
    expect_same(&fw, &json);
    cr_expect_str_eq(json.rules[4999].memo, "多", "the second item of a line has its memo");
    acl_free(acl);
    firewall_fini(&fw);
    firewall_fini(&json);
    findings_fini(&findings);
}

Test(acl_firewall, import_and_export__change_no_meaning_and_no_memo__for_random_tables)
{
    uint64_t state = 31;

    for (unsigned round = 0; round < 200; round++) {
        struct findings findings = {0};
        struct firewall fw = {.file = "t", .findings = &findings}, lines = fw, json = fw;
        for (unsigned i = 0; i < 20; i++)
            add_random_rule(&state, &fw);
        through_acl(&fw, &lines);
        through_json(&lines, &json);
        expect_same(&fw, &lines);
        expect_same(&lines, &json);
        cr_assert_eq(lines.n_rules, fw.n_rules);
        for (size_t i = 0; i < fw.n_rules; i++)
            cr_expect_str_eq(lines.rules[i].memo, fw.rules[i].memo);
        cr_expect_eq(findings.n_errors, 0);
        firewall_fini(&fw);
        firewall_fini(&lines);
        firewall_fini(&json);
        findings_fini(&findings);
    }
}

/* Terraform: a state as shown, a plan, a state file; the provider's defaults; the router's web proxy as text. */
#include "acl/firewall_terraform.h"

#include "tables.h"

#define RESOURCE(type, name, values)                                                                                   \
    "{\"address\":\"" type "." name "\",\"mode\":\"managed\",\"type\":\"" type "\",\"name\":\"" name "\",\"values\":{" values "}}"
#define RULE(name, values) RESOURCE("nifcloud_security_group_rule", name, "\"security_group_names\":[\"g\"]," values)
#define STATE(resources) "{\"format_version\":\"1.0\",\"values\":{\"root_module\":{\"resources\":[" resources "]}}}"
#define PLAN(resources, unknown)                                                                                       \
    "{\"format_version\":\"1.2\",\"planned_values\":{\"root_module\":{\"resources\":[" resources "]}},"                \
    "\"resource_changes\":[{\"address\":\"nifcloud_security_group_rule.a\",\"change\":{\"after_unknown\":{" unknown "}}}]}"
#define FILE_OF(resource) "{\"version\":4,\"resources\":[" resource "]}"
#define FILE_RULE(instances)                                                                                           \
    "{\"module\":\"module.m\",\"mode\":\"managed\",\"type\":\"nifcloud_security_group_rule\",\"name\":\"a\",\"instances\":[" instances "]}"
#define CIDR "\"cidr_ip\":\"10.0.0.1\""
#define WEB "\"from_port\":8080,\"to_port\":8080,\"protocol\":\"TCP\",\"type\":\"IN\"," CIDR

Test(acl_firewall_terraform, read__takes_or_refuses__row_by_row)
{
    static const struct row rows[] = {
        {STATE(RULE("a", WEB ",\"description\":\"Webプロキシ用\"")), "[in]\ntcp 8080 = 10.0.0.1   ; Webプロキシ用\n", 0},
        {STATE(RULE("a", "\"from_port\":53," CIDR)), "[in]\ntcp 53 = 10.0.0.1\n", 0},
        {STATE(RULE("a", "\"from_port\":53,\"to_port\":null,\"protocol\":\"UDP\"," CIDR)), "[in]\nudp 53 = 10.0.0.1\n", 0},
        {STATE(RULE("a", "\"from_port\":0,\"to_port\":65535," CIDR)), "[in]\ntcp 1-65535 = 10.0.0.1\n", 0},
        {STATE(RULE("a", "\"from_port\":80,\"to_port\":0," CIDR)), "[in]\ntcp 80 = 10.0.0.1\n", 0},
        {STATE(RULE("a", "\"from_port\":0,\"to_port\":0,\"protocol\":\"ICMP\"," CIDR)), "[in]\nicmp = 10.0.0.1\n", 0},
        {STATE(RULE("a", "\"from_port\":7,\"protocol\":\"ANY\",\"source_security_group_name\":\"web\"")),
         "[in]\nany = 10.1.0.0/16\nany = 10.2.0.9\n", 0},
        {STATE(RULE("a", "\"protocol\":\"ANY\",\"source_security_group_name\":\"x\",\"cidr_ip\":null")), "[in]\n", 1},
        {STATE(RULE("a", "\"protocol\":\"ANY\",\"type\":\"OUT\"," CIDR)), "[in]\n", 0},
        {STATE(RULE("a", "\"protocol\":\"ANY\"")), "[in]\n", 1},
        {STATE(RULE("a", WEB) "," RESOURCE("nifcloud_security_group_rule", "b", "\"security_group_names\":[\"h\"]," WEB)),
         "[in]\ntcp 8080 = 10.0.0.1\ntcp 8080 = 10.0.0.1\n", 1},
        {STATE(RESOURCE("nifcloud_router", "r", "\"from_port\":1")), "[in]\n", 0},
        {"{\"format_version\":\"1.0\",\"values\":{\"root_module\":{\"child_modules\":[{\"child_modules\":[{\"resources\":[" RULE("a", WEB) "]}]}]}}}",
         "[in]\ntcp 8080 = 10.0.0.1\n", 0},
        {PLAN(RULE("a", WEB), "\"id\":true"), "[in]\ntcp 8080 = 10.0.0.1\n", 0},
        {PLAN(RULE("a", "\"from_port\":8080," CIDR), "\"to_port\":true"), NULL, 0},
        {PLAN(RULE("a", "\"from_port\":8080"), "\"cidr_ip\":true"), NULL, 0},
        {FILE_OF(FILE_RULE("{\"index_key\":\"x\",\"attributes\":{" WEB "}},{\"index_key\":0,\"attributes\":{\"protocol\":\"ESP\"," CIDR "}}")),
         "[in]\ntcp 8080 = 10.0.0.1\nesp = 10.0.0.1\n", 0},
        {FILE_OF(FILE_RULE("{\"deposed\":\"0a1b\",\"attributes\":{" WEB "}}")), "[in]\n", 1},
        {STATE("{\"address\":\"a\",\"mode\":\"managed\",\"type\":\"nifcloud_security_group_rule\",\"name\":\"a\",\"deposed_key\":\"0a1b\","
               "\"values\":{" WEB "}}"), "[in]\n", 1},
        {STATE("{\"address\":\"a\",\"type\":\"nifcloud_security_group_rule\",\"name\":\"a\",\"values\":{" WEB "}}"), NULL, 0},
        {FILE_OF(FILE_RULE("{}")), NULL, 0},
        {FILE_OF("{\"mode\":\"managed\"}"), NULL, 0},
        {STATE(RULE("a", "\"from_port\":\"x\"," CIDR)), NULL, 0},
        {STATE(RULE("a", "\"from_port\":8080.5," CIDR)), NULL, 0},
        {STATE(RULE("a", "\"from_port\":90,\"to_port\":80," CIDR)), NULL, 0},
        {STATE(RULE("a", CIDR)), NULL, 0},
        {STATE(RULE("a", "\"protocol\":\"SCTP\"," CIDR)), NULL, 0},
        {STATE(RULE("a", WEB ",\"description\":[]")), NULL, 0},
        {STATE("{\"mode\":\"managed\"}"), NULL, 0},
        {STATE("{\"address\":\"x\",\"mode\":\"managed\",\"type\":\"nifcloud_security_group_rule\",\"name\":\"a\"}"), NULL, 0},
        {"{\"format_version\":\"2.0\",\"values\":{\"root_module\":{}}}", NULL, 0},
        {"{\"format_version\":\"1.0\",\"values\":{\"root_module\":[]}}", NULL, 0},
        {"{\"format_version\":\"1.0\"}", NULL, 0},
        {"{\"version\":3,\"resources\":[]}", NULL, 0},
        {"[]", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < N_ROWS(rows); i++)
        expect_row(&rows[i], firewall_terraform_read);
}

Test(acl_firewall_terraform, read__writes_the_web_proxy_as_comment_lines)
{
    static const struct row row = {
        STATE(RESOURCE("nifcloud_web_proxy", "lan",
                       "\"router_id\":\"r\",\"listen_interface_network_id\":\"\",\"listen_interface_network_name\":\"lan\",\"listen_port\":\"8080\","
                       "\"bypass_interface_network_id\":\"net-COMMON_GLOBAL\",\"name_server\":null,\"description\":\"迂\\n回\"")
              "," RULE("a", WEB)),
        "[in]\ntcp 8080 = 10.0.0.1\n\n"
        "; The router's web proxy, for ukai.conf. Put your interfaces in place of the networks.\n"
        "; [web-proxy lan]\n; listen-network = lan\n; listen-port = 8080\n; bypass-network = net-COMMON_GLOBAL\n"
        "; description = 迂\\x0a回\n",
        0,
    };
    expect_row(&row, firewall_terraform_read);
}

Test(acl_firewall_terraform, read__names_the_resource__in_where)
{
    static const char *const text = FILE_OF(FILE_RULE("{\"index_key\":\"x\",\"attributes\":{" WEB "}}"));
    struct findings findings = {0};
    struct firewall fw = {.file = "t", .findings = &findings};

    cr_assert_eq(firewall_terraform_read(&fw, text, strlen(text)), 0);
    cr_expect_str_eq(fw.rules[0].where, "module.m.nifcloud_security_group_rule.a[\"x\"]");
    firewall_fini(&fw);
    findings_fini(&findings);
}

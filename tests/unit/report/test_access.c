#include <criterion/criterion.h>
#include <string.h>

#include "proxy/report/access.h"

static const struct endpoint dialled = {.addr = {.bytes = {0x20, 1, 0x0d, 0xb8, [15] = 1}},
                                        .port = 443};

static struct access_record example(void)
{
    return (struct access_record){
        .event = ACCESS_CLOSE,
        .wall_ms = 1795412646852,
        .worker = 1,
        .serial = 42,
        .source = {.addr = addr_from_ipv4(0xc0a8010a), .port = 50000},
        .listener = "lan",
        .method = "CONNECT",
        .host = "agents.example",
        .host_len = 14,
        .port = 443,
        .addr = &dialled,
        .rule_file = "acl.conf",
        .rule_line = 3,
        .memo = "Webプロキシ",
        .status = 200,
        .reason = REASON_ORIGIN_CLOSED,
        .bytes_up = 7,
        .bytes_down = 9000000000,
        .dns_ms = 2,
        .connect_ms = 3,
        .first_byte_ms = -1,
        .duration_ms = 1234,
    };
}

static const char *formatted(enum conf_access_format format, const struct access_record *r)
{
    static char buf[ACCESS_LINE_MAX + 1];
    struct access_log log = {.format = format, .format_text = "%{src} %{host}"};
    size_t len = access_format(&log, r, buf, ACCESS_LINE_MAX);
    cr_assert_leq(len, ACCESS_LINE_MAX);
    cr_assert_eq(buf[len - 1], '\n');
    buf[len - 1] = '\0';
    cr_assert_null(strchr(buf, '\n'), "one record is one line: %s", buf);
    return buf;
}

Test(report_access, format__is_squids_native_line)
{
    struct access_record r = example();
    cr_expect_str_eq(formatted(CONF_FORMAT_SQUID, &r),
                     "1795412646.852   1234 192.168.1.10 TCP_TUNNEL/200 9000000000 CONNECT "
                     "agents.example:443 - HIER_DIRECT/2001:db8::1 -");
    r = (struct access_record){.event = ACCESS_REFUSED,
                               .wall_ms = 5,
                               .source = r.source,
                               .reason = REASON_SOURCE_DENIED,
                               .duration_ms = 0};
    cr_expect_str_eq(formatted(CONF_FORMAT_SQUID, &r),
                     "         0.005      0 192.168.1.10 TCP_DENIED/000 0 - error:source_denied - "
                     "HIER_NONE/- -");
    r = example();
    r.event = ACCESS_REQUEST;
    r.reason = REASON_NONE;
    r.method = "GET";
    r.port = 80;
    r.path = "/a b";
    cr_expect_str_eq(formatted(CONF_FORMAT_SQUID, &r),
                     "1795412646.852   1234 192.168.1.10 TCP_MISS/200 9000000000 GET "
                     "http://agents.example/a%20b - HIER_DIRECT/2001:db8::1 -");
    r.event = ACCESS_REFUSED;
    r.reason = REASON_DIAL_TIMEOUT;
    r.status = 504;
    cr_expect_not_null(strstr(formatted(CONF_FORMAT_SQUID, &r), " TCP_MISS/504 "));
    r.path = NULL;
    cr_expect_not_null(strstr(formatted(CONF_FORMAT_SQUID, &r), " TCP_TUNNEL/504 "));
}

Test(report_access, format__has_the_keys_of_the_contract__in_json)
{
    struct access_record r = example();
    cr_expect_str_eq(
        formatted(CONF_FORMAT_JSON, &r),
        "{\"ts\":1795412646.852,\"event\":\"close\",\"id\":\"1.42\",\"src\":\"192.168.1.10\","
        "\"src_port\":50000,\"listener\":\"lan\",\"method\":\"CONNECT\",\"host\":\"agents."
        "example\","
        "\"port\":443,\"addr\":\"[2001:db8::1]:443\",\"rule\":\"acl.conf:3\",\"memo\":"
        "\"Webプロキシ\","
        "\"status\":200,\"error\":\"origin_closed\",\"bytes_up\":7,\"bytes_down\":9000000000,"
        "\"dns_ms\":2,\"connect_ms\":3,\"duration_ms\":1234,\"closed_by\":\"server\"}");
}

Test(report_access, format__is_key_value__in_logfmt)
{
    struct access_record r = example();
    cr_expect_str_eq(
        formatted(CONF_FORMAT_LOGFMT, &r),
        "ts=1795412646.852 event=\"close\" id=1.42 src=\"192.168.1.10\" src_port=50000 "
        "listener=\"lan\" method=\"CONNECT\" host=\"agents.example\" port=443 "
        "addr=\"[2001:db8::1]:443\" rule=\"acl.conf:3\" memo=\"Webプロキシ\" status=200 "
        "error=\"origin_closed\" bytes_up=7 bytes_down=9000000000 dns_ms=2 connect_ms=3 "
        "duration_ms=1234 closed_by=\"server\"");
}

/* O06: whatever a peer puts into a field, one record stays one printable line. */
Test(report_access, format__escapes__hostile_fields)
{
    static const char nasty[] = "a\r\nb\x1b[31m\"'\\%n\xc2\x9b\xe2\x80\xae\xff\xfe\x7f end";
    static const enum conf_access_format formats[] = {CONF_FORMAT_SQUID, CONF_FORMAT_JSON,
                                                      CONF_FORMAT_LOGFMT, CONF_FORMAT_CUSTOM};
    struct access_record r = example();
    r.host = r.user_agent = nasty;
    r.host_len = r.user_agent_len = sizeof(nasty) - 1;
    r.method = r.path = nasty;
    for (size_t i = 0; i < 4; i++) {
        const char *line = formatted(formats[i], &r);
        if (formats[i] == CONF_FORMAT_JSON || formats[i] == CONF_FORMAT_LOGFMT)
            cr_expect_not_null(strstr(line, "\"Webプロキシ\""), "the memo beside them: %s", line);
        for (const char *c = line; *c; c++)
            cr_expect((unsigned char)*c >= 0x20 && *c != 0x7f, "byte %02x", (unsigned char)*c);
        cr_expect_null(strstr(line, "\xc2\x9b"));
        cr_expect_null(strstr(line, "\xe2\x80\xae"));
        cr_expect_null(strchr(line, '\xff'));
    }
}

Test(report_access, format__fits__when_every_field_is_endless)
{
    static char endless[20000], buf[ACCESS_LINE_MAX];
    memset(endless, '\x01', sizeof(endless) - 1);
    struct access_record r = example();
    r.host = r.user_agent = endless;
    r.host_len = r.user_agent_len = sizeof(endless) - 1;
    r.method = r.path = r.memo = r.listener = endless;
    for (int format = CONF_FORMAT_SQUID; format <= CONF_FORMAT_CUSTOM; format++) {
        struct access_log log = {.format = (enum conf_access_format)format,
                                 .format_text = "%{host}%{path}%{memo}%{host}%{path}%{memo}%{host}"
                                                "%{path}%{memo}%{host}%{path}%{memo}%{host}"};
        size_t len = access_format(&log, &r, buf, sizeof(buf));
        cr_expect_leq(len, sizeof(buf));
        cr_expect_eq(buf[len - 1], '\n');
    }
}

Test(report_access, format__follows_a_format_string)
{
    static char buf[ACCESS_LINE_MAX + 1];
    struct access_record r = example();
    r.path = NULL;
    struct access_log log = {
        .format = CONF_FORMAT_CUSTOM,
        .format_text = "%{time} \"%{memo}\" 100%% %{host}:%{port} [%{path}] %{closed_by}%{error}"};
    size_t len = access_format(&log, &r, buf, ACCESS_LINE_MAX);
    buf[len] = '\0';
    cr_expect_str_eq(buf,
                     "2026-11-23T05:44:06.852Z \"Webプロキシ\" 100% agents.example:443 [-] "
                     "serverorigin_closed\n",
                     "%s", buf);
}

/* A field a line, an empty line at the end and none before it. */
Test(report_access, format__gives_journald_its_fields)
{
    static char buf[ACCESS_RECORD_MAX + 1];
    struct access_record r = example();
    r.user_agent = "a\n\nUKAI_SRC=forged";
    r.user_agent_len = strlen(r.user_agent);
    struct access_log log = {.format = CONF_FORMAT_SQUID, .is_journal = true};
    size_t len = access_format(&log, &r, buf, ACCESS_RECORD_MAX);
    buf[len] = '\0';
    static const char message[] =
        "MESSAGE=1795412646.852   1234 192.168.1.10 TCP_TUNNEL/200 9000000000 CONNECT "
        "agents.example:443 - HIER_DIRECT/2001:db8::1 -\n";
    cr_expect_eq(strncmp(buf, message, sizeof(message) - 1), 0, "%s", buf);
    cr_expect_not_null(strstr(buf, "\nUKAI_SRC=192.168.1.10\n"));
    cr_expect_not_null(strstr(buf, "\nUKAI_MEMO=Webプロキシ\n"));
    cr_expect_not_null(strstr(buf, "\nUKAI_BYTES_DOWN=9000000000\n"));
    cr_expect_null(strstr(buf, "\nUKAI_SRC=forged"));
    cr_expect_eq(strstr(buf, "\n\n") - buf, (long)len - 2);
    for (char *at = buf; *at != '\n'; at = strchr(at, '\n') + 1)
        cr_expect_not_null(strchr(at, '='), "a line without a field: %s", at);
}

Test(report_access, format__gives_journald_what_fits__when_every_field_is_endless)
{
    static char endless[20000], buf[ACCESS_RECORD_MAX];
    memset(endless, '\x01', sizeof(endless) - 1);
    struct access_record r = example();
    r.host = r.user_agent = endless;
    r.host_len = r.user_agent_len = sizeof(endless) - 1;
    r.method = r.path = r.memo = r.listener = endless;
    struct access_log log = {.format = CONF_FORMAT_JSON, .is_journal = true};
    size_t len = access_format(&log, &r, buf, sizeof(buf));
    cr_expect_leq(len, sizeof(buf));
    cr_expect_eq(memcmp(buf + len - 2, "\n\n", 2), 0);
}

static struct access_record query_record(void)
{
    return (struct access_record){
        .event = ACCESS_DNS,
        .wall_ms = 1795412646852,
        .worker = 1,
        .serial = 43,
        .source = {.addr = addr_from_ipv4(0xc0a8010a), .port = 50000},
        .listener = "lan",
        .method = "DNS",
        .host = "od\\010d.example",
        .host_len = 15,
        .type = "AAAA",
        .rcode = "NXDOMAIN",
        .result = "miss",
        .rule_file = "acl.conf",
        .rule_line = 4,
        .memo = "DNS用",
        .bytes_up = 31,
        .bytes_down = 90,
        .dns_ms = -1,
        .connect_ms = -1,
        .first_byte_ms = -1,
        .duration_ms = 12,
    };
}

Test(report_access, format__tells_of_a_query)
{
    struct access_record r = query_record();
    cr_expect_str_eq(formatted(CONF_FORMAT_SQUID, &r),
                     "1795412646.852     12 192.168.1.10 DNS_miss/NXDOMAIN 90 DNS "
                     "dns:od\\010d.example?type=AAAA - HIER_NONE/- -");
    cr_expect_str_eq(
        formatted(CONF_FORMAT_JSON, &r),
        "{\"ts\":1795412646.852,\"event\":\"dns\",\"id\":\"1.43\",\"src\":\"192.168.1.10\","
        "\"src_port\":50000,\"listener\":\"lan\",\"method\":\"DNS\",\"host\":\"od\\\\010d."
        "example\",\"type\":\"AAAA\",\"rcode\":\"NXDOMAIN\",\"result\":\"miss\",\"rule\":"
        "\"acl.conf:4\",\"memo\":\"DNS用\",\"bytes_up\":31,\"bytes_down\":90,\"duration_ms\":12}");
    r.rcode = NULL;
    r.result = "dropped";
    r.host = NULL;
    r.type = NULL;
    cr_expect_str_eq(formatted(CONF_FORMAT_SQUID, &r),
                     "1795412646.852     12 192.168.1.10 DNS_dropped/- 90 DNS dns:- - HIER_NONE/- "
                     "-");
}

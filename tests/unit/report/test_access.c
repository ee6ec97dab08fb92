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
    size_t len = access_format(format, r, buf, ACCESS_LINE_MAX);
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
    const char *line = formatted(CONF_FORMAT_LOGFMT, &r);
    cr_expect_not_null(strstr(line, "event=\"close\" id=1.42 src=\"192.168.1.10\""), "%s", line);
    cr_expect_not_null(strstr(line, "memo=\"Webプロキシ\""), "%s", line);
}

/* O06: whatever a peer puts into a field, one record stays one printable line. */
Test(report_access, format__escapes__hostile_fields)
{
    static const char nasty[] = "a\r\nb\x1b[31m\"'\\%n\xc2\x9b\xe2\x80\xae\xff\xfe\x7f end";
    static const enum conf_access_format formats[] = {CONF_FORMAT_SQUID, CONF_FORMAT_JSON,
                                                      CONF_FORMAT_LOGFMT};
    struct access_record r = example();
    r.host = r.user_agent = nasty;
    r.host_len = r.user_agent_len = sizeof(nasty) - 1;
    r.method = r.path = nasty;
    for (size_t i = 0; i < 3; i++) {
        const char *line = formatted(formats[i], &r);
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
    for (int format = CONF_FORMAT_SQUID; format <= CONF_FORMAT_LOGFMT; format++) {
        size_t len = access_format((enum conf_access_format)format, &r, buf, sizeof(buf));
        cr_expect_leq(len, sizeof(buf));
        cr_expect_eq(buf[len - 1], '\n');
    }
}

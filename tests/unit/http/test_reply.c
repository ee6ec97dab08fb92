/* The proxy's own answers, byte by byte, and that no text can add a line to them. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/head.h"
#include "proxy/http/reply.h"

/* A built answer as text, parsed by our own strict parser. */
struct built {
    char text[REPLY_MAX + 1];
    size_t len;
    struct head head;
};

static struct built built;

static void build(const struct reply *r)
{
    built.len = reply_build(r, built.text, REPLY_MAX);
    cr_assert(built.len > 0 && built.len <= REPLY_MAX);
    built.text[built.len] = '\0';
    head_init(&built.head, HEAD_RESPONSE, 1000, REPLY_MAX + 1);
    cr_assert_eq(head_feed(&built.head, built.text, built.len), HEAD_DONE, "%s", built.text);
}

static const char *body(void)
{
    return built.text + built.head.head_bytes;
}

static void expect_field(const char *name, const char *value)
{
    const struct head_field *f = head_find(&built.head, built.text, name);
    cr_assert_eq(f != NULL, value != NULL, "%s in %s", name, built.text);
    if (f)
        cr_expect(head_span_is(built.text, f->value, value), "%s is not %s", name, value);
}

Test(http_reply, build__answers_a_refusal)
{
    build(&(struct reply){.status = 403,
                          .phrase = "Forbidden by rule acl.conf:12",
                          .proxy_status = "http_request_denied",
                          .request_id = "3.1042"});
    cr_expect_eq(strncmp(built.text, "HTTP/1.1 403 Forbidden by rule acl.conf:12\r\n", 44), 0);
    expect_field("Connection", "close");
    expect_field("Content-Type", "text/plain; charset=utf-8");
    expect_field("Proxy-Status", "ukai; error=http_request_denied");
    expect_field("Retry-After", NULL);
    expect_field("Allow", NULL);
    expect_field("Proxy-Authenticate", NULL);
    cr_expect(built.head.framing.has_length);
    cr_expect_eq(built.head.framing.length, strlen(body()));
    cr_expect(strstr(body(), "3.1042"));
    cr_expect_null(strstr(body(), "acl.conf"), "the body is the same for every rule");
}

Test(http_reply, build__adds_fields__when_given)
{
    build(&(struct reply){.status = 407, .authenticate = "Basic realm=\"ukai\""});
    expect_field("Proxy-Authenticate", "Basic realm=\"ukai\"");
    build(&(struct reply){
        .status = 503, .retry_after_s = 10, .proxy_status = "connection_limit_reached"});
    expect_field("Retry-After", "10");
    build(&(struct reply){.status = 405, .allow = "CONNECT, GET"});
    expect_field("Allow", "CONNECT, GET");
}

Test(http_reply, build__sends_no_body__to_head)
{
    build(&(struct reply){.status = 502, .request_id = "1.1"});
    size_t body_len = strlen(body());
    build(&(struct reply){.status = 502, .request_id = "1.1", .is_head = 1});
    cr_expect_eq(strlen(body()), 0);
    cr_expect_eq(built.head.framing.length, body_len);
}

/* One head and no more, whatever bytes the texts hold. */
Test(http_reply, build__keeps_its_lines__for_hostile_texts)
{
    static const char nasty[] = "x\r\nSet-Cookie: a=b\r\n\r\n<script>\x1b[2J\x7f\xe6\x97\xa5%s%n";
    build(&(struct reply){.status = 400, .phrase = nasty, .request_id = nasty, .body = nasty});
    expect_field("Set-Cookie", NULL);
    cr_expect_eq(built.head.framing.length, strlen(body()));
    for (const char *c = body(); *c; c++)
        cr_expect((*c >= 0x20 && *c < 0x7f) || *c == '\n', "byte %02x", (unsigned char)*c);
    cr_expect_null(strchr(built.text, '\x1b'));
}

Test(http_reply, build__is_bounded__for_endless_texts)
{
    static char endless[100001];
    memset(endless, 'x', sizeof(endless) - 1);
    build(&(struct reply){.status = 400,
                          .phrase = endless,
                          .proxy_status = "destination_ip_prohibited",
                          .request_id = endless,
                          .body = endless,
                          .retry_after_s = 4294967295U,
                          .authenticate = "Basic realm=\"ukai\"",
                          .allow = "CONNECT, GET, HEAD, POST, PUT, DELETE, OPTIONS"});
    cr_expect_eq(built.head.reason.len, 200);
    cr_expect_eq(built.head.framing.length, strlen(body()), "no part of it was cut off");
    build(&(struct reply){.status = 405, .allow = endless, .authenticate = "Basic"});
    expect_field("Allow", NULL);
    expect_field("Proxy-Authenticate", "Basic");
}

Test(http_reply, phrase__is_known__for_every_status_we_send)
{
    static const unsigned statuses[] = {400, 403, 405, 407, 408, 414, 417, 429,
                                        431, 500, 501, 502, 503, 504, 505, 508};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        cr_expect_str_neq(reply_phrase(statuses[i]), reply_phrase(999), "%u", statuses[i]);
        build(&(struct reply){.status = statuses[i]});
        cr_expect_eq(built.head.status_code, statuses[i]);
        cr_expect(head_span_is(built.text, built.head.reason, reply_phrase(statuses[i])));
    }
}

Test(http_reply, tunnel_open__has_no_field)
{
    cr_expect_str_eq(REPLY_TUNNEL_OPEN, "HTTP/1.1 200 Connection established\r\n\r\n");
    cr_expect_eq(reply_tunnel_open_bytes(), strlen(REPLY_TUNNEL_OPEN));
}

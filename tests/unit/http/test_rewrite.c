#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/http/rewrite.h"

struct row {
    const char *id;
    const char *request;
    const char *expected; /* NULL: the result below */
    enum rewrite_result result;
};

#define VIA "Via: 1.1 ukai-test\r\n"

static const struct row requests[] = {
    {"origin-form, Host from the target",
     "GET http://h.example/a?b HTTP/1.1\r\nHost: other\r\nX: 1\r\n\r\n",
     "GET /a?b HTTP/1.1\r\nHost: h.example\r\nX: 1\r\n" VIA "\r\n", REWRITE_OK},
    {"no path", "GET http://h.example HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: h.example\r\n" VIA "\r\n", REWRITE_OK},
    {"query without a path", "GET http://h.example?q HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /?q HTTP/1.1\r\nHost: h.example\r\n" VIA "\r\n", REWRITE_OK},
    {"port stays when it is not 80", "GET http://h.example:8080/ HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: h.example:8080\r\n" VIA "\r\n", REWRITE_OK},
    {"IPv6", "GET http://[2001:db8::1]/ HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n" VIA "\r\n", REWRITE_OK},
    {"R29 the path is passed byte for byte",
     "GET http://h/%00%0d%0a%2e%2e/%c0%af HTTP/1.1\r\nHost: h\r\n\r\n",
     "GET /%00%0d%0a%2e%2e/%c0%af HTTP/1.1\r\nHost: h\r\n" VIA "\r\n", REWRITE_OK},
    {"H15 Connection cannot take framing or Host",
     "POST http://h/ HTTP/1.1\r\nHost: h\r\nConnection: content-length, host, X-A\r\nX-A: "
     "1\r\nX-B: 2\r\nContent-Length: 005\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: h\r\nX-B: 2\r\nContent-Length: 5\r\n" VIA "\r\n", REWRITE_OK},
    {"H17 hop-by-hop fields",
     "GET http://h/ HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nProxy-Connection: Keep-Alive\r\nTE: "
     "trailers\r\nUpgrade: h2c\r\n"
     "HTTP2-Settings: x\r\nConnection: Upgrade, HTTP2-Settings\r\nProxy-Authorization: Basic "
     "eA==\r\nProxy-Authenticate: x\r\nTrailer: a\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: h\r\n" VIA "\r\n", REWRITE_OK},
    {"chunked is written anew",
     "POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" VIA "\r\n", REWRITE_OK},
    {"H23 opaque fields",
     "GET http://h/ HTTP/1.1\r\nHost: h\r\nDate: x;;\r\nRange: bytes=9-0\r\nIf-Range: "
     "\"\r\nCookie: =\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: h\r\nDate: x;;\r\nRange: bytes=9-0\r\nIf-Range: \"\r\nCookie: "
     "=\r\n" VIA "\r\n",
     REWRITE_OK},
    {"H25 Via names us", "GET http://h/ HTTP/1.1\r\nHost: h\r\nVia: 1.1 a, 1.1 UKAI-test\r\n\r\n",
     NULL, REWRITE_LOOP},
    {"another Via stays", "GET http://h/ HTTP/1.0\r\nVia: 1.1 a\r\n\r\n",
     "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a\r\nVia: 1.0 ukai-test\r\n\r\n", REWRITE_OK},
};

static enum rewrite_result rewrite(const char *text, char *out, size_t size, size_t *ret_len)
{
    struct head h;
    struct authority target;
    const char *why;
    size_t path;
    head_init(&h, HEAD_REQUEST, 8192, 32768);
    cr_assert_eq(head_feed(&h, text, strlen(text)), HEAD_DONE, "%s", text);
    cr_assert_eq(authority_parse_absolute(text + h.target.at, h.target.len, &target, &path, &why),
                 AUTHORITY_OK);
    enum rewrite_body body = h.framing.is_chunked   ? REWRITE_BODY_CHUNKED
                             : h.framing.has_length ? REWRITE_BODY_LENGTH
                                                    : REWRITE_BODY_NONE;
    return rewrite_request(&h, text, &target, text + h.target.at + path, h.target.len - path,
                           "ukai-test", -1, body, out, size, ret_len);
}

Test(http_rewrite, request__is_written_anew)
{
    char out[4096];
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        size_t len = 0;
        const struct row *r = &requests[i];
        cr_expect_eq(rewrite(r->request, out, sizeof(out) - 1, &len), r->result, "%s", r->id);
        if (!r->expected)
            continue;
        out[len] = '\0';
        cr_expect_str_eq(out, r->expected, "%s:\n%s", r->id, out);
    }
}

Test(http_rewrite, request__refuses__when_it_does_not_fit)
{
    char out[64];
    size_t len;
    cr_expect_eq(rewrite(requests[6].request, out, 40, &len), REWRITE_NO_ROOM);
}

Test(http_rewrite, request__refuses__endless_options_and_vias)
{
    char text[16384], out[16384];
    size_t n, len;
    n = (size_t)snprintf(text, sizeof(text), "GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: ");
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "x%d,", i);
    snprintf(text + n, sizeof(text) - n, "y\r\n\r\n");
    cr_expect_eq(rewrite(text, out, sizeof(out), &len), REWRITE_BAD_OPTIONS);
    n = (size_t)snprintf(text, sizeof(text), "GET http://h/ HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 50; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "Via: 1.1 p%d\r\n", i);
    snprintf(text + n, sizeof(text) - n, "\r\n");
    cr_expect_eq(rewrite(text, out, sizeof(out), &len), REWRITE_LOOP);
}

static void expect_response(const char *text, enum rewrite_body body, bool closes, bool says_keep,
                            const char *expected)
{
    char out[4096];
    size_t len = 0;
    struct head h;
    head_init(&h, HEAD_RESPONSE, 8192, 32768);
    cr_assert_eq(head_feed(&h, text, strlen(text)), HEAD_DONE, "%s", text);
    cr_expect_eq(rewrite_response(&h, text, "ukai-test", body, closes, says_keep, out,
                                  sizeof(out) - 1, &len),
                 REWRITE_OK);
    out[len] = '\0';
    cr_expect_str_eq(out, expected, "%s", out);
}

Test(http_rewrite, response__is_written_anew)
{
    expect_response(
        "HTTP/1.0 200 OK\r\nServer: x\r\nConnection: close\r\n\r\n", REWRITE_BODY_CHUNKED, false,
        false,
        "HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\nVia: 1.0 ukai-test\r\n\r\n");
    expect_response(
        "HTTP/1.1 200\r\nContent-Length: 3\r\nKeep-Alive: x\r\n\r\n", REWRITE_BODY_LENGTH, true,
        false,
        "HTTP/1.1 200 \r\nContent-Length: 3\r\nVia: 1.1 ukai-test\r\nConnection: close\r\n\r\n");
    expect_response("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", REWRITE_BODY_NONE,
                    false, true,
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nVia: 1.1 "
                    "ukai-test\r\nConnection: keep-alive\r\n\r\n");
    expect_response("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", REWRITE_BODY_NONE,
                    false, false, "HTTP/1.1 204 No Content\r\nVia: 1.1 ukai-test\r\n\r\n");
}

/*
 * Heads on their way through: what the parser accepts is written anew, and what was written must be
 * accepted again, whole, and mean the same: method, target, status, framing. Which fields may be in
 * it is said a second time here, as a list that is walked beside the output: nothing is lost,
 * nothing is added, nothing of this hop goes on, and Host names the target and nothing else. The
 * first two bytes choose kind, framing and room; the rest is the head.
 */
#include <stdint.h>
#include <stdio.h>
#include <strings.h>

#include "proxy/http/rewrite.h"
#include "tests/fuzz/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE_LIMIT = 8192, HEAD_LIMIT = 32768, MORE_ROOM = 512 };

static const char via[] = "ukai-fuzz";
static struct head in, out;

struct text {
    const char *at;
    size_t len;
};

static struct text text_of(const char *buf, struct head_span s)
{
    return (struct text){buf + s.at, s.len};
}

static bool is_same(struct text a, struct text b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool is_word(struct text a, const char *word)
{
    return a.len == strlen(word) && strncasecmp(a.at, word, a.len) == 0;
}

/* Whether some Connection field of the incoming head has @name as an option. */
static bool is_named_by_connection(const char *buf, struct text name)
{
    for (uint32_t i = 0; i < in.n_fields; i++) {
        struct text field = text_of(buf, in.fields[i].name);
        struct text list = text_of(buf, in.fields[i].value);
        if (!is_word(field, "Connection") && !is_word(field, "Proxy-Connection"))
            continue;
        for (size_t at = 0; at < list.len;) {
            size_t n = 0;
            while (at + n < list.len && !strchr(", \t", list.at[at + n]))
                n++;
            if (n == name.len && strncasecmp(list.at + at, name.at, n) == 0)
                return true;
            at += n + 1;
        }
    }
    return false;
}

static bool is_of_this_hop(struct text name)
{
    static const char *const names[] = {"Connection",
                                        "Proxy-Connection",
                                        "Keep-Alive",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "HTTP2-Settings",
                                        "Proxy-Authenticate",
                                        "Proxy-Authorization",
                                        "Content-Length"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_word(name, names[i]))
            return true;
    }
    return is_word(name, "Proxy-Authentication-Info");
}

static bool goes_on(const char *buf, struct text name)
{
    if (is_of_this_hop(name) || (in.kind == HEAD_REQUEST && is_word(name, "Host")))
        return false;
    return !is_named_by_connection(buf, name);
}

/* Walks the incoming fields beside the outgoing ones from @at on; gives where the proxy's own
 * begin. */
static uint32_t expect_fields_go_on(const char *buf, const char *wrote, uint32_t at, int forwards)
{
    for (uint32_t i = 0; i < in.n_fields; i++) {
        struct text name = text_of(buf, in.fields[i].name);
        struct text value = text_of(buf, in.fields[i].value);
        char number[16];
        if (!goes_on(buf, name))
            continue;
        expect(at < out.n_fields);
        if (forwards >= 0 && is_word(name, "Max-Forwards")) {
            value.len = (size_t)snprintf(number, sizeof(number), "%d", forwards);
            value.at = number;
            expect(is_word(text_of(wrote, out.fields[at].name), "Max-Forwards"));
        } else {
            expect(is_same(name, text_of(wrote, out.fields[at].name)));
        }
        expect(is_same(value, text_of(wrote, out.fields[at].value)));
        at++;
    }
    return at;
}

static void expect_field(const char *wrote, uint32_t at, const char *name, const char *value)
{
    expect(at < out.n_fields);
    expect(is_same(text_of(wrote, out.fields[at].name), (struct text){name, strlen(name)}));
    expect(is_same(text_of(wrote, out.fields[at].value), (struct text){value, strlen(value)}));
}

/* The framing field, if any; gives the place behind it. */
static uint32_t expect_framing(const char *wrote, uint32_t at, bool has_length, bool is_chunked)
{
    char number[24];
    expect(out.framing.has_length == has_length && out.framing.is_chunked == is_chunked);
    if (is_chunked)
        expect_field(wrote, at, "Transfer-Encoding", "chunked");
    if (has_length) {
        expect(out.framing.length == in.framing.length);
        snprintf(number, sizeof(number), "%llu", (unsigned long long)in.framing.length);
        expect_field(wrote, at, "Content-Length", number);
    }
    return at + (has_length || is_chunked);
}

/* What was written is one head, whole, and nothing behind it. */
static void parse_again(const char *wrote, size_t len)
{
    head_init(&out, in.kind, LINE_LIMIT + MORE_ROOM, HEAD_LIMIT + 2 * MORE_ROOM);
    enum head_result r = head_feed(&out, wrote, len);
    expect(r == HEAD_DONE || (out.bad_status == 431 && in.n_fields + 3 > HEAD_FIELDS_MAX) ||
           (in.kind == HEAD_RESPONSE && in.n_fields + 3 > HEAD_FIELDS_MAX));
    expect(r != HEAD_DONE || out.head_bytes == len);
    expect(out.minor == 1);
}

/* The room forward gives, or too little of it. */
static size_t room_of(uint8_t choice)
{
    return choice < 240 ? in.head_bytes + MORE_ROOM : (size_t)(choice - 240) * 16;
}

static void expect_host(const struct authority *target, const char *wrote)
{
    char host[AUTHORITY_NAME_MAX + 16];
    bool is_v6 = strchr(target->name, ':') != NULL;
    int n =
        snprintf(host, sizeof(host), "%s%s%s", is_v6 ? "[" : "", target->name, is_v6 ? "]" : "");
    if (target->port != 80)
        snprintf(host + n, sizeof(host) - (size_t)n, ":%u", target->port);
    expect(out.framing.n_hosts == 1 && out.framing.host_field == 0);
    expect_field(wrote, 0, "Host", host);
}

static void expect_target(struct text method, struct text path, const char *wrote)
{
    struct text target = text_of(wrote, out.target);
    expect(is_same(method, text_of(wrote, out.method)));
    if (path.len == 0) {
        bool is_options = method.len == 7 && memcmp(method.at, "OPTIONS", 7) == 0;
        expect(is_word(target, is_options ? "*" : "/"));
        return;
    }
    if (path.at[0] != '/') {
        expect(path.at[0] == '?' && target.len > 0 && target.at[0] == '/');
        target = (struct text){target.at + 1, target.len - 1};
    }
    expect(is_same(target, path));
}

static void fuzz_request(const uint8_t *flags, const char *buf)
{
    struct authority target;
    const char *why;
    size_t path_at, len = 0, room = room_of(flags[1]);
    struct text path = text_of(buf, in.target);
    int forwards = flags[0] & 2 ? flags[0] >> 2 : -1;
    if (authority_parse_absolute(path.at, path.len, &target, &path_at, &why) != AUTHORITY_OK)
        return;
    path = (struct text){path.at + path_at, path.len - path_at};
    enum rewrite_body body = in.framing.is_chunked   ? REWRITE_BODY_CHUNKED
                             : in.framing.has_length ? REWRITE_BODY_LENGTH
                                                     : REWRITE_BODY_NONE;
    char *wrote = malloc(room ? room : 1);
    expect(wrote);
    enum rewrite_result r = rewrite_request(&in, buf, &target, path.at, path.len, via, forwards,
                                            body, wrote, room, &len);
    expect(len <= room);
    expect(r != REWRITE_NO_ROOM || room < in.head_bytes + MORE_ROOM);
    if (r == REWRITE_OK) {
        parse_again(wrote, len);
        if (out.head_bytes) {
            expect_target(text_of(buf, in.method), path, wrote);
            expect_host(&target, wrote);
            uint32_t at = expect_fields_go_on(buf, wrote, 1, forwards);
            at = expect_framing(wrote, at, in.framing.has_length, in.framing.is_chunked);
            expect_field(wrote, at, "Via", in.minor ? "1.1 ukai-fuzz" : "1.0 ukai-fuzz");
            expect(at + 1 == out.n_fields);
            expect(!out.framing.wants_close && !out.framing.wants_keep);
        }
    }
    free(wrote);
}

static enum rewrite_body frame(bool is_head, bool is_modern)
{
    unsigned code = in.status_code;
    if (is_head || code < 200 || code == 204 || code == 304)
        return REWRITE_BODY_NONE;
    if (in.framing.has_length)
        return REWRITE_BODY_LENGTH;
    return is_modern ? REWRITE_BODY_CHUNKED : REWRITE_BODY_CLOSE;
}

static void fuzz_response(const uint8_t *flags, const char *buf)
{
    size_t len = 0, room = room_of(flags[1]);
    bool closes = flags[0] & 2, says_keep = flags[0] & 4;
    enum rewrite_body body = frame(flags[0] & 8, flags[0] & 16);
    char *wrote = malloc(room ? room : 1);
    expect(wrote);
    enum rewrite_result r =
        rewrite_response(&in, buf, via, body, closes, says_keep, wrote, room, &len);
    expect(len <= room && r != REWRITE_LOOP);
    expect(r != REWRITE_NO_ROOM || room < in.head_bytes + MORE_ROOM);
    if (r == REWRITE_OK) {
        parse_again(wrote, len);
        if (out.head_bytes) {
            bool has_length =
                in.framing.has_length && in.status_code >= 200 && in.status_code != 204;
            expect(out.status_code == in.status_code);
            expect(is_same(text_of(buf, in.reason), text_of(wrote, out.reason)));
            uint32_t at = expect_fields_go_on(buf, wrote, 0, -1);
            at = expect_framing(wrote, at, has_length, body == REWRITE_BODY_CHUNKED);
            expect_field(wrote, at++, "Via", in.minor ? "1.1 ukai-fuzz" : "1.0 ukai-fuzz");
            if (closes || says_keep)
                expect_field(wrote, at++, "Connection", closes ? "close" : "keep-alive");
            expect(at == out.n_fields && out.framing.wants_close == closes);
        }
    }
    free(wrote);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    bool is_response = data[0] & 1;
    char *buf = pieces_copy((const char *)data + 2, size - 2);
    head_init(&in, is_response ? HEAD_RESPONSE : HEAD_REQUEST, LINE_LIMIT, HEAD_LIMIT);
    if (head_feed(&in, buf, size - 2) == HEAD_DONE) {
        if (is_response)
            fuzz_response(data, buf);
        else
            fuzz_request(data, buf);
    }
    free(buf);
    return 0;
}

/* mode = observe: what the rules refuse passes and is told; what no rule sets aside is refused. */
#include "proxy/daemon/learn.h"
#include "proxy_bench.h"

#define OBSERVE "[acl]\nmode = observe\n"
#define IN      "[in]\ntcp 8080 = 127.0.0.1 ; us\n"
#define NOBODY  "[in]\ntcp 8080 = 192.0.2.1\n"
#define OPEN    "allow = 127.0.0.0/8\n"

static int ask(struct bench *b, const char *host, unsigned port, char *buf, size_t size)
{
    char text[256];
    int fd = bench_client(b);
    snprintf(text, sizeof(text), "CONNECT %s:%u HTTP/1.1\r\n\r\n", host, port);
    bench_send(fd, text);
    cr_expect_eq(bench_read(b, fd, buf, size, "\r\n\r\n", 2000), 1, "no answer to %s", host);
    return fd;
}

static void expect_tunnel(struct bench *b, const char *host)
{
    char buf[2048];
    int fd = ask(b, host, b->origin_port, buf, sizeof(buf));
    cr_expect_eq(strncmp(buf, "HTTP/1.1 200", 12), 0, "%s: %s", host, buf);
    bench_reset(fd);
}

static void expect_refused(struct bench *b, const char *host, unsigned port, const char *why)
{
    char buf[2048];
    int fd = ask(b, host, port, buf, sizeof(buf));
    cr_expect_eq(strncmp(buf, "HTTP/1.1 403", 12), 0, "%s: %s", host, buf);
    cr_expect_not_null(strstr(buf, why), "%s: %s", host, buf);
    close(fd);
}

/* The first record with @event and @text. */
static void expect_record(struct bench *b, unsigned n, const char *event, const char *text)
{
    char log[8192];
    cr_expect_eq(bench_records(b, log, sizeof(log), n), n, "%s", log);
    char *line = strstr(log, event);
    cr_assert_not_null(line, "no %s in %s", event, log);
    *strchr(line, '\n') = '\0';
    cr_expect_not_null(strstr(line, text), "no %s in %s", text, line);
    cr_expect_null(strstr(line, "closed_by"), "%s", line);
}

Test(flow_observe, unlisted_source__is_served_and_told)
{
    struct bench *b = bench_new(OBSERVE, NOBODY "[out]\n" OPEN);
    expect_tunnel(b, "127.0.0.1");
    expect_record(b, 2, "event=\"observed\"", "error=\"source_denied\"");
    expect_record(b, 2, "event=\"observed\"", "rule=\"no rule\"");
    bench_free(b);
}

Test(flow_observe, denied_address__is_dialled_and_told)
{
    struct bench *b = bench_new(OBSERVE, IN "[out]\ndeny = 127.0.0.1 ; not that\n" OPEN);
    expect_tunnel(b, "127.0.0.1");
    expect_record(b, 2, "event=\"observed\"", "rule=\"acl.conf:4\" memo=\"not that\"");
    expect_record(b, 2, "event=\"observed\"", "error=\"out_denied\"");
    bench_free(b);
}

Test(flow_observe, no_allow_line__is_told_as_no_rule)
{
    struct bench *b =
        bench_new(OBSERVE, IN "[out]\nallow = 127.0.0.0/8:1\nallow = 127.0.0.1 ; opens it\n");
    expect_tunnel(b, "127.0.0.1");
    bench_free(b);
    b = bench_new(OBSERVE, IN "[out]\nallow = other.example\nallow = 127.0.0.2\n");
    expect_refused(b, "127.0.0.1", b->origin_port, "special-use");
    bench_free(b);
}

Test(flow_observe, guard_and_port_lists__refuse_as_ever)
{
    struct bench *b = bench_new(OBSERVE, IN "[out]\ndeny = 10.1.2.3\ndeny = *.example\n");
    expect_refused(b, "127.0.0.1", b->origin_port, "special-use");
    expect_refused(b, "10.1.2.3", b->origin_port, "special-use");
    bench_free(b);
}

Test(flow_observe, enforce__cuts_what_was_only_observed)
{
    struct bench *b = bench_new(OBSERVE, NOBODY "[out]\ndeny = 127.0.0.1\n" OPEN);
    char buf[2048];
    int fd = ask(b, "127.0.0.1", b->origin_port, buf, sizeof(buf));
    cr_expect_eq(strncmp(buf, "HTTP/1.1 200", 12), 0, "%s", buf);
    bench_use(b, bench_load(b, OBSERVE, NOBODY "[out]\ndeny = 127.0.0.0/31\n" OPEN), -1);
    bench_run_ms(b, 30);
    cr_expect_eq(recv(fd, buf, 1, MSG_DONTWAIT), -1);
    cr_expect_eq(errno, EAGAIN, "observe cut it");
    bench_use(b, bench_load(b, "", NOBODY "[out]\n" OPEN), -1);
    cr_expect_eq(bench_read(b, fd, buf, sizeof(buf), NULL, 2000), -ECONNRESET);
    close(fd);
    bench_free(b);
}

Test(flow_observe, plain_request__passes_and_is_told)
{
    struct bench *b = bench_new(OBSERVE, IN "[out]\ndeny = 127.0.0.1\n" OPEN);
    char buf[2048];
    int fd = bench_client(b);
    for (int i = 0; i < 2; i++) { /* the second by the pooled connection */
        static int origin;
        bench_get(b, fd, "/", "1.1", "");
        origin = i == 0 ? bench_accept(b, 2000) : origin;
        cr_assert_eq(bench_read(b, origin, buf, sizeof(buf), "\r\n\r\n", 2000), 1);
        bench_send(origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        cr_assert_eq(bench_read(b, fd, buf, sizeof(buf), "\r\n\r\nok", 2000), 1);
        if (i == 1)
            close(origin);
    }
    expect_record(b, 4, "event=\"observed\"", "rule=\"acl.conf:4\"");
    close(fd);
    bench_free(b);
}

static void expect_learnt(struct bench *b, bool is_json, const char *part, bool is_there)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    cr_assert_eq(learn_write(&b->worker, 1, b->snapshot, bench_now_ms(), is_json, out), 0);
    fclose(out);
    cr_expect_eq(strstr(text, part) != NULL, is_there, "%s in:\n%s", part, text);
    free(text);
}

Test(flow_observe, destinations__are_learnt__and_can_be_pasted)
{
    static const char groups[] =
        "[group us]\nmember = 127.0.0.0/8\n[group both]\nmember = 127.0.0.1\n";
    struct bench *b = bench_new(OBSERVE, IN "[group us]\nmember = 127.0.0.0/8\n[out]\n" OPEN);
    char want[128], acl[512];
    expect_tunnel(b, "127.0.0.1");
    expect_tunnel(b, "127.0.0.1");
    expect_refused(b, "10.1.2.3", 443, "special-use");
    snprintf(want, sizeof(want), "\n[out @us]\nallow = 127.0.0.1:%u   ; 2 times by 127.0.0.1\n",
             b->origin_port);
    expect_learnt(b, false, want, true);
    expect_learnt(b, false, "10.1.2.3", false);
    expect_learnt(b, true, "\"group\":\"us\",\"host\":\"127.0.0.1\"", true);
    /* What was printed, as it was printed; the source may be in another group besides. */
    snprintf(acl, sizeof(acl), IN "%s%s", groups, want);
    bench_use(b, bench_load(b, "", acl), -1);
    expect_tunnel(b, "127.0.0.1");
    expect_learnt(b, false, "2 times by", true);
    expect_learnt(b, false, "the mode is enforce now", true);
    bench_free(b);
}

Test(flow_observe, nothing__is_learnt__in_enforce)
{
    struct bench *b = bench_new("", NULL);
    expect_tunnel(b, "127.0.0.1");
    expect_learnt(b, false, "allow =", false);
    bench_free(b);
}

/*
 * A whole worker without its thread: clients on one side, an origin and a name server on the other,
 * all on loopback, and every byte that any of them sends comes from the input. A control byte of
 * the input is a step of the play (see enum op); what stands between two is sent by whoever is on.
 * The clock is ours, so time-outs cost nothing and a run can be repeated.
 *
 * At the end all is closed and must be gone: connections, tunnels, memory, descriptors. Without a
 * CONNECT everything that the origin received must be clean requests, one behind the other, and
 * what a client received clean answers: that is what both sides of the forwarder promise whatever
 * the other side does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/flow/drain.h"
#include "proxy/flow/update.h"
#include "proxy/http/chunked.h"
#include "proxy/net/egress.h"
#include "tests/fuzz/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
void __wrap_log_emit(enum log_level level, const char *fmt, ...);

enum op {
    OP_PORT = 0x01,       /* ":PORT" of the origin */
    OP_CLIENT = 0x03,     /* what follows is sent by the client */
    OP_ORIGIN = 0x04,     /* ... by the origin, or the next one to be connected to */
    OP_FIN = 0x05,        /* whoever is on shuts its sending side */
    OP_RESET = 0x06,      /* ... resets */
    OP_CLOSE = 0x07,      /* ... closes */
    OP_ROUND = 0x08,      /* what was said so far goes out in a piece of its own */
    OP_NEW_CLIENT = 0x0e, /* another client, who is on now */
    OP_PREVIOUS = 0x0f,   /* the client before that one */
    OP_RAW = 0x10,        /* the next byte is sent as it is */
    OP_REPEAT = 0x11,     /* n, c: n * 512 times c */
    OP_DEAF = 0x12,       /* whoever is on reads no more, or again */
    OP_TIME = 0x14,       /* n: that much time passes */
    OP_RELOAD = 0x15,     /* the other rules are in force */
    OP_DRAIN = 0x16,      /* the daemon is told to end */
};

enum {
    CLIENTS_MAX = 4,
    ORIGINS_MAX = 8,
    OUT_MAX = 128 * 1024,
    IN_MAX = 256 * 1024,
    INPUT_MAX = 16 * 1024,
    STEPS_MAX = 400,
    SETTLE_STEPS = 4,
    SMALL_BUFFER_BYTES = 4096,
    LAST_SECONDS = 30,
};

/* One that talks with the proxy: a client or an origin. */
struct peer {
    int fd; /* -1: not there yet, or closed */
    bool was_open, is_deaf, ends, is_cut;
    size_t n_out, sent, n_in;
    char out[OUT_MAX];
    char in[IN_MAX];
};

static struct peer clients[CLIENTS_MAX], origins[ORIGINS_MAX];
static unsigned n_clients, n_origins, client_at, n_steps;
static bool is_origin_on, has_connect, has_head;
static struct snapshot *snapshots[2];
static unsigned snapshot_at;
static int origin_listener, client_listener, name_server;
static uint16_t origin_port;
static _Atomic uint64_t clock_ms = 1000000;
static struct loop main_loop;
static struct mailbox main_mailbox;
static struct shared shared;
static struct worker worker;
static struct own_set *own;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    uint64_t now = clock_ms;
    *ts =
        (struct timespec){.tv_sec = (time_t)(now / 1000), .tv_nsec = (long)(now % 1000) * 1000000};
    return 0;
}

/* Nothing that a peer says is an error of the daemon. */
void __wrap_log_emit(enum log_level level, const char *fmt, ...)
{
    if (level == LOG_LEVEL_ERROR) {
        fprintf(stderr, "logged as an error: %s\n", fmt);
        abort();
    }
}

/* ---- once ---- */

static int loopback_socket(int type, uint16_t *ret_port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int small = SMALL_BUFFER_BYTES;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    expect(fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0);
    expect(getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
    *ret_port = ntohs(sin.sin_port);
    if (type != SOCK_STREAM)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    expect(egress_no_delay(fd) == 0); /* accepted ones inherit it: no wait for an ACK */
    expect(listen(fd, 64) == 0);
    return fd;
}

/* 127.0.0.2 with the origin's port: a queue of one that is full, so that a SYN gets no answer. */
static void open_silent_host(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(0x7f000002),
                              .sin_port = htons(origin_port)};
    for (unsigned i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        expect(fd >= 0); /* stays open for good */
        if (i == 0)
            expect(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, 0) == 0);
        else
            expect(connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 || errno == EINPROGRESS);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    expect(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* @who: the one source that is admitted. */
static struct snapshot *make_snapshot(const char *who, const char *format, const char *limits,
                                      uint16_t dns_port)
{
    char dir[] = "/tmp/ukai-fuzz-XXXXXX", path[64], acl_path[64], text[1024];
    struct findings findings = {0};
    struct snapshot *s = NULL;
    expect(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/ukai.conf", dir);
    snprintf(acl_path, sizeof(acl_path), "%s/acl.conf", dir);
    snprintf(text, sizeof(text),
             "[web-proxy]\nlisten-network = 127.0.0.1\nname-server = 127.0.0.1:%u\n"
             "connect-ports = %u\nhttp-ports = %u\n"
             "[limits]\nrequest-line-size = 1K\nhead-size = 4K\n%s"
             "[log]\naccess = /dev/null\naccess-format = %s\nlog-query-strings = yes\n",
             dns_port, origin_port, origin_port, limits, format);
    write_file(path, text);
    snprintf(text, sizeof(text),
             "[in]\ntcp 8080 = %s ; who\n[out]\ndeny = denied.a\nallow = 127.0.0.0/8:%u\n", who,
             origin_port);
    write_file(acl_path, text);
    int rc = snapshot_load_from(path, "/nonexistent", &findings, &s);
    if (rc < 0)
        findings_print(&findings, stderr);
    expect(rc == 0);
    findings_fini(&findings);
    unlink(path);
    unlink(acl_path);
    rmdir(dir);
    return s;
}

static void on_main_told(struct shared *s)
{
    (void)s;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint16_t dns_port, ignored;
    int rc = 0;
    (void)argc, (void)argv;
    origin_listener = loopback_socket(SOCK_STREAM, &origin_port);
    client_listener = loopback_socket(SOCK_STREAM, &ignored);
    open_silent_host();
    name_server = loopback_socket(SOCK_DGRAM, &dns_port);
    snapshots[0] = make_snapshot("127.0.0.1", "squid", "per-source-bandwidth = 1G\n", dns_port);
    snapshots[1] = make_snapshot("127.0.0.9", "json", "per-source-tunnels = 2\n", dns_port);
    expect(loop_init(&main_loop) == 0 && mailbox_init(&main_mailbox, &main_loop) == 0);
    shared = (struct shared){.max_clients = 64,
                             .max_tunnels = 64,
                             .max_pooled = 16,
                             .via = "ukai-fuzz",
                             .sink = sink_new(&snapshots[0]->conf.log, &rc),
                             .connects = rates_new(),
                             .quotas = quotas_new(),
                             .main_mailbox = &main_mailbox,
                             .on_drained = on_main_told,
                             .on_updated = on_main_told};
    expect(shared.sink && shared.connects && shared.quotas && sink_start(shared.sink) == 0);
    return 0;
}

/* ---- peers ---- */

static void peer_begin(struct peer *p)
{
    p->fd = -1;
    p->was_open = p->is_deaf = p->ends = p->is_cut = false;
    p->n_out = p->sent = p->n_in = 0;
}

static void peer_close(struct peer *p, bool with_reset)
{
    struct linger hard = {.l_onoff = 1};
    if (p->fd < 0)
        return;
    if (with_reset)
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(p->fd);
    p->fd = -1;
}

static void peer_say(struct peer *p, const char *bytes, size_t len)
{
    if (len > OUT_MAX - p->n_out)
        len = OUT_MAX - p->n_out;
    memcpy(p->out + p->n_out, bytes, len);
    p->n_out += len;
}

static void peer_write(struct peer *p)
{
    while (p->fd >= 0 && p->sent < p->n_out) {
        ssize_t n = send(p->fd, p->out + p->sent, p->n_out - p->sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        p->sent += (size_t)n;
    }
    if (p->fd >= 0 && p->ends && p->sent == p->n_out) {
        shutdown(p->fd, SHUT_WR);
        p->ends = false;
    }
}

static void peer_read(struct peer *p)
{
    static char more[16384];
    while (p->fd >= 0 && !p->is_deaf) {
        ssize_t n = recv(p->fd, more, sizeof(more), 0);
        if (n <= 0)
            break;
        size_t keep = (size_t)n < IN_MAX - p->n_in ? (size_t)n : IN_MAX - p->n_in;
        p->is_cut |= keep < (size_t)n;
        memcpy(p->in + p->n_in, more, keep);
        p->n_in += keep;
    }
}

/* The one connected to last while it is there, else the next one. NULL: there were too many. */
static struct peer *origin_on(void)
{
    if (n_origins > 0 && origins[n_origins - 1].fd >= 0)
        return &origins[n_origins - 1];
    return n_origins < ORIGINS_MAX ? &origins[n_origins] : NULL;
}

static struct peer *peer_on(void)
{
    if (is_origin_on)
        return origin_on();
    return n_clients > 0 ? &clients[client_at] : NULL;
}

static void accept_origins(void)
{
    for (int fd; (fd = accept4(origin_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (n_origins == ORIGINS_MAX) {
            peer_close(&(struct peer){.fd = fd}, true);
            continue;
        }
        struct peer *p = &origins[n_origins++];
        p->fd = fd;
        p->was_open = true;
        if (n_origins < ORIGINS_MAX)
            peer_begin(&origins[n_origins]);
    }
}

/* As the worker's own listener does it. */
static void hand_over(int fd, const struct sockaddr_in *from)
{
    struct endpoint source = {.port = ntohs(from->sin_port)};
    expect(addr_parse("127.0.0.1", 9, &source.addr) == 0);
    const struct conf_web_proxy *proxy = &worker.view->snapshot->conf.web_proxies[0];
    const struct in_rule *rule = in_table_ask(proxy->table, &source.addr);
    if (rule && !worker.is_draining)
        expect(conn_accept(&worker, worker.view, proxy, rule, fd, &source));
    else
        peer_close(&(struct peer){.fd = fd}, true);
}

/* An address of 127/8 for each, since a port rests for a minute after its connection. */
static void bind_anew(int fd)
{
    static uint32_t n;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001 + n)};
    int yes = 1;
    n = (n + 1) % 1024;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
    expect(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0);
}

static void new_client(void)
{
    struct sockaddr_in sin;
    socklen_t len = sizeof(sin);
    int small = SMALL_BUFFER_BYTES;
    if (n_clients == CLIENTS_MAX)
        return;
    struct peer *p = &clients[n_clients];
    peer_begin(p);
    expect(getsockname(client_listener, (struct sockaddr *)&sin, &len) == 0);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect(p->fd >= 0);
    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    expect(egress_no_delay(p->fd) == 0);
    bind_anew(p->fd);
    int rc;
    do {
        rc = connect(p->fd, (struct sockaddr *)&sin, sizeof(sin));
    } while (rc < 0 && errno == EINTR);
    if (rc < 0)
        perror("connect");
    expect(rc == 0);
    expect(getsockname(p->fd, (struct sockaddr *)&sin, &len) == 0);
    int fd = accept4(client_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    expect(fd >= 0);
    int flags = SOCK_NONBLOCK;
    expect(ioctl(p->fd, FIONBIO, &flags) == 0);
    p->was_open = true;
    client_at = n_clients++;
    is_origin_on = false;
    hand_over(fd, &sin);
}

/*
 * ---- names: A is 127.0.0.1, other types are empty; `n...` does not exist, `t...` gets no answer,
 * `s...` has the silent host too ----
 */

static size_t put_address(uint8_t *msg, size_t at, uint8_t last)
{
    const uint8_t a[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, last};
    memcpy(msg + at, a, sizeof(a));
    msg[7]++;
    return at + sizeof(a);
}

/* @msg has room for two records more. */
static void answer_name(uint8_t *msg, size_t len, const struct sockaddr_in *to)
{
    size_t end = 12;
    while (end < len && msg[end] != 0)
        end += msg[end] + 1u;
    end += 5;
    if (end > len || msg[13] == 't')
        return;
    bool is_a = msg[end - 3] == 1, is_unknown = msg[13] == 'n';
    msg[2] |= 0x80;
    msg[3] = is_unknown ? 0x83 : 0x80;
    msg[7] = msg[11] = 0;
    if (is_a && msg[13] == 's')
        end = put_address(msg, end, 2);
    if (is_a && !is_unknown)
        end = put_address(msg, end, 1);
    sendto(name_server, msg, end, MSG_NOSIGNAL, (const struct sockaddr *)to, sizeof(*to));
}

static void answer_names(void)
{
    uint8_t msg[1024];
    struct sockaddr_in from;
    socklen_t n_from = sizeof(from);
    for (ssize_t n; (n = recvfrom(name_server, msg, sizeof(msg) - 64, 0, (struct sockaddr *)&from,
                                  &n_from)) > 0;
         n_from = sizeof(from)) {
        if (n > 17)
            answer_name(msg, (size_t)n, &from);
    }
}

/* ---- the play ---- */

static void step(void)
{
    for (unsigned i = 0; i < n_clients; i++)
        peer_write(&clients[i]);
    for (unsigned i = 0; i < n_origins; i++)
        peer_write(&origins[i]);
    loop_round(&worker.loop, false);
    answer_names();
    accept_origins();
    for (unsigned i = 0; i < n_clients; i++)
        peer_read(&clients[i]);
    for (unsigned i = 0; i < n_origins; i++)
        peer_read(&origins[i]);
    n_steps++;
}

static void settle(void)
{
    for (unsigned i = 0; i < SETTLE_STEPS && n_steps < STEPS_MAX; i++)
        step();
}

static void say(const char *bytes, size_t len)
{
    struct peer *p = peer_on();
    if (p)
        peer_say(p, bytes, len);
}

static void say_repeated(uint8_t n, char c)
{
    char bytes[512];
    memset(bytes, c, sizeof(bytes));
    for (unsigned i = 0; i < n; i++)
        say(bytes, sizeof(bytes));
}

static void say_port(void)
{
    char text[8];
    say(text, (size_t)snprintf(text, sizeof(text), ":%u", origin_port));
}

static void pass_time(uint8_t n)
{
    static const uint32_t some_ms[] = {5, 250, 1000, 2100, 5100, 16000, 61000, 310000};
    clock_ms += some_ms[n % 8];
}

/* Without listeners: clients are handed over here. */
static void use_snapshot(unsigned which)
{
    static const struct socket_order none[1];
    snapshot_at = which;
    struct update *update = update_new(&worker, snapshots[which], own, none, 0);
    expect(update);
    update_post(update);
}

static void leave(struct peer *p, enum op op)
{
    if (!p)
        return;
    if (op == OP_FIN)
        p->ends = true;
    else
        peer_close(p, op == OP_RESET);
}

/* How many bytes of the input it took. */
static size_t play_one(const uint8_t *data, size_t size)
{
    uint8_t argument = size > 1 ? data[1] : 0;
    switch ((enum op)data[0]) {
    case OP_PORT:
        say_port();
        return 1;
    case OP_CLIENT:
    case OP_ORIGIN:
        settle();
        is_origin_on = data[0] == OP_ORIGIN;
        return 1;
    case OP_FIN:
    case OP_RESET:
    case OP_CLOSE:
        step();
        leave(peer_on(), (enum op)data[0]);
        settle();
        return 1;
    case OP_ROUND:
        step();
        return 1;
    case OP_NEW_CLIENT:
        settle();
        new_client();
        return 1;
    case OP_PREVIOUS:
        client_at = client_at > 0 ? client_at - 1 : 0;
        is_origin_on = false;
        return 1;
    case OP_RAW:
        say((const char *)&argument, 1);
        return 2;
    case OP_REPEAT:
        say_repeated(argument, size > 2 ? (char)data[2] : 'x');
        return 3;
    case OP_DEAF:
        if (peer_on())
            peer_on()->is_deaf = !peer_on()->is_deaf;
        return 1;
    case OP_TIME:
        settle();
        pass_time(argument);
        settle();
        return 2;
    case OP_RELOAD:
        step();
        use_snapshot(!snapshot_at);
        settle();
        return 1;
    case OP_DRAIN:
        step();
        drain_post(&worker, 10000);
        settle();
        return 1;
    }
    say((const char *)data, 1);
    return 1;
}

/* ---- what everybody promises ---- */

/* Behind a chunked body. SIZE_MAX: it is not there yet. */
static size_t skip_chunked(const char *text, size_t len, size_t at)
{
    struct chunked d;
    chunked_init(&d);
    for (;;) {
        size_t used = 0, n;
        const char *bytes;
        enum chunked_result r = chunked_feed(&d, text + at, len - at, &used, &bytes, &n);
        expect(r != CHUNKED_BAD);
        at += used;
        if (r == CHUNKED_DONE)
            return at;
        if (r == CHUNKED_MORE)
            return SIZE_MAX;
    }
}

/* Behind the body of @h. SIZE_MAX: it is not there yet. */
static size_t skip_body(const struct head *h, const char *text, size_t len, size_t at)
{
    if (h->framing.is_chunked)
        return skip_chunked(text, len, at);
    if (!h->framing.has_length)
        return at;
    return h->framing.length <= len - at ? at + (size_t)h->framing.length : SIZE_MAX;
}

/* The next head, strictly. False: there is none, or not all of it. */
static bool next_head(struct head *h, enum head_kind kind, const char *text, size_t len)
{
    head_init(h, kind, 64 * 1024, 128 * 1024);
    enum head_result r = head_feed(h, text, len);
    expect(r != HEAD_BAD);
    return r == HEAD_DONE;
}

static void expect_clean_request(const struct head *h, const char *text)
{
    expect(h->minor == 1 && h->framing.n_hosts == 1 && h->framing.host_field == 0);
    expect(text[h->target.at] == '/' || head_span_is(text, h->target, "*"));
    expect(!head_find(h, text, "Connection") && !head_find(h, text, "Upgrade"));
    expect(!head_find(h, text, "Proxy-Connection") && head_find(h, text, "Via"));
}

static void expect_clean_requests(const struct peer *p)
{
    static struct head h;
    size_t at = 0;
    while (at < p->n_in && next_head(&h, HEAD_REQUEST, p->in + at, p->n_in - at)) {
        expect_clean_request(&h, p->in + at);
        at = skip_body(&h, p->in, p->n_in, at + h.head_bytes);
        if (at == SIZE_MAX)
            return;
    }
}

static void expect_clean_answers(const struct peer *p)
{
    static struct head h;
    size_t at = 0;
    while (at < p->n_in && next_head(&h, HEAD_RESPONSE, p->in + at, p->n_in - at)) {
        unsigned code = h.status_code;
        bool has_body = code >= 200 && code != 204 && code != 304;
        expect(h.minor == 1 && code != 101);
        at += h.head_bytes;
        if (!has_body)
            expect(!h.framing.is_chunked);
        else if (!h.framing.is_chunked && !h.framing.has_length) {
            expect(h.framing.wants_close);
            return; /* to the end */
        } else
            at = skip_body(&h, p->in, p->n_in, at);
        if (at == SIZE_MAX)
            return;
        expect(!h.framing.wants_close || at == p->n_in);
    }
}

static void expect_promises(void)
{
    for (unsigned i = 0; i < n_clients; i++) {
        has_connect |= memmem(clients[i].out, clients[i].n_out, "CONNECT", 7) != NULL;
        has_head |= memmem(clients[i].out, clients[i].n_out, "HEAD", 4) != NULL;
    }
    if (has_connect)
        return;
    for (unsigned i = 0; i < n_origins; i++)
        expect_clean_requests(&origins[i]);
    for (unsigned i = 0; i < n_clients && !has_head; i++)
        expect_clean_answers(&clients[i]);
}

/* ---- beginning and end ---- */

static int lowest_free_fd(void)
{
    int fd = dup(origin_listener);
    close(fd);
    return fd;
}

static void begin(void)
{
    n_clients = n_origins = client_at = n_steps = 0;
    is_origin_on = has_connect = has_head = false;
    peer_begin(&origins[0]);
    own = calloc(1, sizeof(*own));
    expect(own);
    own->n_refs = 1;
    expect(worker_init(&worker, 0, &shared, 64 * 1024) == 0);
    use_snapshot(0);
    loop_round(&worker.loop, false);
    new_client();
}

static void close_peers(bool with_reset)
{
    for (unsigned i = 0; i < n_clients; i++)
        peer_close(&clients[i], with_reset);
    for (unsigned i = 0; i < n_origins; i++)
        peer_close(&origins[i], with_reset);
}

/* With everybody gone nothing may stay for longer than a name or a dial takes. */
static void expect_all_over(void)
{
    for (unsigned i = 0; i < LAST_SECONDS; i++) {
        close_peers(true);
        step();
        step();
        if (worker.n_conns == 0)
            break;
        clock_ms += 1000;
    }
    close_peers(true);
    expect(worker.n_conns == 0 && shared.n_clients == 0 && shared.n_tunnels == 0);
    expect(shared.n_turned_away == 0 && quotas_sum(shared.quotas).n_sources == 0);
}

static void end(void)
{
    worker_fini(&worker);
    own_set_unref(own);
    loop_round(&main_loop, false);
    accept_origins();
    close_peers(true);
    answer_names();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    int first_fd = lowest_free_fd();
    begin();
    for (size_t at = 0; at < size && n_steps < STEPS_MAX;)
        at += play_one(data + at, size - at);
    settle();
    settle();
    expect_promises();
    expect_all_over();
    end();
    expect(lowest_free_fd() == first_fd);
    return 0;
}

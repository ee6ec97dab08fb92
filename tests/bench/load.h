/* load - the two halves of the load generator: an origin, and clients behind a proxy. */
#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LOAD_MESSAGE_BYTES = 64,
    LOAD_WRITE_BYTES = 256 * 1024,
    LOAD_READ_BYTES = 1024 * 1024,
    LOAD_HEAD_BYTES = 4096,
    LOAD_CONNS_MAX = 9000,
    LOAD_SECONDS_MAX = 60
};

enum load_service { LOAD_SERVICE_ECHO, LOAD_SERVICE_SOURCE, LOAD_SERVICE_SINK, LOAD_SERVICE_HTTP };

enum load_mode {
    LOAD_MODE_CONNECT,   /* connect, 64 bytes there and back, close */
    LOAD_MODE_PINGPONG,  /* 64 bytes there and back on open tunnels */
    LOAD_MODE_DOWN,      /* the origin writes without end */
    LOAD_MODE_UP,        /* the client does */
    LOAD_MODE_IDLE,      /* memory of tunnels that said something once */
    LOAD_MODE_KEEPALIVE, /* GET over and over */
    LOAD_MODE_REQUEST,   /* GET, a connection each */
    LOAD_MODE_BODY,      /* large bodies; bytes count */
    LOAD_MODE_MIXED      /* ping-pong beside bulk down of another process */
};

struct load_options {
    enum load_mode mode;
    struct sockaddr_in proxy;      /* where connections go */
    struct sockaddr_in bulk_proxy; /* mixed: where the bulk streams go */
    const char *target;            /* "addr:port" to CONNECT to or to GET from */
    const char *bulk_target;
    bool is_plain;  /* the proxy forwards TCP: no CONNECT */
    bool is_origin; /* GET /path, not GET http://target/path */
    pid_t pid;      /* whose CPU and memory are accounted, descendants included */
    unsigned n_conns, n_bulk, n_idle;
    uint64_t warm_ms, run_ms;
    uint64_t body_bytes;
};

/* Both run until done (an origin: for ever) and return an exit status. */
int load_serve(enum load_service service, const struct sockaddr_in *at);
int load_run(const struct load_options *options);

#endif

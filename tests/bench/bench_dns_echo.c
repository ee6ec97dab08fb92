/*
 * The floor for a DNS server: takes datagrams in batches, turns each into an answer of the size of
 * one with an A record, and sends them back. No parsing, no cache: what is left is the kernel's
 * work. Usage: bench_dns_echo ADDRESS PORT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 32, BYTES = 1500, HEADER = 12, RECORD = 16 };

static const unsigned char record[RECORD] = {0xc0, 0x0c, 0, 1, 0,   1, 0, 0,
                                             0,    60,   0, 4, 192, 0, 2, 1};

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_in from[BATCH];
    unsigned char bytes[BATCH][BYTES];
};

static void make_answer(struct batch *b, int i)
{
    size_t len = b->messages[i].msg_len;
    unsigned char *p = b->bytes[i];
    if (len >= HEADER && len + RECORD <= BYTES) {
        p[2] |= 0x80;
        p[3] |= 0x80;
        p[7] = 1;
        p[11] = 0; /* no OPT comes back: clients of the bench send none */
        memcpy(p + len, record, RECORD);
        len += RECORD;
    }
    b->parts[i].iov_len = len;
}

static void serve(int fd, struct batch *b)
{
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            b->parts[i] = (struct iovec){b->bytes[i], BYTES};
            b->messages[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                                     .msg_namelen = sizeof(b->from[i]),
                                                     .msg_iov = &b->parts[i],
                                                     .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, b->messages, BATCH, MSG_DONTWAIT, NULL);
        if (n <= 0)
            return;
        for (int i = 0; i < n; i++)
            make_answer(b, i);
        (void)!sendmmsg(fd, b->messages, (unsigned)n, 0);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    if (argc != 3 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) {
        fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
        return 2;
    }
    at.sin_port = htons((unsigned short)strtoul(argv[2], NULL, 10));
    struct batch *b = calloc(1, sizeof(*b));
    int fd = socket(AF_INET, SOCK_DGRAM, 0), ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (!b || fd < 0 || ep < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("bench_dns_echo");
        return 1;
    }
    while (epoll_wait(ep, &event, 1, -1) >= 0)
        serve(fd, b);
    return 0;
}

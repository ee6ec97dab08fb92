#include <criterion/criterion.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/daemon/addresses.h"

static bool has(const struct addr *list, size_t n, const struct addr *wanted)
{
    for (size_t i = 0; i < n; i++) {
        if (addr_compare(&list[i], wanted) == 0)
            return true;
    }
    return false;
}

/* The C library's own answer to the same question. */
Test(daemon_addresses, read__gives_what_getifaddrs_gives)
{
    struct addresses a;
    struct addr *list = NULL;
    size_t n = 0, n_expected = 0;
    cr_assert_eq(addresses_open(&a), 0);
    cr_assert_eq(addresses_read(&a, &list, &n), 0);
    struct ifaddrs *all;
    cr_assert_eq(getifaddrs(&all), 0);
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct sockaddr_storage ss = {0};
        struct endpoint ep;
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if (family != AF_INET && family != AF_INET6)
            continue;
        memcpy(&ss, i->ifa_addr,
               family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        cr_assert_eq(endpoint_from_sockaddr(&ss, &ep), 0);
        n_expected++;
        cr_expect(has(list, n, &ep.addr), "%s has an address that is missing", i->ifa_name);
    }
    freeifaddrs(all);
    cr_expect_eq(n, n_expected);
    free(list);
    addresses_close(&a);
}

Test(daemon_addresses, read__works_again_and_again__on_one_socket)
{
    struct addresses a;
    size_t first = 0;
    cr_assert_eq(addresses_open(&a), 0);
    for (int i = 0; i < 100; i++) {
        struct addr *list = NULL;
        size_t n = 0;
        cr_assert_eq(addresses_read(&a, &list, &n), 0);
        if (i == 0)
            first = n;
        cr_expect_eq(n, first);
        free(list);
    }
    addresses_close(&a);
}

Test(daemon_addresses, read__fails__when_not_open)
{
    struct addresses a = {0};
    struct addr *list = NULL;
    size_t n = 0;
    cr_expect_eq(addresses_read(&a, &list, &n), -EBADF);
}

/* O03: the kernel gives one answer at a time on a socket, and refuses to begin another. */
Test(daemon_addresses, read__works__behind_an_answer_that_nobody_read)
{
    struct addresses a;
    struct addr *list = NULL;
    size_t n = 0;
    char buffer[256];
    cr_assert_eq(addresses_open(&a), 0);
    struct nlmsghdr *query = mnl_nlmsg_put_header(buffer);
    query->nlmsg_type = RTM_GETADDR;
    query->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    ((struct ifaddrmsg *)mnl_nlmsg_put_extra_header(query, sizeof(struct ifaddrmsg)))->ifa_family =
        AF_UNSPEC;
    cr_assert_gt(mnl_socket_sendto(a.socket, query, query->nlmsg_len), 0);
    cr_expect_eq(addresses_read(&a, &list, &n), 0);
    cr_expect_gt(n, 0);
    free(list);
    addresses_close(&a);
}

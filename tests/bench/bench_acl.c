/*
 * How long an ACL of 100,000 lines takes to load, and what one verdict costs then: in, out by name, out by address. Each
 * verdict is asked for addresses and names spread over the whole file, so caches are as cold as a real mix makes them.
 * A benchmark, no test: it prints, and fails only when a step fails. The limits it is read against: a load under a
 * second, a verdict under a microsecond.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "acl/lint.h"
#include "acl/verdict.h"

enum { N_RULES = 100000, N_ASKS = 1 << 20, N_GROUPS = 4 };

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int add_in(struct acl *acl, uint64_t *seed, struct findings *f)
{
    char key[32], value[64];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < N_RULES; i++) {
        uint32_t a = (uint32_t)next_random(seed);
        snprintf(key, sizeof(key), i % 4 ? "tcp 8080" : "tcp %u", 8000 + a % 100);
        if (i % 5 == 0)
            snprintf(value, sizeof(value), "10.%u.%u.0/24", a & 255, a >> 8 & 255);
        else if (i % 5 == 1)
            snprintf(value, sizeof(value), "2001:db8:%x:%x::/64", a & 0xffff, a >> 16);
        else
            snprintf(value, sizeof(value), "10.%u.%u.%u", a & 255, a >> 8 & 255, a >> 16 & 255);
        r = acl_add_in(acl, key, value, "memo", i + 1, f);
    }
    return r;
}

/* @is_grouped: in [out] and in the sections of N_GROUPS groups, all of which the asking source is in. */
static int add_out(struct acl *acl, bool is_grouped, uint64_t *seed, struct findings *f)
{
    static const char *const groups[] = {NULL, "a", "b", "c", "d"};
    char value[96];
    int r = 0;

    for (unsigned g = 1; r == 0 && is_grouped && g <= N_GROUPS; g++) {
        r = acl_add_group(acl, groups[g], g, f);
        r = r ? r : acl_add_member(acl, groups[g], "member", "10.0.0.0/16", "", g, f);
    }
    for (unsigned i = 0; r == 0 && i < N_RULES; i++) {
        if (is_grouped && i % (N_RULES / (N_GROUPS + 1)) == 0)
            r = acl_open_out(acl, groups[i / (N_RULES / (N_GROUPS + 1))], i + 1, f);
        uint32_t a = (uint32_t)next_random(seed);
        const char *ports = i % 3 ? "" : ":443";
        if (i % 2)
            snprintf(value, sizeof(value), "%sh%u.site%u.example%s", i % 4 == 1 ? "*." : "", i, i / 100, ports);
        else
            snprintf(value, sizeof(value), "%u.%u.%u.0/24%s", 11 + a % 100, a >> 8 & 255, a >> 16 & 255, ports);
        r = r ? r : acl_add_out(acl, i % 10 ? "allow" : "deny", value, "", i + 1, f);
    }
    return r;
}

static void print_each(const char *what, uint64_t start_ns, size_t n_hits)
{
    printf("%-28s %7.1f ns each (%zu of %d matched)\n", what, (double)(now_ns() - start_ns) / N_ASKS, n_hits, N_ASKS);
}

static void ask_in(const struct in_table *t, uint64_t *seed)
{
    struct addr *asks = calloc(N_ASKS, sizeof(*asks));
    size_t n_hits = 0;

    if (!asks)
        return;
    for (size_t i = 0; i < N_ASKS; i++) {
        uint64_t a = next_random(seed);
        asks[i] = addr_from_ipv4(0x0a000000 | (uint32_t)(a & 0xffffff));
        if (a >> 60 == 0)
            asks[i] = (struct addr){{0x20, 0x01, 0x0d, 0xb8, (uint8_t)a, (uint8_t)(a >> 8), (uint8_t)(a >> 16)}};
    }
    uint64_t start_ns = now_ns();
    for (size_t i = 0; i < N_ASKS; i++)
        n_hits += in_table_ask(t, &asks[i]) != NULL;
    print_each("source", start_ns, n_hits);
    free(asks);
}

static void ask_names(const struct acl *acl, const struct addr *source, uint64_t *seed)
{
    char(*asks)[48] = calloc(N_ASKS, sizeof(*asks));
    size_t n_hits = 0;

    if (!asks)
        return;
    for (size_t i = 0; i < N_ASKS; i++) {
        unsigned k = (unsigned)(next_random(seed) % N_RULES) | 1;
        snprintf(asks[i], sizeof(asks[i]), "%sh%u.site%u.example", i % 2 ? "www." : "", k, k / 100);
    }
    uint64_t start_ns = now_ns();
    for (size_t i = 0; i < N_ASKS; i++) {
        struct verdict_detail d;
        n_hits += verdict_name(acl, source, asks[i], 443, &d) != VERDICT_UNDECIDED;
    }
    print_each("destination by name", start_ns, n_hits);
    free(asks);
}

static void ask_addrs(const struct acl *acl, const struct addr *source, uint64_t *seed)
{
    size_t n_hits = 0;
    uint64_t start_ns = now_ns();

    for (size_t i = 0; i < N_ASKS; i++) {
        uint64_t a = next_random(seed);
        struct addr addr = addr_from_ipv4((uint32_t)(11 + a % 100) << 24 | (uint32_t)(a >> 40));
        struct verdict_detail d;
        n_hits += verdict_addr(acl, source, NULL, VERDICT_UNDECIDED, &addr, 443, &d) == VERDICT_ALLOW;
    }
    print_each("destination by address", start_ns, n_hits);
}

static int measure(bool is_grouped)
{
    static const struct lint_port listeners[] = {{IN_PROTO_TCP, 8080, "web-proxy"}};
    uint64_t seed = 0x5eed0006;
    struct findings f = {0};
    struct acl *acl = acl_new("acl.conf");
    struct addr member = addr_from_ipv4(0x0a000007);
    uint64_t start_ns = now_ns();

    if (!acl || add_in(acl, &seed, &f) || add_out(acl, is_grouped, &seed, &f) || acl_finish(acl, &f))
        return EXIT_FAILURE;
    struct in_table *t = in_table_new(acl, IN_PROTO_TCP, 8080);
    if (!t)
        return EXIT_FAILURE;
    printf("%s\n", is_grouped ? "a source in 4 groups, [out] and their sections with 20,000 lines each" : "[out] alone");
    printf("%-28s %7.1f ms (%zu [in] and %zu [out] lines)\n", "load", (double)(now_ns() - start_ns) / 1e6, acl->n_in,
           acl->n_out);
    start_ns = now_ns();
    acl_lint(acl, listeners, 1, NULL, &f);
    printf("%-28s %7.1f ms\n", "check", (double)(now_ns() - start_ns) / 1e6);
    ask_in(t, &seed);
    ask_names(acl, is_grouped ? &member : NULL, &seed);
    ask_addrs(acl, is_grouped ? &member : NULL, &seed);
    in_table_free(t);
    acl_free(acl);
    findings_fini(&f);
    return EXIT_SUCCESS;
}

int main(void)
{
    int code = measure(false);
    return code == EXIT_SUCCESS ? measure(true) : code;
}

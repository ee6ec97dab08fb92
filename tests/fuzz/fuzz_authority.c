/*
 * Any bytes as a target. The first byte picks the form. An accepted host is canonical: its text
 * reads back as itself, it has no byte that a log, a Host field or a resolver could take for
 * something else, and no libc reading turns a name into an address.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http/authority.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool is_so)
{
    if (!is_so)
        abort();
}

static void expect_name(const struct authority *a)
{
    struct in_addr in;

    expect(a->name_len > 0 && a->name_len <= AUTHORITY_NAME_MAX);
    expect(strlen(a->name) == a->name_len);
    expect(a->name[0] != '.' && a->name[a->name_len - 1] != '.' && !strstr(a->name, ".."));
    for (size_t i = 0; i < a->name_len; i++) {
        char c = a->name[i];
        bool is_ldh = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        expect(is_ldh || c == '.');
    }
    expect(inet_aton(a->name, &in) == 0);
}

static void expect_literal(const struct authority *a)
{
    struct addr addr;

    expect(addr_parse(a->name, a->name_len, &addr) == 0);
    expect(addr_compare(&addr, &a->addr) == 0);
}

static void expect_reads_back(const struct authority *a)
{
    char text[AUTHORITY_NAME_MAX + 16];
    struct authority again;
    const char *why;

    size_t len = authority_text(a, text, sizeof(text));
    expect(authority_parse_connect(text, len, &again, &why) == AUTHORITY_OK);
    expect(again.kind == a->kind && again.port == a->port && strcmp(again.name, a->name) == 0);
    expect(a->kind == AUTHORITY_NAME || addr_compare(&again.addr, &a->addr) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1, *why = NULL;
    size_t len = size - 1, path_at = 0;
    struct authority a = {.port = 1};
    enum authority_result r = AUTHORITY_BAD;

    switch (data[0] % 3) {
    case 0:
        r = authority_parse_connect(text, len, &a, &why);
        break;
    case 1:
        r = authority_parse_absolute(text, len, &a, &path_at, &why);
        expect(r != AUTHORITY_OK || path_at == len ||
               (path_at < len && strchr("/?", text[path_at])));
        break;
    default:
        r = authority_parse_host(text, len, &a, &why);
        a.port = 1;
        break;
    }
    if (r != AUTHORITY_OK) {
        expect(why && *why);
        return 0;
    }
    if (a.kind == AUTHORITY_NAME)
        expect_name(&a);
    else
        expect_literal(&a);
    expect(a.port > 0);
    expect_reads_back(&a);
    return 0;
}

/* tables - any bytes as a firewall's table: refused with a reason, or rules that acl.conf says equally. */
#ifndef TESTS_FUZZ_TABLES_H
#define TESTS_FUZZ_TABLES_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/firewall.h"
#include "acl/firewall_diff.h"
#include "conf/aclfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The rules, written as acl.conf and read again, admit the same. */
static inline void expect_acl_is_equal(const struct firewall *fw)
{
    struct findings findings = {0};
    struct firewall back = {.file = "acl.conf", .findings = &findings};
    struct firewall_drift *drifts = NULL;
    struct acl *acl = NULL;
    char *text = NULL;
    size_t len, n = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        abort();
    firewall_write_acl(out, fw);
    fclose(out);
    if (aclfile_parse_bytes("acl.conf", text, len, &findings, &acl) < 0 || firewall_from_acl(&back, acl) < 0)
        abort();
    int r = firewall_diff(fw, &back, NULL, &drifts, &n);
    if ((r < 0 && r != -EOVERFLOW) || n > 0)
        abort();
    free(drifts);
    free(text);
    acl_free(acl);
    firewall_fini(&back);
    findings_fini(&findings);
}

static inline int fuzz_table(int (*read)(struct firewall *, const char *, size_t), const uint8_t *data, size_t size)
{
    struct findings findings = {0};
    struct firewall_group group = {0};
    struct firewall fw = {.file = "table", .findings = &findings, .groups = &group, .n_groups = 1};

    if (firewall_group_parse("web=10.1.0.0/16,2001:db8::1", &group) < 0)
        abort();
    int r = read(&fw, (const char *)data, size);
    if ((r == -EINVAL) != (findings.n_errors > 0) || (r < 0 && r != -EINVAL && r != -E2BIG))
        abort();
    if (r == 0 && fw.n_rules > 0)
        expect_acl_is_equal(&fw);
    firewall_fini(&fw);
    firewall_group_fini(&group);
    findings_fini(&findings);
    return 0;
}

#endif

/* Any bytes as acl.conf: no crash, no leak; errors are findings; the table agrees with the naive
 * walk. */
#include <stdint.h>
#include <stdlib.h>

#include "acl/verdict.h"
#include "conf/aclfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The ends of every source range, and their neighbours. */
static void expect_agreement(const struct acl *acl)
{
    struct in_table *table = in_table_new(acl, IN_PROTO_TCP, 8080);

    if (!table)
        abort();
    for (size_t i = 0; i < acl->n_in; i++) {
        for (size_t k = 0; k < acl->in[i].n_sources; k++) {
            const struct addr_range *range = &acl->in[i].sources[k];
            const struct addr asked[] = {range->first, range->last, addr_prev(&range->first),
                                         addr_next(&range->last)};
            for (size_t a = 0; a < 4; a++) {
                if (in_table_ask(table, &asked[a]) !=
                    in_ask_naive(acl, IN_PROTO_TCP, 8080, &asked[a]))
                    abort();
            }
        }
    }
    in_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct findings findings = {0};
    struct acl *acl = NULL;

    if (size == 0)
        return 0;
    int r = aclfile_parse_bytes("fuzz.conf", (const char *)data, size, &findings, &acl);
    if ((r < 0) != (findings.n_errors > 0))
        abort();
    if (r == 0)
        expect_agreement(acl);
    acl_free(acl);
    findings_fini(&findings);
    return 0;
}

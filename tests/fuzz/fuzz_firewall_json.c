/* Any bytes as DescribeSecurityGroups in JSON. */
#include "acl/firewall_nifcloud_json.h"
#include "tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_table(firewall_nifcloud_json_read, data, size);
}

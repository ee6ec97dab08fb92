/* Any bytes as DescribeSecurityGroups in XML. */
#include "acl/firewall_nifcloud_xml.h"
#include "tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_table(firewall_nifcloud_xml_read, data, size);
}

/* Any bytes as iptables-save. */
#include "acl/firewall_iptables.h"
#include "tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_table(firewall_iptables_read, data, size);
}

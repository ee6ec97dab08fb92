/* Any bytes as a Terraform state or plan. */
#include "acl/firewall_terraform.h"
#include "tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_table(firewall_terraform_read, data, size);
}

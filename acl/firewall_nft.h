/* firewall_nft - the rules of the listeners' ports as an nftables table of its own. */
#ifndef ACL_FIREWALL_NFT_H
#define ACL_FIREWALL_NFT_H

#include <stdio.h>

#include "acl/firewall.h"
#include "acl/lint.h"

/**
 * firewall_nft_write - `table inet ukai`: admits new flows of the listed sources to each listener's
 * port, drops other new ones to these ports, touches nothing else. Returns: 0 · -ENOMEM.
 */
int firewall_nft_write(FILE *out, const struct firewall *fw, const struct lint_port *ports,
                       size_t n_ports) __attribute__((warn_unused_result));

#endif

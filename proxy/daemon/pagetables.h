/* pagetables - the tables of the status page. */
#ifndef PROXY_DAEMON_PAGETABLES_H
#define PROXY_DAEMON_PAGETABLES_H

#include "proxy/daemon/page.h"

enum { PAGETABLES_TUNNELS_MAX = 100, PAGETABLES_RULES_MAX = 300 };

void pagetables_listeners(const struct page_view *v, FILE *out);
void pagetables_tunnels(const struct page_view *v, FILE *out);
void pagetables_refusals(const struct page_view *v, FILE *out);
void pagetables_servers(const struct page_view *v, FILE *out);
void pagetables_rules(const struct page_view *v, FILE *out);

#endif

/* Said when the configuration is read, since later it would only show as names that do not resolve.
 */
#include "proxy/daemon/truststore.h"

#include <errno.h>

#include "proxy/net/tls.h"

static bool has_tls(const struct conf_name_servers *servers)
{
    for (size_t i = 0; i < servers->n_items; i++) {
        if (servers->items[i].is_tls)
            return true;
    }
    return false;
}

/* The line of the first section or zone with such a server; 0: none. */
static unsigned find_tls(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        if (has_tls(&conf->web_proxies[i].base.name_servers))
            return conf->web_proxies[i].base.line;
    }
    for (size_t i = 0; i < conf->n_dns; i++) {
        if (has_tls(&conf->dns[i].base.name_servers))
            return conf->dns[i].base.line;
    }
    for (size_t i = 0; i < conf->zones.n_items; i++) {
        if (has_tls(&conf->zones.items[i].servers))
            return conf->zones.items[i].line;
    }
    return 0;
}

int truststore_check(const struct conf *conf, struct findings *findings)
{
    char text[1024];
    unsigned line = find_tls(conf);
    if (line == 0)
        return 0;
    int rc = tls_store_check(text, sizeof(text));
    if (rc == -ENOENT)
        findings_add(findings, FINDING_WARNING, conf->file, line, "name-server: %s", text);
    return rc == -ENOMEM ? rc : 0;
}

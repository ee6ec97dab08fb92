/* Said when the configuration is read, since later it would only show as names that do not resolve.
 */
#include "proxy/daemon/truststore.h"

#include <errno.h>

#include "proxy/net/tls.h"

static const struct conf_listener *listener_at(const struct conf *conf, size_t i)
{
    return i < conf->n_web_proxies ? &conf->web_proxies[i].base
                                   : &conf->dns[i - conf->n_web_proxies].base;
}

static bool wants_tls(const struct conf_listener *l)
{
    for (size_t i = 0; i < l->name_servers.n_items; i++) {
        if (l->name_servers.items[i].is_tls)
            return true;
    }
    return false;
}

int truststore_check(const struct conf *conf, struct findings *findings)
{
    char text[1024];
    size_t n = conf->n_web_proxies + conf->n_dns, i = 0;
    while (i < n && !wants_tls(listener_at(conf, i)))
        i++;
    if (i == n)
        return 0;
    int rc = tls_store_check(text, sizeof(text));
    if (rc == -ENOENT)
        findings_add(findings, FINDING_WARNING, conf->file, listener_at(conf, i)->line,
                     "name-server: %s", text);
    return rc == -ENOMEM ? rc : 0;
}

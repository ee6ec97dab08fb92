/*
 * The script asks no name server: a client that needs the proxy often has none that knows the
 * world. Nothing in it comes from names or texts of the configuration, only addresses and ports. It
 * never ends in DIRECT for what is outside: who may go past the proxy is not for a browser to say.
 */
#include "proxy/daemon/pac.h"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char script[] =
    "function FindProxyForURL(url, host) {\n"
    "  var name = host.toLowerCase().replace(/^\\[|\\]$/g, \"\").replace(/\\.$/, \"\");\n"
    "  var v4 = /^(\\d{1,3})\\.(\\d{1,3})\\.\\d{1,3}\\.\\d{1,3}$/.exec(name);\n"
    "  if (v4) {\n"
    "    var a = Number(v4[1]), b = Number(v4[2]);\n"
    "    if (a == 10 || a == 127 || (a == 192 && b == 168) || (a == 169 && b == 254) ||\n"
    "        (a == 172 && b >= 16 && b < 32))\n"
    "      return \"DIRECT\";\n"
    "  } else if (name.indexOf(\":\") >= 0) {\n"
    "    if (name == \"::1\" || /^f[cd][0-9a-f]{2}:|^fe[89ab][0-9a-f]:/.test(name))\n"
    "      return \"DIRECT\";\n"
    "  } else if (name.indexOf(\".\") < 0 || /\\.(local|localhost)$/.test(name)) {\n"
    "    return \"DIRECT\";\n"
    "  }\n";

/* The IPv4 address of an interface; false: it has none, or is not there. */
static bool address_of(const char *ifname, struct addr *ret)
{
    struct ifreq request = {0};
    struct sockaddr_storage ss = {0};
    struct endpoint ep;
    memcpy(request.ifr_name, ifname, strnlen(ifname, sizeof(request.ifr_name) - 1));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int rc = ioctl(fd, SIOCGIFADDR, &request);
    close(fd);
    memcpy(&ss, &request.ifr_addr, sizeof(request.ifr_addr));
    if (rc < 0 || endpoint_from_sockaddr(&ss, &ep) < 0)
        return false;
    *ret = ep.addr;
    return true;
}

static bool is_unspecified(const struct addr *a)
{
    static const struct addr any;
    return addr_compare(a, &any) == 0 || (addr_is_ipv4(a) && addr_ipv4(a) == 0);
}

/* Where clients find it; false: nowhere now. */
static bool find_address(const struct conf_network *n, const struct addr *local, struct addr *ret)
{
    if (n->ifname[0])
        return address_of(n->ifname, ret);
    *ret = is_unspecified(&n->addr) ? *local : n->addr;
    return true;
}

/* Those at @local's address, or all others. */
static unsigned write_proxies(const struct conf *conf, const struct addr *local, bool is_near,
                              unsigned n_before, FILE *out)
{
    unsigned n = n_before;
    char text[ENDPOINT_TEXT_MAX];
    for (size_t i = 0; i < conf->n_web_proxies; i++) {
        const struct conf_listener *l = &conf->web_proxies[i].base;
        for (size_t k = 0; k < l->n_networks; k++) {
            struct endpoint ep = {.port = l->port};
            if (!find_address(&l->networks[k], local, &ep.addr) ||
                (addr_compare(&ep.addr, local) == 0) != is_near)
                continue;
            fprintf(out, "%sPROXY %s", n++ ? "; " : "", endpoint_text(&ep, text));
        }
    }
    return n;
}

void pac_write(const struct conf *conf, const struct addr *local, FILE *out)
{
    fputs(script, out);
    fputs("  return \"", out);
    unsigned n = write_proxies(conf, local, true, 0, out);
    n = write_proxies(conf, local, false, n, out);
    fputs(n ? "\";\n}\n" : "DIRECT\";\n}\n", out);
}

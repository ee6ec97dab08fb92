/* Reads what `run` would read by the same function, adds what no single line shows, opens and binds
 * nothing. */
#include "proxy/daemon/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/lint.h"
#include "conf/snapshot.h"
#include "proxy/daemon/ctl.h"
#include "proxy/daemon/expect.h"
#include "proxy/daemon/sockets.h"
#include "proxy/daemon/truststore.h"

static size_t collect(const struct conf *conf, struct lint_port *ports)
{
    size_t n = 0;
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        ports[n++] = (struct lint_port){IN_PROTO_TCP, conf->web_proxies[i].base.port,
                                        conf->web_proxies[i].base.name};
    for (size_t i = 0; i < conf->n_dns; i++) {
        ports[n++] =
            (struct lint_port){IN_PROTO_UDP, conf->dns[i].base.port, conf->dns[i].base.name};
        ports[n++] =
            (struct lint_port){IN_PROTO_TCP, conf->dns[i].base.port, conf->dns[i].base.name};
    }
    return n;
}

/* What the port lists of all web proxies let pass together. */
static struct ports reached_ports(const struct conf *conf)
{
    struct ports all = {0};
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        for (size_t w = 0; w < sizeof(all.bits) / sizeof(all.bits[0]); w++)
            all.bits[w] |= conf->web_proxies[i].connect_ports.bits[w] |
                           conf->web_proxies[i].http_ports.bits[w];
    return all;
}

static int lint(const struct snapshot *s, struct findings *findings)
{
    size_t n = s->conf.n_web_proxies + 2 * s->conf.n_dns;
    struct lint_port *ports = calloc(n + 1, sizeof(*ports));
    if (!ports)
        return -ENOMEM;
    struct ports reach = reached_ports(&s->conf);
    acl_lint(s->acl, ports, collect(&s->conf, ports), s->conf.n_web_proxies > 0 ? &reach : NULL,
             findings);
    free(ports);
    return 0;
}

static enum exit_code check_files(const char *file, FILE *out)
{
    struct findings findings = {0};
    struct snapshot *s = NULL;
    int rc = snapshot_load(file, &findings, &s);
    if (rc == 0)
        rc = lint(s, &findings);
    if (rc == 0)
        rc = truststore_check(&s->conf, &findings);
    size_t n_other = findings.n_errors;
    if (rc == 0)
        rc = expect_check(s, sockets_own_once(&s->conf), &findings);
    bool is_unexpected = rc == -EINVAL && n_other == 0;
    findings_print(&findings, out);
    size_t n_errors = findings.n_errors, n_warnings = findings.n_warnings;
    findings_fini(&findings);
    if (rc == 0)
        fprintf(out,
                "%s: valid, %zu warnings; %zu web proxies, %zu DNS listeners, %zu [in] and %zu "
                "[out] rules\n",
                file, n_warnings, s->conf.n_web_proxies, s->conf.n_dns, s->acl->n_in,
                s->acl->n_out);
    else if (n_errors > 0)
        fprintf(out, "%s: not valid, %zu errors, %zu warnings\n", file, n_errors, n_warnings);
    else
        fprintf(stderr, "ukai check: %s\n", strerror(-rc));
    snapshot_unref(s);
    return rc == 0 ? EXIT_DONE : is_unexpected ? EXIT_NO : n_errors > 0 ? EXIT_CONFIG : EXIT_FAILED;
}

enum exit_code check_run(const char *file)
{
    return check_files(file, stdout);
}

enum exit_code check_against_live(const char *file, const char *socket, bool is_json)
{
    const struct ctl_place place = {.file = file, .socket = socket};
    const char *const words[] = {"against", is_json ? "--json" : NULL, NULL};
    struct ask_answer answer;
    /* A program gets one JSON object, and the findings beside it. */
    enum exit_code code = check_files(file, is_json ? stderr : stdout);
    if (code == EXIT_DONE)
        code = ctl_ask(&place, words, &answer);
    if (code != EXIT_DONE)
        return code;
    fwrite(answer.out, 1, answer.out_len, stdout);
    if (answer.exit != EXIT_DONE) /* else its findings are those above */
        fwrite(answer.err, 1, answer.err_len, stderr);
    code = (enum exit_code)answer.exit;
    ask_answer_fini(&answer);
    return code;
}

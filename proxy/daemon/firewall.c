/*
 * The commands about firewall tables: options and files here, formats and meaning in acl/firewall*.
 * A table is read whole before the first byte is printed, so that a refused one leaves nothing
 * half written on standard output. Nothing here touches the firewall or the daemon.
 */
#include "proxy/daemon/firewall.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/firewall.h"
#include "acl/firewall_diff.h"
#include "acl/firewall_iptables.h"
#include "acl/firewall_nft.h"
#include "acl/firewall_nifcloud_json.h"
#include "acl/firewall_nifcloud_xml.h"
#include "acl/firewall_terraform.h"
#include "conf/snapshot.h"
#include "conf/wholefile.h"
#include "proxy/base/escape.h"

enum { GROUPS_MAX = 256 };

typedef int (*read_fn)(struct firewall *fw, const char *bytes, size_t len);

struct table_options {
    const char *command;
    read_fn read;
    const char *file;
    const char *config;  /* diff */
    bool is_served_only; /* diff */
    struct firewall_group groups[GROUPS_MAX];
    size_t n_groups;
};

static enum exit_code usage_error(const char *command, const char *why, const char *text)
{
    fprintf(stderr, "ukai %s: %s%s\nukai: see `ukai %s --help`\n", command, why, text, command);
    return EXIT_USAGE;
}

static read_fn find_reader(const char *format)
{
    static const struct {
        const char *name;
        read_fn read;
    } readers[] = {
        {"iptables", firewall_iptables_read},
        {"nifcloud-json", firewall_nifcloud_json_read},
        {"nifcloud-xml", firewall_nifcloud_xml_read},
        {"terraform-json", firewall_terraform_read},
    };
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (strcmp(readers[i].name, format) == 0)
            return readers[i].read;
    return NULL;
}

/* What may be right, and is more often a table or an option of another spelling. */
static void warn_of_nothing(const struct table_options *o, const struct firewall *fw)
{
    for (size_t i = 0; i < o->n_groups; i++) {
        if (!o->groups[i].is_used)
            findings_add(fw->findings, FINDING_WARNING, o->file, 0,
                         "no rule names the group of --group %s", o->groups[i].name);
    }
    if (fw->n_rules == 0)
        findings_add(fw->findings, FINDING_WARNING, o->file, 0, "it admits nobody");
}

static int read_table(struct table_options *o, struct firewall *fw)
{
    const char *why;
    struct stat st;
    char *bytes;
    size_t len;

    fw->file = o->file;
    fw->groups = o->groups;
    fw->n_groups = o->n_groups;
    int r = wholefile_read(o->file, FIREWALL_FILE_MAX, &st, &bytes, &len, &why);
    if (r < 0) {
        findings_add(fw->findings, FINDING_ERROR, o->file, 0, "%s", why);
        return -EINVAL;
    }
    r = o->read(fw, bytes, len);
    free(bytes);
    if (r == 0)
        warn_of_nothing(o, fw);
    return r;
}

static enum exit_code exit_of(const char *command, int r)
{
    if (r == 0)
        return EXIT_DONE;
    if (r == -E2BIG)
        fprintf(stderr, "ukai %s: more rules than the %d that are taken, or too tangled ones\n",
                command, FIREWALL_RULES_MAX);
    else if (r == -EOVERFLOW)
        fprintf(stderr, "ukai %s: they disagree in more places than can be compared or listed\n",
                command);
    else if (r != -EINVAL)
        fprintf(stderr, "ukai %s: %s\n", command, strerror(-r));
    return r == -EINVAL || r == -E2BIG ? EXIT_CONFIG : EXIT_FAILED;
}

static enum exit_code import_table(struct table_options *o)
{
    struct findings findings = {0};
    struct firewall fw = {.findings = &findings};

    int r = read_table(o, &fw);
    findings_print(&findings, stderr);
    if (r == 0)
        firewall_write_acl(stdout, &fw);
    if (r == 0 && (fflush(stdout) == EOF || ferror(stdout)))
        r = -EIO;
    firewall_fini(&fw);
    findings_fini(&findings);
    return exit_of("import", r);
}

/* Before the last one. */
static bool is_group_given(const struct table_options *o, const char *name)
{
    for (size_t i = 0; i + 1 < o->n_groups; i++) {
        if (strcmp(o->groups[i].name, name) == 0)
            return true;
    }
    return false;
}

static enum exit_code parse_table(int argc, char **argv, struct table_options *o)
{
    static const struct option options[] = {{"format", required_argument, NULL, 'f'},
                                            {"group", required_argument, NULL, 'g'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"served", no_argument, NULL, 's'},
                                            {0}};
    for (int opt; (opt = getopt_long(argc, argv, o->config ? "c:" : "", options, NULL)) != -1;) {
        switch (opt) {
        case 'f':
            if (!(o->read = find_reader(optarg)))
                return usage_error(o->command, "unknown format ", optarg);
            break;
        case 'g':
            if (o->n_groups >= GROUPS_MAX)
                return usage_error(o->command, "too many groups", "");
            if (firewall_group_parse(optarg, &o->groups[o->n_groups]) < 0)
                return usage_error(o->command, "--group takes NAME=CIDR,..., not ", optarg);
            if (is_group_given(o, o->groups[o->n_groups++].name))
                return usage_error(o->command, "a group is given twice: ", optarg);
            break;
        case 'c':
        case 's':
            if (!o->config)
                return usage_error(o->command, "unknown option", "");
            if (opt == 'c')
                o->config = optarg;
            else
                o->is_served_only = true;
            break;
        default:
            return usage_error(o->command, "unknown option", "");
        }
    }
    if (!o->read || optind + 1 != argc)
        return usage_error(o->command, "--format FORMAT and a FILE are needed", "");
    o->file = argv[optind];
    return EXIT_DONE;
}

static bool wants_help(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--help") == 0;
}

enum exit_code firewall_import_run(int argc, char **argv)
{
    if (wants_help(argc, argv)) {
        puts("usage: ukai import --format FORMAT [--group NAME=CIDR,...] FILE\n\n"
             "Prints a firewall's IN rules as acl.conf text. What is left out or changed is named "
             "on standard\nerror; a table that cannot be understood is refused whole.\n\n"
             "      --format FORMAT        nifcloud-json, nifcloud-xml (DescribeSecurityGroups), "
             "terraform-json\n"
             "                             (terraform show -json, or a state file) or iptables "
             "(iptables-save)\n"
             "      --group NAME=CIDR,...  what a firewall group stands for; repeatable\n\n"
             "Exit code 0: printed; 78: refused.");
        return EXIT_DONE;
    }
    struct table_options o = {.command = "import"};
    enum exit_code code = parse_table(argc, argv, &o);
    if (code == EXIT_DONE)
        code = import_table(&o);
    for (size_t i = 0; i < o.n_groups; i++)
        firewall_group_fini(&o.groups[i]);
    return code;
}

/* ---- export ---- */

static int write_nft(const struct firewall *fw, const struct conf *conf)
{
    struct lint_port *ports = calloc(conf->n_web_proxies + 2 * conf->n_dns + 1, sizeof(*ports));
    size_t n = 0;

    if (!ports)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_web_proxies; i++)
        ports[n++] = (struct lint_port){IN_PROTO_TCP, conf->web_proxies[i].base.port, ""};
    for (size_t i = 0; i < conf->n_dns; i++) {
        ports[n++] = (struct lint_port){IN_PROTO_UDP, conf->dns[i].base.port, ""};
        ports[n++] = (struct lint_port){IN_PROTO_TCP, conf->dns[i].base.port, ""};
    }
    int r = firewall_nft_write(stdout, fw, ports, n);
    free(ports);
    return r;
}

static enum exit_code export_acl(const char *file, bool is_nft)
{
    struct findings findings = {0};
    struct firewall fw = {.file = file, .findings = &findings};
    struct snapshot *s = NULL;

    int r = snapshot_load(file, &findings, &s);
    if (r == 0)
        r = firewall_from_acl(&fw, s->acl);
    if (r == 0 && !is_nft)
        firewall_nifcloud_json_check(&fw);
    if (r == 0)
        r = is_nft ? write_nft(&fw, &s->conf) : firewall_nifcloud_json_write(stdout, &fw);
    if (r == 0 && (fflush(stdout) == EOF || ferror(stdout)))
        r = -EIO;
    findings_print(&findings, stderr);
    firewall_fini(&fw);
    findings_fini(&findings);
    snapshot_unref(s);
    return exit_of("export", r);
}

enum exit_code firewall_export_run(int argc, char **argv, const char *default_file)
{
    static const struct option options[] = {
        {"format", required_argument, NULL, 'f'}, {"config", required_argument, NULL, 'c'}, {0}};
    const char *file = default_file, *format = "";
    if (wants_help(argc, argv)) {
        puts("usage: ukai export --format FORMAT [-c FILE]\n\n"
             "Prints the [in] rules as firewall rules.\n\n"
             "      --format FORMAT  nftables (a table of its own, the listeners' ports only) or "
             "nifcloud-json\n  -c, --config FILE    configuration\n\n"
             "Exit code 0: printed; 78: the configuration has errors.");
        return EXIT_DONE;
    }
    for (int opt; (opt = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        if (opt == 'f')
            format = optarg;
        else if (opt == 'c')
            file = optarg;
        else
            return usage_error("export", "unknown option", "");
    }
    bool is_nft = strcmp(format, "nftables") == 0;
    if (optind < argc || (!is_nft && strcmp(format, "nifcloud-json") != 0))
        return usage_error("export", "--format nftables or nifcloud-json is needed", "");
    return export_acl(file, is_nft);
}

/* ---- diff ---- */

static struct firewall_served *new_served(const struct conf *conf)
{
    struct firewall_served *served = calloc(1, sizeof(*served));

    for (size_t i = 0; served && i < conf->n_web_proxies; i++)
        ports_add(&served->tcp, conf->web_proxies[i].base.port, conf->web_proxies[i].base.port);
    for (size_t i = 0; served && i < conf->n_dns; i++) {
        ports_add(&served->tcp, conf->dns[i].base.port, conf->dns[i].base.port);
        ports_add(&served->udp, conf->dns[i].base.port, conf->dns[i].base.port);
    }
    return served;
}

static void print_drift(const struct firewall_drift *drift, const char *table, const char *acl)
{
    char range[2 * ADDR_TEXT_MAX], where[512], memo[512];
    const struct firewall_rule *rule = drift->admits;

    escape_write(ESCAPE_TEXT, rule->where, strlen(rule->where), where, sizeof(where));
    escape_write(ESCAPE_TEXT, rule->memo, strlen(rule->memo), memo, sizeof(memo));
    printf("%s", drift->proto_word);
    if (drift->port_first > 0)
        printf(" %u", drift->port_first);
    if (drift->port_last > drift->port_first)
        printf("-%u", drift->port_last);
    printf(" = %s: %s admits (%s%s%s), no rule of %s does\n",
           addr_range_text(&drift->source, range, sizeof(range)),
           drift->is_left ? "the firewall" : "the ACL", where, memo[0] ? " ; " : "", memo,
           drift->is_left ? acl : table);
}

static int print_drifts(const struct table_options *o, const struct firewall *table,
                        const struct firewall *acl, const struct snapshot *s, size_t *ret_n)
{
    const char *acl_file = s->conf.acl_file ? s->conf.acl_file : SNAPSHOT_BUILTIN;
    struct firewall_served *served = o->is_served_only ? new_served(&s->conf) : NULL;
    struct firewall_drift *drifts = NULL;
    size_t n = 0;

    int r = o->is_served_only && !served ? -ENOMEM : firewall_diff(table, acl, served, &drifts, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        print_drift(&drifts[i], o->file, acl_file);
    free(drifts);
    free(served);
    if (r == 0)
        *ret_n = n;
    return r;
}

static enum exit_code diff_table(struct table_options *o)
{
    struct findings findings = {0};
    struct firewall table = {.findings = &findings}, acl = {.findings = &findings};
    struct snapshot *s = NULL;
    size_t n = 0;

    int r = read_table(o, &table);
    if (r == 0)
        r = snapshot_load(o->config, &findings, &s);
    if (r == 0)
        r = firewall_from_acl(&acl, s->acl);
    findings_print(&findings, stderr);
    if (r == 0)
        r = print_drifts(o, &table, &acl, s, &n);
    if (r == 0 && (fflush(stdout) == EOF || ferror(stdout)))
        r = -EIO;
    firewall_fini(&table);
    firewall_fini(&acl);
    findings_fini(&findings);
    snapshot_unref(s);
    return r == 0 && n > 0 ? EXIT_NO : exit_of("diff", r);
}

enum exit_code firewall_diff_run(int argc, char **argv, const char *default_file)
{
    if (wants_help(argc, argv)) {
        puts(
            "usage: ukai diff --format FORMAT [--group NAME=CIDR,...] [--served] FILE [-c FILE]\n\n"
            "Prints every protocol, port range and source range on which a firewall's table and "
            "the [in] rules\ndisagree. Options as for import, and:\n\n"
            "      --served           the listeners' ports only\n"
            "  -c, --config FILE      configuration\n\n"
            "Exit code 0: none; 3: they disagree; 78: a file is refused.");
        return EXIT_DONE;
    }
    struct table_options o = {.command = "diff", .config = default_file};
    enum exit_code code = parse_table(argc, argv, &o);
    if (code == EXIT_DONE)
        code = diff_table(&o);
    for (size_t i = 0; i < o.n_groups; i++)
        firewall_group_fini(&o.groups[i]);
    return code;
}

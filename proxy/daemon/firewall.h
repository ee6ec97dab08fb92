/* firewall - `ukai import`, `ukai export`, `ukai diff`: the router's table and the ACL, either way.
 */
#ifndef PROXY_DAEMON_FIREWALL_H
#define PROXY_DAEMON_FIREWALL_H

#include "proxy/daemon/daemon.h"

/* Each takes its own arguments, argv[0] is the command's word; prints its result to standard
 * output and its findings to standard error. EXIT_DONE · EXIT_FAILED · EXIT_USAGE · EXIT_CONFIG. */
enum exit_code firewall_import_run(int argc, char **argv);
enum exit_code firewall_export_run(int argc, char **argv, const char *default_file);
/* EXIT_NO: they disagree. */
enum exit_code firewall_diff_run(int argc, char **argv, const char *default_file);

#endif

/*
 * Sockets are opened before, but an interface may come back later and be bound again, so three
 * capabilities may stay, each only when the configuration needs it. The kernel's capset is called
 * through libcap-free raw syscalls: two words.
 */
#include "proxy/daemon/privs.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/base/log.h"

static uint32_t needed_capabilities(const struct conf *conf)
{
    uint32_t caps = 0;
    for (size_t i = 0; i < conf->admin_listen.n_items; i++) {
        if (conf->admin_listen.items[i].port < 1024)
            caps |= 1u << CAP_NET_BIND_SERVICE;
    }
    for (size_t i = 0; i < conf->n_web_proxies + conf->n_dns; i++) {
        const struct conf_listener *l = i < conf->n_web_proxies
                                            ? &conf->web_proxies[i].base
                                            : &conf->dns[i - conf->n_web_proxies].base;
        if (l->port < 1024)
            caps |= 1u << CAP_NET_BIND_SERVICE;
        if (l->egress.has_mark)
            caps |= 1u << CAP_NET_ADMIN;
        if (l->egress.ifname[0])
            caps |= 1u << CAP_NET_RAW;
        for (size_t k = 0; k < l->n_networks; k++) {
            if (l->networks[k].ifname[0])
                caps |= 1u << CAP_NET_RAW;
        }
    }
    return caps;
}

static int set_capabilities(uint32_t caps)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = caps, .permitted = caps}};
    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* Started without root, by a service manager that gave what it thought was needed: of that, only
 * what the configuration asks for stays, and nothing is handed on. */
static int keep_only(uint32_t needed)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[2] = {0};
    if (syscall(SYS_capget, &head, held) < 0)
        return -errno;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return -errno;
    return set_capabilities(held[0].permitted & needed);
}

static int become(const struct passwd *pw, gid_t gid, uint32_t caps)
{
    if (caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -errno;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
        return -errno;
    return set_capabilities(caps);
}

static int find_ids(const struct conf_process *p, struct passwd **ret_pw, gid_t *ret_gid,
                    char *ret_text, size_t text_size)
{
    const char *user = p->user ? p->user : "ukai";
    struct passwd *pw = getpwnam(user);
    if (!pw) {
        snprintf(ret_text, text_size,
                 "there is no user '%s' to run as: make it with `useradd --system --shell "
                 "/usr/sbin/nologin "
                 "%s`, or name another one with user in [process]",
                 user, user);
        return -ENOENT;
    }
    *ret_pw = pw;
    *ret_gid = pw->pw_gid;
    struct group *gr = p->group ? getgrnam(p->group) : NULL;
    if (p->group && !gr) {
        snprintf(ret_text, text_size, "there is no group '%s' (group in [process])", p->group);
        return -ENOENT;
    }
    if (gr)
        *ret_gid = gr->gr_gid;
    return 0;
}

static int drop_root(const struct conf *conf, char *ret_text, size_t text_size)
{
    struct passwd *pw;
    gid_t gid;
    int rc = find_ids(&conf->process, &pw, &gid, ret_text, text_size);
    if (rc < 0)
        return rc;
    rc = become(pw, gid, needed_capabilities(conf));
    if (rc < 0)
        snprintf(ret_text, text_size, "cannot become user '%s': %s%s", pw->pw_name, strerror(-rc),
                 rc == -EPERM ? "; root needs CAP_SETUID, CAP_SETGID and what the listeners need "
                                "for that, or start as that user"
                              : "");
    return rc;
}

int privs_drop(const struct conf *conf, char *ret_text, size_t text_size)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        int rc = -errno;
        snprintf(ret_text, text_size, "the kernel refuses no_new_privs: %s", strerror(-rc));
        return rc;
    }
    bool stays_root = conf->process.user && strcmp(conf->process.user, "root") == 0;
    if (geteuid() != 0) {
        int rc = keep_only(needed_capabilities(conf));
        if (rc < 0)
            snprintf(ret_text, text_size,
                     "capabilities that are not needed could not be given up: %s", strerror(-rc));
        return rc;
    }
    return !conf->file || stays_root ? 0 : drop_root(conf, ret_text, text_size);
}

/* Asked of the kernel, since which capability it takes depends on its version. */
int privs_check(const struct conf *conf, char *ret_text, size_t text_size)
{
    if (!(needed_capabilities(conf) & 1u << CAP_NET_ADMIN))
        return 0;
    uint32_t mark = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (rc == -EPERM)
        snprintf(ret_text, text_size,
                 "bypass-mark needs CAP_NET_ADMIN, which the daemon does not have any more: start "
                 "it again with this configuration, as root or with that capability");
    else if (rc < 0)
        snprintf(ret_text, text_size, "bypass-mark cannot be set: %s", strerror(-rc));
    return rc;
}

void privs_make_directory(const struct conf *conf, const char *path)
{
    char dir[256], unused[256];
    struct passwd *pw;
    gid_t gid;
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (geteuid() != 0 || !conf->file || len == 0 || len >= sizeof(dir))
        return;
    memcpy(dir, path, len);
    dir[len] = '\0';
    if (mkdir(dir, 0750) == 0 && find_ids(&conf->process, &pw, &gid, unused, sizeof(unused)) == 0 &&
        lchown(dir, pw->pw_uid, gid) < 0)
        rmdir(dir);
}

void privs_make_log(const struct conf *conf)
{
    char unused[256];
    struct passwd *pw;
    gid_t gid;
    if (geteuid() != 0 || conf->log.access != CONF_ACCESS_FILE ||
        find_ids(&conf->process, &pw, &gid, unused, sizeof(unused)) < 0)
        return;
    int fd = open(conf->log.access_path,
                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0640);
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_gid != getegid()) /* as its directory wants it: adm */
        gid = st.st_gid;
    if (fchown(fd, pw->pw_uid, gid) < 0)
        log_warning("msg=\"the access log could not be given to the daemon's user\" path=\"%s\" "
                    "error=\"%s\"",
                    conf->log.access_path, strerror(errno));
    close(fd);
}

unsigned long privs_raise_nofile(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    struct rlimit raised = limit;
    if (wanted > limit.rlim_max)
        raised.rlim_max = wanted; /* only root may; else the hard limit is what there is */
    raised.rlim_cur = wanted && wanted < raised.rlim_max ? wanted : raised.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &raised) < 0) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            getrlimit(RLIMIT_NOFILE, &limit);
        return limit.rlim_cur;
    }
    return raised.rlim_cur;
}

void privs_reserve_stdio(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

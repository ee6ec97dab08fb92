/*
 * Landlock takes file descriptors of directories, so what is reached by a symbolic link counts by
 * where it leads: the files of the configuration are looked up by their real paths too. A directory
 * that is not there is left out; it cannot be made later either, by us.
 *
 * The numbers are the kernel's (include/uapi/linux/landlock.h); the header of Debian 12 ends before
 * the later ones.
 */
#include "proxy/daemon/sandbox_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/daemon/lastgood.h"

enum { PATH_BYTES = 4096 };

/* Added in ABI 3, 5 and 6. */
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14)
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15)
#define SCOPE_SIGNAL     (UINT64_C(1) << 1)

#define READING ((uint64_t)LANDLOCK_ACCESS_FS_READ_FILE | (uint64_t)LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING                                                                                    \
    (READING | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |                       \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE | ACCESS_TRUNCATE)

struct ruleset_attr { /* as of ABI 6; the kernel takes the length it knows */
    uint64_t fs, net, scoped;
};

struct fence {
    int fd;
    uint64_t handled;
};

static uint64_t handled_by(unsigned abi)
{
    uint64_t all = (UINT64_C(1) << 13) - 1;
    if (abi >= 2)
        all |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        all |= ACCESS_TRUNCATE;
    if (abi >= 5)
        all |= ACCESS_IOCTL_DEV;
    return all;
}

static int allow(const struct fence *f, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOMEM || errno == EMFILE ? -errno : 0;
    struct landlock_path_beneath_attr rule = {.parent_fd = fd,
                                              .allowed_access = access & f->handled};
    long rc = syscall(SYS_landlock_add_rule, f->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    if (rc < 0 && errno == EINVAL) { /* a file, not a directory: only what fits one */
        rule.allowed_access &= (uint64_t)LANDLOCK_ACCESS_FS_READ_FILE |
                               (uint64_t)LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE;
        rc = syscall(SYS_landlock_add_rule, f->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    int error = rc < 0 ? -errno : 0;
    close(fd);
    return error;
}

/* The directory that holds @path. */
static int allow_around(const struct fence *f, const char *path, uint64_t access)
{
    char dir[PATH_BYTES];
    size_t len = strlen(path);
    if (len >= sizeof(dir))
        return -ENAMETOOLONG;
    memcpy(dir, path, len + 1);
    char *slash = strrchr(dir, '/');
    if (!slash)
        memcpy(dir, ".", 2);
    else
        slash[slash == dir] = '\0';
    return allow(f, dir, access);
}

/* Where a file is, and where it really is. */
static int allow_file(const struct fence *f, const char *path)
{
    if (!path)
        return 0;
    int rc = allow_around(f, path, READING);
    char *real = rc == 0 ? realpath(path, NULL) : NULL;
    if (real && strcmp(real, path) != 0)
        rc = allow_around(f, real, READING);
    free(real);
    return rc;
}

static int allow_all(const struct fence *f, const struct conf *conf)
{
    static const char *const readable[] = {"/etc",
                                           "/usr/share",
                                           "/usr/lib",
                                           "/usr/local/share",
                                           "/run/systemd/resolve",
                                           "/run/resolvconf",
                                           "/run/NetworkManager",
                                           "/proc/self",
                                           "/dev/urandom"};
    int rc = allow(f, "/dev/null", READING | LANDLOCK_ACCESS_FS_WRITE_FILE);
    for (size_t i = 0; rc == 0 && i < sizeof(readable) / sizeof(readable[0]); i++)
        rc = allow(f, readable[i], READING);
    if (rc == 0)
        rc = allow_file(f, conf->file);
    if (rc == 0)
        rc = allow_file(f, conf->file ? conf->acl_file : NULL);
    for (size_t i = 0; rc == 0 && i < conf->n_dns; i++)
        rc = allow_file(f, conf->dns[i].hosts_file);
    if (rc == 0)
        rc = allow_file(f, "/etc/resolv.conf");
    if (rc == 0)
        rc = allow_file(f, getenv("SSL_CERT_FILE")); /* OpenSSL's own words for its store */
    if (rc == 0 && getenv("SSL_CERT_DIR"))
        rc = allow(f, getenv("SSL_CERT_DIR"), READING);
    if (rc == 0 && conf->log.access == CONF_ACCESS_FILE)
        rc = allow_around(f, conf->log.access_path, WRITING);
    if (rc == 0 && conf->file)
        rc = allow(f, lastgood_directory(), WRITING);
    if (rc == 0 && conf->control_socket)
        rc = allow_around(f, conf->control_socket, WRITING);
    return rc;
}

int sandbox_paths_fence(const struct conf *conf, unsigned *ret_abi)
{
    *ret_abi = 0;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi <= 0)
        return 0;
    struct fence f = {.handled = handled_by((unsigned)abi)};
    struct ruleset_attr attr = {.fs = f.handled, .scoped = abi >= 6 ? SCOPE_SIGNAL : 0};
    f.fd = (int)syscall(SYS_landlock_create_ruleset, &attr,
                        abi >= 6 ? sizeof(attr) : sizeof(attr.fs), 0);
    if (f.fd < 0)
        return -errno;
    int rc = allow_all(&f, conf);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, f.fd, 0) < 0)
        rc = -errno;
    close(f.fd);
    *ret_abi = (unsigned)abi;
    return rc;
}

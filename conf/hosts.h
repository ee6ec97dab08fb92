/* hosts - local records: addresses by name and a name by address, hashed; from [dns-hosts] or one
 * file. */
#ifndef CONF_HOSTS_H
#define CONF_HOSTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "proxy/base/addr.h"

enum {
    HOSTS_RECORDS_MAX = 1000000, /* pairs of a name and an address in one table */
    HOSTS_ADDRS_MAX = 64,        /* of one name */
    HOSTS_NAME_MAX = 255,        /* in wire form */
};

/* Which state of a file a table was read from; equal: nothing has changed since. */
struct hosts_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed, modified;
};

/* Filled by one thread, const from then on and shared; counted by its users. */
struct hosts;

/* One reference is the caller's; NULL: out of memory. @file: copied; NULL: the records stand in
 * ukai.conf itself. */
struct hosts *hosts_new(const char *file);
struct hosts *hosts_ref(struct hosts *h);   /* any thread */
struct hosts *hosts_unref(struct hosts *h); /* any thread; NULL is fine; always NULL */

/**
 * hosts_add - one more record; the first name of an address is the one that the reverse look-up
 * tells
 * @name: text, any case, final dot optional: labels of letters, digits, `-` and `_`
 * Returns: 0 · -EINVAL no host name · -EEXIST this record is there already · -ENOSPC the name has
 * HOSTS_ADDRS_MAX addresses · -E2BIG the table has HOSTS_RECORDS_MAX records · -ENOMEM.
 */
int hosts_add(struct hosts *h, const char *name, size_t len, const struct addr *a)
    __attribute__((warn_unused_result));

const char *hosts_file(const struct hosts *h); /* NULL: ukai.conf itself */
size_t hosts_count(const struct hosts *h);     /* records */
/* Record number @i in the order of hosts_add(); the name as text without a final dot. */
const struct addr *hosts_at(const struct hosts *h, size_t i, char ret_name[static HOSTS_NAME_MAX]);

/* The addresses of a name, at most HOSTS_ADDRS_MAX. @name: wire form, lower case, root included.
 * Returns how many; 0: there is no such name. */
unsigned hosts_find(const struct hosts *h, const uint8_t *name, size_t len,
                    struct addr ret_addrs[static HOSTS_ADDRS_MAX]);
/* The same asked by text, for telling only: how many. */
unsigned hosts_find_text(const struct hosts *h, const char *name,
                         struct addr ret_addrs[static HOSTS_ADDRS_MAX]);
/* The first name that was given to @a, in wire form; NULL: none. Unspecified addresses, which block
 * lists use, have none. Borrowed from the table. */
const uint8_t *hosts_reverse(const struct hosts *h, const struct addr *a, size_t *ret_len);

const struct hosts_stamp *hosts_stamp(const struct hosts *h);
void hosts_set_stamp(struct hosts *h, const struct hosts_stamp *stamp);

#endif

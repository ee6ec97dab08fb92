/* sockets - which listening sockets there must be, opened for all workers, unchanged ones left
 * alone. */
#ifndef PROXY_DAEMON_SOCKETS_H
#define PROXY_DAEMON_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/daemon/addresses.h"
#include "proxy/daemon/offers.h"
#include "proxy/flow/update.h"

struct sockets {
    struct list all; /* struct bound, private */
    unsigned n_workers;
    uint64_t last_id;
    struct offers *offers; /* borrowed; asked before a socket is opened; NULL: none */
};

void sockets_init(struct sockets *s, unsigned n_workers);
void sockets_fini(struct sockets *s);

/**
 * sockets_prepare - open what @conf wants and is not open yet; nothing that runs is touched
 * An interface that is not there (any more) is skipped and named once in the log; sockets_commit()
 * then closes what was bound to it. @ret_text says what failed and what to do.
 *
 * Returns: 0 prepared: commit or roll back · -errno nothing changed.
 */
int sockets_prepare(struct sockets *s, const struct conf *conf, char *ret_text, size_t text_size)
    __attribute__((warn_unused_result));
void sockets_rollback(struct sockets *s);
/* Whether the prepared state differs from the committed one. */
bool sockets_has_changes(const struct sockets *s);
/* The orders of worker @index; fds of new sockets are given with them, once. The caller frees the
 * array. NULL: out of memory. */
struct socket_order *sockets_orders(struct sockets *s, unsigned index, unsigned *ret_n);
/* The same for the admin's pages, which the main thread serves. */
struct socket_order *sockets_admin_orders(struct sockets *s, unsigned *ret_n);
/* Those of @orders that were not taken: given again with the next orders. */
void sockets_take_back(struct sockets *s, const struct socket_order *orders, unsigned n_orders);
/* After the orders of all were posted. */
void sockets_commit(struct sockets *s);

/**
 * sockets_lend - descriptors of all committed sockets, to be sent to who takes over
 * Numbers only: they stay the workers'. Returns how many were written to @ret_fds.
 */
size_t sockets_lend(const struct sockets *s, int *ret_fds, size_t max);

/* Whether there is an interface of that name now. */
bool sockets_has_interface(const char *ifname);

/* All local addresses with each port that @conf listens on. NULL: out of memory or no answer from
 * the kernel. */
struct own_set *sockets_own(const struct conf *conf, struct addresses *addresses);
/* The same for who asks once. */
struct own_set *sockets_own_once(const struct conf *conf);

#endif

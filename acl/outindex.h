/* outindex - the [out] lines compiled for asking (pure). */
#ifndef ACL_OUTINDEX_H
#define ACL_OUTINDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/rule.h"

/* Const after it was made; holds indexes into @rules only, but borrows their names. */
struct out_index;

enum { OUTINDEX_NONE = -1 };

struct out_index *out_index_new(const struct out_rule *rules, size_t n); /* NULL: out of memory */
struct out_index *out_index_free(struct out_index *index);

/* The first deny (or allow) line with a name or `*` that matches; @name is lower case, without
 * final dot. */
int32_t out_index_name(const struct out_index *index, bool is_allow, const char *name, size_t len,
                       uint16_t port);
/* The first deny line for @name on every port: what a query without a port can be refused by. */
int32_t out_index_query(const struct out_index *index, const char *name, size_t len);
/* Whether some allow line, for whatever ports, names @name; and whether some allow line is a name
 * at all. */
bool out_index_may_allow_name(const struct out_index *index, const char *name, size_t len);
bool out_index_has_allow_name(const struct out_index *index);
/* The first `*` line for @port. */
int32_t out_index_any(const struct out_index *index, bool is_allow, uint16_t port);
/* The first deny (or allow) line with an address range that holds @a. */
int32_t out_index_addr(const struct out_index *index, bool is_allow, const struct addr *a,
                       uint16_t port);
/* The first allow line that opens special-use ranges and holds @a. */
int32_t out_index_opens(const struct out_index *index, const struct addr *a, uint16_t port);

bool out_index_has_allow(const struct out_index *index);
/* Whether some allow line with an address is for @port: then a name may still pass by its address.
 */
bool out_index_may_allow_addr(const struct out_index *index, uint16_t port);

#endif

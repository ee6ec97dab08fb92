/* outviews - which [out] sections hold for a source, and asking them together (pure). */
#ifndef ACL_OUTVIEWS_H
#define ACL_OUTVIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "acl/outindex.h"
#include "acl/rule.h"

/* [out] first, then the [out @group] sections of the source's groups, in file order. Deny lines of
 * all hold; allow lines of [out] only where no group has a section. */
struct out_view {
    const uint32_t *sections; /* indexes into acl->sections */
    const struct out_index **indexes;
    size_t n; /* at least 1 */
};

struct out_views;

enum { OUT_VIEWS_WORK_MAX = 8000000 }; /* groups of all pieces of the source space together */

/* @acl: its sections are compiled; borrowed for the views' life. 0 · -ENOMEM · -E2BIG more than
 * OUT_VIEWS_WORK_MAX. */
int out_views_new(const struct acl *acl, struct out_views **ret)
    __attribute__((warn_unused_result));
struct out_views *out_views_free(struct out_views *views);
/* The view of @source, NULL for one without groups; O(log n) whatever the number of groups. */
const struct out_view *out_views_find(const struct out_views *views, const struct addr *source);

/* As the functions of outindex, over the sections that hold: the lowest index of a line, so the
 * first one of the file. */
int32_t out_view_name(const struct out_view *v, bool is_allow, const char *name, size_t len,
                      uint16_t port);
int32_t out_view_query(const struct out_view *v, const char *name, size_t len);
bool out_view_may_allow_name(const struct out_view *v, const char *name, size_t len);
bool out_view_has_allow_name(const struct out_view *v);
int32_t out_view_any(const struct out_view *v, bool is_allow, uint16_t port);
int32_t out_view_addr(const struct out_view *v, bool is_allow, const struct addr *a, uint16_t port);
int32_t out_view_opens(const struct out_view *v, const struct addr *a, uint16_t port);
bool out_view_has_allow(const struct out_view *v);
bool out_view_may_allow_addr(const struct out_view *v, uint16_t port);

#endif

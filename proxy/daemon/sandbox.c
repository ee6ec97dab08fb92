/* Files first: the other fence leaves no way to make this one. No core file: what clients said,
 * credentials included, would lie in it. */
#include "proxy/daemon/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "proxy/daemon/sandbox_calls.h"
#include "proxy/daemon/sandbox_paths.h"

int sandbox_enter(const struct conf *conf, struct sandbox_state *ret_state, char *ret_text,
                  size_t text_size)
{
    struct sandbox_state state = {0};
    int rc = prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
    if (rc == 0)
        rc = sandbox_paths_fence(conf, &state.paths_abi);
    if (rc == 0)
        rc = sandbox_calls_fence();
    if (rc < 0) {
        snprintf(ret_text, text_size,
                 "the sandbox could not be entered: %s; sandbox = off in [process] does without it",
                 strerror(-rc));
        return rc;
    }
    state.has_calls = true;
    *ret_state = state;
    return 0;
}

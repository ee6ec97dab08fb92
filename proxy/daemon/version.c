/* What runs: our version, and those of the libraries as loaded now, not as built against. */
#include "proxy/daemon/version.h"

#include <event2/event.h>
#include <openssl/crypto.h>
#include <stdio.h>

enum exit_code version_run(void)
{
    printf("ukai %s\nlibevent %s\n%s\n", UKAI_VERSION, event_get_version(),
           OpenSSL_version(OPENSSL_VERSION));
    return EXIT_DONE;
}

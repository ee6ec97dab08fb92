/*
 * One a worker. Random bytes are drawn from the kernel in blocks and each is used once. The TLS
 * settings are made when the first name server over TLS is dialled, so that nobody else pays for
 * them.
 */
#include "proxy/dns/upstream_env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/net/tls.h"

struct upstream_env *upstream_env_new(struct loop *loop)
{
    struct upstream_env *env = calloc(1, sizeof(*env));
    if (!env)
        return NULL;
    env->loop = loop;
    list_init(&env->peers);
    return env;
}

struct upstream_env *upstream_env_free(struct upstream_env *env)
{
    if (!env)
        return NULL;
    explicit_bzero(env->random, sizeof(env->random));
    tls_client_free(env->tls);
    free(env);
    return NULL;
}

void upstream_env_refresh(struct upstream_env *env)
{
    env->tls = tls_client_free(env->tls);
}

struct tls_client *upstream_env_tls(struct upstream_env *env)
{
    if (!env->tls)
        env->tls = tls_client_new("dot"); /* IANA's ALPN id of RFC 7858 */
    return env->tls;
}

int upstream_random(struct upstream_env *env, void *ret_bytes, size_t n)
{
    if (env->n_random < n) {
        if (getrandom(env->random, sizeof(env->random), 0) != (ssize_t)sizeof(env->random))
            return errno ? -errno : -EIO;
        env->n_random = sizeof(env->random);
    }
    env->n_random -= n;
    memcpy(ret_bytes, env->random + env->n_random, n);
    memset(env->random + env->n_random, 0, n);
    return 0;
}

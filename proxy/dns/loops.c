/*
 * A name server that forwards to us, perhaps through others, would give us our own questions back.
 * So each server is asked for a name of 128 random bits, once at the start, at a reload, when it
 * comes back, and when it stays away. If a listener of ours is asked for that very name, whoever
 * brought it, the server is left out; every half minute one more question finds out whether it
 * still leads here. The name goes to nobody else, so nobody can make us leave out a server but that
 * server.
 *
 * The top label exists nowhere, is no special name that a forwarder would keep to itself, and is
 * asked for as TXT, since some forward no addresses of short names. Traffic drives it: where nobody
 * asks, nothing loops. Shared by all workers, one lock; is_looping is read without.
 */
#include "proxy/dns/loops.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    SPARE_MS = 5000, /* between two questions; and how long one may take to come back */
    AGAIN_MS = 30000,
    LABEL_BYTES = 2 * LOOPS_TOKEN_BYTES,
    NAME_BYTES = 1 + LABEL_BYTES + 11,
};

static const char top[] = "\x09ukai-loop"; /* with the root behind it */

struct loops {
    pthread_mutex_t lock;
    struct list probes;
};

struct loops *loops_new(void)
{
    struct loops *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->probes);
    return l;
}

struct loops *loops_free(struct loops *l)
{
    if (l)
        pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

static struct loop_probe *find(struct loops *l, const struct endpoint *server,
                               const struct egress *egress)
{
    list_for_each (pos, &l->probes) {
        struct loop_probe *p = list_entry(pos, struct loop_probe, node);
        if (endpoint_equal(&p->server, server) && egress_equal(&p->egress, egress))
            return p;
    }
    return NULL;
}

struct loop_probe *loops_get(struct loops *l, const struct endpoint *server,
                             const struct egress *egress)
{
    pthread_mutex_lock(&l->lock);
    struct loop_probe *p = find(l, server, egress);
    if (!p) {
        p = calloc(1, sizeof(*p));
        if (p) {
            p->server = *server;
            p->egress = *egress;
            list_append(&l->probes, &p->node);
        }
    }
    if (p)
        p->n_refs++;
    pthread_mutex_unlock(&l->lock);
    return p;
}

void loops_put(struct loops *l, struct loop_probe *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&l->lock);
    bool is_last = --p->n_refs == 0;
    if (is_last)
        list_remove(&p->node);
    pthread_mutex_unlock(&l->lock);
    if (is_last)
        free(p);
}

void loops_want(struct loops *l, struct loop_probe *p, uint64_t now_ms)
{
    if (!p)
        return;
    pthread_mutex_lock(&l->lock);
    uint64_t soon = p->sent_ms ? p->sent_ms + SPARE_MS : now_ms;
    p->next_ms = soon > now_ms ? soon : now_ms;
    pthread_mutex_unlock(&l->lock);
}

static void write_name(const uint8_t token[static LOOPS_TOKEN_BYTES], struct wire_name *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *at = ret->bytes;
    *at++ = LABEL_BYTES;
    for (unsigned i = 0; i < LOOPS_TOKEN_BYTES; i++) {
        *at++ = (uint8_t)digits[token[i] >> 4];
        *at++ = (uint8_t)digits[token[i] & 15];
    }
    memcpy(at, top, sizeof(top));
    ret->len = NAME_BYTES;
}

static bool ask_now(struct loop_probe *p, uint64_t now_ms, struct wire_name *ret_name)
{
    if (now_ms < p->next_ms)
        return false; /* another worker was first */
    if (p->is_looping && !p->came_back) {
        p->is_looping = false;
        p->next_ms = UINT64_MAX;
        return false;
    }
    if (getrandom(p->token, sizeof(p->token), 0) != (ssize_t)sizeof(p->token)) {
        p->next_ms = now_ms + SPARE_MS;
        return false;
    }
    p->came_back = false;
    p->sent_ms = now_ms;
    p->next_ms = p->is_looping ? now_ms + SPARE_MS : UINT64_MAX;
    write_name(p->token, ret_name);
    return true;
}

bool loops_due(struct loops *l, struct loop_probe *p, uint64_t now_ms, struct wire_name *ret_name)
{
    if (!p || now_ms < atomic_load_explicit(&p->next_ms, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&l->lock);
    bool is_due = ask_now(p, now_ms, ret_name);
    pthread_mutex_unlock(&l->lock);
    return is_due;
}

static bool is_probe_name(const struct wire_name *name)
{
    return name->len == NAME_BYTES && name->bytes[0] == LABEL_BYTES &&
           memcmp(name->bytes + 1 + LABEL_BYTES, top, sizeof(top)) == 0;
}

bool loops_take(struct loops *l, const struct wire_name *name)
{
    struct wire_name lower = *name; /* a forwarder may have mixed its case */
    struct wire_name sent;
    bool is_ours = false;
    wire_name_lower(&lower);
    if (!is_probe_name(&lower))
        return false;
    pthread_mutex_lock(&l->lock);
    list_for_each (pos, &l->probes) {
        struct loop_probe *p = list_entry(pos, struct loop_probe, node);
        write_name(p->token, &sent);
        if (!p->sent_ms || !wire_name_equal_exact(&sent, &lower))
            continue;
        is_ours = p->came_back = true;
        p->is_looping = true;
        p->next_ms = p->sent_ms + AGAIN_MS;
        break;
    }
    pthread_mutex_unlock(&l->lock);
    return is_ours;
}

bool loops_has_news(struct loop_probe *p)
{
    if (!p)
        return false;
    bool is_looping = loop_probe_is_looping(p);
    if (atomic_load_explicit(&p->is_told, memory_order_relaxed) == is_looping)
        return false;
    return atomic_exchange(&p->is_told, is_looping) != is_looping;
}

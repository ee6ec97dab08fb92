/*
 * Workers append under a mutex that is never held across a write; the thread swaps the buffer and
 * writes it out, and may block as long as it likes. What does not fit is dropped and counted, and
 * the count is told in the daemon's log when writing goes on. SIGPIPE and SIGXFSZ are ignored by
 * the daemon; a target that fails is tried again with the next batch.
 */
#include "proxy/report/sink.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/log.h"

struct batch {
    char *bytes; /* SINK_QUEUE_BYTES, touched only as far as it is used */
    size_t len;
};

struct sink {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    struct batch queue; /* filled by the workers */
    struct batch out;   /* being written by the thread */
    uint64_t n_dropped, n_dropped_told;
    struct logtarget target; /* the thread's */
    struct logtarget next;   /* set by sink_use(), taken by the thread */
    size_t n_old_bytes; /* of the queue, when the next target was set: they go to the old one */
    atomic_bool takes_fields; /* what is put now */
    bool has_next, is_writing, is_started;
    atomic_bool is_ending; /* the thread looks at it while it waits for its target too */
};

/* A target that fails is told once, and when it takes records again with the number that is lost.
 */
static void write_batch(struct sink *s)
{
    bool was_well = s->target.error == 0;
    uint64_t n_lost = logtarget_write(&s->target, s->out.bytes, s->out.len, &s->is_ending);
    pthread_mutex_lock(&s->lock);
    s->n_dropped += n_lost;
    uint64_t n_untold = s->n_dropped - s->n_dropped_told;
    if (n_lost == 0)
        s->n_dropped_told = s->n_dropped;
    pthread_mutex_unlock(&s->lock);
    if (n_lost > 0 && was_well)
        log_error("msg=\"access records cannot be written, trying again\" error=\"%s\"",
                  strerror(-s->target.error));
    if (n_lost == 0 && n_untold > 0)
        log_warning("msg=\"access records were dropped\" n=%llu", (unsigned long long)n_untold);
}

/* The first @len bytes of the queue become the batch; the rest stays queued. */
static void take_batch(struct sink *s, size_t len)
{
    struct batch full = s->queue;
    s->queue = s->out;
    s->queue.len = full.len - len;
    memcpy(s->queue.bytes, full.bytes + len, s->queue.len);
    full.len = len;
    s->out = full;
}

static void *sink_thread(void *arg)
{
    struct sink *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->queue.len == 0 && !s->has_next && !s->is_ending)
            pthread_cond_wait(&s->wake, &s->lock);
        bool switches = s->has_next;
        take_batch(s, switches ? s->n_old_bytes : s->queue.len);
        s->is_writing = true;
        pthread_mutex_unlock(&s->lock);
        if (s->out.len > 0)
            write_batch(s);
        s->out.len = 0;
        pthread_mutex_lock(&s->lock);
        s->is_writing = false;
        if (switches) {
            logtarget_replace(&s->target, &s->next);
            s->has_next = false;
        }
        pthread_cond_broadcast(&s->idle);
        if (s->is_ending && s->queue.len == 0)
            break;
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct sink *sink_new(const struct conf_log *conf, int *ret_error)
{
    struct sink *s = calloc(1, sizeof(*s));
    if (!s) {
        *ret_error = -ENOMEM;
        return NULL;
    }
    s->target = s->next = (struct logtarget){.fd = -1};
    s->takes_fields = logtarget_takes_fields(conf->access);
    s->queue.bytes = malloc(SINK_QUEUE_BYTES);
    s->out.bytes = malloc(SINK_QUEUE_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->idle, NULL);
    int rc = s->queue.bytes && s->out.bytes ? logtarget_open(conf, &s->target) : -ENOMEM;
    if (rc == 0)
        return s;
    *ret_error = rc;
    return sink_free(s);
}

int sink_start(struct sink *s)
{
    int rc = -pthread_create(&s->thread, NULL, sink_thread, s);
    s->is_started = rc == 0;
    return rc;
}

/* How many records @bytes are. */
static uint64_t count_records(const char *bytes, size_t len, bool is_fields)
{
    uint64_t n = 0;
    for (const char *at = bytes, *end = bytes + len; at < end; n++) {
        const char *next = memmem(at, (size_t)(end - at), "\n\n", is_fields ? 2 : 1);
        at = next ? next + (is_fields ? 2 : 1) : end;
    }
    return n;
}

/* False: it sits in a write that may never return; the process ends anyway. */
static bool end_thread(struct sink *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    pthread_mutex_lock(&s->lock);
    while (s->queue.len > 0 || s->is_writing) {
        if (pthread_cond_timedwait(&s->idle, &s->lock, &until) == ETIMEDOUT)
            break;
    }
    bool is_stuck = s->queue.len > 0 || s->is_writing;
    uint64_t n_lost = is_stuck ? count_records(s->queue.bytes, s->queue.len, s->takes_fields) : 0;
    if (is_stuck)
        s->queue.len = 0;
    s->is_ending = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (is_stuck)
        log_warning("msg=\"access records were dropped, their target takes none\" n=%llu",
                    (unsigned long long)n_lost);
    if (is_stuck)
        pthread_detach(s->thread);
    else
        pthread_join(s->thread, NULL);
    return !is_stuck;
}

struct sink *sink_free(struct sink *s)
{
    if (!s)
        return NULL;
    if (s->is_started && !end_thread(s))
        return NULL;
    logtarget_close(&s->target);
    if (s->has_next)
        logtarget_close(&s->next);
    free(s->queue.bytes);
    free(s->out.bytes);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    free(s);
    return NULL;
}

bool sink_takes_fields(struct sink *s)
{
    return atomic_load_explicit(&s->takes_fields, memory_order_relaxed);
}

bool sink_put(struct sink *s, const char *record, size_t len, bool is_fields)
{
    pthread_mutex_lock(&s->lock);
    bool fits_form = is_fields == s->takes_fields;
    if (fits_form && s->queue.len + len > SINK_QUEUE_BYTES) {
        s->n_dropped++;
    } else if (fits_form) {
        memcpy(s->queue.bytes + s->queue.len, record, len);
        bool was_empty = s->queue.len == 0;
        s->queue.len += len;
        if (was_empty)
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return fits_form;
}

/* The thread has not come to the target before this one. What was put for that one is this one's,
 * if it is of its form. */
static void replace_next(struct sink *s, bool takes_fields)
{
    logtarget_close(&s->next);
    if (takes_fields == s->takes_fields)
        return;
    s->n_dropped += count_records(s->queue.bytes + s->n_old_bytes, s->queue.len - s->n_old_bytes,
                                  s->takes_fields);
    s->queue.len = s->n_old_bytes;
}

void sink_use(struct sink *s, const struct logtarget *target)
{
    bool takes_fields = logtarget_takes_fields(target->kind);
    pthread_mutex_lock(&s->lock);
    if (s->has_next)
        replace_next(s, takes_fields);
    else
        s->n_old_bytes = s->queue.len;
    s->next = *target;
    s->takes_fields = takes_fields;
    s->has_next = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int sink_reopen(struct sink *s, const struct conf_log *conf)
{
    struct logtarget target;
    int rc = logtarget_open(conf, &target);
    if (rc == 0)
        sink_use(s, &target);
    return rc;
}

uint64_t sink_n_dropped(struct sink *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->n_dropped;
    pthread_mutex_unlock(&s->lock);
    return n;
}

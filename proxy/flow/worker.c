/*
 * A worker owns all that happens on its thread; nothing here takes a lock. The main thread speaks
 * to it by mail only (flow/update, flow/drain). Here are its life and the records that it writes.
 */
#include "proxy/flow/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/dns/words.h"
#include "proxy/flow/drain.h"
#include "proxy/flow/update.h"

enum { LOGGED_A_SECOND = 50 };

/* ---- records ---- */

static uint64_t wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void worker_record(struct worker *w, struct access_record *r)
{
    const struct conf_log *conf = &w->view->snapshot->conf.log;
    if (conf->access == CONF_ACCESS_OFF || !w->shared->sink)
        return;
    r->wall_ms = wall_ms();
    /* Filled before it is read; zeroing it first would cost more than the record. */
    char text[ACCESS_RECORD_MAX] __attribute__((uninitialized));
    struct access_log log = {.format = conf->format, .format_text = conf->format_text};
    do { /* a reload may be between our view and what the sink takes */
        log.is_journal = sink_takes_fields(w->shared->sink);
    } while (!sink_put(w->shared->sink, text, access_format(&log, r, text, sizeof(text)),
                       log.is_journal));
}

void worker_note_refusal(struct worker *w, const struct access_record *r)
{
    refusals_note(w->refusals, r, wall_ms());
}

static void on_sample_over(struct timer *t)
{
    struct worker *w = list_entry(t, struct worker, log_sample);
    if (w->n_unlogged > 0)
        log_warning("msg=\"refusals not recorded one by one\" worker=%u n=%u", w->index,
                    w->n_unlogged);
    w->n_logged = w->n_unlogged = 0;
}

bool worker_may_log_refusal(struct worker *w)
{
    if (!timer_is_running(&w->log_sample))
        loop_timer_start(&w->loop, &w->log_sample, 1000, on_sample_over);
    if (w->n_logged < LOGGED_A_SECOND) {
        w->n_logged++;
        return true;
    }
    w->n_unlogged++;
    return false;
}

/* A refusal by [in] or of a query, or what would be one; unless it is one of very many. */
struct access_record worker_denied_record(enum access_event event, const char *listener,
                                          const char *method, const struct endpoint *source)
{
    return (struct access_record){
        .event = event,
        .source = *source,
        .listener = listener,
        .method = method,
        .rule_words = "no rule",
        .reason = REASON_SOURCE_DENIED,
        .dns_ms = -1,
        .connect_ms = -1,
        .first_byte_ms = -1,
    };
}

void worker_record_denied(struct worker *w, struct access_record *r)
{
    worker_note_refusal(w, r);
    if (!worker_may_log_refusal(w))
        return;
    r->worker = w->index;
    r->serial = r->serial ? r->serial : ++w->n_serial;
    worker_record(w, r);
}

/* ---- DNS ---- */

static void on_dns_denied(void *owner, const struct dns_server_denial *d)
{
    struct worker *w = owner;
    struct access_record r =
        worker_denied_record(d->is_observed ? ACCESS_OBSERVED : ACCESS_REFUSED, d->conf->base.name,
                             d->is_tcp ? "DNS/tcp" : "DNS", d->source);
    if (!d->is_observed)
        counter_add(&w->counters.n_source_denied, 1);
    if (d->name) {
        r.reason = REASON_OUT_DENIED;
        r.host = d->name;
        r.host_len = strlen(d->name);
    }
    access_set_rule(&r, d->rule ? &d->rule->place : NULL, "no rule");
    worker_record_denied(w, &r);
}

/* log-queries. */
static void on_dns_query(void *owner, const struct dns_server_note *n)
{
    struct worker *w = owner;
    char name[WIRE_NAME_TEXT_MAX], type[WORDS_MAX], rcode[WORDS_MAX];
    struct access_record r = {
        .event = ACCESS_DNS,
        .worker = w->index,
        .serial = ++w->n_serial,
        .source = n->source,
        .listener = n->conf->base.name,
        .method = n->is_tcp ? "DNS/tcp" : "DNS",
        .rcode = n->reply_bytes ? words_rcode(n->rcode, rcode) : NULL,
        .result = n->result,
        .bytes_up = n->query_bytes,
        .bytes_down = n->reply_bytes,
        .dns_ms = -1,
        .connect_ms = -1,
        .first_byte_ms = -1,
        .duration_ms = (int64_t)n->took_ms,
    };
    if (n->question) {
        r.host = wire_name_text(&n->question->name, name);
        r.host_len = strlen(r.host);
        r.type = words_type(n->question->type, type);
    }
    access_set_rule(&r, n->rule ? &n->rule->place : NULL, "no rule");
    worker_record(w, &r);
}

static void on_name_server(void *owner, const struct resolver_server_news *news)
{
    struct worker *w = owner;
    char server[ENDPOINT_TEXT_MAX];
    endpoint_text(news->server, server);
    if (news->is_up)
        log_notice("msg=\"name server answers again\" server=%s tls_name=%s worker=%u", server,
                   news->tls_name ? news->tls_name : "-", w->index);
    else
        log_warning("msg=\"name server is down\" server=%s tls_name=%s worker=%u reason=%s "
                    "detail=\"%s\"",
                    server, news->tls_name ? news->tls_name : "-", w->index, news->reason,
                    news->detail);
}

/* ---- the end ---- */

void worker_finish_clients(struct worker *w)
{
    list_for_each (pos, &w->conns)
        conn_finish(list_entry(pos, struct conn, node), REASON_SHUTDOWN);
}

void worker_conn_gone(struct worker *w)
{
    w->n_conns--;
    if (w->is_draining)
        drain_tell_if_done(w);
}

static void on_stop(struct mail *m)
{
    loop_stop(&list_entry(m, struct worker, stop_order.mail)->loop);
}

void worker_post_stop(struct worker *w)
{
    notice_post(&w->stop_order, &w->mailbox, on_stop);
}

/* ---- life ---- */

int worker_init(struct worker *w, unsigned index, struct shared *shared, uint64_t cache_bytes)
{
    *w = (struct worker){.index = index, .shared = shared, .mailbox = {.watch.fd = -1}};
    list_init(&w->sockets);
    list_init(&w->conns);
    w->hits = calloc(1, sizeof(*w->hits));
    w->refusals = refusals_new(&shared->refusals_key);
    review_init(&w->review, w);
    periodic_init(&w->periodic, w);
    w->scratch = malloc(RELAY_CHUNK_BYTES);
    if (!w->scratch || !w->hits || !w->refusals)
        return -ENOMEM;
    int rc = loop_init(&w->loop);
    if (rc == 0)
        origin_pool_init(&w->origins, &w->loop);
    if (rc == 0)
        rc = mailbox_init(&w->mailbox, &w->loop);
    if (rc == 0)
        rc = resolver_init(&w->resolver, &w->loop, cache_bytes);
    if (rc < 0)
        return rc;
    w->dns = dns_server_new(&w->loop, &w->resolver);
    if (!w->dns)
        return -ENOMEM;
    dns_server_on_denied(w->dns, on_dns_denied, w);
    dns_server_on_query(w->dns, on_dns_query, w);
    dns_server_use_rates(w->dns, shared->rates);
    dns_server_use_loops(w->dns, shared->loops);
    resolver_use_loops(&w->resolver, shared->loops);
    resolver_use_tally(&w->resolver, &w->tally);
    dns_server_count_hits(w->dns, w->hits);
    resolver_on_server(&w->resolver, on_name_server, w);
    return 0;
}

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    loop_run(&w->loop);
    return NULL;
}

int worker_start(struct worker *w)
{
    return -pthread_create(&w->thread, NULL, worker_thread, w);
}

void worker_fini(struct worker *w)
{
    mailbox_fini(&w->mailbox); /* first: what was never delivered still brings sockets to close */
    update_fini(w);
    review_fini(&w->review);
    periodic_fini(&w->periodic);
    survey_part_end(w->survey);
    roster_part_end(w->roster);
    worker_finish_clients(w);
    if (w->loop.base)
        loop_round(&w->loop, false);
    if (w->origins.loop)
        origin_pool_close_all(&w->origins);
    pipes_fini(&w->pipes);
    dns_server_free(w->dns);
    view_unref(w->view);
    w->view = NULL;
    if (w->loop.base)
        resolver_fini(&w->resolver);
    own_set_unref(w->own);
    loop_fini(&w->loop);
    seen_free(w->seen);
    hits_fini(w->hits);
    free(w->hits);
    refusals_free(w->refusals);
    tally_fini(&w->tally);
    free(w->scratch);
}

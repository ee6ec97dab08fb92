/*
 * What a query of the LAN gets, whatever it came by. Errors are answered with the question echoed
 * and nothing else; zone transfers are refused; signed transactions are passed on as they are,
 * since a forwarder is no party to them; what a server says about itself (version.bind) is said or
 * refused here; all else is the resolver's, any type and class. An answer never depends on anything
 * but the query, so a query cannot make us speak to a third party (CVE-2024-2169: no answer to
 * answers). RFC 1035, 6891, 8482, 8906, 8914.
 */
#include "proxy/dns/serve.h"

#include <string.h>

enum { HINFO_TTL_S = 3600, VERSION_MAX = 255 };

bool serve_admits(const struct serve_view *v, const struct addr *source, bool is_tcp)
{
    if (!v->snapshot)
        return false;
    return v->snapshot->conf.acl_observe ||
           in_table_ask(is_tcp ? v->conf->tcp_table : v->conf->udp_table, source) != NULL;
}

static void tell(const struct serve_context *c, const struct dns_server_denial *denial)
{
    if (c->on_denied)
        c->on_denied(c->owner, denial);
}

bool serve_admit(const struct serve_context *c, const struct serve_view *v,
                 const struct endpoint *source, bool is_tcp, size_t bytes)
{
    if (!v->snapshot)
        return false;
    const struct in_rule *rule =
        in_table_ask(is_tcp ? v->conf->tcp_table : v->conf->udp_table, &source->addr);
    if (!rule) {
        if (v->snapshot->conf.acl_observe)
            tell(c, &(struct dns_server_denial){
                        .conf = v->conf, .source = source, .is_tcp = is_tcp, .is_observed = true});
        return v->snapshot->conf.acl_observe;
    }
    if (c->hits) {
        hits_count(c->hits, rule->place.slot, loop_now_ms(c->loop));
        hits_carried(c->hits, rule->place.slot, bytes);
    }
    return true;
}

void serve_denied(const struct serve_context *c, const struct serve_view *v,
                  const struct endpoint *source, bool is_tcp)
{
    c->counters->n_denied++;
    serve_count(c, is_tcp, SERVE_DENIED);
    if (v->snapshot)
        tell(c, &(struct dns_server_denial){.conf = v->conf, .source = source, .is_tcp = is_tcp});
}

/*
 * The name as the rules know names: lower case, labels joined by dots. A byte that no host name has
 * becomes one that no rule has, so a label "a.b" is never taken for two labels.
 */
static void rule_name(const struct wire_name *name, char buf[static WIRE_NAME_TEXT_MAX])
{
    size_t n = 0;
    for (size_t at = 0; at < name->len && name->bytes[at] != 0; at += 1u + name->bytes[at]) {
        if (n > 0)
            buf[n++] = '.';
        for (size_t i = 1; i <= name->bytes[at]; i++) {
            unsigned char c = name->bytes[at + i];
            c = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
            bool is_plain =
                (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
            buf[n++] = is_plain ? (char)c : '\x01';
        }
    }
    buf[n] = '\0';
}

/* apply-out: what may not be reached by name need not be known either. */
static bool is_out_denied(const struct serve_context *c, const struct serve_view *v,
                          const struct endpoint *source, bool is_tcp, const struct wire_name *name)
{
    char text[WIRE_NAME_TEXT_MAX];
    struct verdict_detail detail;
    if (!v->conf->apply_out)
        return false;
    rule_name(name, text);
    if (verdict_query(v->snapshot->acl, &source->addr, text, &detail) != VERDICT_DENY)
        return false;
    if (c->hits && detail.rule)
        hits_count(c->hits, detail.rule->place.slot, loop_now_ms(c->loop));
    if (!v->snapshot->conf.acl_observe)
        return true;
    tell(c, &(struct dns_server_denial){.conf = v->conf,
                                        .source = source,
                                        .is_tcp = is_tcp,
                                        .is_observed = true,
                                        .name = text,
                                        .rule = detail.rule});
    return false;
}

static enum serve_outcome say_as(enum serve_result why, struct serve_reply *ret, unsigned rcode,
                                 int ede)
{
    *ret = (struct serve_reply){.rcode = rcode, .ede = ede, .result = why};
    return SERVE_REPLY;
}

static enum serve_outcome say(struct serve_reply *ret, unsigned rcode, int ede)
{
    *ret = (struct serve_reply){.rcode = rcode, .ede = ede};
    return SERVE_REPLY;
}

/* Our own single record. */
static enum serve_outcome say_record(const struct serve_context *c, const struct wire_query *q,
                                     uint16_t type, uint32_t ttl_s, const uint8_t *data,
                                     size_t n_data, struct serve_reply *ret)
{
    struct answer_key key = {.question = q->question};
    struct answer_record r = {
        .type = type, .ttl_s = ttl_s, .data = data, .n_data = (uint16_t)n_data};
    struct answer *a = answer_from_records(&key, WIRE_RCODE_NOERROR, &r, 1, loop_now_ms(c->loop));
    if (!a)
        return say(ret, WIRE_RCODE_SERVFAIL, WIRE_EDE_NONE);
    *ret = (struct serve_reply){.answer = a, .ede = WIRE_EDE_NONE};
    return SERVE_REPLY;
}

/* RFC 8482 section 4.2. */
static enum serve_outcome say_hinfo(const struct serve_context *c, const struct wire_query *q,
                                    struct serve_reply *ret)
{
    static const uint8_t data[] = "\x07RFC8482"; /* and an empty OS */
    return say_record(c, q, WIRE_TYPE_HINFO, HINFO_TTL_S, data, sizeof(data), ret);
}

static bool name_is(const struct wire_name *name, const char *text)
{
    struct wire_name other;
    return wire_name_from_text(text, strlen(text), &other) == 0 && wire_name_equal(name, &other);
}

/* Questions about this server itself (RFC 4892). Returns whether it was one. */
static bool say_self(const struct serve_context *c, const struct serve_view *v,
                     const struct wire_query *q, struct serve_reply *ret)
{
    const struct wire_name *name = &q->question.name;
    bool is_version = name_is(name, "version.bind") || name_is(name, "version.server");
    if (!is_version && !name_is(name, "id.server") && !name_is(name, "hostname.bind"))
        return false;
    const char *text = v->conf->version_answer;
    size_t len = text ? strlen(text) : 0;
    if (!is_version || !text || len > VERSION_MAX || q->question.type != WIRE_TYPE_TXT) {
        say(ret, WIRE_RCODE_REFUSED, WIRE_EDE_NONE);
        return true;
    }
    uint8_t data[1 + VERSION_MAX];
    data[0] = (uint8_t)len;
    memcpy(data + 1, text, len);
    say_record(c, q, WIRE_TYPE_TXT, 0, data, 1 + len, ret);
    return true;
}

static unsigned code_of(int query_outcome)
{
    switch ((enum wire_query_outcome)query_outcome) {
    case WIRE_QUERY_NOTIMP:
        return WIRE_RCODE_NOTIMP;
    case WIRE_QUERY_BADVERS:
        return WIRE_RCODE_BADVERS;
    case WIRE_QUERY_FORMERR:
    case WIRE_QUERY_DROP:
        break;
    }
    return WIRE_RCODE_FORMERR;
}

static bool is_exempt(const struct conf_rebind *rebind, const struct wire_name *name)
{
    for (size_t i = 0; i < rebind->n_exempt; i++) {
        struct wire_name suffix;
        size_t at;
        if (wire_name_from_text(rebind->exempt[i], strlen(rebind->exempt[i]), &suffix) == 0 &&
            wire_name_has_suffix(name, &suffix, &at))
            return true;
    }
    return false;
}

static bool is_trusted(const struct conf_ranges *ranges, const struct addr *server)
{
    for (size_t i = 0; i < ranges->n_items; i++) {
        if (addr_range_has(&ranges->items[i], server))
            return true;
    }
    return false;
}

/* What an answer of the resolver becomes for @q. */
static void take_answer(const struct serve_view *v, const struct wire_query *q,
                        const struct resolver_result *result, struct serve_reply *r)
{
    const struct answer *a = result->answer;
    if (v->conf->rebind.is_on && a->is_inward && !is_exempt(&v->conf->rebind, &q->question.name)) {
        r->rcode = WIRE_RCODE_REFUSED;
        r->ede = WIRE_EDE_BLOCKED;
        r->result = SERVE_BLOCKED;
        return;
    }
    r->answer = answer_ref(result->answer);
    r->result = a->is_local ? SERVE_LOCAL : SERVE_MISS;
    r->is_stale = result->is_stale;
    r->ede = a->ede;
    if (result->is_stale)
        r->ede = a->rcode == WIRE_RCODE_NXDOMAIN ? WIRE_EDE_STALE_NXDOMAIN : WIRE_EDE_STALE;
    /* RFC 6840 section 5.8: only to who asked for it. */
    r->is_authentic = a->is_authentic && (q->wants_dnssec || q->flags & WIRE_FLAG_AD) &&
                      is_trusted(&v->conf->trust_ad, &a->from);
}

struct serve_reply serve_reply_of(const struct serve_view *v, const struct wire_query *q,
                                  const struct resolver_result *result)
{
    struct serve_reply r = {.rcode = result->rcode, .ede = result->ede, .result = SERVE_FAILED};
    switch (result->outcome) {
    case RESOLVER_ANSWER:
        take_answer(v, q, result, &r);
        break;
    case RESOLVER_TIMEOUT:
        r.ede = r.ede == WIRE_EDE_NONE ? WIRE_EDE_NO_REACHABLE : r.ede;
        break;
    case RESOLVER_UNREACHABLE:
        r.ede = r.ede == WIRE_EDE_NONE ? WIRE_EDE_NETWORK_ERROR : r.ede;
        break;
    case RESOLVER_UNKNOWN:
        r.ede = WIRE_EDE_NOT_AUTHORITATIVE;
        break;
    case RESOLVER_FAILED:
    case RESOLVER_BUSY:
        break;
    }
    return r;
}

/* What only the two ends can make: it goes through as it is. */
static bool is_signed(const struct wire_query *q)
{
    return q->has_signature || q->question.type == WIRE_TYPE_TKEY;
}

static enum serve_outcome ask_resolver(const struct serve_context *c, const struct serve_view *v,
                                       const struct wire_query *q, const uint8_t *msg, size_t len,
                                       bool is_tcp, struct resolver_ask *ask, resolver_done_fn done,
                                       struct serve_reply *ret)
{
    struct resolver_request request = {
        .raw = is_signed(q) ? msg : NULL,
        .n_raw = is_signed(q) ? q->len : 0, /* nothing that stands behind the message */
        .hides_options = !q->has_signature,
        .question = q->question,
        .wants_dnssec = q->wants_dnssec,
        .checking_disabled = q->flags & WIRE_FLAG_CD,
        .authentic_data = q->flags & WIRE_FLAG_AD,
        .tells_authentic = q->flags & WIRE_FLAG_AD && v->conf->trust_ad.n_items > 0,
        .no_recursion = !(q->flags & WIRE_FLAG_RD),
        .by_tcp = is_tcp,
        .budget = RESOLVER_FOR_LAN,
        .limit_ms = v->snapshot->conf.timeouts.dns_ms,
    };
    struct resolver_result result;
    if (resolver_ask_start(ask, c->resolver, v->group, &request, done, &result) != RESOLVER_DONE)
        return SERVE_WAIT;
    if (!ask && result.outcome == RESOLVER_UNKNOWN)
        return SERVE_DROP;
    *ret = serve_reply_of(v, q, &result);
    c->counters->n_hits += ret->answer != NULL;
    if (ret->result == SERVE_MISS)
        ret->result = SERVE_HIT;
    return SERVE_REPLY;
}

/*
 * By UDP "truncated" costs nobody anything: whoever forged the source gets nothing large sent
 * there, and who is real asks again by TCP, which has an allowance of its own.
 */
static enum serve_outcome say_too_much(const struct serve_context *c, const struct serve_view *v,
                                       bool is_tcp, struct serve_reply *ret)
{
    bool truncates = !is_tcp && !v->conf->refuses_over_limit;
    c->counters->n_limited++;
    *ret = (struct serve_reply){
        .rcode = truncates ? WIRE_RCODE_NOERROR : WIRE_RCODE_REFUSED,
        .ede = truncates ? WIRE_EDE_NONE : WIRE_EDE_PROHIBITED,
        .is_truncated = truncates,
        .result = SERVE_LIMITED,
    };
    return SERVE_REPLY;
}

enum serve_outcome serve_query(const struct serve_context *c, const struct serve_view *v,
                               const struct endpoint *source, const uint8_t *msg, size_t len,
                               bool is_tcp, struct wire_query *ret_query, struct resolver_ask *ask,
                               resolver_done_fn done, struct serve_reply *ret_reply)
{
    struct wire_query *q = ret_query;
    int rc = wire_query_parse(msg, len, q);
    if (rc == WIRE_QUERY_DROP)
        return SERVE_DROP;
    if (c->loops && rc == 0 && q->question.type == WIRE_TYPE_TXT &&
        loops_take(c->loops, &q->question.name))
        return say(ret_reply, WIRE_RCODE_NXDOMAIN, WIRE_EDE_NONE);
    if (v->conf->per_client_rate && c->rates &&
        !rates_take(c->rates, &source->addr, is_tcp, v->conf->per_client_rate,
                    loop_now_ms(c->loop)))
        return say_too_much(c, v, is_tcp, ret_reply);
    if (rc != 0)
        return say(ret_reply, code_of(rc), WIRE_EDE_NONE);
    if (q->question.type == WIRE_TYPE_AXFR || q->question.type == WIRE_TYPE_IXFR)
        return say(ret_reply, WIRE_RCODE_REFUSED, WIRE_EDE_NOT_SUPPORTED);
    if (q->question.class == WIRE_CLASS_CH && say_self(c, v, q, ret_reply))
        return SERVE_REPLY;
    if (is_out_denied(c, v, source, is_tcp, &q->question.name))
        return say_as(SERVE_BLOCKED, ret_reply, WIRE_RCODE_REFUSED, WIRE_EDE_BLOCKED);
    if (q->question.type == WIRE_TYPE_ANY && v->conf->any_minimal)
        return say_hinfo(c, q, ret_reply);
    return ask_resolver(c, v, q, msg, len, is_tcp, ask, done, ret_reply);
}

enum serve_outcome serve_refusal(const uint8_t *msg, size_t len, struct wire_query *ret_query,
                                 struct serve_reply *ret_reply)
{
    if (wire_query_parse(msg, len, ret_query) == WIRE_QUERY_DROP)
        return SERVE_DROP;
    return say(ret_reply, WIRE_RCODE_REFUSED, WIRE_EDE_PROHIBITED);
}

size_t serve_reply_bytes(const struct serve_reply *r)
{
    size_t n = WIRE_QUERY_MAX + WIRE_EDE_BYTES + WIRE_KEEPALIVE_BYTES;
    return r->answer && r->answer->len > WIRE_HEADER_BYTES ? n + r->answer->len : n;
}

size_t serve_reply_write(const struct serve_context *c, struct serve_reply *r,
                         const struct wire_query *q, uint8_t *buf, size_t max_bytes)
{
    if (!r->answer) {
        c->counters->n_errors += !r->is_truncated;
        size_t n = wire_error_write(q, r->rcode, r->ede, buf);
        if (r->is_truncated)
            wire_put16(buf + 2, wire_get16(buf + 2) | WIRE_FLAG_TC);
        return n;
    }
    struct answer_manner manner = {
        .ede = r->ede, .is_authentic = r->is_authentic, .is_stale = r->is_stale};
    size_t len = answer_write(r->answer, q, loop_now_ms(c->loop), &manner, buf, max_bytes);
    c->counters->n_truncated += wire_get16(buf + 2) & WIRE_FLAG_TC ? 1 : 0;
    r->rcode = r->answer->rcode;
    answer_unref(r->answer);
    r->answer = NULL;
    return len;
}

const char *serve_result_word(enum serve_result result)
{
    switch (result) {
    case SERVE_OWN:
        return "own";
    case SERVE_HIT:
        return "hit";
    case SERVE_MISS:
        return "miss";
    case SERVE_LOCAL:
        return "local";
    case SERVE_BLOCKED:
        return "blocked";
    case SERVE_LIMITED:
        return "limited";
    case SERVE_FAILED:
        return "failed";
    case SERVE_DROPPED:
        return "dropped";
    case SERVE_DENIED:
        return "denied";
    case SERVE_RESULTS:
        break;
    }
    return "";
}

void serve_record(const struct serve_context *c, const struct serve_asker *asker,
                  const struct wire_query *q, const struct serve_reply *r, size_t n_reply)
{
    const struct conf_dns *conf = asker->view->conf;
    struct dns_server_note note = {
        .conf = conf,
        .source = asker->source,
        .is_tcp = asker->is_tcp,
        .rule =
            in_table_ask(asker->is_tcp ? conf->tcp_table : conf->udp_table, &asker->source.addr),
        .question = q->has_question ? &q->question : NULL,
        .result = serve_result_word(r->result),
        .rcode = r->rcode,
        .query_bytes = asker->bytes,
        .reply_bytes = n_reply,
        .took_ms = loop_now_ms(c->loop) - asker->since_ms,
    };
    c->on_query(c->query_owner, &note);
}

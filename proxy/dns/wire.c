/*
 * DNS messages (RFC 1035, 6891) read with suspicion: each offset is checked before it is used; a
 * compression pointer must lead to something before all that was read of its name, so no name
 * loops, and in a reply not to bytes that change when it is sent on, so that what is valid once
 * stays it; nothing is allocated or sized by a count that a peer wrote. Records are walked, not
 * understood: RDATA passes byte for byte (RFC 3597), only those types of RFC 1035 that may hold
 * compressed names are looked into, since a reader behind us will follow the pointers. Not here:
 * what an answer means for a cache (answer), who may have sent it (upstream).
 */
#include "proxy/dns/wire.h"

#include <errno.h>
#include <string.h>

/* A name has at most 127 labels, so more pointers than that serve nobody (CVE-2024-8508). */
enum { HOPS_MAX = 127 };
enum {
    POINTER_BITS = 0xc0,
    RECORD_FIXED_BYTES = 10,
    OPTION_KEEPALIVE = 11,
    OPTION_PADDING = 12,
    OPTION_EDE = 15,
    EDNS_DO = 0x8000
};

/* ---- names ---- */

/* Whether [from, to) holds bytes of a reply that change when it is sent on: a TTL, or the type in
 * the question. */
static bool is_patched(const struct wire_reply *reply, size_t from, size_t to)
{
    if (from < reply->question_end && to > reply->question_end - 4)
        return true;
    unsigned low = 0, high = reply->n_ttls;
    while (low < high) { /* the first TTL that ends behind @from */
        unsigned middle = (low + high) / 2;
        if (reply->ttl_at[middle] + 4u <= from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < reply->n_ttls && reply->ttl_at[low] < to;
}

/* @reply: the part of a message that was read so far; a name then must not reach into what is
 * patched. NULL: any. */
static int read_name(const uint8_t *msg, size_t len, size_t *at, struct wire_name *ret_name,
                     const struct wire_reply *reply)
{
    size_t pos = *at, lowest = *at, after = 0, n = 0;
    unsigned n_hops = 0;
    for (;;) {
        if (pos >= len)
            return -EBADMSG;
        uint8_t label = msg[pos];
        bool is_pointer = (label & POINTER_BITS) == POINTER_BITS;
        size_t end = pos + (is_pointer ? 2 : 1u + label);
        if ((!is_pointer && label & POINTER_BITS) || end > len ||
            (after && reply && is_patched(reply, pos, end)))
            return -EBADMSG;
        if (is_pointer) {
            size_t target = wire_get16(msg + pos) & 0x3fff;
            if (target >= lowest || target < WIRE_HEADER_BYTES || ++n_hops > HOPS_MAX)
                return -EBADMSG;
            if (!after)
                after = end;
            len = lowest; /* what it points to ends before the name that points there began */
            pos = lowest = target;
            continue;
        }
        if (n + 1 + label > WIRE_NAME_MAX)
            return -EBADMSG;
        if (ret_name)
            memcpy(ret_name->bytes + n, msg + pos, 1u + label);
        n += 1u + label;
        pos = end;
        if (label == 0)
            break;
    }
    if (ret_name)
        ret_name->len = (uint8_t)n;
    *at = after ? after : pos;
    return 0;
}

int wire_name_read(const uint8_t *msg, size_t len, size_t *at, struct wire_name *ret_name)
{
    return read_name(msg, len, at, ret_name, NULL);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One byte of a label, escapes undone. Returns how many characters it took, 0: malformed. */
static size_t read_char(const char *text, size_t len, uint8_t *ret_byte)
{
    if (text[0] != '\\') {
        *ret_byte = (uint8_t)text[0];
        return 1;
    }
    if (len < 2)
        return 0;
    if (!is_digit(text[1])) {
        *ret_byte = (uint8_t)text[1];
        return 2;
    }
    if (len < 4 || !is_digit(text[2]) || !is_digit(text[3]))
        return 0;
    unsigned v = (unsigned)(text[1] - '0') * 100 + (unsigned)(text[2] - '0') * 10 +
                 (unsigned)(text[3] - '0');
    *ret_byte = (uint8_t)v;
    return v <= 255 ? 4 : 0;
}

int wire_name_from_text(const char *text, size_t len, struct wire_name *ret_name)
{
    struct wire_name n = {.len = 0};
    size_t label_at = 0, used = 1;
    if (len == 1 && text[0] == '.')
        len = 0;
    for (size_t i = 0; i < len;) {
        if (text[i] == '.') {
            if (used == label_at + 1)
                return -EINVAL; /* empty label */
            n.bytes[label_at] = (uint8_t)(used - label_at - 1);
            label_at = used++;
            i++;
            continue;
        }
        uint8_t byte;
        size_t took = read_char(text + i, len - i, &byte);
        if (!took || used - label_at > WIRE_LABEL_MAX || used >= WIRE_NAME_MAX)
            return -EINVAL;
        n.bytes[used++] = byte;
        i += took;
    }
    if (used > label_at + 1) { /* no final dot */
        n.bytes[label_at] = (uint8_t)(used - label_at - 1);
        label_at = used++;
    }
    if (used > WIRE_NAME_MAX)
        return -EINVAL;
    n.bytes[label_at] = 0;
    n.len = (uint8_t)used;
    *ret_name = n;
    return 0;
}

static size_t write_char(char *at, uint8_t byte)
{
    if (byte == '.' || byte == '\\' || byte == '"' || byte == ';' || byte == '@' || byte == '$' ||
        byte == '(' || byte == ')') {
        at[0] = '\\';
        at[1] = (char)byte;
        return 2;
    }
    if (byte > 0x20 && byte < 0x7f) {
        at[0] = (char)byte;
        return 1;
    }
    at[0] = '\\';
    at[1] = (char)('0' + byte / 100);
    at[2] = (char)('0' + byte / 10 % 10);
    at[3] = (char)('0' + byte % 10);
    return 4;
}

const char *wire_name_text(const struct wire_name *n, char buf[static WIRE_NAME_TEXT_MAX])
{
    size_t used = 0;
    for (size_t at = 0; n->bytes[at]; at += 1u + n->bytes[at]) {
        if (at > 0)
            buf[used++] = '.';
        for (size_t i = 1; i <= n->bytes[at]; i++)
            used += write_char(buf + used, n->bytes[at + i]);
    }
    if (used == 0)
        buf[used++] = '.';
    buf[used] = '\0';
    return buf;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

void wire_name_lower(struct wire_name *n)
{
    for (size_t i = 0; i < n->len; i++) /* length bytes are below 'A' */
        n->bytes[i] = lower(n->bytes[i]);
}

static bool equals_ignoring_case(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (memcmp(a, b, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (lower(a[i]) != lower(b[i]))
            return false;
    }
    return true;
}

bool wire_name_equal(const struct wire_name *a, const struct wire_name *b)
{
    return a->len == b->len && equals_ignoring_case(a->bytes, b->bytes, a->len);
}

bool wire_name_equal_exact(const struct wire_name *a, const struct wire_name *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool wire_name_has_suffix(const struct wire_name *n, const struct wire_name *suffix, size_t *ret_at)
{
    if (suffix->len > n->len)
        return false;
    size_t want = (size_t)(n->len - suffix->len), at = 0;
    while (at < want)
        at += 1u + n->bytes[at];
    if (at != want || !equals_ignoring_case(n->bytes + at, suffix->bytes, suffix->len))
        return false;
    *ret_at = at;
    return true;
}

/* ---- records ---- */

/* The record at *at; @ret_owner may be NULL; @reply as in read_name(). */
static int read_record(const uint8_t *msg, size_t len, size_t *at, struct wire_record *r,
                       struct wire_name *ret_owner, const struct wire_reply *reply)
{
    r->at = *at;
    if (read_name(msg, len, at, ret_owner, reply) < 0 || len - *at < RECORD_FIXED_BYTES)
        return -EBADMSG;
    const uint8_t *p = msg + *at;
    r->type = wire_get16(p);
    r->class = wire_get16(p + 2);
    r->ttl = wire_get32(p + 4);
    r->n_data = wire_get16(p + 8);
    r->data_at = *at + RECORD_FIXED_BYTES;
    if (len - r->data_at < r->n_data)
        return -EBADMSG;
    *at = r->data_at + r->n_data;
    return 0;
}

int wire_record_read(const uint8_t *msg, size_t len, size_t *at, struct wire_record *ret)
{
    return read_record(msg, len, at, ret, NULL, NULL);
}

/* RDATA that may hold compressed names: bytes before, names, bytes after. */
struct layout {
    uint16_t type;
    uint8_t n_before, n_names, n_after;
};

static const struct layout *find_layout(uint16_t type)
{
    static const struct layout layouts[] = {
        {2, 0, 1, 0},  /* NS */
        {3, 0, 1, 0},  /* MD */
        {4, 0, 1, 0},  /* MF */
        {5, 0, 1, 0},  /* CNAME */
        {6, 0, 2, 20}, /* SOA */
        {7, 0, 1, 0},  /* MB */
        {8, 0, 1, 0},  /* MG */
        {9, 0, 1, 0},  /* MR */
        {12, 0, 1, 0}, /* PTR */
        {14, 0, 2, 0}, /* MINFO */
        {15, 2, 1, 0}, /* MX */
        {17, 0, 2, 0}, /* RP */
        {18, 2, 1, 0}, /* AFSDB */
        {21, 2, 1, 0}, /* RT */
        {26, 2, 2, 0}, /* PX */
        {33, 6, 1, 0}, /* SRV */
        {36, 2, 1, 0}, /* KX */
        {39, 0, 1, 0}, /* DNAME */
    };
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        if (layouts[i].type == type)
            return &layouts[i];
    }
    return NULL;
}

static bool is_data_valid(const uint8_t *msg, const struct wire_record *r,
                          const struct wire_reply *reply)
{
    if (r->class == WIRE_CLASS_IN && r->type == WIRE_TYPE_A)
        return r->n_data == 4;
    if (r->class == WIRE_CLASS_IN && r->type == WIRE_TYPE_AAAA)
        return r->n_data == 16;
    const struct layout *layout = find_layout(r->type);
    if (!layout)
        return true;
    size_t at = r->data_at + layout->n_before, end = r->data_at + r->n_data;
    for (unsigned i = 0; i < layout->n_names; i++) {
        if (read_name(msg, end, &at, NULL, reply) < 0)
            return false;
    }
    return at + layout->n_after == end;
}

/* ---- queries of clients ---- */

static int read_opt(const uint8_t *msg, const struct wire_record *r, struct wire_query *q)
{
    bool is_second = q->has_opt;
    q->has_opt = true;
    if (is_second || msg[r->at] != 0)
        return WIRE_QUERY_FORMERR;
    q->udp_size = r->class < WIRE_UDP_MIN ? WIRE_UDP_MIN : r->class;
    q->wants_dnssec = r->ttl & EDNS_DO;
    if (r->ttl >> 16 & 0xff)
        return WIRE_QUERY_BADVERS;
    const uint8_t *data = msg + r->data_at;
    for (size_t at = 0; at < r->n_data;) {
        if (r->n_data - at < 4 || r->n_data - at - 4 < wire_get16(data + at + 2))
            return WIRE_QUERY_FORMERR;
        q->has_keepalive |= wire_get16(data + at) == OPTION_KEEPALIVE;
        at += 4u + wire_get16(data + at + 2);
    }
    return 0;
}

static bool is_signature(const uint8_t *msg, const struct wire_record *r)
{
    if (r->type == WIRE_TYPE_TSIG)
        return true;
    return r->type == WIRE_TYPE_SIG && r->n_data >= 2 && wire_get16(msg + r->data_at) == 0;
}

static int read_query_records(const uint8_t *msg, size_t len, size_t at, struct wire_query *q)
{
    unsigned n_before = wire_get16(msg + 6) + wire_get16(msg + 8),
             n = n_before + wire_get16(msg + 10);
    int outcome = 0;
    for (unsigned i = 0; i < n; i++) {
        struct wire_record r;
        if (read_record(msg, len, &at, &r, NULL, NULL) < 0)
            return WIRE_QUERY_FORMERR;
        if (r.type == WIRE_TYPE_OPT) {
            int rc = i < n_before ? WIRE_QUERY_FORMERR : read_opt(msg, &r, q);
            if (rc == WIRE_QUERY_FORMERR)
                return rc;
            if (rc != 0)
                outcome = rc;
        } else if (i >= n_before && is_signature(msg, &r)) {
            q->has_signature = true;
        }
    }
    q->len = at;
    return outcome;
}

/* A question is never compressed: there is nothing before it to point to. */
static int read_question(const uint8_t *msg, size_t len, size_t *at, struct wire_question *ret)
{
    size_t start = *at;
    if (wire_name_read(msg, len, at, &ret->name) < 0 || *at - start != ret->name.len ||
        len - *at < 4)
        return -EBADMSG;
    ret->type = wire_get16(msg + *at);
    ret->class = wire_get16(msg + *at + 2);
    *at += 4;
    return 0;
}

int wire_query_parse(const uint8_t *msg, size_t len, struct wire_query *ret)
{
    ret->udp_size = WIRE_UDP_MIN;
    ret->has_question = ret->has_opt = ret->wants_dnssec = ret->has_signature = false;
    ret->has_keepalive = ret->says_keepalive = false;
    if (len < WIRE_HEADER_BYTES)
        return WIRE_QUERY_DROP;
    ret->id = wire_get16(msg);
    ret->flags = wire_get16(msg + 2);
    if (ret->flags & WIRE_FLAG_QR)
        return WIRE_QUERY_DROP;
    if (ret->flags & WIRE_OPCODE_MASK)
        return WIRE_QUERY_NOTIMP;
    size_t at = WIRE_HEADER_BYTES;
    if (wire_get16(msg + 4) != 1 || read_question(msg, len, &at, &ret->question) < 0)
        return WIRE_QUERY_FORMERR;
    ret->has_question = true;
    int rc = read_query_records(msg, len, at, ret);
    if (rc == 0 && (ret->question.type == WIRE_TYPE_OPT || ret->question.type == 0))
        return WIRE_QUERY_FORMERR;
    return rc;
}

void wire_hide_options(uint8_t *msg, size_t len)
{
    unsigned n = wire_get16(msg + 6) + wire_get16(msg + 8) + wire_get16(msg + 10);
    size_t at = WIRE_HEADER_BYTES;
    struct wire_question question;
    struct wire_record r;
    if (read_question(msg, len, &at, &question) < 0)
        return;
    for (; n > 0 && read_record(msg, len, &at, &r, NULL, NULL) == 0; n--) {
        size_t end = r.data_at + r.n_data;
        for (size_t o = r.data_at; r.type == WIRE_TYPE_OPT && o + 4 <= end;) {
            size_t n_data = wire_get16(msg + o + 2);
            if (n_data > end - o - 4)
                break;
            wire_put16(msg + o, OPTION_PADDING);
            memset(msg + o + 4, 0, n_data);
            o += 4 + n_data;
        }
    }
}

static size_t write_question(const struct wire_question *q, uint8_t *at)
{
    memcpy(at, q->name.bytes, q->name.len);
    wire_put16(at + q->name.len, q->type);
    wire_put16(at + q->name.len + 2, q->class);
    return q->name.len + 4u;
}

size_t wire_opt_write(uint8_t *at, unsigned rcode, bool wants_dnssec, int ede)
{
    at[0] = 0;
    wire_put16(at + 1, WIRE_TYPE_OPT);
    wire_put16(at + 3, WIRE_UDP_BYTES);
    wire_put32(at + 5, (uint32_t)(rcode >> 4 & 0xff) << 24 | (wants_dnssec ? EDNS_DO : 0));
    wire_put16(at + 9, 0);
    if (ede == WIRE_EDE_NONE)
        return WIRE_OPT_BYTES;
    wire_put16(at + 9, WIRE_EDE_BYTES);
    wire_put16(at + 11, OPTION_EDE);
    wire_put16(at + 13, 2);
    wire_put16(at + 15, (unsigned)ede);
    return WIRE_OPT_BYTES + WIRE_EDE_BYTES;
}

size_t wire_error_write(const struct wire_query *q, unsigned rcode, int ede, uint8_t *buf)
{
    unsigned flags =
        WIRE_FLAG_QR | (q->flags & (WIRE_OPCODE_MASK | WIRE_FLAG_RD | WIRE_FLAG_CD)) | WIRE_FLAG_RA;
    memset(buf, 0, WIRE_HEADER_BYTES);
    wire_put16(buf, q->id);
    wire_put16(buf + 2, flags | (rcode & WIRE_RCODE_MASK));
    size_t len = WIRE_HEADER_BYTES;
    if (q->has_question) {
        wire_put16(buf + 4, 1);
        len += write_question(&q->question, buf + len);
    }
    if (q->has_opt) {
        wire_put16(buf + 10, 1);
        size_t n_opt = wire_opt_write(buf + len, rcode, q->wants_dnssec, ede);
        len += n_opt + wire_opt_add_keepalive(buf + len, n_opt, q);
    }
    return len;
}

size_t wire_opt_add_keepalive(uint8_t *at, size_t n_opt, const struct wire_query *q)
{
    if (!q->says_keepalive)
        return 0;
    wire_put16(at + 9, wire_get16(at + 9) + WIRE_KEEPALIVE_BYTES);
    wire_put16(at + n_opt, OPTION_KEEPALIVE);
    wire_put16(at + n_opt + 2, 2);
    wire_put16(at + n_opt + 4, q->keepalive_ds);
    return WIRE_KEEPALIVE_BYTES;
}

/* ---- our queries and the replies to them ---- */

/* Behind an OPT without options, which ends the message. */
static size_t write_padding(uint8_t *msg, size_t len)
{
    size_t n = (WIRE_PAD_BYTES - (len + 4) % WIRE_PAD_BYTES) % WIRE_PAD_BYTES;
    wire_put16(msg + len - 2, (unsigned)n + 4);
    wire_put16(msg + len, OPTION_PADDING);
    wire_put16(msg + len + 2, (unsigned)n);
    memset(msg + len + 4, 0, n);
    return 4 + n;
}

size_t wire_ask_write(const struct wire_ask *ask, uint8_t *buf)
{
    if (ask->raw) {
        memcpy(buf, ask->raw, ask->n_raw);
        wire_put16(buf, ask->id);
        return ask->n_raw;
    }
    unsigned flags = WIRE_FLAG_RD | (ask->checking_disabled ? WIRE_FLAG_CD : 0) |
                     (ask->authentic_data ? WIRE_FLAG_AD : 0);
    memset(buf, 0, WIRE_HEADER_BYTES);
    wire_put16(buf, ask->id);
    wire_put16(buf + 2, flags);
    wire_put16(buf + 4, 1);
    size_t len = WIRE_HEADER_BYTES + write_question(ask->question, buf + WIRE_HEADER_BYTES);
    if (!ask->without_opt) {
        wire_put16(buf + 10, 1);
        len += wire_opt_write(buf + len, 0, ask->wants_dnssec, WIRE_EDE_NONE);
        if (ask->is_padded)
            len += write_padding(buf, len);
    }
    return len;
}

static bool is_question_of(const uint8_t *msg, size_t len, size_t *at,
                           const struct wire_question *want, bool exact_case)
{
    struct wire_question got;
    if (read_question(msg, len, at, &got) < 0)
        return false;
    return got.type == want->type && got.class == want->class &&
           (exact_case ? wire_name_equal_exact(&got.name, &want->name)
                       : wire_name_equal(&got.name, &want->name));
}

enum section { SECTION_ANSWER, SECTION_AUTHORITY, SECTION_ADDITIONAL };

static void note_record(const uint8_t *msg, const struct wire_record *r, enum section section,
                        const struct wire_question *want, struct wire_reply *ret)
{
    if (r->ttl < ret->min_ttl_s)
        ret->min_ttl_s = r->ttl;
    if (section == SECTION_ANSWER) {
        ret->has_wanted |= r->type == want->type || want->type == WIRE_TYPE_ANY;
        ret->has_cname |= r->type == WIRE_TYPE_CNAME;
    } else if (section == SECTION_AUTHORITY && r->type == WIRE_TYPE_SOA && !ret->has_soa) {
        ret->has_soa = true;
        ret->soa_minimum_s = wire_get32(msg + r->data_at + r->n_data - 4);
    }
}

/* What is not part of the data: OPT and signatures of the transaction. All that stands behind is
 * left out too, since moving it would break pointers; additional data may be left out (RFC 2181
 * section 9). */
static bool ends_the_data(const uint8_t *msg, const struct wire_record *r)
{
    return r->type == WIRE_TYPE_OPT || is_signature(msg, r);
}

/* The first extended error among the options (RFC 8914); what is malformed there says nothing. */
static int read_ede(const uint8_t *msg, const struct wire_record *r)
{
    const uint8_t *data = msg + r->data_at;
    for (size_t at = 0; r->n_data - at >= 4;) {
        size_t n = wire_get16(data + at + 2);
        if (r->n_data - at - 4 < n)
            break;
        if (wire_get16(data + at) == OPTION_EDE && n >= 2)
            return wire_get16(data + at + 4);
        at += 4 + n;
    }
    return WIRE_EDE_NONE;
}

static int read_reply_records(const uint8_t *msg, size_t len, size_t at,
                              const struct wire_question *want, struct wire_reply *ret)
{
    uint16_t *counts[] = {&ret->n_answer, &ret->n_authority, &ret->n_additional};
    bool is_kept = true, has_opt = false;
    for (unsigned section = SECTION_ANSWER; section <= SECTION_ADDITIONAL; section++) {
        unsigned n = wire_get16(msg + 6 + 2 * section);
        if (section == SECTION_ADDITIONAL)
            ret->additional_at = at;
        for (unsigned i = 0; i < n; i++) {
            struct wire_record r;
            if (read_record(msg, len, &at, &r, NULL, ret) < 0)
                return WIRE_REPLY_BAD;
            ret->ttl_at[ret->n_ttls++] = (uint16_t)(r.data_at - 6);
            if (!is_data_valid(msg, &r, ret))
                return WIRE_REPLY_BAD;
            if (r.type == WIRE_TYPE_OPT) {
                if (has_opt || section != SECTION_ADDITIONAL || msg[r.at] != 0)
                    return WIRE_REPLY_BAD;
                has_opt = true;
                ret->rcode |= (r.ttl >> 24) << 4;
                ret->ede = read_ede(msg, &r);
            }
            is_kept = is_kept && !(section == SECTION_ADDITIONAL && ends_the_data(msg, &r));
            if (!is_kept) {
                ret->n_ttls--;
                continue;
            }
            note_record(msg, &r, (enum section)section, want, ret);
            ++*counts[section];
            ret->len = at;
        }
    }
    return 0;
}

/* A message that is passed on whole: where it ends. A truncated one may end anywhere. */
static int skip_records(const uint8_t *msg, size_t len, size_t at, struct wire_reply *ret)
{
    unsigned n = wire_get16(msg + 6) + wire_get16(msg + 8) + wire_get16(msg + 10);
    struct wire_record r;
    for (; n > 0; n--) {
        if (read_record(msg, len, &at, &r, NULL, NULL) < 0) {
            if (!ret->is_truncated)
                return WIRE_REPLY_BAD;
            at = len;
            break;
        }
    }
    ret->len = at;
    return 0;
}

int wire_reply_check(const uint8_t *msg, size_t len, const struct wire_ask *ask, bool exact_case,
                     struct wire_reply *ret)
{
    if (len < WIRE_HEADER_BYTES || len > WIRE_MESSAGE_MAX || wire_get16(msg) != ask->id)
        return WIRE_REPLY_WRONG;
    unsigned flags = wire_get16(msg + 2);
    if (!(flags & WIRE_FLAG_QR) || flags & WIRE_OPCODE_MASK || wire_get16(msg + 4) != 1)
        return WIRE_REPLY_WRONG;
    size_t at = WIRE_HEADER_BYTES;
    if (!is_question_of(msg, len, &at, ask->question, exact_case))
        return WIRE_REPLY_WRONG;
    ret->flags = (uint16_t)flags;
    ret->rcode = flags & WIRE_RCODE_MASK;
    ret->is_truncated = flags & WIRE_FLAG_TC;
    ret->has_cname = ret->has_wanted = ret->has_soa = false;
    ret->ede = WIRE_EDE_NONE;
    ret->soa_minimum_s = 0;
    ret->min_ttl_s = UINT32_MAX;
    ret->n_answer = ret->n_authority = ret->n_additional = 0;
    ret->n_ttls = 0;
    ret->question_end = ret->additional_at = ret->len = at;
    if (ask->raw)
        return skip_records(msg, len, at, ret);
    if (ret->is_truncated)
        return 0;
    return read_reply_records(msg, len, at, ask->question, ret);
}

/* ---- addresses ---- */

static struct addr addr_of(const uint8_t *msg, const struct wire_record *r)
{
    if (r->type == WIRE_TYPE_A)
        return addr_from_ipv4(wire_get32(msg + r->data_at));
    struct in6_addr in6;
    memcpy(&in6, msg + r->data_at, sizeof(in6));
    return addr_from_in6(&in6);
}

/* One pass over the answer section: addresses of @owner, or the name it is an alias of. */
struct hop {
    struct wire_name owner, alias_of;
    bool has_alias;
    unsigned n_addrs;
};

static int walk_hop(const uint8_t *msg, size_t len, size_t at, unsigned n_answer, unsigned type,
                    struct hop *hop, struct addr *addrs, unsigned max)
{
    for (unsigned i = 0; i < n_answer; i++) {
        struct wire_record r;
        struct wire_name owner;
        if (read_record(msg, len, &at, &r, &owner, NULL) < 0)
            return -EBADMSG;
        if (r.class != WIRE_CLASS_IN || !wire_name_equal(&owner, &hop->owner))
            continue;
        size_t data_at = r.data_at;
        if (r.type == type && r.n_data == (type == WIRE_TYPE_A ? 4 : 16)) {
            if (hop->n_addrs < max)
                addrs[hop->n_addrs++] = addr_of(msg, &r);
        } else if (r.type == WIRE_TYPE_CNAME && !hop->has_alias) {
            if (wire_name_read(msg, len, &data_at, &hop->alias_of) < 0)
                return -EBADMSG;
            hop->has_alias = true;
        }
    }
    return 0;
}

int wire_addresses(const uint8_t *msg, size_t len, unsigned n_answer, unsigned type,
                   struct addr *ret_addrs, unsigned max)
{
    struct wire_question question;
    struct hop hop = {.has_alias = false};
    size_t at = WIRE_HEADER_BYTES;
    if (len < WIRE_HEADER_BYTES || read_question(msg, len, &at, &question) < 0)
        return -EBADMSG;
    hop.owner = question.name;
    for (unsigned n_hops = 0; n_hops <= WIRE_CHAIN_MAX; n_hops++) {
        int rc = walk_hop(msg, len, at, n_answer, type, &hop, ret_addrs, max);
        if (rc < 0)
            return rc;
        if (hop.n_addrs > 0 || !hop.has_alias)
            return (int)hop.n_addrs;
        hop.owner = hop.alias_of;
        hop.has_alias = false;
    }
    return -ELOOP;
}

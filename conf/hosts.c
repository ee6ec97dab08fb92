/*
 * Three flat arrays and two hash tables over them, grown by doubling: names once each in wire form,
 * records (name, address) chained by name, first record of each address. A look-up is one keyed
 * hash and a compare, whatever the size; the key is random, since a file fed by a DHCP server holds
 * names that clients chose. Nothing is removed: a changed file is read into a new table.
 *
 * Pure but for the heap and one read of the kernel's randomness a table. RFC 952 and 1123 as far as
 * names go, with the underscore that the field uses.
 */
#include "conf/hosts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/siphash.h"

enum { LABEL_MAX = 63, SLOTS_MIN = 64 };

#define NONE UINT32_MAX

struct name {
    uint32_t at; /* in bytes */
    uint8_t len;
    uint32_t first, last; /* records */
    unsigned n_records;
};

struct record {
    struct addr addr;
    uint32_t name;
    uint32_t next; /* of the same name; NONE */
};

/* Open addressing over numbers of names or records; NONE is free; at most half full. */
struct slots {
    uint32_t *items;
    size_t n_slots, n_used;
};

struct hosts {
    int n_refs; /* atomic */
    char *file;
    struct hosts_stamp stamp;
    struct siphash_key key;
    uint8_t *bytes;
    size_t n_bytes, max_bytes;
    struct name *names;
    size_t n_names, max_names;
    struct record *records;
    size_t n_records, max_records;
    struct slots by_name; /* names */
    struct slots by_addr; /* records */
};

struct hosts *hosts_new(const char *file)
{
    struct hosts *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->n_refs = 1;
    if (getrandom(&h->key, sizeof(h->key), 0) != sizeof(h->key))
        h->key = (struct siphash_key){.k0 = (uintptr_t)h, .k1 = (uintptr_t)&h};
    h->file = file ? strdup(file) : NULL;
    return file && !h->file ? hosts_unref(h) : h;
}

struct hosts *hosts_ref(struct hosts *h)
{
    __atomic_add_fetch(&h->n_refs, 1, __ATOMIC_RELAXED);
    return h;
}

struct hosts *hosts_unref(struct hosts *h)
{
    if (!h || __atomic_sub_fetch(&h->n_refs, 1, __ATOMIC_ACQ_REL) != 0)
        return NULL;
    free(h->file);
    free(h->bytes);
    free(h->names);
    free(h->records);
    free(h->by_name.items);
    free(h->by_addr.items);
    free(h);
    return NULL;
}

/* ---- names ---- */

static bool is_host_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Text to wire form in lower case. Returns the length, 0: no host name. */
static size_t name_to_wire(const char *text, size_t len, uint8_t wire[static HOSTS_NAME_MAX])
{
    if (len > 1 && text[len - 1] == '.')
        len--;
    if (len == 0 || len + 2 > HOSTS_NAME_MAX)
        return 0;
    size_t label = 0; /* where its length goes */
    for (size_t i = 0; i <= len; i++) {
        unsigned char c = i < len ? (unsigned char)text[i] : '.';
        if (c == '.') {
            if (i == label || i - label > LABEL_MAX)
                return 0;
            wire[label] = (uint8_t)(i - label);
            label = i + 1;
            continue;
        }
        c = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
        if (!is_host_byte(c))
            return 0;
        wire[i + 1] = c;
    }
    wire[label] = 0;
    return label + 1;
}

static uint64_t hash_of(const struct hosts *h, const void *bytes, size_t len)
{
    return siphash(&h->key, bytes, len);
}

/* ---- tables ---- */

/* The slot of a name, or the free one where it belongs. The table is not empty. */
static uint32_t *name_slot(const struct hosts *h, const uint8_t *wire, size_t len)
{
    const struct slots *s = &h->by_name;
    for (size_t i = hash_of(h, wire, len);; i++) {
        uint32_t *slot = &s->items[i & (s->n_slots - 1)];
        if (*slot == NONE)
            return slot;
        const struct name *n = &h->names[*slot];
        if (n->len == len && memcmp(h->bytes + n->at, wire, len) == 0)
            return slot;
    }
}

static uint32_t *addr_slot(const struct hosts *h, const struct addr *a)
{
    const struct slots *s = &h->by_addr;
    for (size_t i = hash_of(h, a->bytes, sizeof(a->bytes));; i++) {
        uint32_t *slot = &s->items[i & (s->n_slots - 1)];
        if (*slot == NONE || addr_compare(&h->records[*slot].addr, a) == 0)
            return slot;
    }
}

static int slots_double(struct slots *s, struct slots *ret_old)
{
    size_t n = s->n_slots ? s->n_slots * 2 : SLOTS_MIN;
    uint32_t *items = reallocarray(NULL, n, sizeof(*items));
    if (!items)
        return -ENOMEM;
    memset(items, 0xff, n * sizeof(*items));
    *ret_old = *s;
    *s = (struct slots){.items = items, .n_slots = n, .n_used = s->n_used};
    return 0;
}

/* Room for one more in both tables. */
static int make_slots(struct hosts *h)
{
    struct slots old;
    if (h->by_name.n_used * 2 >= h->by_name.n_slots) {
        if (slots_double(&h->by_name, &old) < 0)
            return -ENOMEM;
        for (size_t i = 0; i < old.n_slots; i++) {
            const struct name *n = old.items[i] == NONE ? NULL : &h->names[old.items[i]];
            if (n)
                *name_slot(h, h->bytes + n->at, n->len) = old.items[i];
        }
        free(old.items);
    }
    if (h->by_addr.n_used * 2 >= h->by_addr.n_slots) {
        if (slots_double(&h->by_addr, &old) < 0)
            return -ENOMEM;
        for (size_t i = 0; i < old.n_slots; i++) {
            if (old.items[i] != NONE)
                *addr_slot(h, &h->records[old.items[i]].addr) = old.items[i];
        }
        free(old.items);
    }
    return 0;
}

/* @items with room for @n more; NULL: out of memory, @items is as it was. */
static void *reserve(void *items, size_t n_items, size_t *max, size_t n, size_t item_bytes)
{
    if (n_items + n <= *max)
        return items;
    size_t want = *max ? *max * 2 : SLOTS_MIN;
    while (want < n_items + n)
        want *= 2;
    void *grown = reallocarray(items, want, item_bytes);
    if (grown)
        *max = want;
    return grown;
}

static int make_room(struct hosts *h, size_t name_bytes)
{
    uint8_t *bytes = reserve(h->bytes, h->n_bytes, &h->max_bytes, name_bytes, 1);
    if (!bytes)
        return -ENOMEM;
    h->bytes = bytes;
    struct name *names = reserve(h->names, h->n_names, &h->max_names, 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    h->names = names;
    struct record *records =
        reserve(h->records, h->n_records, &h->max_records, 1, sizeof(*records));
    if (!records)
        return -ENOMEM;
    h->records = records;
    return make_slots(h);
}

static bool has_record(const struct hosts *h, const struct name *n, const struct addr *a)
{
    for (uint32_t i = n->first; i != NONE; i = h->records[i].next) {
        if (addr_compare(&h->records[i].addr, a) == 0)
            return true;
    }
    return false;
}

/* The name's number; a new one is entered. */
static uint32_t enter_name(struct hosts *h, const uint8_t *wire, size_t len)
{
    uint32_t *slot = name_slot(h, wire, len);
    if (*slot != NONE)
        return *slot;
    *slot = (uint32_t)h->n_names;
    h->by_name.n_used++;
    h->names[h->n_names++] =
        (struct name){.at = (uint32_t)h->n_bytes, .len = (uint8_t)len, .first = NONE, .last = NONE};
    memcpy(h->bytes + h->n_bytes, wire, len);
    h->n_bytes += len;
    return *slot;
}

static bool is_unspecified(const struct addr *a)
{
    static const struct addr none;
    return addr_compare(a, &none) == 0 || (addr_is_ipv4(a) && addr_ipv4(a) == 0);
}

int hosts_add(struct hosts *h, const char *name, size_t len, const struct addr *a)
{
    uint8_t wire[HOSTS_NAME_MAX];
    size_t wire_len = name_to_wire(name, len, wire);
    if (wire_len == 0)
        return -EINVAL;
    if (h->n_records == HOSTS_RECORDS_MAX)
        return -E2BIG;
    if (make_room(h, wire_len) < 0)
        return -ENOMEM;
    uint32_t number = enter_name(h, wire, wire_len);
    struct name *n = &h->names[number];
    if (n->n_records == HOSTS_ADDRS_MAX)
        return has_record(h, n, a) ? -EEXIST : -ENOSPC;
    if (has_record(h, n, a))
        return -EEXIST;
    uint32_t record = (uint32_t)h->n_records++;
    h->records[record] = (struct record){.addr = *a, .name = number, .next = NONE};
    if (n->last == NONE)
        n->first = record;
    else
        h->records[n->last].next = record;
    n->last = record;
    n->n_records++;
    uint32_t *slot = is_unspecified(a) ? NULL : addr_slot(h, a);
    if (slot && *slot == NONE) {
        *slot = record;
        h->by_addr.n_used++;
    }
    return 0;
}

/* ---- asking ---- */

const char *hosts_file(const struct hosts *h)
{
    return h->file;
}

size_t hosts_count(const struct hosts *h)
{
    return h->n_records;
}

const struct addr *hosts_at(const struct hosts *h, size_t i, char ret_name[static HOSTS_NAME_MAX])
{
    const struct name *n = &h->names[h->records[i].name];
    const uint8_t *wire = h->bytes + n->at;
    memcpy(ret_name, wire + 1, n->len - 1u);
    for (size_t at = wire[0]; ret_name[at] != '\0'; at += 1u + wire[at + 1])
        ret_name[at] = '.';
    return &h->records[i].addr;
}

unsigned hosts_find(const struct hosts *h, const uint8_t *name, size_t len,
                    struct addr ret_addrs[static HOSTS_ADDRS_MAX])
{
    if (h->n_records == 0)
        return 0;
    uint32_t number = *name_slot(h, name, len);
    unsigned n = 0;
    if (number == NONE)
        return 0;
    for (uint32_t i = h->names[number].first; i != NONE; i = h->records[i].next)
        ret_addrs[n++] = h->records[i].addr;
    return n;
}

unsigned hosts_find_text(const struct hosts *h, const char *name,
                         struct addr ret_addrs[static HOSTS_ADDRS_MAX])
{
    uint8_t wire[HOSTS_NAME_MAX];
    size_t len = name_to_wire(name, strlen(name), wire);
    return len == 0 ? 0 : hosts_find(h, wire, len, ret_addrs);
}

const uint8_t *hosts_reverse(const struct hosts *h, const struct addr *a, size_t *ret_len)
{
    if (h->n_records == 0 || is_unspecified(a))
        return NULL;
    uint32_t record = *addr_slot(h, a);
    if (record == NONE)
        return NULL;
    const struct name *n = &h->names[h->records[record].name];
    *ret_len = n->len;
    return h->bytes + n->at;
}

const struct hosts_stamp *hosts_stamp(const struct hosts *h)
{
    return &h->stamp;
}

void hosts_set_stamp(struct hosts *h, const struct hosts_stamp *stamp)
{
    h->stamp = *stamp;
}

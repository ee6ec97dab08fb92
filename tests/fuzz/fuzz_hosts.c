/* Any bytes as a hosts file, and as resolv.conf: what is accepted is found again by its name and
 * answered as a whole DNS message. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/hostsfile.h"
#include "conf/resolv.h"
#include "proxy/dns/local.h"

enum { LOOKED_AT = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_answer(struct hosts *h, const struct wire_question *question)
{
    struct hosts *tables[LOCAL_TABLES] = {NULL, h};
    struct answer_key key = {.question = *question};
    struct answer *a;
    if (local_answer(tables, &key, 0, &a) != 0 || a->rcode != 0 || a->n_answer == 0)
        abort();
    uint8_t buf[WIRE_UDP_BYTES];
    struct wire_query q = {.udp_size = sizeof(buf), .question = *question, .has_question = true};
    size_t len =
        answer_write(a, &q, 0, &(struct answer_manner){.ede = WIRE_EDE_NONE}, buf, sizeof(buf));
    struct wire_ask ask = {.question = question, .id = wire_get16(buf)};
    struct wire_reply reply;
    if (wire_reply_check(buf, len, &ask, false, &reply) != 0)
        abort();
    answer_unref(a);
}

static void expect_found(struct hosts *h, size_t i)
{
    char name[HOSTS_NAME_MAX];
    struct wire_question question = {.class = WIRE_CLASS_IN};
    struct addr addrs[HOSTS_ADDRS_MAX];
    const struct addr *a = hosts_at(h, i, name);
    if (wire_name_from_text(name, strlen(name), &question.name) < 0)
        abort();
    wire_name_lower(&question.name);
    unsigned n = hosts_find(h, question.name.bytes, question.name.len, addrs);
    bool is_there = false;
    for (unsigned at = 0; at < n; at++)
        is_there = is_there || addr_compare(&addrs[at], a) == 0;
    if (!is_there)
        abort();
    question.type = addr_is_ipv4(a) ? WIRE_TYPE_A : WIRE_TYPE_AAAA;
    expect_answer(h, &question);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct findings findings = {0};
    struct hosts *h = NULL;
    int r = hostsfile_parse_bytes("hosts", (const char *)data, size, &findings, &h);
    if ((r == 0) != (findings.n_errors == 0) || (r != 0 && h))
        abort();
    for (size_t i = 0; r == 0 && i < hosts_count(h) && i < LOOKED_AT; i++)
        expect_found(h, i);
    hosts_unref(h);
    findings_fini(&findings);

    struct findings others = {0};
    struct conf_name_servers servers = {0};
    if (resolv_parse_bytes("resolv.conf", (const char *)data, size, &others, &servers) == 0) {
        if (others.n_errors > 0 || servers.n_items > RESOLV_MAX)
            abort();
        free(servers.items);
    }
    findings_fini(&others);
    return 0;
}

/* resolver_group - the name servers of a listener, the way to them, and what is known about their
 * health. */
#ifndef PROXY_DNS_RESOLVER_GROUP_H
#define PROXY_DNS_RESOLVER_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/dns/loops.h"
#include "proxy/dns/resolver.h"
#include "proxy/dns/upstream_peer.h"

enum { GROUP_SERVERS_MAX = 16, GROUP_RTT_BUCKETS = 13 };

struct name_server {
    struct upstream_peer *peer;             /* one reference */
    uint16_t rtt_counts[GROUP_RTT_BUCKETS]; /* decayed: bucket i holds [2^(i-1), 2^i) ms */
    unsigned n_rtts;
    unsigned n_lost; /* in a row */
    bool is_down;
    uint64_t probe_at_ms;     /* down: when the next question is sent here too */
    uint64_t no_opt_until_ms; /* it does not understand OPT */
    struct loop_probe *loop;  /* one reference; NULL: nobody looks for loops */
    bool is_told_down;        /* resolver_on_server() said so last */
    uint64_t told_ms;
};

struct zones;

struct resolver_group {
    struct list node;
    struct resolver *resolver;
    unsigned n_refs;
    uint32_t id;    /* in the keys of its answers */
    uint32_t epoch; /* goes up when a server comes back: failures from before are forgotten */
    struct egress egress;
    struct resolver_policy policy;       /* hosts: one reference each; zones: NULL */
    struct zones *zones;                 /* owned; NULL: none */
    struct resolver_group **zone_groups; /* owned, one reference each, by the number in zones */
    size_t n_zone_groups;
    struct resolver_room rooms[RESOLVER_BUDGETS]; /* of a zone */
    unsigned n_servers;
    struct name_server servers[GROUP_SERVERS_MAX];
};

/* Who is asked for @name (lower case): the group of the longest zone that holds it, or @g. */
struct resolver_group *resolver_group_for(struct resolver_group *g, const struct wire_name *name);
/* How long to wait for a server before the next one is asked too, milliseconds. */
uint64_t resolver_group_hedge_ms(const struct resolver_group *g, unsigned server);
void resolver_group_note_reply(struct resolver_group *g, unsigned server, uint64_t rtt_ms);
void resolver_group_note_loss(struct resolver_group *g, unsigned server, uint64_t now_ms);
/* It refused at once (ICMP, RST): down without further counting. */
void resolver_group_note_dead(struct resolver_group *g, unsigned server, uint64_t now_ms);
/* The next server to ask: not in @excluded, fewest @n_sends first, then those that are up, then as
 * configured. -1: none. */
int resolver_group_pick(const struct resolver_group *g, uint32_t excluded, const uint8_t *n_sends,
                        unsigned sends_max);
/* A server that is down and due for a probe; its next one is put off. -1: none. */
int resolver_group_probe(struct resolver_group *g, uint32_t excluded, uint64_t now_ms);

#endif

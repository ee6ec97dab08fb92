/* question - one that is in flight: the servers asked for it, and who waits for its answer. */
#ifndef PROXY_DNS_QUESTION_H
#define PROXY_DNS_QUESTION_H

#include "proxy/dns/answer.h"
#include "proxy/dns/resolver_group.h"

enum { QUESTION_BUCKETS = 1024, QUESTION_WAITERS_MAX = 4096 };

struct question {
    struct list in_bucket;
    struct list in_order;
    struct resolver *resolver;
    struct resolver_group *group; /* one reference */
    struct answer_key key;
    uint64_t hash;
    struct resolver_room *room;
    bool authentic_data;
    bool by_tcp;
    struct list waiters;
    unsigned n_waiters;
    struct list attempts;
    unsigned n_attempts; /* ever */
    unsigned sends_max;  /* to one server; one more each time an asker comes back */
    uint8_t n_sends[GROUP_SERVERS_MAX];
    uint32_t excluded;  /* servers that will not be asked again: bit set */
    uint32_t n_refused; /* servers that answered REFUSED */
    uint32_t n_bad;     /* servers that answered something else than an answer */
    bool is_short;      /* no socket or memory for an attempt */
    uint8_t *raw;       /* owned; not NULL: a signed query, which nothing joins or keeps */
    size_t n_raw;
    uint64_t started_ms, sent_ms, limit_ms;
    struct timer limit;
    struct timer hedge;
    struct timer stale;   /* until an expired answer does */
    bool is_stale_told;   /* it did: whoever comes now gets it at once */
    bool is_flushed;      /* not to be kept or joined */
    int ede;              /* the last that a server said; WIRE_EDE_NONE */
    struct loop_task end; /* fails at the end of the round */
    enum resolver_outcome end_outcome;
};

/* Of a budget; a zone has rooms of its own. */
struct resolver_room *question_room(struct resolver *r, struct resolver_group *group,
                                    enum resolver_budget budget);
/* The one that an equal question may join; NULL: none. */
struct question *question_find(struct resolver *r, const struct answer_key *key, uint64_t hash);
/* Sent at once, for nobody yet. NULL: out of memory. */
struct question *question_new(struct resolver *r, struct resolver_group *group,
                              const struct answer_key *key, uint64_t hash,
                              const struct resolver_request *request);
/* @ask waits for the end of @q; @done runs later, never from inside this call. */
void question_wait(struct question *q, struct resolver_ask *ask, resolver_done_fn done);
/* The same for who asks what is in flight already. */
void question_join(struct question *q, const struct resolver_request *request,
                   struct resolver_ask *ask, resolver_done_fn done);

/* One that may do while nothing newer is to be had; borrowed, or NULL. */
struct answer *question_find_stale(struct resolver *r, const struct resolver_group *g,
                                   const struct answer_key *key, uint64_t hash);
/* Counted; @a is borrowed by it. */
struct resolver_result question_stale_result(struct resolver *r, struct answer *a);

/* Ends all that is in flight, silently. */
void questions_clear(struct resolver *r);
/* What is in flight for @names (NULL: all) is neither kept nor joined any more. */
void questions_flush(struct resolver *r, const struct cache_names *names);

#endif

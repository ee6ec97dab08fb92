/*
 * Ordered rules made into an allow list, or refused. Only packets that open a flow from another
 * host count. The chain is laid flat first: a jump becomes the rules of the chain behind it, each
 * cut down to what the jump itself matches, with a stack of bounded depth instead of recursion.
 * Then each ACCEPT is held against every DROP that stands before it. If they do not meet, the order
 * does not matter and the rule is an allow line; if the DROP holds all of it, the rule admits
 * nothing; all else needs a DROP, which no allow list has, and is refused with both lines. A match
 * with a condition that an ACL cannot say (an interface, a rate) counts as large as it can be where
 * it drops, and is refused where it accepts. So what passes is equal by construction, never a
 * guess.
 */
#include "acl/firewall_chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, STEPS_MAX = 1000000, ANY_PROTO = 16 };
enum { ITEMS_MADE_MAX = 4000000 }; /* sources of cut matches, all together */
enum { COMPARED_MAX = 300000000 }; /* items; a few seconds */

/* One rule of the flat chain. */
struct step {
    const struct firewall_match *match;
    const struct chain *chain;
    const struct chain_rule *rule; /* NULL: the policy */
    const char *memo;              /* or NULL */
    enum chain_verdict verdict;    /* ACCEPT, DROP, RETURN */
    size_t until;                  /* RETURN: it is skipped before this step */
};

struct frame {
    const struct chain *chain;
    size_t at;
    const struct firewall_match *match; /* of all the jumps that led here; NULL: everything */
    const char *memo;
    size_t first_step;
};

struct judge {
    struct firewall *fw;
    const struct chain_table *table;
    struct firewall_match all;
    struct frame frames[DEPTH_MAX];
    size_t n_frames;
    struct step *steps;
    size_t n_steps;
    struct firewall_match **made; /* cut matches, owned */
    size_t n_made;
    size_t n_items_made;
    size_t n_ignored; /* rules that no opening packet meets, or that only log */
    unsigned ignored_line;
    bool *is_reached; /* by chain */
    uint64_t n_compared;
};

void firewall_chain_table_fini(struct chain_table *table)
{
    for (size_t i = 0; i < table->n_chains; i++) {
        struct chain *chain = &table->chains[i];
        for (size_t k = 0; k < chain->n_rules; k++) {
            firewall_match_fini(&chain->rules[k].match);
            free(chain->rules[k].memo);
        }
        free(chain->rules);
        free(chain->name);
    }
    free(table->chains);
    *table = (struct chain_table){0};
}

/* What both match; @j owns the result. */
static int cut_match(struct judge *j, const struct firewall_match *a,
                     const struct firewall_match *b, const struct firewall_match **ret)
{
    if (!a || firewall_match_is_everything(b)) {
        *ret = a ? a : b;
        return 0;
    }
    if ((j->n_made & (j->n_made - 1)) == 0) {
        struct firewall_match **grown =
            reallocarray(j->made, j->n_made ? 2 * j->n_made : 1, sizeof(struct firewall_match *));
        if (!grown)
            return -ENOMEM;
        j->made = grown;
    }
    struct firewall_match *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    j->made[j->n_made++] = m;
    j->n_items_made += 1 + (a->n_sources | 1) * (b->n_sources | 1);
    *ret = m;
    return j->n_items_made > ITEMS_MADE_MAX ? -E2BIG : firewall_match_cut(a, b, m);
}

/* The two questions of a match, counted: a hostile table may make their answers long. */
static bool matches_meet(struct judge *j, const struct firewall_match *a,
                         const struct firewall_match *b)
{
    j->n_compared += 1 + a->n_sources * b->n_sources + a->n_ports * b->n_ports;
    return firewall_match_meet(a, b);
}

static bool match_holds(struct judge *j, const struct firewall_match *a,
                        const struct firewall_match *b)
{
    j->n_compared += 1 + a->n_sources * b->n_sources + a->n_ports * b->n_ports;
    return firewall_match_holds(a, b);
}

/* ---- laying flat ---- */

static unsigned line_of(const struct step *step)
{
    return step->rule ? step->rule->line : step->chain->line;
}

static int add_step(struct judge *j, const struct frame *f, const struct chain_rule *rule,
                    enum chain_verdict verdict)
{
    const struct firewall_match *match = &j->all;

    if (j->n_steps >= STEPS_MAX)
        return -E2BIG;
    int r = cut_match(j, f->match, rule ? &rule->match : &j->all, &match);
    if (r < 0 || match->is_never)
        return r;
    if ((j->n_steps & (j->n_steps - 1)) == 0) {
        struct step *grown =
            reallocarray(j->steps, j->n_steps ? 2 * j->n_steps : 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        j->steps = grown;
    }
    j->steps[j->n_steps++] = (struct step){.match = match,
                                           .chain = f->chain,
                                           .rule = rule,
                                           .memo = rule && rule->memo ? rule->memo : f->memo,
                                           .verdict = verdict};
    return 0;
}

static int refuse(struct judge *j, unsigned line, const char *what)
{
    findings_add(j->fw->findings, FINDING_ERROR, j->fw->file, line, "%s", what);
    return 0;
}

/* Opens the chain that @rule jumps to. */
static int enter(struct judge *j, const struct frame *from, const struct chain_rule *rule)
{
    const struct firewall_match *match = NULL;

    if (j->n_frames >= DEPTH_MAX) {
        j->n_frames = 0;
        return refuse(j, rule->line, "jumps nest deeper than 32 chains, or in a circle");
    }
    int r = cut_match(j, from->match, &rule->match, &match);
    if (r < 0 || match->is_never)
        return r;
    j->is_reached[rule->target] = true;
    j->frames[j->n_frames++] =
        (struct frame){.chain = &j->table->chains[rule->target],
                       .match = firewall_match_is_everything(match) ? NULL : match,
                       .memo = rule->memo ? rule->memo : from->memo,
                       .first_step = j->n_steps};
    return 0;
}

/* The end of the topmost chain: what it returned early holds no longer. */
static int leave(struct judge *j)
{
    const struct frame f = j->frames[j->n_frames - 1];

    for (size_t i = f.first_step; i < j->n_steps; i++)
        if (j->steps[i].verdict == CHAIN_VERDICT_RETURN && j->steps[i].chain == f.chain &&
            j->steps[i].until == 0)
            j->steps[i].until = j->n_steps;
    j->n_frames--;
    return f.chain->policy == CHAIN_VERDICT_RETURN ? 0 : add_step(j, &f, NULL, f.chain->policy);
}

static int flatten_rule(struct judge *j, struct frame *f, const struct chain_rule *rule)
{
    bool is_policy =
        rule->verdict == CHAIN_VERDICT_RETURN && f->chain->policy != CHAIN_VERDICT_RETURN;

    if (rule->verdict == CHAIN_VERDICT_NOTHING || rule->match.is_never) {
        if (j->n_ignored++ == 0)
            j->ignored_line = rule->line;
        return 0;
    }
    if (rule->verdict == CHAIN_VERDICT_JUMP)
        return enter(j, f, rule);
    if (rule->verdict == CHAIN_VERDICT_RETURN && firewall_match_is_everything(&rule->match)) {
        f->at = f->chain->n_rules;
        return 0;
    }
    return add_step(j, f, rule, is_policy ? f->chain->policy : rule->verdict);
}

static int flatten(struct judge *j, uint32_t input)
{
    int r = 0;
    size_t n_visits = 0;

    j->frames[j->n_frames++] = (struct frame){.chain = &j->table->chains[input]};
    j->is_reached[input] = true;
    while (j->n_frames > 0 && r == 0) {
        struct frame *f = &j->frames[j->n_frames - 1];
        if (++n_visits > 4 * (size_t)STEPS_MAX)
            r = -E2BIG;
        else if (f->at >= f->chain->n_rules)
            r = leave(j);
        else
            r = flatten_rule(j, f, &f->chain->rules[f->at++]);
    }
    return r;
}

/* ---- judging ---- */

static int emit_proto(struct judge *j, const struct step *step, unsigned bit, const char *where)
{
    static const struct addr_range every_ipv6 = {
        .last = {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}}};
    const struct addr_range every_ipv4 = {addr_from_ipv4(0), addr_from_ipv4(UINT32_MAX)};
    static const struct match_ports every_port = {1, UINT16_MAX};
    const struct firewall_match *m = step->match;
    struct firewall_rule rule;
    const char *word = firewall_match_proto_word(bit);
    bool has_ports = (1U << bit) & MATCH_PROTOS_WITH_PORTS;
    int r = firewall_word(word ? word : "any", &rule);

    for (size_t i = 0; i < (has_ports && m->ports ? m->n_ports : 1) && r == 0; i++) {
        if (has_ports) {
            rule.port_first = m->ports ? m->ports[i].first : every_port.first;
            rule.port_last = m->ports ? m->ports[i].last : every_port.last;
        }
        for (size_t k = 0; k < (m->sources ? m->n_sources : 1) && r == 0; k++) {
            rule.source = m->sources ? m->sources[k] : j->table->is_ipv4 ? every_ipv4 : every_ipv6;
            r = firewall_add(j->fw, &rule, where, line_of(step), step->memo);
        }
    }
    return r;
}

static int emit(struct judge *j, const struct step *step)
{
    char where[128];
    const struct firewall_match *m = step->match;
    int r = 0;

    snprintf(where, sizeof(where), "%s %s%u", step->chain->name,
             step->rule ? "line " : "policy, line ", line_of(step));
    if (m->protos == MATCH_PROTOS_ALL && !m->ports)
        return emit_proto(j, step, ANY_PROTO, where);
    for (unsigned bit = 0; firewall_match_proto_word(bit) && r == 0; bit++)
        if (m->protos & (1U << bit))
            r = emit_proto(j, step, bit, where);
    if (m->protos & MATCH_PROTOS_OTHERS)
        findings_add(j->fw->findings, FINDING_WARNING, j->fw->file, line_of(step),
                     "%s: no ACL line names the protocol; left out", where);
    return r;
}

/* A RETURN before @i that holds for it and may take a part of it away, or NULL. */
static const struct step *find_hole(struct judge *j, const size_t *holes, size_t n, size_t i)
{
    for (size_t k = 0; k < n && j->n_compared <= COMPARED_MAX; k++)
        if (j->steps[holes[k]].until > i &&
            matches_meet(j, j->steps[holes[k]].match, j->steps[i].match))
            return &j->steps[holes[k]];
    return NULL;
}

/* Whether a rule before @drop accepts all of @step already. */
static bool is_accepted(struct judge *j, size_t drop, const struct step *step)
{
    for (size_t i = 0; i < drop && j->n_compared <= COMPARED_MAX; i++) {
        const struct step *before = &j->steps[i];
        if (before->verdict == CHAIN_VERDICT_ACCEPT && before->match->condition[0] == '\0' &&
            match_holds(j, before->match, step->match))
            return true;
    }
    return false;
}

enum accept_fate { FATE_WHOLE, FATE_NOTHING, FATE_PART };

/* What the rules before @i leave of it; @ret_by: the one that takes. */
static enum accept_fate find_fate(struct judge *j, const size_t *drops, size_t n, size_t i,
                                  const struct step **ret_by)
{
    const struct step *step = &j->steps[i];
    enum accept_fate fate = FATE_WHOLE;

    for (size_t k = 0; k < n && j->n_compared <= COMPARED_MAX; k++) {
        const struct step *drop = &j->steps[drops[k]];
        if (!matches_meet(j, drop->match, step->match))
            continue;
        bool takes_all = drop->verdict == CHAIN_VERDICT_DROP && drop->match->condition[0] == '\0' &&
                         match_holds(j, drop->match, step->match);
        if (fate == FATE_WHOLE || takes_all)
            *ret_by = drop;
        if (takes_all)
            return FATE_NOTHING;
        if (fate == FATE_WHOLE && !is_accepted(j, drops[k], step))
            fate = FATE_PART;
    }
    return fate;
}

static int judge_accept(struct judge *j, const size_t *drops, size_t n_drops, const size_t *holes,
                        size_t n_holes, size_t i)
{
    const struct step *step = &j->steps[i], *by = NULL;
    const struct firewall_match *m = step->match;
    enum accept_fate fate = find_fate(j, drops, n_drops, i, &by);
    const struct step *hole = find_hole(j, holes, n_holes, i);
    unsigned line = line_of(step);
    struct findings *findings = j->fw->findings;

    if (fate == FATE_NOTHING) {
        if (step->rule)
            findings_add(findings, FINDING_WARNING, j->fw->file, line,
                         "never reached, line %u drops all of it; left out", line_of(by));
        return 0;
    }
    if (m->condition[0] && !(m->protos & MATCH_PROTOS_WITH_PORTS)) {
        findings_add(findings, FINDING_WARNING, j->fw->file, line,
                     "no ACL line can say `%s`, and no listener uses the protocol; left out",
                     m->condition);
        return 0;
    }
    if (m->condition[0])
        findings_add(findings, FINDING_ERROR, j->fw->file, line,
                     "it accepts only where `%s` holds, and no ACL line can say that; write it by "
                     "protocol, port and source",
                     m->condition);
    else if (hole)
        findings_add(findings, FINDING_ERROR, j->fw->file, line,
                     "line %u returns before a part of what this line accepts; an ACL has no order",
                     line_of(hole));
    else if (fate == FATE_PART)
        findings_add(findings, FINDING_ERROR, j->fw->file, line_of(by),
                     "it drops a part of what line %u accepts; an ACL has allow lines only, so say "
                     "there what is left",
                     line);
    else
        return emit(j, step);
    return 0;
}

static int judge_steps(struct judge *j)
{
    size_t *drops = calloc(j->n_steps + 1, sizeof(*drops));
    size_t *holes = calloc(j->n_steps + 1, sizeof(*holes));
    size_t n_drops = 0, n_holes = 0;
    int r = drops && holes ? 0 : -ENOMEM;

    for (size_t i = 0; i < j->n_steps && r == 0; i++) {
        switch (j->steps[i].verdict) {
        case CHAIN_VERDICT_RETURN:
            holes[n_holes++] = i;
            break;
        case CHAIN_VERDICT_DROP:
            drops[n_drops++] = i;
            /* Returned from before: it drops less than it says. */
            if (find_hole(j, holes, n_holes, i))
                j->steps[i].verdict = CHAIN_VERDICT_NOTHING;
            break;
        case CHAIN_VERDICT_ACCEPT:
            r = judge_accept(j, drops, n_drops, holes, n_holes, i);
            break;
        case CHAIN_VERDICT_NOTHING:
        case CHAIN_VERDICT_JUMP:
            break;
        }
        if (j->n_compared > COMPARED_MAX)
            r = -E2BIG;
    }
    free(drops);
    free(holes);
    return r;
}

/* What was not looked at, in one line each. */
static void tell_rest(struct judge *j)
{
    size_t n = 0;
    const struct chain *first = NULL;

    for (size_t i = 0; i < j->table->n_chains; i++) {
        if (j->is_reached[i] || j->table->chains[i].n_rules == 0)
            continue;
        first = first ? first : &j->table->chains[i];
        n += j->table->chains[i].n_rules;
    }
    if (first)
        findings_add(j->fw->findings, FINDING_NOTE, j->fw->file, first->rules[0].line,
                     "%zu rules of %.64s and other chains that no packet to this host passes are "
                     "left out",
                     n, first->name);
    if (j->n_ignored > 0)
        findings_add(j->fw->findings, FINDING_NOTE, j->fw->file, j->ignored_line,
                     "%zu rules from here on that only log or count, or are about replies, "
                     "loopback or packets that open no flow, are left out",
                     j->n_ignored);
}

int firewall_chain_judge(struct firewall *fw, const struct chain_table *table, uint32_t input)
{
    struct judge *j = calloc(1, sizeof(*j));
    int r = j ? 0 : -ENOMEM;

    if (r < 0)
        return r;
    *j = (struct judge){.fw = fw,
                        .table = table,
                        .all = {.protos = MATCH_PROTOS_ALL},
                        .is_reached = calloc(table->n_chains + 1, sizeof(bool))};
    r = j->is_reached ? flatten(j, input) : -ENOMEM;
    if (r == 0)
        r = judge_steps(j);
    if (r == 0)
        tell_rest(j);
    for (size_t i = 0; i < j->n_made; i++) {
        firewall_match_fini(j->made[i]);
        free(j->made[i]);
    }
    free(j->made);
    free(j->steps);
    free(j->is_reached);
    free(j);
    return r;
}

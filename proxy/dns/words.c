/*
 * The names that IANA lists for the types an admin meets; all others have a form of their own that
 * every tool understands. For records and logs, never for a decision. No state, any thread.
 */
#include "proxy/dns/words.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    uint16_t type;
    const char *word;
} types[] = {
    {1, "A"},       {28, "AAAA"},  {65, "HTTPS"}, {12, "PTR"},   {15, "MX"},    {16, "TXT"},
    {33, "SRV"},    {2, "NS"},     {6, "SOA"},    {5, "CNAME"},  {64, "SVCB"},  {43, "DS"},
    {48, "DNSKEY"}, {46, "RRSIG"}, {47, "NSEC"},  {50, "NSEC3"}, {52, "TLSA"},  {257, "CAA"},
    {35, "NAPTR"},  {255, "ANY"},  {13, "HINFO"}, {39, "DNAME"}, {44, "SSHFP"}, {99, "SPF"},
    {249, "TKEY"},  {251, "IXFR"}, {252, "AXFR"},
};

static const char *const rcodes[] = {
    "NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP",  "REFUSED",
    "YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE", NULL,
    NULL,       NULL,      NULL,       NULL,       "BADVERS",
};

const char *words_type(uint16_t type, char buf[static WORDS_MAX])
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].type == type)
            return types[i].word;
    }
    snprintf(buf, WORDS_MAX, "TYPE%u", type);
    return buf;
}

bool words_type_from_text(const char *text, uint16_t *ret_type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcasecmp(types[i].word, text) == 0) {
            *ret_type = types[i].type;
            return true;
        }
    }
    if (strncasecmp(text, "TYPE", 4) != 0 || text[4] < '0' || text[4] > '9')
        return false;
    char *end;
    unsigned long type = strtoul(text + 4, &end, 10);
    *ret_type = (uint16_t)type;
    return *end == '\0' && type <= UINT16_MAX;
}

const char *words_rcode(unsigned rcode, char buf[static WORDS_MAX])
{
    if (rcode < sizeof(rcodes) / sizeof(rcodes[0]) && rcodes[rcode])
        return rcodes[rcode];
    snprintf(buf, WORDS_MAX, "RCODE%u", rcode);
    return buf;
}

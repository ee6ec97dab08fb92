/*
 * Arrows and the like come as ESC [ or ESC O, parameters and a last byte (ECMA-48 section 5.4). A
 * lone ESC waits for what follows; it is no key of ours, so nobody misses it.
 */
#include "proxy/daemon/topkeys.h"

#include <string.h>

enum { ESCAPE = 033 };

void topkeys_feed(struct topkeys *k, const char *bytes, size_t n)
{
    size_t room = sizeof(k->bytes) - k->n;
    n = n < room ? n : room;
    memcpy(k->bytes + k->n, bytes, n);
    k->n += n;
}

static void drop(struct topkeys *k, size_t n)
{
    k->n -= n;
    memmove(k->bytes, k->bytes + n, k->n);
}

static int name_of(char last, char parameter)
{
    switch (last) {
    case 'A':
        return TOPKEY_UP;
    case 'B':
        return TOPKEY_DOWN;
    case 'H':
        return TOPKEY_HOME;
    case 'F':
        return TOPKEY_END;
    case '~':
        return parameter == '5'                       ? TOPKEY_PAGE_UP
               : parameter == '6'                     ? TOPKEY_PAGE_DOWN
               : parameter == '1' || parameter == '7' ? TOPKEY_HOME
               : parameter == '4' || parameter == '8' ? TOPKEY_END
                                                      : TOPKEY_OTHER;
    default:
        return TOPKEY_OTHER;
    }
}

/* ESC and an introducer stand at the beginning. */
static int take_sequence(struct topkeys *k)
{
    size_t at = 2;
    while (at < k->n && (k->bytes[at] < 0x40 || k->bytes[at] > 0x7e))
        at++;
    if (at == k->n && k->n < sizeof(k->bytes))
        return TOPKEY_NONE;
    if (at == k->n) { /* none of ours is so long */
        k->n = 0;
        return TOPKEY_OTHER;
    }
    int key = name_of(k->bytes[at], k->bytes[2]);
    drop(k, at + 1);
    return key;
}

int topkeys_next(struct topkeys *k)
{
    while (k->n >= 2 && k->bytes[0] == ESCAPE && k->bytes[1] != '[' && k->bytes[1] != 'O')
        drop(k, 1);
    if (k->n == 0 || (k->n == 1 && k->bytes[0] == ESCAPE))
        return TOPKEY_NONE;
    if (k->bytes[0] == ESCAPE)
        return take_sequence(k);
    int key = (unsigned char)k->bytes[0];
    drop(k, 1);
    return key ? key : TOPKEY_OTHER;
}

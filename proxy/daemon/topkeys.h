/* topkeys - what a terminal sends when keys are pressed, key by key (pure). */
#ifndef PROXY_DAEMON_TOPKEYS_H
#define PROXY_DAEMON_TOPKEYS_H

#include <stddef.h>

/* Beyond the characters. */
enum topkey {
    TOPKEY_NONE = 0,
    TOPKEY_UP = 256,
    TOPKEY_DOWN,
    TOPKEY_PAGE_UP,
    TOPKEY_PAGE_DOWN,
    TOPKEY_HOME,
    TOPKEY_END,
    TOPKEY_OTHER
};

enum { TOPKEYS_MAX = 64 };

/* Bytes that are no whole key yet stay for the next read. Zero-initialised: none. */
struct topkeys {
    char bytes[TOPKEYS_MAX];
    size_t n;
};

/* What the terminal sent; what does not fit is dropped. */
void topkeys_feed(struct topkeys *k, const char *bytes, size_t n);
/* The next key: a character, or an enum topkey; TOPKEY_NONE: there is none. */
int topkeys_next(struct topkeys *k);

#endif

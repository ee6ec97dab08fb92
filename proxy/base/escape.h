/* escape - peer bytes made safe for a line of text (pure). */
#ifndef PROXY_BASE_ESCAPE_H
#define PROXY_BASE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

enum escape_style {
    ESCAPE_LOG,  /* \xNN; quotes, backslash and blanks kept apart: for values inside "..." */
    ESCAPE_JSON, /* a JSON string body: \" \\ \u00NN; invalid UTF-8 bytes as \ufffd */
    ESCAPE_URL,  /* %NN for the squid format: blanks and quotes too, so that a field is one word */
    ESCAPE_TEXT, /* \xNN; quotes and backslash stay: for a whole line meant for a person */
    ESCAPE_HTML, /* \xNN, and & < > " ' as references: for text and for quoted attributes */
};

/**
 * escape_write - write @len bytes of @text into @buf so that no terminal or log reader is fooled
 *
 * C0, DEL, U+0080-9F, U+2028/2029, bidi controls (U+061C, U+200E/F, U+202A-E, U+2066-9) and invalid
 * UTF-8 are escaped; other valid UTF-8 is kept. Never cuts inside a character or an escape. Always
 * NUL-terminates when size > 0.
 *
 * Returns: bytes written without the NUL; what does not fit is left out.
 */
size_t escape_write(enum escape_style style, const char *text, size_t len, char *buf, size_t size);

/* Whether @text is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool escape_is_utf8(const char *text, size_t len);
/* Characters (code points) in valid UTF-8. */
size_t escape_utf8_length(const char *text, size_t len);

#endif
